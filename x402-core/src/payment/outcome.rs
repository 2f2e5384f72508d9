//! What came of a payment.

use std::{fmt, str::FromStr};

use super::{JsonMap, Reason};
use crate::{address::Address, amount::Amount, network::Network};

/// What a facilitator found when it verified a payment.
#[derive(Debug, Clone, PartialEq)]
pub enum VerifyResponse {
    /// The payment can be settled.
    Valid {
        /// Who pays.
        payer: Option<Address>,
    },
    /// The payment cannot be settled.
    Invalid(Refusal),
}

impl VerifyResponse {
    /// A refusal without further words.
    pub fn invalid(reason: impl Into<Reason>, payer: Option<Address>) -> Self {
        Self::Invalid(Refusal { reason: reason.into(), message: None, payer })
    }
}

/// Why a payment was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The protocol's code.
    pub reason: Reason,
    /// The same for people.
    pub message: Option<String>,
    /// Who would have paid, where that is known.
    pub payer: Option<Address>,
}

/// What a facilitator made of settling a payment.
#[derive(Debug, Clone, PartialEq)]
pub enum SettleResponse {
    /// The money moved.
    Settled(Receipt),
    /// A transaction is on its way and its fate unknown. The payer must not be asked to pay again.
    Pending(PendingSettlement),
    /// The money did not move.
    Failed(SettleFailure),
}

impl SettleResponse {
    /// A failure without further words or a transaction.
    pub fn failed(reason: impl Into<Reason>, network: Network, payer: Option<Address>) -> Self {
        Self::Failed(SettleFailure {
            reason: reason.into(),
            message: None,
            payer,
            transaction: None,
            network,
            is_dead: false,
        })
    }
}

/// Proof that the money moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The transaction that moved it; `None` where nothing had to move (an `upto` charge of zero).
    pub transaction: Option<TransactionId>,
    /// The chain it moved on.
    pub network: Network,
    /// Who paid.
    pub payer: Option<Address>,
    /// How much, where the facilitator says so.
    pub amount: Option<Amount>,
    /// What extensions add.
    pub extensions: JsonMap,
}

/// A settlement whose fate is not known yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingSettlement {
    /// The transaction to watch, where one is named.
    pub transaction: Option<TransactionId>,
    /// The chain.
    pub network: Network,
    /// Who pays.
    pub payer: Option<Address>,
}

/// A settlement that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct SettleFailure {
    /// The protocol's code.
    pub reason: Reason,
    /// The same for people.
    pub message: Option<String>,
    /// Who would have paid, where that is known.
    pub payer: Option<Address>,
    /// The transaction that failed, if one was sent; of a [duplicate](Reason::DUPLICATE_SETTLEMENT), the one that may have
    /// succeeded.
    pub transaction: Option<TransactionId>,
    /// The chain.
    pub network: Network,
    /// Whether what was signed can never move money any more: the chain has passed its end and it was not used, or its
    /// payer has withdrawn it. `false` says nothing.
    pub is_dead: bool,
}

/// A transaction, in its chain's own notation: 1 to 128 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TransactionId(String);

impl TransactionId {
    /// The id as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can name a transaction of this network, by the look that the network's kind of chain gives to ids: on
    /// `eip155`, `0x` and 64 hex digits. Of chains that are not known here, any may.
    pub fn fits(&self, network: &Network) -> bool {
        match network.namespace() {
            "eip155" => self.0.strip_prefix("0x").is_some_and(|digits| {
                digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            }),
            _ => true,
        }
    }
}

impl FromStr for TransactionId {
    type Err = TransactionIdError;

    fn from_str(text: &str) -> Result<Self, TransactionIdError> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(TransactionIdError) }
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionId({})", self.0)
    }
}

/// A text that names no transaction on any chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a transaction id is 1 to 128 visible ASCII characters")]
pub struct TransactionIdError;
