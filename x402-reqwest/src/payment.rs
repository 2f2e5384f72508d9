//! A payment once signed: one request has one, however often it is sent.

use http::{HeaderName, HeaderValue, Method};
use reqwest::{Request, Url};
use x402_core::{
    extension::payment_identifier::{self, PaymentId},
    payment::{PaymentPayload, PaymentRequirements},
    wire::{DecodeError, DecodedOffer},
};

use crate::origin;

/// A signed payment and the request it belongs to.
///
/// Put into the [`Extensions`](http::Extensions) of a request with the same method and URL, it is sent with that
/// request at once, and no other is signed. `Debug` leaves the signed part out: whoever holds it can settle it.
#[derive(Debug, Clone)]
pub struct SignedPayment {
    method: Method,
    url: Url,
    requirements: PaymentRequirements,
    identifier: Option<PaymentId>,
    name: HeaderName,
    value: HeaderValue,
}

impl SignedPayment {
    /// The payment of this option of the offer.
    pub(crate) fn new(
        (method, url): (Method, Url),
        (offer, option): (&DecodedOffer, usize),
        payment: PaymentPayload,
    ) -> Result<Self, DecodeError> {
        let (name, mut value) = offer.encode_payment(option, &payment)?;
        value.set_sensitive(true);
        let identifier = payment_identifier::identifier(&payment.extensions).ok().flatten();
        Ok(Self { method, url, requirements: payment.accepted, identifier, name, value })
    }

    /// What is paid, to whom.
    pub fn requirements(&self) -> &PaymentRequirements {
        &self.requirements
    }

    /// What the request is called, where its server declares the extension `payment-identifier`.
    pub fn identifier(&self) -> Option<&PaymentId> {
        self.identifier.as_ref()
    }

    /// The header that carries it. A request that comes with it is passed on as it is.
    pub fn header(&self) -> (&HeaderName, &HeaderValue) {
        (&self.name, &self.value)
    }

    pub(crate) fn server(&self) -> String {
        origin::name(&self.url)
    }

    pub(crate) fn place(&self) -> String {
        origin::place(&self.url)
    }

    pub(crate) fn belongs_to(&self, request: &Request) -> bool {
        self.method == request.method() && self.url == *request.url()
    }

    pub(crate) fn attach_to(&self, request: &mut Request) {
        request.headers_mut().insert(self.name.clone(), self.value.clone());
    }
}
