//! A facilitator's answers, and the header a server makes of them.

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{
    DecodeError,
    header::{PAYMENT_RESPONSE, X_PAYMENT_RESPONSE, encode_header},
    v1,
};
use crate::{
    address::Address,
    amount::Amount,
    network::Network,
    payment::{
        JsonMap, PendingSettlement, Reason, Receipt, Refusal, SettleFailure, SettleResponse, TransactionId,
        VerifyResponse, Version, null_as_default,
    },
};

/// The JSON of a [`VerifyResponse`], the same in both versions.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerifyAnswer {
    is_valid: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invalid_reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invalid_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payer: Option<String>,
}

impl VerifyAnswer {
    pub(super) fn into_model(self) -> Result<VerifyResponse, DecodeError> {
        let payer = address(self.payer)?;
        Ok(match self.is_valid {
            true => VerifyResponse::Valid { payer },
            false => VerifyResponse::Invalid(Refusal {
                reason: self.invalid_reason.unwrap_or(Reason::UNEXPECTED_VERIFY_ERROR),
                message: self.invalid_message,
                payer,
            }),
        })
    }
}

/// The JSON of a verification.
pub fn verify_response(response: &VerifyResponse) -> impl Serialize + use<> {
    match response {
        VerifyResponse::Valid { payer } => VerifyAnswer {
            is_valid: true,
            invalid_reason: None,
            invalid_message: None,
            payer: payer.as_ref().map(Address::to_string),
        },
        VerifyResponse::Invalid(refusal) => VerifyAnswer {
            is_valid: false,
            invalid_reason: Some(refusal.reason.clone()),
            invalid_message: refusal.message.clone(),
            payer: refusal.payer.as_ref().map(Address::to_string),
        },
    }
}

/// The JSON of a [`SettleResponse`]. Version 1 writes its own name of the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleAnswer {
    success: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payer: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    transaction: String,
    #[serde(default, deserialize_with = "null_as_default")]
    network: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    #[serde(default, skip_serializing_if = "JsonMap::is_empty", deserialize_with = "null_as_default")]
    extensions: JsonMap,
}

impl SettleAnswer {
    /// The model's form.
    ///
    /// # Errors
    /// When success comes without a transaction (and is not a charge of zero) or without a network.
    pub fn into_model(self) -> Result<SettleResponse, DecodeError> {
        let wrong = |text: &str| DecodeError::WrongShape(text.to_owned());
        let payer = address(self.payer)?;
        let network = v1::network_of_either_version(&self.network)?;
        let transaction = match self.transaction.as_str() {
            "" => None,
            id => Some(id.parse::<TransactionId>().map_err(|error| wrong(&error.to_string()))?),
        };
        if self.success {
            if transaction.is_none() && self.amount != Some(Amount::ZERO) {
                return Err(wrong("expected the transaction of a successful settlement"));
            }
            let (amount, extensions) = (self.amount, self.extensions);
            return Ok(SettleResponse::Settled(Receipt { transaction, network, payer, amount, extensions }));
        }
        let reason = self.error_reason.unwrap_or(Reason::UNEXPECTED_SETTLE_ERROR);
        Ok(match transaction {
            Some(transaction) if reason == Reason::SETTLEMENT_PENDING => {
                SettleResponse::Pending(PendingSettlement { transaction, network, payer })
            }
            transaction => {
                let message = self.error_message;
                SettleResponse::Failed(SettleFailure { reason, message, payer, transaction, network })
            }
        })
    }
}

/// The JSON of a settlement, as this version writes it.
pub fn settle_response(version: Version, response: &SettleResponse) -> SettleAnswer {
    let name = |network: &Network| match version {
        Version::V1 => network.v1_name().unwrap_or(network.as_str()).to_owned(),
        Version::V2 => network.to_string(),
    };
    let id = |transaction: Option<&TransactionId>| {
        transaction.map(TransactionId::to_string).unwrap_or_default() // the protocol's "none" is ""
    };
    match response {
        SettleResponse::Settled(receipt) => SettleAnswer {
            success: true,
            error_reason: None,
            error_message: None,
            payer: receipt.payer.as_ref().map(Address::to_string),
            transaction: id(receipt.transaction.as_ref()),
            network: name(&receipt.network),
            amount: receipt.amount,
            extensions: receipt.extensions.clone(),
        },
        SettleResponse::Pending(pending) => SettleAnswer {
            success: false,
            error_reason: Some(Reason::SETTLEMENT_PENDING),
            error_message: None,
            payer: pending.payer.as_ref().map(Address::to_string),
            transaction: id(Some(&pending.transaction)),
            network: name(&pending.network),
            amount: None,
            extensions: JsonMap::new(),
        },
        SettleResponse::Failed(failure) => SettleAnswer {
            success: false,
            error_reason: Some(failure.reason.clone()),
            error_message: failure.message.clone(),
            payer: failure.payer.as_ref().map(Address::to_string),
            transaction: id(failure.transaction.as_ref()),
            network: name(&failure.network),
            amount: None,
            extensions: JsonMap::new(),
        },
    }
}

/// The header that tells the client what came of its payment, in the version it spoke.
pub fn settle_response_header(version: Version, response: &SettleResponse) -> (HeaderName, HeaderValue) {
    let name = match version {
        Version::V1 => X_PAYMENT_RESPONSE,
        Version::V2 => PAYMENT_RESPONSE,
    };
    (name, encode_header(&settle_response(version, response)))
}

/// Facilitators write "no payer" as nothing, `null` or the empty string.
fn address(text: Option<String>) -> Result<Option<Address>, DecodeError> {
    text.filter(|text| !text.is_empty())
        .map(|text| Address::try_from(text).map_err(|error| DecodeError::WrongShape(error.to_string())))
        .transpose()
}
