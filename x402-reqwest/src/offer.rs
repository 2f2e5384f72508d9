//! Reads the offer a 402 makes.

use reqwest::Response;
use x402_core::wire::{self, DecodedOffer, PAYMENT_REQUIRED};

use crate::{
    body,
    error::{Error, ErrorKind},
    origin,
};

/// What a 402 turned out to be.
pub(crate) enum Answer {
    Offer(DecodedOffer),
    /// A 402 that knows nothing of the protocol, readable as it came.
    Other(Response),
}

/// Reads the offer: version 2's header, or else the body, up to this many bytes. A body makes an offer when it is a JSON
/// object that speaks of one.
pub(crate) async fn read(response: Response, limit: usize) -> Result<Answer, reqwest_middleware::Error> {
    let place = origin::place(response.url());
    let malformed = |why: &str| {
        Error::new(
            ErrorKind::MalformedOffer,
            format!("{place} asks for a payment that cannot be read: {why}"),
        )
    };
    let mut headers = response.headers().get_all(PAYMENT_REQUIRED).iter();
    let header = headers.next().cloned();
    if headers.any(|other| Some(other) != header.as_ref()) {
        return Err(malformed("there are several PAYMENT-REQUIRED headers that differ").into());
    }
    let unread = match header.map(|header| wire::decode_payment_required(&header)) {
        Some(Ok(offer)) => return Ok(Answer::Offer(offer)),
        Some(Err(error)) => Some(malformed(&format!("PAYMENT-REQUIRED: {error}")).because(error)),
        None => None,
    };
    let (read, response) = body::peek(response, limit).await?;
    let speaks = body::is_object(&read) && speaks_of_an_offer(&read);
    if speaks && read.len() <= limit {
        match wire::decode_payment_required_body(&read) {
            Ok(offer) => return Ok(Answer::Offer(offer)),
            Err(error) if unread.is_none() => {
                return Err(malformed(&format!("the body: {error}")).because(error).into());
            }
            Err(_) => {}
        }
    }
    match unread {
        Some(error) => Err(error.into()),
        None if speaks => Err(malformed(&format!(
            "the body is longer than {limit} bytes; `max_offer_bytes` says how long it may be"
        ))
        .into()),
        None => Ok(Answer::Other(body::restore(read, response))),
    }
}

fn speaks_of_an_offer(body: &[u8]) -> bool {
    let has = |key: &[u8]| body.windows(key.len()).any(|window| window == key);
    has(b"\"x402Version\"") || (has(b"\"accepts\"") && has(b"\"maxAmountRequired\""))
}
