//! The headers that carry payments.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

use super::{DecodeError, PaymentRequiredV1, SettleAnswer, json, shape, v1};
use crate::payment::{PaymentPayload, PaymentRequired, PaymentRequirements, SettleResponse, Version};

/// Request, version 2: the payment.
pub const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");
/// Response, version 2: what must be paid.
pub const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
/// Response, version 2: what came of the payment.
pub const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
/// Request, version 1: the payment.
pub const X_PAYMENT: HeaderName = HeaderName::from_static("x-payment");
/// Response, version 1: what came of the payment.
pub const X_PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("x-payment-response");

/// The longest payment header that is read.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// A payment as a client presented it, not yet held against any offer.
#[derive(Clone)]
pub enum Presented {
    /// Version 1 names a scheme and a network, and leaves open which of the server's options it means.
    V1 {
        /// The scheme.
        scheme: String,
        /// Version 1's name of the network.
        network: String,
        /// What was signed.
        payload: Value,
    },
    /// Version 2 repeats the option it accepted.
    V2(Box<PaymentPayload>),
}

impl Presented {
    /// The version that was spoken.
    pub fn version(&self) -> Version {
        match self {
            Self::V1 { .. } => Version::V1,
            Self::V2(_) => Version::V2,
        }
    }

    /// The payment, read as an answer to these requirements. What version 1 left out is taken from them.
    pub fn against(self, requirements: &PaymentRequirements) -> PaymentPayload {
        match self {
            Self::V1 { payload, .. } => v1::complete(payload, requirements.clone()),
            Self::V2(payload) => *payload,
        }
    }
}

/// Reads the payment of a request: one header among `PAYMENT-SIGNATURE`, `X-PAYMENT` and the aliases, or none.
///
/// The version is the one the JSON states, whichever header carried it.
///
/// # Errors
/// When there are several headers, or the one there is cannot be decoded.
pub fn read_payment(headers: &HeaderMap, aliases: &[HeaderName]) -> Result<Option<Presented>, DecodeError> {
    let mut found = None;
    for name in [&PAYMENT_SIGNATURE, &X_PAYMENT].into_iter().chain(aliases) {
        for value in headers.get_all(name) {
            if found.replace(value).is_some() {
                return Err(DecodeError::SeveralHeaders);
            }
        }
    }
    found.map(decode_payment).transpose()
}

fn decode_payment(header: &HeaderValue) -> Result<Presented, DecodeError> {
    let value = decode(header)?;
    match version(&value)? {
        Version::V1 => v1::presented(value),
        Version::V2 => shape(value).map(Box::new).map(Presented::V2),
    }
}

/// Reads a `PAYMENT-REQUIRED` header.
///
/// # Errors
/// When the header cannot be decoded.
pub fn decode_payment_required(header: &HeaderValue) -> Result<PaymentRequired, DecodeError> {
    let value = decode(header)?;
    match version(&value)? {
        Version::V1 => shape::<PaymentRequiredV1>(value)?.into_model(),
        Version::V2 => shape(value),
    }
}

/// Reads the body of a 402, where version 1 asks.
///
/// # Errors
/// When the body is no such offer. Version 2 asks in its header.
pub fn decode_payment_required_body(body: &[u8]) -> Result<PaymentRequired, DecodeError> {
    let value = json::parse(body)?;
    match version(&value)? {
        Version::V1 => shape::<PaymentRequiredV1>(value)?.into_model(),
        Version::V2 => {
            Err(DecodeError::WrongShape("expected version 2's offer in a PAYMENT-REQUIRED header".to_owned()))
        }
    }
}

/// Reads a `PAYMENT-RESPONSE` or `X-PAYMENT-RESPONSE` header.
///
/// # Errors
/// When the header cannot be decoded.
pub fn decode_settle_header(header: &HeaderValue) -> Result<SettleResponse, DecodeError> {
    shape::<SettleAnswer>(decode(header)?)?.into_model()
}

/// Writes a payment as its version wants it: the header's name and value.
///
/// # Errors
/// When version 1 has no name for the payment's network.
pub fn encode_payment_header(payment: &PaymentPayload) -> Result<(HeaderName, HeaderValue), DecodeError> {
    Ok(match payment.version {
        Version::V1 => (X_PAYMENT, encode_header(&v1::payload(payment)?)),
        Version::V2 => (PAYMENT_SIGNATURE, encode_header(payment)),
    })
}

/// Base64 of JSON, as every header of the protocol.
pub fn encode_header(json: &impl Serialize) -> HeaderValue {
    let json = serde_json::to_vec(json).expect("the model serialises");
    HeaderValue::try_from(BASE64_STANDARD.encode(json)).expect("base64 is visible ASCII")
}

fn decode(header: &HeaderValue) -> Result<Value, DecodeError> {
    if header.len() > MAX_HEADER_BYTES {
        return Err(DecodeError::TooLong);
    }
    let bytes = BASE64_STANDARD.decode(header.as_bytes()).map_err(|_| DecodeError::NotBase64)?;
    json::parse(&bytes)
}

/// The version a JSON object states.
pub(super) fn version(value: &Value) -> Result<Version, DecodeError> {
    let Value::Object(object) = value else {
        return Err(DecodeError::WrongShape("expected a JSON object".to_owned()));
    };
    let number = object
        .get("x402Version")
        .and_then(Value::as_u64)
        .ok_or_else(|| DecodeError::WrongShape("expected x402Version, a number".to_owned()))?;
    Version::from_number(number).ok_or(DecodeError::UnknownVersion(number))
}
