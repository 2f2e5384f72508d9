//! The headers that carry payments.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

use super::{DecodeError, SettleAnswer, json, shape, v1};
use crate::{
    network::Network,
    payment::{PaymentPayload, PaymentRequirements, SettleResponse, Version},
};

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

/// The headers that a paying client sends, for a CORS layer to allow.
pub const REQUEST_HEADERS: [HeaderName; 2] = [PAYMENT_SIGNATURE, X_PAYMENT];

/// The headers that a paying client reads, for a CORS layer to expose: one that is given headers to expose lets no others
/// through, and what the gate itself exposes is lost.
pub const RESPONSE_HEADERS: [HeaderName; 3] = [PAYMENT_REQUIRED, PAYMENT_RESPONSE, X_PAYMENT_RESPONSE];

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

/// Reads the payment of a request: one among the headers `PAYMENT-SIGNATURE`, `X-PAYMENT` and the aliases, or none. A
/// client may send one payment in several, so that servers of either version find it: the first of them counts.
///
/// The version is the one the JSON states, whichever header carried it.
///
/// # Errors
/// When there are several payments, or a header cannot be decoded.
pub fn read_payment(headers: &HeaderMap, aliases: &[HeaderName]) -> Result<Option<Presented>, DecodeError> {
    let ours = REQUEST_HEADERS;
    let mut values = ours.iter().chain(aliases).flat_map(|name| headers.get_all(name));
    let Some(first) = values.next() else { return Ok(None) };
    let payment = decode(first)?;
    for other in values.filter(|other| *other != first) {
        if !is_same(&payment, &decode(other)?) {
            return Err(DecodeError::SeveralHeaders);
        }
    }
    Ok(Some(match version(&payment)? {
        Version::V1 => v1::presented(payment)?,
        Version::V2 => Presented::V2(Box::new(shape(payment)?)),
    }))
}

/// Whether both are one payment: the same JSON, or what was signed, put into the words of either version.
fn is_same(one: &Value, other: &Value) -> bool {
    let version = |payment: &Value| payment.get("x402Version").and_then(Value::as_u64);
    one == other
        || version(one) != version(other)
            && one.get("payload").is_some_and(|signed| other.get("payload") == Some(signed))
}

/// Reads a `PAYMENT-RESPONSE` or `X-PAYMENT-RESPONSE` header, about a settlement on the network `asked`, which a refusal
/// need not name.
///
/// # Errors
/// When the header cannot be decoded.
pub fn decode_settle_header(
    header: &HeaderValue,
    asked: Option<&Network>,
) -> Result<SettleResponse, DecodeError> {
    shape::<SettleAnswer>(decode(header)?)?.into_model(asked)
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

/// Base64 as others write it: with padding or without.
const BASE64_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn decode(header: &HeaderValue) -> Result<Value, DecodeError> {
    if header.len() > MAX_HEADER_BYTES {
        return Err(DecodeError::TooLong);
    }
    json::parse(&BASE64_LENIENT.decode(header.as_bytes()).map_err(|_| DecodeError::NotBase64)?)
}

/// The version a JSON object states.
pub(super) fn version(value: &Value) -> Result<Version, DecodeError> {
    let Value::Object(object) = value else {
        return Err(DecodeError::WrongShape("expected a JSON object".to_owned()));
    };
    stated_version(object.get("x402Version"))
}

/// The version that this `x402Version` states.
pub(super) fn stated_version(stated: Option<&Value>) -> Result<Version, DecodeError> {
    let number = stated
        .and_then(Value::as_u64)
        .ok_or_else(|| DecodeError::WrongShape("expected x402Version, a number".to_owned()))?;
    Version::from_number(number).ok_or(DecodeError::UnknownVersion(number))
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
    use serde_json::json;

    use super::*;

    fn payment() -> Value {
        let account = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
        json!({
            "x402Version": 2, "payload": { "signature": "?>?>~~" },
            "accepted": {
                "scheme": "exact", "network": "eip155:84532", "amount": "1", "asset": account, "payTo": account,
                "maxTimeoutSeconds": 60,
            },
        })
    }

    fn read(headers: &[(HeaderName, &str)]) -> Result<Option<Presented>, DecodeError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        read_payment(&map, &[])
    }

    #[test]
    fn base64_is_read_however_it_is_padded() {
        for length in 0..3 {
            let mut payment = payment();
            payment["note"] = "x".repeat(length).into();
            let json = payment.to_string();
            for text in [BASE64_STANDARD.encode(&json), BASE64_STANDARD_NO_PAD.encode(&json)] {
                assert!(matches!(read(&[(PAYMENT_SIGNATURE, &text)]), Ok(Some(_))), "{text}");
            }
        }
        let json = BASE64_STANDARD.encode(payment().to_string());
        let url_safe = BASE64_URL_SAFE.encode(payment().to_string());
        assert!(url_safe.contains(['-', '_']));
        for bad in
            [url_safe, format!("{json}="), format!("{json}%"), format!("{json} "), "=".into(), "{}".into()]
        {
            assert_eq!(read(&[(PAYMENT_SIGNATURE, &bad)]).err(), Some(DecodeError::NotBase64), "{bad}");
        }
        let long = "e".repeat(MAX_HEADER_BYTES + 1);
        assert_eq!(read(&[(PAYMENT_SIGNATURE, &long)]).err(), Some(DecodeError::TooLong));
    }

    #[test]
    fn one_payment_may_come_in_several_headers_and_two_may_not() {
        let text = |payment: &Value| BASE64_STANDARD.encode(payment.to_string());
        let v2 = payment();
        let mut spoken_as_v1 = json!({ "x402Version": 1, "scheme": "exact", "network": "base-sepolia" });
        spoken_as_v1["payload"] = v2["payload"].clone();
        for other in [&v2, &spoken_as_v1] {
            for name in [X_PAYMENT, PAYMENT_SIGNATURE] {
                let read = read(&[(PAYMENT_SIGNATURE, &text(&v2)), (name.clone(), &text(other))]).unwrap();
                assert_eq!(read.unwrap().version(), Version::V2, "{name} {other}");
            }
        }
        let spaced = BASE64_STANDARD_NO_PAD.encode(serde_json::to_string_pretty(&v2).unwrap());
        assert!(read(&[(X_PAYMENT, &spaced), (PAYMENT_SIGNATURE, &text(&v2))]).is_ok());
        let mut accepts_other = v2.clone();
        accepts_other["accepted"]["amount"] = "2".into();
        let mut signs_other = spoken_as_v1.clone();
        signs_other["payload"]["signature"] = "0x".into();
        for other in [&accepts_other, &signs_other] {
            let both = read(&[(PAYMENT_SIGNATURE, &text(&v2)), (X_PAYMENT, &text(other))]);
            assert_eq!(both.err(), Some(DecodeError::SeveralHeaders), "{other}");
        }
        let no_json = read(&[(PAYMENT_SIGNATURE, &text(&v2)), (X_PAYMENT, "e30")]);
        assert_eq!(no_json.err(), Some(DecodeError::SeveralHeaders));
    }
}
