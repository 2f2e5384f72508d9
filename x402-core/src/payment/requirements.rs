//! What a server asks for.

use serde::{Deserialize, Serialize};

use super::{JsonMap, Version, from_object, from_objects, null_as_default};
use crate::{address::Address, amount::Amount, network::Network};

/// One way to pay: this much of this token, to this account, by this scheme.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// The scheme, like `exact`.
    pub scheme: String,
    /// The chain.
    pub network: Network,
    /// How much, in the token's smallest unit.
    pub amount: Amount,
    /// The token.
    pub asset: Address,
    /// Who is paid.
    pub pay_to: Address,
    /// How long the payment must stay valid, in seconds.
    pub max_timeout_seconds: u64,
    /// What the scheme adds, like the token's EIP-712 domain.
    #[serde(default, deserialize_with = "null_as_default")]
    pub extra: JsonMap,
}

/// What is sold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceInfo {
    /// Where it is.
    pub url: String,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The service's name: 1 to 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Up to five tags of up to 32 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub tags: Vec<String>,
    /// An icon, up to 2048 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
}

/// The whole 402: what is sold, and every way to pay for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// The version it was written in.
    #[serde(rename = "x402Version")]
    pub version: Version,
    /// Why payment is required: that none came, or why the one that came was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sold.
    #[serde(deserialize_with = "from_object")]
    pub resource: ResourceInfo,
    /// The ways to pay.
    #[serde(deserialize_with = "from_objects")]
    pub accepts: Vec<PaymentRequirements>,
    /// Extensions on offer.
    #[serde(default, skip_serializing_if = "JsonMap::is_empty", deserialize_with = "null_as_default")]
    pub extensions: JsonMap,
}
