//! What came of the payment, on the response.

use x402_core::{
    payment::SettleResponse,
    wire::{self, DecodeError, PAYMENT_RESPONSE, X_PAYMENT_RESPONSE},
};

use crate::payment::SignedPayment;

/// Reads what a response tells of its payment.
pub trait ResponseExt {
    /// What the server says came of the payment, from `PAYMENT-RESPONSE` or `X-PAYMENT-RESPONSE`; `None` when it says
    /// nothing.
    ///
    /// It is the server's claim and no proof: whether the money moved, the chain says.
    ///
    /// # Errors
    /// When the header cannot be decoded.
    fn receipt(&self) -> Option<Result<SettleResponse, DecodeError>>;

    /// The payment that was sent for this response; `None` when none was.
    ///
    /// After an answer that leaves its fate open, like a 5xx, hand it to the request that tries again, and no other is
    /// signed:
    ///
    /// ```
    /// use reqwest_middleware::ClientWithMiddleware;
    /// use x402_reqwest::ResponseExt;
    ///
    /// async fn buy(client: &ClientWithMiddleware, url: &str) -> reqwest_middleware::Result<reqwest::Response> {
    ///     let response = client.get(url).send().await?;
    ///     match response.payment() {
    ///         Some(payment) if response.status().is_server_error() => {
    ///             client.get(url).with_extension(payment.clone()).send().await
    ///         }
    ///         _ => Ok(response),
    ///     }
    /// }
    /// ```
    fn payment(&self) -> Option<&SignedPayment>;
}

impl ResponseExt for reqwest::Response {
    fn receipt(&self) -> Option<Result<SettleResponse, DecodeError>> {
        let headers = self.headers();
        let header = headers.get(PAYMENT_RESPONSE).or_else(|| headers.get(X_PAYMENT_RESPONSE))?;
        let asked = self.payment().map(|payment| &payment.requirements().network);
        Some(wire::decode_settle_header(header, asked))
    }

    fn payment(&self) -> Option<&SignedPayment> {
        self.extensions().get()
    }
}
