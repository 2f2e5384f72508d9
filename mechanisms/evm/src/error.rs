//! What keeps a facilitator from being set up.

use std::fmt;

/// Why a facilitator cannot be set up.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The network is not an EVM chain.
    Network,
    /// The endpoint's address cannot be used.
    Endpoint,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What was wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
