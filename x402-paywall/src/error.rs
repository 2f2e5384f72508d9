//! What the settings of a page cannot be.

/// A setting that no page can be made with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expected}, not `{given}`")]
pub struct Error {
    kind: ErrorKind,
    expected: &'static str,
    given: String,
}

/// Which setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The logo's address.
    Logo,
    /// The accent colour.
    Accent,
    /// A chain's explorer, RPC endpoint or coin.
    Chain,
    /// The session-token endpoint.
    SessionTokenEndpoint,
    /// Where the on-ramp leads.
    Onramp,
    /// Where the alternative leads.
    Alternative,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, expected: &'static str, given: &str) -> Self {
        Self { kind, expected, given: given.chars().take(80).collect() }
    }

    /// Which setting it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
