//! The payment model: what is asked, what is signed, what came of it.
//!
//! There is one model, and its JSON form is version 2 of the protocol. Version 1 is a codec over it, in
//! [`wire`](crate::wire).

mod outcome;
mod payload;
mod reason;
mod requirements;
mod supported;

pub use outcome::{
    PendingSettlement, Receipt, Refusal, SettleFailure, SettleResponse, TransactionId, TransactionIdError,
    VerifyResponse,
};
pub use payload::{Payment, PaymentPayload};
pub use reason::Reason;
pub use requirements::{PaymentRequired, PaymentRequirements, ResourceInfo};
pub use supported::{Supported, SupportedKind};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// A JSON object whose fields a scheme or an extension defines.
pub type JsonMap = serde_json::Map<String, Value>;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Version 1: `X-PAYMENT`, network names, requirements in the body.
    V1,
    /// Version 2: `PAYMENT-*` headers, CAIP-2 networks.
    V2,
}

impl Version {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The version of this number.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::from_number(number)
            .ok_or_else(|| de::Error::custom(format_args!("x402Version is 1 or 2, not {number}")))
    }
}

/// A struct that must be a JSON object: serde's derive would take an array of its fields, too.
pub(crate) fn from_object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: de::DeserializeOwned,
{
    let object = JsonMap::deserialize(deserializer)?;
    serde_json::from_value(object.into()).map_err(de::Error::custom)
}

/// A field that only informs: where it is not of this type, it is as good as missing.
pub(crate) fn unreadable_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: de::DeserializeOwned + Default,
{
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Optional fields may be missing or `null`.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
