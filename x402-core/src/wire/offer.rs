//! The offer of a 402, as a client reads it: option by option, so that one it cannot read spoils no other.

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::{
    DecodeError, PaymentRequirementsV1,
    header::{PAYMENT_SIGNATURE, decode, encode_header, encode_payment_header, stated_version},
    json, shape,
};
use crate::payment::{JsonMap, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, Version};

/// The longest piece of an `error` that is no text which is kept, in characters.
const LONGEST_ERROR: usize = 500;

/// An offer, as far as it can be read.
///
/// What decides about money is read strictly: scheme, network, asset, amount, payee, time and `extra` of an option. What
/// only informs may be missing, or of any shape.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DecodedOffer {
    /// The offer, with the options that can be read.
    pub required: PaymentRequired,
    /// The options that cannot.
    pub unreadable: Vec<UnreadableOption>,
    /// The JSON of the options that can be read, in their order.
    options: Vec<Value>,
    /// The JSON of what is sold.
    resource: Option<Value>,
}

/// An option of an offer that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableOption {
    /// Its place among all options, from 0.
    pub position: usize,
    /// What was expected.
    pub why: DecodeError,
}

/// Reads a `PAYMENT-REQUIRED` header.
///
/// # Errors
/// When the header cannot be decoded, or is no offer.
pub fn decode_payment_required(header: &HeaderValue) -> Result<DecodedOffer, DecodeError> {
    DecodedOffer::read(decode(header)?)
}

/// Reads the body of a 402, where version 1 asks. Version 2 asks in its header; where a proxy or a framework has lost
/// that, the body may have the same.
///
/// # Errors
/// When the body is no such offer.
pub fn decode_payment_required_body(body: &[u8]) -> Result<DecodedOffer, DecodeError> {
    DecodedOffer::read(json::parse(body)?)
}

impl DecodedOffer {
    fn read(json: Value) -> Result<Self, DecodeError> {
        let wrong = |expected: &str| DecodeError::WrongShape(expected.to_owned());
        let Value::Object(mut object) = json else { return Err(wrong("expected a JSON object")) };
        let Some(Value::Array(accepts)) = object.remove("accepts") else {
            return Err(wrong("expected `accepts`, a list of the ways to pay"));
        };
        let version = version(&object, &accepts)?;
        let resource = object.remove("resource").filter(|resource| !resource.is_null());
        let mut offer = Self {
            required: PaymentRequired {
                version,
                error: object.remove("error").and_then(text),
                resource: resource.clone().and_then(ResourceInfo::from_json).unwrap_or_default(),
                accepts: Vec::with_capacity(accepts.len()),
                extensions: match object.remove("extensions") {
                    Some(Value::Object(extensions)) if version == Version::V2 => extensions,
                    _ => JsonMap::new(),
                },
            },
            unreadable: Vec::new(),
            options: Vec::with_capacity(accepts.len()),
            resource,
        };
        for (position, option) in accepts.into_iter().enumerate() {
            match offer.read_option(&option) {
                Ok(requirements) => {
                    offer.required.accepts.push(requirements);
                    offer.options.push(option);
                }
                Err(why) => offer.unreadable.push(UnreadableOption { position, why }),
            }
        }
        Ok(offer)
    }

    fn read_option(&mut self, option: &Value) -> Result<PaymentRequirements, DecodeError> {
        match self.required.version {
            Version::V2 => shape(option.clone()),
            Version::V1 => {
                // Version 1 says with every option what is sold.
                let (requirements, sold) = shape::<PaymentRequirementsV1>(option.clone())?.into_model()?;
                if self.options.is_empty() {
                    self.required.resource = sold;
                }
                Ok(requirements)
            }
        }
    }

    /// Writes a payment of the option at this place of `required.accepts`: the header's name and value. Version 2 repeats
    /// what was offered, with all that it had, known here or not: servers compare.
    ///
    /// # Errors
    /// When version 1 has no name for the payment's network.
    pub fn encode_payment(
        &self,
        option: usize,
        payment: &PaymentPayload,
    ) -> Result<(HeaderName, HeaderValue), DecodeError> {
        if payment.version == Version::V1 {
            return encode_payment_header(payment);
        }
        let mut json = serde_json::to_value(payment).expect("the model serialises");
        if let Some(option) = self.options.get(option) {
            json["accepted"] = option.clone();
        }
        match (&self.resource, &mut json) {
            (Some(resource), json) => json["resource"] = resource.clone(),
            (None, Value::Object(object)) => drop(object.remove("resource")),
            (None, _) => {}
        }
        Ok((PAYMENT_SIGNATURE, encode_header(&json)))
    }
}

/// The version of an offer. Where none is stated, the options tell: only version 1 asks for a `maxAmountRequired`.
fn version(object: &JsonMap, accepts: &[Value]) -> Result<Version, DecodeError> {
    match object.get("x402Version") {
        None | Some(Value::Null) => {
            let is_v1 = accepts.iter().any(|option| option.get("maxAmountRequired").is_some());
            Ok(if is_v1 { Version::V1 } else { Version::V2 })
        }
        stated => stated_version(stated),
    }
}

/// An `error` in whatever form, as text.
fn text(error: Value) -> Option<String> {
    match error {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string().chars().take(LONGEST_ERROR).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ACCOUNT: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

    fn option() -> Value {
        json!({
            "scheme": "exact", "network": "eip155:84532", "amount": "1", "asset": ACCOUNT, "payTo": ACCOUNT,
            "maxTimeoutSeconds": 60, "extra": { "name": "USDC" },
        })
    }

    fn option_v1() -> Value {
        json!({
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "1", "resource": "https://a.b/",
            "description": "", "mimeType": "", "payTo": ACCOUNT, "maxTimeoutSeconds": 60, "asset": ACCOUNT, "extra": {},
        })
    }

    fn offer(accepts: Value) -> Value {
        json!({ "x402Version": 2, "resource": { "url": "https://a.b/" }, "accepts": accepts })
    }

    fn offer_v1(accepts: Value) -> Value {
        json!({ "x402Version": 1, "error": "", "accepts": accepts })
    }

    /// What the body and the header say; they never differ.
    fn read(offer: &Value) -> Result<DecodedOffer, DecodeError> {
        let read = decode_payment_required_body(offer.to_string().as_bytes());
        assert_eq!(decode_payment_required(&encode_header(offer)), read);
        read
    }

    fn with(mut json: Value, place: &str, value: Value) -> Value {
        json.as_object_mut().unwrap().insert(place.to_owned(), value);
        json
    }

    fn without(mut json: Value, place: &str) -> Value {
        json.as_object_mut().unwrap().remove(place);
        json
    }

    #[test]
    fn an_option_that_cannot_be_read_spoils_no_other() {
        for bad in [
            with(option(), "network", json!("no network at all")),
            with(option(), "network", json!(8453)),
            with(option(), "asset", json!("")),
            with(option(), "payTo", json!(null)),
            with(option(), "amount", json!(1)),
            with(option(), "amount", json!("-1")),
            with(option(), "extra", json!([])),
            with(option(), "maxTimeoutSeconds", json!("60")),
            without(option(), "scheme"),
            json!(null),
            json!("exact"),
            json!(["exact", "eip155:84532", "1", ACCOUNT, ACCOUNT, 60, {}]),
        ] {
            for (accepts, position) in [(json!([bad, option()]), 0), (json!([option(), bad]), 1)] {
                let read = read(&offer(accepts)).unwrap();
                assert_eq!(read.required.accepts.len(), 1, "{bad}");
                assert_eq!(
                    read.unreadable.iter().map(|option| option.position).collect::<Vec<_>>(),
                    [position]
                );
            }
            let alone = read(&offer(json!([bad]))).unwrap();
            assert_eq!((alone.required.accepts.len(), alone.unreadable.len()), (0, 1), "{bad}");
        }
        for bad in [
            without(option_v1(), "maxAmountRequired"),
            with(option_v1(), "network", json!("a-chain-of-tomorrow")),
            with(option_v1(), "maxAmountRequired", json!(1)),
            json!({}),
        ] {
            let read = read(&offer_v1(json!([bad, option_v1()]))).unwrap();
            assert_eq!((read.required.accepts.len(), read.unreadable.len()), (1, 1), "{bad}");
            assert_eq!(read.required.resource.url, "https://a.b/");
        }
    }

    #[test]
    fn what_only_informs_may_be_missing_or_of_any_shape() {
        let good = offer(json!([option()]));
        for odd in [
            without(good.clone(), "resource"),
            with(good.clone(), "resource", json!("https://a.b/")),
            with(good.clone(), "resource", json!(null)),
            with(good.clone(), "resource", json!(["https://a.b/"])),
            with(good.clone(), "resource", json!({ "url": null, "tags": "x", "description": {} })),
            with(good.clone(), "error", json!({ "code": 7 })),
            with(good.clone(), "extensions", json!([])),
            with(good.clone(), "extensions", json!("bazaar")),
            with(good.clone(), "x402Version", json!(null)),
            without(good.clone(), "x402Version"),
            with(good.clone(), "more", json!([1, 2])),
        ] {
            let read = read(&odd).unwrap();
            assert_eq!((read.required.version, read.required.accepts.len()), (Version::V2, 1), "{odd}");
        }
        let v1 = offer_v1(json!([option_v1()]));
        for odd in [
            without(v1.clone(), "x402Version"),
            with(v1.clone(), "error", json!({ "code": 7 })),
            offer_v1(json!([without(option_v1(), "resource")])),
            offer_v1(json!([with(option_v1(), "description", json!(null))])),
            offer_v1(json!([with(option_v1(), "outputSchema", json!("any"))])),
        ] {
            let read = read(&odd).unwrap();
            assert_eq!((read.required.version, read.required.accepts.len()), (Version::V1, 1), "{odd}");
        }
        let spoken = read(&with(good, "error", json!({ "code": 7 }))).unwrap();
        assert_eq!(spoken.required.error.as_deref(), Some(r#"{"code":7}"#));
    }

    #[test]
    fn what_is_no_offer_is_none() {
        let good = offer(json!([option()]));
        for bad in [
            json!([2, null, "https://a.b/", [option()]]),
            json!("exact"),
            without(good.clone(), "accepts"),
            with(good.clone(), "accepts", json!({ "0": option() })),
            with(good.clone(), "x402Version", json!("2")),
            with(good, "x402Version", json!(3)),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_payment_repeats_what_was_offered_to_the_letter() {
        let mut odd = option();
        odd["extra"]["version"] = json!("2");
        odd["payTo"] = json!(ACCOUNT.to_lowercase());
        let odd = with(with(odd, "outputSchema", json!({ "a": [1] })), "fee", json!(1.5));
        let sold = json!({ "url": "https://a.b/", "title": "new", "description": null, "tags": [] });
        let offered = with(offer(json!([null, option(), odd])), "resource", sold.clone());
        let offer = read(&offered).unwrap();
        let payment = PaymentPayload {
            version: Version::V2,
            resource: Some(offer.required.resource.clone()),
            accepted: offer.required.accepts[1].clone(),
            payload: json!({}),
            extensions: JsonMap::new(),
        };
        let (name, value) = offer.encode_payment(1, &payment).unwrap();
        let sent = decode(&value).unwrap();
        assert_eq!((name, &sent["accepted"], &sent["resource"]), (PAYMENT_SIGNATURE, &odd, &sold));
    }
}
