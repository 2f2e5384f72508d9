//! What the gate is told about a request.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};

use super::access::Access;
use crate::BoxFuture;

/// A request as an adapter sees it. `Debug` leaves the headers out: a payment is among them.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URI as the client sent it, before any nesting stripped it.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The pattern of the route the framework matched, in the framework's syntax.
    pub route: Option<&'a str>,
    /// What another gate, outside of this one, put into the request's extensions.
    pub access: Option<&'a Access>,
}

/// A request's body, in whatever type a framework has for it. Adapters implement it, once.
///
/// It is read only where a payment came that names what it is for, see [`Charge::idempotent`](super::Charge::idempotent):
/// what is named is the request with its body. In all other cases it goes to the handler as it came.
pub trait RequestBody {
    /// Whether it can be read and given to the handler all the same.
    fn is_readable(&self) -> bool {
        true
    }

    /// Whether there is surely none: then nothing has to be read. `false` says nothing.
    fn is_empty(&self) -> bool {
        false
    }

    /// Leaves nothing of it to the handler. `false` where that cannot be done.
    fn discard(&mut self) -> bool {
        self.is_empty()
    }

    /// Reads the whole of it, and keeps it for the handler. Trailers are left out.
    ///
    /// # Errors
    /// When it is longer than this many bytes, or does not come to its end.
    fn read(&mut self, limit: usize) -> impl Future<Output = Result<Bytes, Unread>>;
}

/// A body that was read already.
impl RequestBody for Bytes {
    fn is_empty(&self) -> bool {
        Bytes::is_empty(self)
    }

    fn discard(&mut self) -> bool {
        self.clear();
        true
    }

    async fn read(&mut self, limit: usize) -> Result<Bytes, Unread> {
        if self.len() > limit { Err(Unread::TooLong) } else { Ok(self.clone()) }
    }
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is longer than it may be.
    TooLong,
    /// It broke off.
    Broken,
    /// It did not come in the time it has.
    TooSlow,
}

impl RequestView<'_> {
    pub(crate) fn to_info(self) -> RequestInfo {
        RequestInfo {
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            route: self.route.map(str::to_owned),
        }
    }
}

/// A request, as hooks and computed prices see it. `Debug` leaves the headers out: a payment is among them.
#[derive(Clone)]
#[non_exhaustive]
pub struct RequestInfo {
    /// The method.
    pub method: Method,
    /// The URI as the client sent it.
    pub uri: Uri,
    /// The headers, the payment among them.
    pub headers: HeaderMap,
    /// The pattern of the matched route, where the framework tells.
    pub route: Option<String>,
}

impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, uri, route, .. } = self;
        let mut shown = f.debug_struct("RequestView");
        shown.field("method", method).field("uri", uri).field("route", route).finish_non_exhaustive()
    }
}

impl fmt::Debug for RequestInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, uri, route, .. } = self;
        let mut shown = f.debug_struct("RequestInfo");
        shown.field("method", method).field("uri", uri).field("route", route).finish_non_exhaustive()
    }
}

pub(super) type RequestHook = Arc<dyn Fn(RequestInfo) -> BoxFuture<'static, RequestDecision> + Send + Sync>;

/// What a request hook decides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum RequestDecision {
    /// Charge as configured.
    Charge,
    /// Let it pass without payment.
    Free,
    /// Answer 403 with this reason.
    Refuse(String),
}
