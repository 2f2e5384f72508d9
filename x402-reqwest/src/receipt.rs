//! What the server says came of the payment.

use x402_core::{
    payment::SettleResponse,
    wire::{self, DecodeError, PAYMENT_RESPONSE, X_PAYMENT_RESPONSE},
};

/// Reads the receipt of a response.
pub trait ResponseExt {
    /// What the server says came of the payment, from `PAYMENT-RESPONSE` or `X-PAYMENT-RESPONSE`; `None` when it says
    /// nothing.
    ///
    /// It is the server's claim and no proof: whether the money moved, the chain says.
    ///
    /// # Errors
    /// When the header cannot be decoded.
    fn receipt(&self) -> Option<Result<SettleResponse, DecodeError>>;
}

impl ResponseExt for reqwest::Response {
    fn receipt(&self) -> Option<Result<SettleResponse, DecodeError>> {
        let headers = self.headers();
        let header = headers.get(PAYMENT_RESPONSE).or_else(|| headers.get(X_PAYMENT_RESPONSE))?;
        Some(wire::decode_settle_header(header))
    }
}
