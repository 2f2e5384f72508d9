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
use crate::payment::{
    JsonMap, Payment, PaymentPayload, PaymentRequirements, ResourceInfo, SettleResponse, Supported,
    SupportedKind, VerifyResponse, Version, null_as_default,
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

/// Reads the answer of `/settle`.
///
/// # Errors
/// When it is no such answer: `success` must be there and be a boolean, and success names its transaction.
pub fn decode_settle(body: &[u8]) -> Result<SettleResponse, DecodeError> {
    shape::<SettleAnswer>(strict::parse(body)?)?.into_model()
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
        #[serde(default, deserialize_with = "null_as_default")]
        extensions: Vec<String>,
        #[serde(default, deserialize_with = "null_as_default")]
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
