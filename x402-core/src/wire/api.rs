//! The facilitator's HTTP API: `/verify`, `/settle` and `/supported`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    DecodeError, PaymentRequirementsV1,
    answer::{SettleAnswer, VerifyAnswer},
    header::{Presented, version},
    json as strict, shape, v1,
};
use crate::{
    network::Network,
    payment::{
        JsonMap, Payment, PaymentPayload, PaymentRequirements, ResourceInfo, SettleResponse, Supported,
        SupportedKind, VerifyResponse, Version, null_as_default, unreadable_as_default,
    },
};

/// The body of `POST /verify` and `POST /settle`.
///
/// # Errors
/// When the payment speaks version 1 and version 1 has no name for its network.
pub fn encode_request(payment: &Payment) -> Result<Vec<u8>, DecodeError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Request<P, R> {
        #[serde(rename = "x402Version")]
        version: Version,
        payment_payload: P,
        payment_requirements: R,
    }
    let Payment { payload, requirements } = payment;
    let body = match payload.version {
        Version::V2 => serde_json::to_vec(&Request {
            version: Version::V2,
            payment_payload: payload,
            payment_requirements: requirements,
        }),
        Version::V1 => {
            let nowhere = ResourceInfo::default();
            let resource = payload.resource.as_ref().unwrap_or(&nowhere);
            serde_json::to_vec(&Request {
                version: Version::V1,
                payment_payload: v1::payload(payload)?,
                payment_requirements: PaymentRequirementsV1::from_model(requirements, resource)
                    .ok_or_else(|| DecodeError::NoV1Name(requirements.network.to_string()))?,
            })
        }
    };
    Ok(body.expect("the model serialises"))
}

/// Reads the body of `POST /verify` and `POST /settle`. The version is the payload's.
///
/// # Errors
/// When the body is no such request.
pub fn decode_request(body: &[u8]) -> Result<Payment, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Request {
        payment_payload: Value,
        payment_requirements: Value,
    }
    let Request { payment_payload, payment_requirements } = shape(strict::parse(body)?)?;
    match version(&payment_payload)? {
        Version::V2 => Ok(Payment {
            payload: shape::<PaymentPayload>(payment_payload)?,
            requirements: shape::<PaymentRequirements>(payment_requirements)?,
        }),
        Version::V1 => {
            let (requirements, resource) =
                shape::<PaymentRequirementsV1>(payment_requirements)?.into_model()?;
            let Presented::V1 { scheme, network, payload } = v1::presented(payment_payload)? else {
                unreachable!("version 1 presents version 1");
            };
            let network = v1::named_network(&network)?;
            let accepted = PaymentRequirements { scheme, network, ..requirements.clone() };
            let mut payload = v1::complete(payload, accepted);
            payload.resource = Some(resource);
            Ok(Payment { payload, requirements })
        }
    }
}

/// Reads the answer of `/verify`.
///
/// # Errors
/// When it is no such answer: `isValid` must be there and be a boolean.
pub fn decode_verify(body: &[u8]) -> Result<VerifyResponse, DecodeError> {
    shape::<VerifyAnswer>(strict::parse(body)?)?.into_model()
}

/// Reads the answer of `/settle`, about a settlement on the network `asked`, which a refusal need not name.
///
/// # Errors
/// When it is no such answer: `success` must be there and be a boolean, and success names its transaction and network.
pub fn decode_settle(body: &[u8], asked: Option<&Network>) -> Result<SettleResponse, DecodeError> {
    shape::<SettleAnswer>(strict::parse(body)?)?.into_model(asked)
}

/// Reads the answer of `/supported`. Kinds of unknown versions and networks are left out: a facilitator may well
/// know more than we do.
///
/// # Errors
/// When it is no such answer.
pub fn decode_supported(body: &[u8]) -> Result<Supported, DecodeError> {
    #[derive(Deserialize)]
    struct Answer {
        kinds: Vec<Value>,
        #[serde(default, deserialize_with = "unreadable_as_default")]
        extensions: Vec<String>,
        #[serde(default, deserialize_with = "unreadable_as_default")]
        signers: BTreeMap<String, Vec<String>>,
    }
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "x402Version")]
        version: Version,
        scheme: String,
        network: String,
        #[serde(default, deserialize_with = "null_as_default")]
        extra: JsonMap,
    }
    let Answer { kinds, extensions, signers } = shape(strict::parse(body)?)?;
    let kinds = kinds
        .into_iter()
        .filter_map(|kind| {
            let Kind { version, scheme, network, extra } = shape(kind).ok()?;
            let network = v1::network_of_either_version(&network).ok()?;
            Some(SupportedKind { version, scheme, network, extra })
        })
        .collect();
    Ok(Supported { kinds, extensions, signers })
}

/// The answer of `/supported`.
pub fn encode_supported(supported: &Supported) -> Value {
    let kinds: Vec<Value> = supported
        .kinds
        .iter()
        .filter_map(|kind| {
            let network = match kind.version {
                Version::V1 => kind.network.v1_name()?,
                Version::V2 => kind.network.as_str(),
            };
            let mut json = json!({
                "x402Version": kind.version, "scheme": kind.scheme, "network": network,
            });
            if !kind.extra.is_empty() {
                json["extra"] = Value::Object(kind.extra.clone());
            }
            Some(json)
        })
        .collect();
    json!({ "kinds": kinds, "extensions": supported.extensions, "signers": supported.signers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PAYMENT_SIGNATURE, encode_header, read_payment};

    const ACCOUNT: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

    fn requirements() -> Value {
        json!({
            "scheme": "exact", "network": "eip155:84532", "amount": "1", "asset": ACCOUNT, "payTo": ACCOUNT,
            "maxTimeoutSeconds": 60, "extra": {},
        })
    }

    fn requirements_v1() -> Value {
        json!({
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "1", "resource": "https://a.b/",
            "description": "", "mimeType": "", "payTo": ACCOUNT, "maxTimeoutSeconds": 60, "asset": ACCOUNT, "extra": {},
        })
    }

    fn payment() -> Value {
        json!({
            "x402Version": 2, "resource": { "url": "https://a.b/", "tags": [] }, "accepted": requirements(),
            "payload": {},
        })
    }

    fn payment_v1() -> Value {
        json!({ "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": {} })
    }

    fn request(payment: Value, requirements: Value) -> Value {
        json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": requirements })
    }

    fn supported() -> Value {
        let kind = json!({ "x402Version": 2, "scheme": "exact", "network": "eip155:84532", "extra": {} });
        json!({ "kinds": [kind], "extensions": [], "signers": {} })
    }

    /// The fields of the object at this place, as an array: serde would take it for the object.
    fn listed(mut value: Value, place: &str, fields: &[&str]) -> Value {
        let object = value.pointer_mut(place).unwrap();
        *object = fields.iter().map(|field| object.get(*field).cloned().unwrap_or_default()).collect();
        value
    }

    const REQUIREMENTS: &[&str] =
        &["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds", "extra"];
    const REQUIREMENTS_V1: &[&str] = &[
        "scheme",
        "network",
        "maxAmountRequired",
        "resource",
        "description",
        "mimeType",
        "outputSchema",
        "payTo",
        "maxTimeoutSeconds",
        "asset",
        "extra",
    ];
    const PAYMENT: &[&str] = &["x402Version", "resource", "accepted", "payload", "extensions"];
    const PAYMENT_V1: &[&str] = &["x402Version", "scheme", "network", "payload"];

    #[test]
    fn a_payment_is_made_of_objects() {
        let read = |payment: Value| {
            let headers = [(PAYMENT_SIGNATURE, encode_header(&payment))].into_iter().collect();
            read_payment(&headers, &[])
        };
        assert!(read(payment()).is_ok() && read(payment_v1()).is_ok());
        for bad in [
            listed(payment(), "", PAYMENT),
            listed(payment(), "/accepted", REQUIREMENTS),
            listed(payment_v1(), "", PAYMENT_V1),
        ] {
            assert!(matches!(read(bad.clone()), Err(DecodeError::WrongShape(_))), "{bad}");
        }
    }

    #[test]
    fn what_a_payment_says_to_inform_may_be_of_any_shape() {
        let url = "https://a.b/";
        for (resource, expected) in [
            (json!(url), Some(url)),
            (json!({ "url": url, "description": 5, "tags": "x", "iconUrl": null, "new": [] }), Some(url)),
            (json!({ "url": 5 }), Some("")),
            (json!(null), None),
            (json!([url]), None),
            (json!(5), None),
        ] {
            let mut odd = payment();
            odd["resource"] = resource.clone();
            odd["extensions"] = json!([]);
            let body = request(odd, requirements()).to_string();
            let read = decode_request(body.as_bytes()).unwrap().payload;
            assert_eq!(read.resource.as_ref().map(|sold| sold.url.as_str()), expected, "{resource}");
            assert!(read.extensions.is_empty());
        }
        let mut odd = requirements_v1();
        for name in ["resource", "description", "mimeType", "outputSchema"] {
            odd[name] = json!([5]);
        }
        assert!(decode_request(request(payment_v1(), odd).to_string().as_bytes()).is_ok());
    }

    #[test]
    fn a_request_is_made_of_objects() {
        let read = |request: Value| decode_request(request.to_string().as_bytes());
        let (v2, v1) = (request(payment(), requirements()), request(payment_v1(), requirements_v1()));
        assert!(read(v2.clone()).is_ok() && read(v1.clone()).is_ok());
        for bad in [
            listed(v2.clone(), "", &["paymentPayload", "paymentRequirements"]),
            listed(v2.clone(), "/paymentPayload", PAYMENT),
            listed(v2.clone(), "/paymentPayload/accepted", REQUIREMENTS),
            listed(v2.clone(), "/paymentRequirements", REQUIREMENTS),
            listed(v1.clone(), "/paymentPayload", PAYMENT_V1),
            listed(v1.clone(), "/paymentRequirements", REQUIREMENTS_V1),
        ] {
            assert!(matches!(read(bad.clone()), Err(DecodeError::WrongShape(_))), "{bad}");
        }
    }

    #[test]
    fn what_is_supported_is_made_of_objects() {
        let read = |answer: Value| decode_supported(answer.to_string().as_bytes());
        assert_eq!(read(supported()).unwrap().kinds.len(), 1);
        assert!(read(listed(supported(), "", &["kinds", "extensions", "signers"])).is_err());
        let kinds = listed(supported(), "/kinds/0", &["x402Version", "scheme", "network", "extra"]);
        assert_eq!(read(kinds).unwrap().kinds, [], "what is no kind is left out");
    }
}
