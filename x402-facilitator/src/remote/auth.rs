use std::{pin::Pin, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is asked of a facilitator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `GET /supported`
    Supported,
    /// `POST /verify`
    Verify,
    /// `POST /settle`
    Settle,
}

impl Endpoint {
    /// The HTTP method it is asked with.
    pub const fn method(self) -> Method {
        match self {
            Self::Supported => Method::GET,
            Self::Verify | Self::Settle => Method::POST,
        }
    }

    /// Its path below the facilitator's URL, with a `/` in front.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Supported => "/supported",
            Self::Verify => "/verify",
            Self::Settle => "/settle",
        }
    }
}

/// Credentials for a facilitator.
pub trait AuthProvider: Send + Sync + 'static {
    /// The headers of the next request to this endpoint. Asked before every single request, repeated ones
    /// included, so that a token may live for seconds and be bound to method and path.
    ///
    /// The values are treated as secrets. An error ends the request before it is sent.
    fn headers(&self, endpoint: Endpoint) -> impl Future<Output = Result<HeaderMap, BoxError>> + Send;
}

/// One token for everything.
pub(super) struct Bearer(pub(super) HeaderValue);

impl AuthProvider for Bearer {
    async fn headers(&self, _: Endpoint) -> Result<HeaderMap, BoxError> {
        Ok(HeaderMap::from_iter([(AUTHORIZATION, self.0.clone())]))
    }
}

/// An [`AuthProvider`] with its type erased.
pub(super) type AnyAuth = Arc<dyn ErasedAuth>;

pub(super) trait ErasedAuth: Send + Sync {
    fn headers(&self, endpoint: Endpoint) -> BoxHeaders<'_>;
}

type BoxHeaders<'a> = Pin<Box<dyn Future<Output = Result<HeaderMap, BoxError>> + Send + 'a>>;

impl<A: AuthProvider> ErasedAuth for A {
    fn headers(&self, endpoint: Endpoint) -> BoxHeaders<'_> {
        Box::pin(AuthProvider::headers(self, endpoint))
    }
}
