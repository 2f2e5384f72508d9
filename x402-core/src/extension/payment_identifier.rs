//! `payment-identifier`: a client names what it pays for, so that it is charged for it once, however often it asks.
//!
//! A server declares `{ "info": { "required": … }, "schema": … }` in its 402, and the client adds `info.id` to that in
//! its payment. Version 1 has no extensions.
//! <https://github.com/coinbase/x402/blob/main/specs/extensions/payment_identifier.md>

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::payment::JsonMap;

/// The extension's key among `extensions`.
pub const PAYMENT_IDENTIFIER: &str = "payment-identifier";

/// What a client calls something it pays for: 16 to 128 letters, digits, hyphens and underscores.
///
/// Who shows it together with its payment is given the answer that was bought, and the payment can be read off the
/// chain: make it hard to guess. `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PaymentId(String);

impl PaymentId {
    /// The identifier as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PaymentId {
    type Error = PaymentIdError;

    fn try_from(text: String) -> Result<Self, PaymentIdError> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (16..=128).contains(&text.len()) && text.bytes().all(letter);
        if fits { Ok(Self(text)) } else { Err(PaymentIdError) }
    }
}

impl FromStr for PaymentId {
    type Err = PaymentIdError;

    fn from_str(text: &str) -> Result<Self, PaymentIdError> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Debug for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentId(…)")
    }
}

/// What identifies no payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected extensions[\"payment-identifier\"].info.id of 16 to 128 letters, digits, hyphens and underscores"
)]
pub struct PaymentIdError;

/// What a server declares in its 402.
pub fn declaration(required: bool) -> Value {
    json!({
        "info": { "required": required },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "required": { "type": "boolean" },
                "id": { "type": "string", "minLength": 16, "maxLength": 128, "pattern": "^[a-zA-Z0-9_-]+$" },
            },
            "required": ["required"],
        },
    })
}

/// Whether the extensions of a 402 declare it, and if so, whether an identifier is required.
pub fn declared(extensions: &JsonMap) -> Option<bool> {
    extensions.get(PAYMENT_IDENTIFIER)?.get("info")?.get("required")?.as_bool()
}

/// The identifier among the extensions of a payment. Clients that know nothing of it may well repeat the declaration.
///
/// # Errors
/// When what stands there is none.
pub fn identifier(extensions: &JsonMap) -> Result<Option<PaymentId>, PaymentIdError> {
    let Some(extension) = extensions.get(PAYMENT_IDENTIFIER).filter(|extension| !extension.is_null()) else {
        return Ok(None);
    };
    let info = extension.as_object().and_then(|extension| extension.get("info")?.as_object());
    match info.ok_or(PaymentIdError)?.get("id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => id.parse().map(Some),
        Some(_) => Err(PaymentIdError),
    }
}

/// Answers the declaration among the extensions of an offer, which a payment repeats. Where nothing is declared, nothing
/// changes.
pub fn identify(extensions: &mut JsonMap, id: &PaymentId) {
    if declared(extensions).is_some() {
        extensions[PAYMENT_IDENTIFIER]["info"]["id"] = id.as_str().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions(extension: Value) -> JsonMap {
        JsonMap::from_iter([(PAYMENT_IDENTIFIER.to_owned(), extension)])
    }

    #[test]
    fn an_identifier_is_16_to_128_letters_digits_hyphens_and_underscores() {
        for good in ["0123456789abcdef", "A-_4567890123456", &"x".repeat(128)] {
            let read = identifier(&extensions(json!({ "info": { "required": false, "id": good } })));
            assert_eq!(read.unwrap().unwrap().as_str(), good);
        }
        let long = "x".repeat(129);
        for bad in ["", "0123456789abcde", &long, "0123456789abcde ", "0123456789abcdé", "0123456789abcdef\n"]
        {
            assert_eq!(
                identifier(&extensions(json!({ "info": { "id": bad } }))),
                Err(PaymentIdError),
                "{bad:?}"
            );
        }
        for bad in [json!([]), json!("x"), json!({}), json!({ "info": [] }), json!({ "info": { "id": 1 } })] {
            assert_eq!(identifier(&extensions(bad.clone())), Err(PaymentIdError), "{bad}");
        }
        for none in [json!(null), declaration(true), json!({ "info": { "id": null } })] {
            assert_eq!(identifier(&extensions(none.clone())), Ok(None), "{none}");
        }
        assert_eq!(identifier(&JsonMap::new()), Ok(None));
    }

    #[test]
    fn a_declaration_is_answered_and_nothing_else_is() {
        let id: PaymentId = "0123456789abcdef".parse().unwrap();
        for required in [false, true] {
            let mut offered = extensions(declaration(required));
            assert_eq!(declared(&offered), Some(required));
            identify(&mut offered, &id);
            assert_eq!(identifier(&offered), Ok(Some(id.clone())));
            assert_eq!(declared(&offered), Some(required));
        }
        for other in [json!(null), json!({}), json!({ "info": {} }), json!({ "info": { "required": "yes" } })]
        {
            let mut offered = extensions(other.clone());
            identify(&mut offered, &id);
            assert_eq!((offered, declared(&extensions(other.clone()))), (extensions(other), None));
        }
        assert_eq!(format!("{id:?}"), "PaymentId(…)");
    }
}
