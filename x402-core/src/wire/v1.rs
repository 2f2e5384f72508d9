//! Version 1 of the protocol: network names, requirements that carry the resource, a payment that names only
//! scheme and network.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DecodeError, header::Presented, shape};
use crate::{
    address::Address,
    amount::Amount,
    network::Network,
    payment::{
        JsonMap, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, Version,
        null_as_default, unreadable_as_default,
    },
};

/// Version 1's requirements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirementsV1 {
    /// The scheme.
    pub scheme: String,
    /// Version 1's name of the chain.
    pub network: String,
    /// How much, in the token's smallest unit.
    pub max_amount_required: Amount,
    /// Where what is sold is.
    #[serde(default, deserialize_with = "unreadable_as_default")]
    pub resource: String,
    /// What is sold, for people.
    #[serde(default, deserialize_with = "unreadable_as_default")]
    pub description: String,
    /// The media type of the answer.
    #[serde(default, deserialize_with = "unreadable_as_default")]
    pub mime_type: String,
    /// The shape of request and answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Who is paid.
    pub pay_to: Address,
    /// How long the payment must stay valid, in seconds.
    pub max_timeout_seconds: u64,
    /// The token.
    pub asset: Address,
    /// What the scheme adds.
    #[serde(default, deserialize_with = "null_as_default")]
    pub extra: JsonMap,
}

impl PaymentRequirementsV1 {
    /// Version 1's form of these requirements; `None` where it has no name for their network.
    pub fn from_model(requirements: &PaymentRequirements, resource: &ResourceInfo) -> Option<Self> {
        Some(Self {
            scheme: requirements.scheme.clone(),
            network: requirements.network.v1_name()?.to_owned(),
            max_amount_required: requirements.amount,
            resource: resource.url.clone(),
            description: resource.description.clone().unwrap_or_default(),
            mime_type: resource.mime_type.clone().unwrap_or_default(),
            output_schema: None,
            pay_to: requirements.pay_to.clone(),
            max_timeout_seconds: requirements.max_timeout_seconds,
            asset: requirements.asset.clone(),
            extra: requirements.extra.clone(),
        })
    }

    /// The model's form, and what is sold.
    ///
    /// # Errors
    /// When the network's name is unknown.
    pub fn into_model(self) -> Result<(PaymentRequirements, ResourceInfo), DecodeError> {
        let network = named_network(&self.network)?;
        let requirements = PaymentRequirements {
            scheme: self.scheme,
            network,
            amount: self.max_amount_required,
            asset: self.asset,
            pay_to: self.pay_to,
            max_timeout_seconds: self.max_timeout_seconds,
            extra: self.extra,
        };
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let resource = ResourceInfo {
            url: self.resource,
            description: text(self.description),
            mime_type: text(self.mime_type),
            ..ResourceInfo::default()
        };
        Ok((requirements, resource))
    }
}

/// Version 1's 402 body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PaymentRequiredV1 {
    /// Always 1.
    #[serde(rename = "x402Version")]
    pub version: Version,
    /// Why payment is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The ways to pay.
    pub accepts: Vec<PaymentRequirementsV1>,
}

impl PaymentRequiredV1 {
    /// Version 1's form: the options whose network it has a name for.
    pub fn from_model(required: &PaymentRequired) -> Self {
        let accepts = required
            .accepts
            .iter()
            .filter_map(|option| PaymentRequirementsV1::from_model(option, &required.resource))
            .collect();
        Self { version: Version::V1, error: required.error.clone(), accepts }
    }
}

/// Version 1's payment.
#[derive(Serialize, Deserialize)]
pub(super) struct PaymentPayloadV1 {
    #[serde(rename = "x402Version")]
    version: Version,
    scheme: String,
    network: String,
    payload: Value,
}

pub(super) fn presented(value: Value) -> Result<Presented, DecodeError> {
    let PaymentPayloadV1 { scheme, network, payload, .. } = shape(value)?;
    Ok(Presented::V1 { scheme, network, payload })
}

/// A version 1 payment, read against the requirements it answers.
pub(super) fn complete(payload: Value, accepted: PaymentRequirements) -> PaymentPayload {
    PaymentPayload { version: Version::V1, resource: None, accepted, payload, extensions: JsonMap::new() }
}

pub(super) fn payload(payment: &PaymentPayload) -> Result<PaymentPayloadV1, DecodeError> {
    Ok(PaymentPayloadV1 {
        version: Version::V1,
        scheme: payment.accepted.scheme.clone(),
        network: network_name(&payment.accepted.network)?.to_owned(),
        payload: payment.payload.clone(),
    })
}

pub(super) fn network_name(network: &Network) -> Result<&'static str, DecodeError> {
    network.v1_name().ok_or_else(|| DecodeError::NoV1Name(network.to_string()))
}

pub(super) fn named_network(name: &str) -> Result<Network, DecodeError> {
    Network::from_v1_name(name).ok_or_else(|| {
        DecodeError::WrongShape("expected a network name of version 1, like `base-sepolia`".into())
    })
}

/// A network as either version writes it: peers mix them in their answers.
pub(super) fn network_of_either_version(text: &str) -> Result<Network, DecodeError> {
    text.parse().or_else(|_| named_network(text))
}
