//! A facilitator's answers, and the header a server makes of them.

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
        VerifyResponse, Version, null_as_default, unreadable_as_default,
    },
};

/// The JSON of a [`VerifyResponse`], the same in both versions.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerifyAnswer {
    is_valid: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reason_of_any_type")]
    invalid_reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    invalid_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    payer: Option<String>,
}

impl VerifyAnswer {
    pub(super) fn into_model(self) -> Result<VerifyResponse, DecodeError> {
        let payer = address(self.payer);
        match (self.is_valid, given(self.invalid_reason)) {
            (true, None) => Ok(VerifyResponse::Valid { payer }),
            (true, Some(_)) => Err(wrong("expected no invalidReason of a valid payment")),
            (false, reason) => Ok(VerifyResponse::Invalid(Refusal {
                reason: reason.unwrap_or(Reason::UNEXPECTED_VERIFY_ERROR),
                message: self.invalid_message,
                payer,
            })),
        }
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
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    payer: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    transaction: String,
    #[serde(default, deserialize_with = "unreadable_as_default")]
    network: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    amount: Option<Amount>,
    #[serde(default, skip_serializing_if = "JsonMap::is_empty", deserialize_with = "unreadable_as_default")]
    extensions: JsonMap,
    /// Ours: what was signed can never move money any more.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreadable_as_default")]
    authorization_dead: Option<bool>,
}

impl SettleAnswer {
    /// The model's form. A facilitator that refuses early names no network, or `unknown`: it is about the one that was
    /// `asked` for.
    ///
    /// # Errors
    /// When success comes with a reason why it is none, without a transaction (and is not a charge of zero) or
    /// without a network; and when a failure comes without a reason, or about a network that is not known at all.
    pub(super) fn into_model(self, asked: Option<&Network>) -> Result<SettleResponse, DecodeError> {
        let payer = address(self.payer);
        let reason = given(self.error_reason);
        let network = match (v1::network_of_either_version(&self.network), asked) {
            (Err(_), Some(asked)) if !self.success => asked.clone(),
            (network, _) => network?,
        };
        let transaction = match self.transaction.as_str() {
            "" => None,
            id => Some(id.parse::<TransactionId>().map_err(|error| wrong(&error.to_string()))?),
        };
        if self.success {
            if reason.is_some() {
                return Err(wrong("expected no errorReason of a successful settlement"));
            }
            if transaction.is_none() && self.amount != Some(Amount::ZERO) {
                return Err(wrong("expected the transaction of a successful settlement"));
            }
            let (amount, extensions) = (self.amount, self.extensions);
            return Ok(SettleResponse::Settled(Receipt { transaction, network, payer, amount, extensions }));
        }
        // What names a transaction and no reason does not say that the transaction failed.
        if reason.as_ref().map_or(transaction.is_some(), |reason| *reason == Reason::SETTLEMENT_PENDING) {
            return Ok(SettleResponse::Pending(PendingSettlement { transaction, network, payer }));
        }
        // A gateway in front of the facilitator may well say that something was no success.
        let reason = reason.ok_or_else(|| wrong("expected the errorReason of a settlement that failed"))?;
        Ok(SettleResponse::Failed(SettleFailure {
            reason,
            message: self.error_message,
            payer,
            transaction,
            network,
            is_dead: self.authorization_dead == Some(true),
        }))
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
            authorization_dead: None,
        },
        SettleResponse::Pending(pending) => SettleAnswer {
            success: false,
            error_reason: Some(Reason::SETTLEMENT_PENDING),
            error_message: None,
            payer: pending.payer.as_ref().map(Address::to_string),
            transaction: id(pending.transaction.as_ref()),
            network: name(&pending.network),
            amount: None,
            extensions: JsonMap::new(),
            authorization_dead: None,
        },
        SettleResponse::Failed(failure) => SettleAnswer {
            success: false,
            error_reason: given(Some(failure.reason.clone())).or(Some(Reason::UNEXPECTED_SETTLE_ERROR)),
            error_message: failure.message.clone(),
            payer: failure.payer.as_ref().map(Address::to_string),
            transaction: id(failure.transaction.as_ref()),
            network: name(&failure.network),
            amount: None,
            extensions: JsonMap::new(),
            authorization_dead: failure.is_dead.then_some(true),
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

/// Facilitators write "no reason" as nothing, `null` or the empty string.
fn given(reason: Option<Reason>) -> Option<Reason> {
    reason.filter(|reason| !reason.as_str().is_empty())
}

/// A reason that is no text is one all the same: what comes with it is not valid.
fn reason_of_any_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Reason>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(code) => Some(code.into()),
        _ => Some(Reason::UNEXPECTED_VERIFY_ERROR),
    })
}

/// Facilitators write "no payer" as nothing, `null` or the empty string; what is no address names nobody, either.
fn address(text: Option<String>) -> Option<Address> {
    text.and_then(|text| Address::try_from(text).ok())
}

fn wrong(expected: &str) -> DecodeError {
    DecodeError::WrongShape(expected.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::wire::{decode_settle, decode_settle_header, decode_verify};

    fn verify(answer: Value) -> Result<VerifyResponse, DecodeError> {
        decode_verify(answer.to_string().as_bytes())
    }

    /// What the body and the header say; they never differ.
    fn settle(answer: Value) -> Result<SettleResponse, DecodeError> {
        let read = decode_settle(answer.to_string().as_bytes(), None);
        assert_eq!(decode_settle_header(&encode_header(&answer), None), read);
        read
    }

    fn is_wrong<T>(answer: &Result<T, DecodeError>) -> bool {
        matches!(answer, Err(DecodeError::WrongShape(_)))
    }

    #[test]
    fn a_verification_is_an_object_that_does_not_contradict_itself() {
        let valid = Ok(VerifyResponse::Valid { payer: None });
        for good in [
            json!({ "isValid": true }),
            json!({ "isValid": true, "invalidReason": null, "payer": "" }),
            json!({ "isValid": true, "invalidReason": "" }),
        ] {
            assert_eq!(verify(good.clone()), valid, "{good}");
        }
        for bad in [
            json!([true]),
            json!([true, null, null, null]),
            json!(true),
            json!({}),
            json!({ "isValid": "true" }),
            json!({ "isValid": true, "invalidReason": "insufficient_funds" }),
            json!({ "isValid": true, "invalidReason": { "code": 1 } }),
        ] {
            assert!(is_wrong(&verify(bad.clone())), "{bad}");
        }
        let no_reason = verify(json!({ "isValid": false, "invalidReason": "" }));
        assert_eq!(no_reason, Ok(VerifyResponse::invalid(Reason::UNEXPECTED_VERIFY_ERROR, None)));
    }

    #[test]
    fn what_only_informs_may_be_of_any_type() {
        for odd in [json!(5), json!([]), json!({ "a": 1 }), json!(null), json!(true), json!("")] {
            let valid = verify(json!({ "isValid": true, "payer": odd, "invalidMessage": odd }));
            assert_eq!(valid, Ok(VerifyResponse::Valid { payer: None }), "{odd}");
            let invalid = verify(json!({ "isValid": false, "invalidReason": odd, "invalidMessage": odd }));
            assert!(matches!(invalid, Ok(VerifyResponse::Invalid(_))), "{odd}");
            let settled = settle(json!({
                "success": true, "transaction": "0x1", "network": "eip155:1",
                "payer": odd, "amount": odd, "extensions": odd, "errorMessage": odd, "authorizationDead": odd,
            }));
            let Ok(SettleResponse::Settled(receipt)) = settled else { panic!("{odd}: {settled:?}") };
            assert_eq!((receipt.payer, receipt.amount), (None, None), "{odd}");
        }
    }

    #[test]
    fn a_refusal_may_leave_its_network_out_and_success_may_not() {
        let asked = "eip155:84532".parse().unwrap();
        for network in [json!(""), json!("unknown"), json!(null), json!(8453), json!({})] {
            for reason in ["insufficient_funds", "settlement_pending"] {
                let answer = json!({ "success": false, "errorReason": reason, "network": network });
                let about = match decode_settle(answer.to_string().as_bytes(), Some(&asked)).unwrap() {
                    SettleResponse::Failed(failure) => failure.network,
                    SettleResponse::Pending(pending) => pending.network,
                    SettleResponse::Settled(_) => panic!("{answer}"),
                };
                assert_eq!(about, asked, "{answer}");
                assert!(is_wrong(&settle(answer)), "nobody was asked about any network");
            }
            let success = json!({ "success": true, "transaction": "0x1", "network": network });
            assert!(is_wrong(&decode_settle(success.to_string().as_bytes(), Some(&asked))), "{success}");
        }
        let elsewhere = json!({ "success": false, "errorReason": "x", "network": "base" });
        let Ok(SettleResponse::Failed(failure)) =
            decode_settle(elsewhere.to_string().as_bytes(), Some(&asked))
        else {
            panic!("{elsewhere}")
        };
        assert_eq!(failure.network, crate::network::BASE, "what is named is what it is about");
    }

    #[test]
    fn a_settlement_is_an_object_that_does_not_contradict_itself() {
        let network = "eip155:84532";
        for good in [
            json!({ "success": true, "transaction": "0x1", "network": network }),
            json!({ "success": true, "transaction": "0x1", "network": network, "errorReason": null }),
            json!({ "success": true, "transaction": "0x1", "network": network, "errorReason": "" }),
            json!({ "success": true, "transaction": "", "network": network, "amount": "0" }),
        ] {
            assert!(matches!(settle(good.clone()), Ok(SettleResponse::Settled(_))), "{good}");
        }
        for bad in [
            json!([true, null, null, null, "x", network]),
            json!([true, null, null, null, "x", network, null, null]),
            json!({ "success": true, "transaction": "", "network": network }),
            json!({ "success": true, "transaction": "", "network": network, "amount": "1" }),
            json!({ "success": true, "transaction": "0x1" }),
            json!({ "success": true, "transaction": "0x1", "network": network, "errorReason": "x" }),
            json!({ "success": true, "transaction": "0x1", "network": network, "errorReason": "settlement_pending" }),
        ] {
            assert!(is_wrong(&settle(bad.clone())), "{bad}");
        }
        let failed = settle(json!({ "success": false, "network": network, "errorReason": "x" }));
        assert_eq!(failed, Ok(SettleResponse::failed("x", network.parse().unwrap(), None)));
        for nothing in [json!(""), json!(null)] {
            let answer = json!({ "success": false, "network": network, "errorReason": nothing });
            assert!(is_wrong(&settle(answer)), "who says no more need not be a facilitator");
        }
        assert!(is_wrong(&settle(json!({ "success": false, "network": network }))));
    }

    #[test]
    fn an_absent_field_does_not_turn_a_settlement_on_its_way_into_a_failed_one() {
        let network = "eip155:84532";
        for (pending, named) in [
            (json!({ "success": false, "errorReason": "settlement_pending", "transaction": "0x1" }), true),
            (json!({ "success": false, "errorReason": "settlement_pending", "transaction": "" }), false),
            (json!({ "success": false, "errorReason": "settlement_pending" }), false),
            (json!({ "success": false, "errorReason": "settlement_pending", "transaction": null }), false),
            (json!({ "success": false, "transaction": "0x1" }), true),
            (json!({ "success": false, "errorReason": "", "transaction": "0x1" }), true),
        ] {
            let mut answer = pending.clone();
            answer["network"] = network.into();
            let Ok(SettleResponse::Pending(read)) = settle(answer) else { panic!("{pending}") };
            assert_eq!(read.transaction.is_some(), named, "{pending}");
        }
    }

    #[test]
    fn only_a_plain_true_says_that_an_authorization_is_dead() {
        for (said, expected) in [
            (json!(true), Some(true)),
            (json!(false), Some(false)),
            (json!(null), Some(false)),
            (json!("true"), Some(false)),
        ] {
            let answer = settle(json!({
                "success": false, "errorReason": "x", "network": "eip155:1", "authorizationDead": said,
            }));
            let dead = match answer {
                Ok(SettleResponse::Failed(failure)) => Some(failure.is_dead),
                _ => None,
            };
            assert_eq!(dead, expected, "{said}");
        }
    }
}
