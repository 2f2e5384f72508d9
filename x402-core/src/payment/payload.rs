//! What a client signs and sends.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JsonMap, PaymentRequirements, ResourceInfo, Version, from_object, unreadable_as_default};

/// A signed payment.
///
/// `Debug` leaves the signed part out: whoever holds it can settle it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// The version it was written in.
    #[serde(rename = "x402Version")]
    pub version: Version,
    /// What is bought, as the client understood it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "ResourceInfo::from_field")]
    pub resource: Option<ResourceInfo>,
    /// The option the client chose. Evidence of what it understood, never a source of what is charged.
    #[serde(deserialize_with = "from_object")]
    pub accepted: PaymentRequirements,
    /// What the scheme had it sign.
    pub payload: Value,
    /// Extensions the client answers.
    #[serde(default, skip_serializing_if = "JsonMap::is_empty", deserialize_with = "unreadable_as_default")]
    pub extensions: JsonMap,
}

impl fmt::Debug for PaymentPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentPayload")
            .field("version", &self.version)
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}

/// A payment, and the requirements it is to be held against: what a facilitator verifies and settles.
#[derive(Debug, Clone, PartialEq)]
pub struct Payment {
    /// What the client signed.
    pub payload: PaymentPayload,
    /// What the server asks for.
    pub requirements: PaymentRequirements,
}
