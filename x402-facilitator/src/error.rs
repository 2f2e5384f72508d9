/// Why a facilitator could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The facilitator's URL is not one to call.
    InvalidUrl,
    /// The credentials do not fit into a header.
    InvalidCredentials,
    /// The HTTP client: TLS, its certificates, its resolver.
    Client,
}

impl Error {
    #[cfg(feature = "remote")]
    pub(crate) fn new(kind: ErrorKind, message: impl std::fmt::Display) -> Self {
        Self { kind, message: message.to_string(), source: None }
    }

    #[cfg(feature = "remote")]
    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What could not be set up.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
