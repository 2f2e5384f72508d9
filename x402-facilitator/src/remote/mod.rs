//! A facilitator over HTTP.
//!
//! What a facilitator answers is taken strictly, as far as it decides about money: a wrong type there, a missing field, a
//! redirect to another site or an answer without end is an error, never a yes. `/settle` is sent once, with the key of the settlement as `Idempotency-Key`; `/verify` and
//! `/supported` are repeated while the facilitator says that it is busy, within their time-outs.
//!
//! That a settlement did not happen is believed of an answer of the protocol, of a connection that was never made, and of
//! an error that says so in our own facilitator's field `notActed`. Any other status may come from a gateway in front of
//! the facilitator, which cannot know.

mod answer;
mod auth;
mod builder;
mod exchange;
mod redirect;

use std::fmt;

use bytes::Bytes;
use x402_core::{
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind, SettleRequest},
    payment::{Payment, SettleResponse, Supported, VerifyResponse},
    wire,
};

use crate::Error;
pub use auth::{AuthProvider, BoxError, Endpoint};
pub use builder::RemoteFacilitatorBuilder;
pub use exchange::MAX_ANSWER_BYTES;

/// Somebody else's facilitator, called over HTTP.
///
/// ```
/// use x402_facilitator::RemoteFacilitator;
///
/// let facilitator = RemoteFacilitator::new("https://www.x402.org/facilitator")?;
/// # Ok::<(), x402_facilitator::Error>(())
/// ```
///
/// Clones share their connections.
#[derive(Clone)]
pub struct RemoteFacilitator {
    exchange: exchange::Exchange,
}

impl RemoteFacilitator {
    /// The facilitator at this URL, without credentials and with the default time-outs.
    ///
    /// # Errors
    /// When the URL is not `http` or `https`, or carries credentials, a query or a fragment; when the system's
    /// certificates cannot be read.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// The facilitator at this URL, with credentials or time-outs of your own.
    pub fn builder(url: &str) -> RemoteFacilitatorBuilder {
        RemoteFacilitatorBuilder::new(url)
    }

    /// Where it is, without a `/` at the end.
    pub fn url(&self) -> &str {
        self.exchange.base()
    }
}

impl Facilitator for RemoteFacilitator {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        self.exchange.ask(Endpoint::Supported, Bytes::new(), None, answer::supported).await
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        self.exchange.ask(Endpoint::Verify, encode(payment)?, None, answer::verify).await
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let SettleRequest { payment, key, .. } = request;
        let asked = &payment.requirements.network;
        let read = |reply: &exchange::Reply| answer::settle(reply, asked);
        self.exchange.ask(Endpoint::Settle, encode(payment)?, key, read).await
    }
}

fn encode(payment: &Payment) -> Result<Bytes, FacilitatorError> {
    wire::encode_request(payment)
        .map(Bytes::from)
        .map_err(|error| FacilitatorError::new(FacilitatorErrorKind::Unreachable, error.to_string()))
}

impl fmt::Debug for RemoteFacilitator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFacilitator").field("url", &self.url()).finish_non_exhaustive()
    }
}
