//! The payment of a request, for its handler, and what a handler says of its answer.

use std::{
    fmt,
    future::{Ready, ready},
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse, Responder, ResponseError, dev::Payload,
};
use x402_core::gate::{self, NotPaid, PaymentInfo};

use crate::bridge;

/// The payment of a request: who pays, how much, of what, where; in settle-first mode the receipt too.
///
/// Take `Option<Paid>` where a hook may let requests pass free, or where the route may not be charged.
#[derive(Debug, Clone)]
pub struct Paid(pub PaymentInfo);

impl FromRequest for Paid {
    type Error = Unpaid;
    type Future = Ready<Result<Self, Unpaid>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(PaymentInfo::of(request.extensions().get()).map(Self).map_err(Unpaid))
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

impl ResponseError for Unpaid {
    fn error_response(&self) -> HttpResponse {
        bridge::to_actix(self.0.answer())
    }
}

/// Around an answer that is not worth its price: `Uncharged("nothing new")`. The payment is not settled, and can be used
/// again; after a charge that settles first it is too late.
///
/// The same is said by [`gate::Uncharged`] among a response's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncharged<R>(pub R);

impl<R: Responder> Responder for Uncharged<R> {
    type Body = R::Body;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse<R::Body> {
        let mut response = self.0.respond_to(request);
        response.extensions_mut().insert(gate::Uncharged);
        response
    }
}
