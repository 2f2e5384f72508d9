//! The wire: headers and JSON, in both versions of the protocol.
//!
//! Nothing outside this module knows how the versions differ.

mod answer;
mod api;
mod header;
mod json;
mod offer;
mod v1;

pub use answer::{SettleAnswer, settle_response, settle_response_header, verify_response};
pub use api::{
    decode_request, decode_settle, decode_supported, decode_verify, encode_request, encode_supported,
};
pub use header::{
    MAX_HEADER_BYTES, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, Presented, REQUEST_HEADERS,
    RESPONSE_HEADERS, X_PAYMENT, X_PAYMENT_RESPONSE, decode_settle_header, encode_header,
    encode_payment_header, read_payment,
};
pub use json::{MAX_JSON_DEPTH, parse as parse_json};
pub use offer::{DecodedOffer, UnreadableOption, decode_payment_required, decode_payment_required_body};
pub use v1::{PaymentRequiredV1, PaymentRequirementsV1};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::payment::from_object;

/// Why foreign bytes are not what they should be.
///
/// It says what was expected, and never repeats what came: payments are secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Several payment headers, with different payments.
    #[error("the request carries different payments: send one, in PAYMENT-SIGNATURE or X-PAYMENT")]
    SeveralHeaders,
    /// Longer than [`MAX_HEADER_BYTES`].
    #[error("the header is longer than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// Not base64.
    #[error("the header is not base64")]
    NotBase64,
    /// Not JSON, or with a key twice, or too deep.
    #[error("not acceptable JSON: {0}")]
    NotJson(String),
    /// JSON of another shape.
    #[error("not of the protocol's shape: {0}")]
    WrongShape(String),
    /// A version of the protocol that is not spoken here.
    #[error("x402Version {0} is not spoken here: use 1 or 2")]
    UnknownVersion(u64),
    /// A network that version 1 has no name for.
    #[error("version 1 has no name for the network {0}: use version 2")]
    NoV1Name(String),
}

/// A typed value out of JSON already parsed. All the protocol's values are objects.
fn shape<T: DeserializeOwned>(value: Value) -> Result<T, DecodeError> {
    from_object(value).map_err(|error| DecodeError::WrongShape(describe(&error)))
}

/// serde's message without the offending value: a type error quotes what it found.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match (text.find("invalid type"), text.rfind(", expected ")) {
        (Some(_), Some(at)) => text[at + ", ".len()..].to_owned(),
        _ => match text.find("invalid value") {
            Some(_) => "a value is out of range".to_owned(),
            None => text.chars().take(200).collect(),
        },
    }
}
