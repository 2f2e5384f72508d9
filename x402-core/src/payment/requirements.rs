//! What a server asks for.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{JsonMap, Version, null_as_default, unreadable_as_default};
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

/// What is sold. All of it informs and decides nothing: what cannot be read is taken for missing, and an address alone for
/// a resource with that address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceInfo {
    /// Where it is.
    #[serde(default, deserialize_with = "unreadable_as_default")]
    pub url: String,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    pub description: Option<String>,
    /// The media type of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    pub mime_type: Option<String>,
    /// The service's name: 1 to 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    pub service_name: Option<String>,
    /// Up to five tags of up to 32 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "unreadable_as_default")]
    pub tags: Vec<String>,
    /// An icon, up to 2048 characters.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    pub icon_url: Option<String>,
}

impl ResourceInfo {
    /// What is sold, from whatever stands there.
    pub(crate) fn from_json(json: Value) -> Option<Self> {
        match json {
            Value::String(url) => Some(Self { url, ..Self::default() }),
            object @ Value::Object(_) => serde_json::from_value(object).ok(),
            _ => None,
        }
    }

    /// The same, as a field.
    pub(super) fn from_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Value::deserialize(deserializer).map(Self::from_json)
    }
}

/// The whole 402: what is sold, and every way to pay for it. How clients read one is told by
/// [`DecodedOffer`](crate::wire::DecodedOffer).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// The version it was written in.
    #[serde(rename = "x402Version")]
    pub version: Version,
    /// Why payment is required: that none came, or why the one that came was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sold.
    pub resource: ResourceInfo,
    /// The ways to pay.
    pub accepts: Vec<PaymentRequirements>,
    /// Extensions on offer.
    #[serde(skip_serializing_if = "JsonMap::is_empty")]
    pub extensions: JsonMap,
}
