//! The protocol's reason codes.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// Why a payment was refused or a settlement failed: one of the protocol's codes.
///
/// Codes this crate does not know are kept as they came. Schemes define their own next to their rules.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// A code known at compile time.
    pub const fn from_static(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it says that the payment's nonce is spent, in whatever scheme: it was paid, by this payment or another.
    #[cfg(feature = "gate")]
    pub(crate) fn says_used(&self) -> bool {
        self.0.ends_with("nonce_already_used") || *self == Self::PAID_BY_THIRD_PARTY
    }

    /// The version is not one we speak.
    pub const INVALID_VERSION: Self = Self::from_static("invalid_x402_version");
    /// The payload is not of the scheme's shape.
    pub const INVALID_PAYLOAD: Self = Self::from_static("invalid_payload");
    /// The requirements are not of the scheme's shape.
    pub const INVALID_REQUIREMENTS: Self = Self::from_static("invalid_payment_requirements");
    /// No one here handles this scheme.
    pub const UNSUPPORTED_SCHEME: Self = Self::from_static("unsupported_scheme");
    /// No one here handles this network.
    pub const INVALID_NETWORK: Self = Self::from_static("invalid_network");
    /// The payment meets none of our offers.
    pub const NO_MATCH: Self = Self::from_static("no_matching_payment_requirements");
    /// This payment has been settled, or is being settled, already.
    pub const DUPLICATE_SETTLEMENT: Self = Self::from_static("duplicate_settlement");
    /// What was signed has moved the money in a transaction of somebody else's, and the facilitator has not seen it unused:
    /// it may have bought something elsewhere. The transaction is named.
    pub const PAID_BY_THIRD_PARTY: Self = Self::from_static("payment_made_by_third_party");
    /// A transaction is on its way and its fate unknown.
    pub const SETTLEMENT_PENDING: Self = Self::from_static("settlement_pending");
    /// The payer has too little of the token.
    pub const INSUFFICIENT_FUNDS: Self = Self::from_static("insufficient_funds");
    /// Something unforeseen while verifying.
    pub const UNEXPECTED_VERIFY_ERROR: Self = Self::from_static("unexpected_verify_error");
    /// Something unforeseen while settling.
    pub const UNEXPECTED_SETTLE_ERROR: Self = Self::from_static("unexpected_settle_error");
}

impl From<&'static str> for Reason {
    fn from(code: &'static str) -> Self {
        Self::from_static(code)
    }
}

impl From<String> for Reason {
    fn from(code: String) -> Self {
        Self(Cow::Owned(code))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({})", self.0)
    }
}
