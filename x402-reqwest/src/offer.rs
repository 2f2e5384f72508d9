//! Reads the offer a 402 makes.

use reqwest::Response;
use x402_core::{
    payment::PaymentRequired,
    wire::{self, PAYMENT_REQUIRED},
};

use crate::{
    body::{self, MAX_BODY_BYTES},
    error::{Error, ErrorKind},
    origin,
};

/// What a 402 turned out to be.
pub(crate) enum Answer {
    Offer(PaymentRequired),
    /// A 402 that knows nothing of the protocol, readable as it came.
    Other(Response),
}

/// Reads the offer: version 2's header, or else version 1's body. A body makes an offer when it is a JSON object that
/// mentions `x402Version`.
pub(crate) async fn read(response: Response) -> Result<Answer, reqwest_middleware::Error> {
    let server = origin::name(response.url());
    let malformed = |why: &str| {
        Error::new(
            ErrorKind::MalformedOffer,
            format!("{server} asks for a payment that cannot be read: {why}"),
        )
    };
    let mut headers = response.headers().get_all(PAYMENT_REQUIRED).iter();
    match (headers.next(), headers.next()) {
        (Some(header), None) => {
            let offer = wire::decode_payment_required(header)
                .map_err(|error| malformed(&format!("PAYMENT-REQUIRED: {error}")).because(error))?;
            return Ok(Answer::Offer(offer));
        }
        (Some(_), Some(_)) => return Err(malformed("there are several PAYMENT-REQUIRED headers").into()),
        (None, _) => {}
    }
    let (read, response) = body::peek(response).await?;
    if !body::is_object(&read) || !mentions_x402(&read) {
        return Ok(Answer::Other(body::restore(read, response)));
    }
    if read.len() > MAX_BODY_BYTES {
        return Err(malformed(&format!("the body is longer than {MAX_BODY_BYTES} bytes")).into());
    }
    let offer = wire::decode_payment_required_body(&read)
        .map_err(|error| malformed(&format!("the body: {error}")).because(error))?;
    Ok(Answer::Offer(offer))
}

fn mentions_x402(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"x402Version\"";
    body.windows(KEY.len()).any(|window| window == KEY)
}
