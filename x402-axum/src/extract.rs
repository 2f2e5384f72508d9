//! The payment of a request, for its handler.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use x402_core::gate::{Access, PaymentInfo};

/// The payment of a request: who pays, how much, of what, where; in settle-first mode the receipt too.
///
/// Take `Option<Paid>` where a hook may let requests pass free, or where the route may not be charged.
#[derive(Debug, Clone)]
pub struct Paid(pub PaymentInfo);

impl<S: Sync> FromRequestParts<S> for Paid {
    type Rejection = NotPaid;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NotPaid> {
        match parts.extensions.get::<Access>() {
            Some(Access::Paid(payment)) => Ok(Self(payment.clone())),
            Some(Access::Free) => Err(NotPaid::GrantedFree),
            None => Err(NotPaid::NoLayer),
        }
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Paid {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(match parts.extensions.get::<Access>() {
            Some(Access::Paid(payment)) => Some(Self(payment.clone())),
            Some(Access::Free) | None => None,
        })
    }
}

/// A handler asked for [`Paid`] and its request was not paid for. Answers 500: the service is put together wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotPaid {
    /// No payment layer saw the request.
    NoLayer,
    /// A hook let the request pass without payment.
    GrantedFree,
}

impl std::fmt::Display for NotPaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoLayer => {
                "the handler takes `Paid`, but no payment layer is on its route: \
                 add `.layer(gate.charge(…)?)`, or list the route in the table"
            }
            Self::GrantedFree => {
                "the handler takes `Paid`, but a hook let this request pass free: take `Option<Paid>`"
            }
        })
    }
}

impl std::error::Error for NotPaid {}

impl IntoResponse for NotPaid {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
