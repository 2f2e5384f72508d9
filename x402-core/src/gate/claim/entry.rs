//! What is written about a payment.

use serde::{Deserialize, Serialize};

use super::{identified::Identified, kept::KeptAnswer, place::Place};
use crate::{
    address::Address,
    amount::Amount,
    network::Network,
    payment::{
        JsonMap, Payment, PaymentPayload, PaymentRequirements, PendingSettlement, Receipt, TransactionId,
        TransactionIdError,
    },
    store::StoreError,
};

/// The record of a payment. None: it is free to be claimed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub(super) enum Entry {
    /// Somebody is at work on it, and nothing was asked of anyone that could move its money.
    Claimed {
        /// What its client calls what it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identified: Option<Identified>,
    },
    /// Its money may have moved, or did, and nothing was served for it.
    Held(Box<Held>),
    /// It bought its answer.
    Spent {
        /// What its client calls what it bought.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identified: Option<Identified>,
        /// The answer, where it could be kept for who asks for it by that name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Box<KeptAnswer>>,
    },
}

/// A payment that is owed an answer. It is resumed as it was first presented, for what it was: the identity
/// alone can be read off the chain by anyone, and prices may have changed since.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Held {
    /// Somebody is at work on it.
    pub(super) busy: bool,
    pub(super) debt: Debt,
    pub(super) fingerprint: String,
    /// What its client calls what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identified: Option<Identified>,
    pub(super) payer: Address,
    pub(super) place: Place,
    /// The key with which its settlement was begun: who shows it may hear of the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// Whether the facilitator found it unused before that.
    #[serde(default)]
    pub(super) seen_unused: bool,
    /// How often its client has gone away from what was charged before.
    #[serde(default)]
    pub(super) left: u8,
    pub(super) payload: PaymentPayload,
    pub(super) requirements: PaymentRequirements,
}

/// Why a payment is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "WrittenDebt", into = "WrittenDebt")]
pub(super) enum Debt {
    /// Whether the money moved is not known; the transaction to watch, if one is.
    Unresolved(Option<PendingSettlement>),
    /// This transaction failed. All that is signed is on the chain with it, so another one may make the payment yet,
    /// until it expires; and then it is paid for.
    Failed(PendingSettlement),
    /// The money moved, and nothing was served for it.
    Unserved(Receipt),
}

impl Entry {
    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("an entry is JSON")
    }

    pub(super) fn read(state: &str) -> Result<Self, StoreError> {
        // Not the error's own words: they quote what is there.
        serde_json::from_str(state).map_err(|error| {
            StoreError::corrupt(format_args!("the state of a payment, up to column {}", error.column()))
        })
    }

    pub(super) fn identified(&self) -> Option<&Identified> {
        match self {
            Self::Claimed { identified } | Self::Spent { identified, .. } => identified.as_ref(),
            Self::Held(held) => held.identified.as_ref(),
        }
    }
}

impl Held {
    pub(super) fn payment(&self) -> Payment {
        Payment { payload: self.payload.clone(), requirements: self.requirements.clone() }
    }
}

/// A debt as JSON.
#[derive(Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "camelCase")]
enum WrittenDebt {
    Unresolved { settlement: Option<Settlement> },
    Failed { settlement: Settlement },
    Unserved { settlement: Settlement },
}

#[derive(Serialize, Deserialize)]
struct Settlement {
    transaction: Option<String>,
    network: Network,
    payer: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    #[serde(default, skip_serializing_if = "JsonMap::is_empty")]
    extensions: JsonMap,
}

impl From<Debt> for WrittenDebt {
    fn from(debt: Debt) -> Self {
        match debt {
            Debt::Unresolved(pending) => Self::Unresolved { settlement: pending.map(Settlement::from) },
            Debt::Failed(failed) => Self::Failed { settlement: failed.into() },
            Debt::Unserved(Receipt { transaction, network, payer, amount, extensions }) => {
                let transaction = transaction.map(|id| id.to_string());
                Self::Unserved { settlement: Settlement { transaction, network, payer, amount, extensions } }
            }
        }
    }
}

impl From<PendingSettlement> for Settlement {
    fn from(PendingSettlement { transaction, network, payer }: PendingSettlement) -> Self {
        let transaction = transaction.map(|id| id.to_string());
        Self { transaction, network, payer, amount: None, extensions: JsonMap::new() }
    }
}

impl TryFrom<WrittenDebt> for Debt {
    type Error = TransactionIdError;

    fn try_from(written: WrittenDebt) -> Result<Self, TransactionIdError> {
        let id = |text: Option<String>| text.map(|text| text.parse::<TransactionId>()).transpose();
        let pending = |Settlement { transaction, network, payer, .. }| {
            let pending = |transaction| PendingSettlement { transaction: Some(transaction), network, payer };
            Ok::<_, TransactionIdError>(id(transaction)?.map(pending))
        };
        Ok(match written {
            WrittenDebt::Unserved { settlement } => {
                let Settlement { transaction, network, payer, amount, extensions } = settlement;
                Self::Unserved(Receipt { transaction: id(transaction)?, network, payer, amount, extensions })
            }
            WrittenDebt::Failed { settlement } => {
                pending(settlement)?.map_or(Self::Unresolved(None), Self::Failed)
            }
            WrittenDebt::Unresolved { settlement } => {
                Self::Unresolved(settlement.map(pending).transpose()?.flatten())
            }
        })
    }
}
