//! The payment of a request, for its handler, and what a handler says of its answer.

use std::fmt;

use poem::{
    FromRequest, IntoResponse, Request, RequestBody, Response, Result, error::ResponseError, http::StatusCode,
};
use x402_core::gate::{self, NotPaid, PaymentInfo};

use crate::middleware::to_poem;

/// The payment of a request: who pays, how much, of what, where; in settle-first mode the receipt too.
///
/// Take `Option<Paid>` where a hook may let requests pass free, or where the route may not be charged.
#[derive(Debug, Clone)]
pub struct Paid(pub PaymentInfo);

impl<'a> FromRequest<'a> for Paid {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Ok(PaymentInfo::of(request.data()).map(Self).map_err(Unpaid)?)
    }
}

/// A handler took [`Paid`] where nobody paid. Answers 500: the service is put together wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpaid(pub NotPaid);

impl fmt::Display for Unpaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unpaid {}

impl ResponseError for Unpaid {
    fn status(&self) -> StatusCode {
        self.0.status()
    }

    fn as_response(&self) -> Response {
        to_poem(self.0.answer())
    }
}

/// Around an answer that is not worth its price: `Uncharged("nothing new")`. The payment is not settled, and can be
/// used again; after a charge that settles first it is too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncharged<R>(pub R);

impl<R: IntoResponse> IntoResponse for Uncharged<R> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.set_data(gate::Uncharged);
        response
    }
}
