//! The payment of a request, for its handler, and what a handler says of its answer.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};
use x402_core::gate::{self, NotPaid, PaymentInfo};

/// The payment of a request: who pays, how much, of what, where; in settle-first mode the receipt too.
///
/// Take `Option<Paid>` where a hook may let requests pass free, or where the route may not be charged.
#[derive(Debug, Clone)]
pub struct Paid(pub PaymentInfo);

impl<S: Sync> FromRequestParts<S> for Paid {
    type Rejection = Unpaid;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Unpaid> {
        PaymentInfo::of(parts.extensions.get()).map(Self).map_err(Unpaid)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Paid {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(PaymentInfo::of(parts.extensions.get()).ok().map(Self))
    }
}

/// A handler took [`Paid`] where nobody paid. Answers 500: the service is put together wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpaid(pub NotPaid);

impl IntoResponse for Unpaid {
    fn into_response(self) -> Response {
        self.0.answer().map(Body::from)
    }
}

/// Part of an answer that is not worth its price: `(Uncharged, "nothing new")`. The payment is not settled, and can be
/// used again; after a charge that settles first it is too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncharged;

impl IntoResponseParts for Uncharged {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(gate::Uncharged);
        Ok(parts)
    }
}
