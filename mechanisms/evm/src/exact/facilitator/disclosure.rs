//! Who may hear that a payment was settled: one caller, or whoever serves what they are told is paid serves one payment
//! twice.

use alloy_primitives::{B256, keccak256};
use serde::{Deserialize, Serialize};
use x402_core::{
    facilitator::{FacilitatorError, SettleRequest},
    payment::{Reason, SettleFailure, SettleResponse, TransactionId},
};

use super::{
    ExactFacilitator,
    checks::Asked,
    journal::{Entry, Written},
};

/// How often the record may change under our hands: each time somebody else was told.
const ROUNDS: usize = 4;

/// A caller, by its secret and its credentials.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Caller {
    /// The hash of its key: whoever reads the journal must not be able to ask in its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<B256>,
    /// What it is authenticated as.
    #[serde(default, rename = "caller", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// Who may hear the outcome of a settlement: in its record from the beginning, before anything is sent.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Disclosure {
    #[serde(flatten)]
    to: Caller,
    /// Whether a caller without a key has heard of success.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    told: bool,
}

/// Whether a caller may hear of success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hears {
    /// As often as it asks.
    Always,
    /// If it is the first one.
    First,
    Never,
}

impl Caller {
    pub(super) fn of(request: &SettleRequest<'_>) -> Self {
        let key = request.key.map(|key| keccak256(key.as_str()));
        Self { key, name: request.caller.map(str::to_owned) }
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

impl Disclosure {
    /// Of a settlement that this caller begins.
    pub(super) fn to(caller: &Caller) -> Self {
        Self { to: caller.clone(), told: false }
    }

    /// Once this caller has heard of success.
    fn heard_by(&self, caller: &Caller) -> Self {
        let name = self.to.name.clone().or_else(|| caller.name.clone());
        Self { to: Caller { key: self.to.key.or(caller.key), name }, told: true }
    }

    fn hears(&self, caller: &Caller) -> Hears {
        let Self { to: Caller { key, name }, told } = self;
        if name.is_some() && *name != caller.name {
            return Hears::Never;
        }
        match (key, caller.key) {
            (Some(key), Some(shown)) if *key == shown => Hears::Always,
            (None, _) if !told => Hears::First,
            _ => Hears::Never,
        }
    }
}

impl ExactFacilitator {
    /// What this caller hears of an outcome: whoever holds the key of a settlement that was begun without one takes it over
    /// here; whoever has none is handed success in [`hand_out`](Self::hand_out).
    pub(super) async fn heard_by(
        &self,
        asked: &Asked,
        caller: &Caller,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        match &outcome {
            SettleResponse::Failed(failure) if failure.reason != Reason::PAID_BY_THIRD_PARTY => {
                return Ok(outcome);
            }
            _ => {}
        }
        let takes_over = caller.has_key() && matches!(outcome, SettleResponse::Settled(_));
        self.disclosed(asked, caller, outcome, takes_over).await
    }

    /// Hands success to a caller without a key, if nobody heard of it yet.
    pub(super) async fn hand_out(
        &self,
        asked: &Asked,
        caller: &Caller,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        if caller.has_key() || !matches!(outcome, SettleResponse::Settled(_)) {
            return Ok(outcome);
        }
        match self.journal.find(asked).await.map_err(|failure| self.undisclosed(&failure))? {
            Some(_) => self.disclosed(asked, caller, outcome, true).await,
            // A hook's word: whatever is settled here has a record.
            None => Ok(outcome),
        }
    }

    fn undisclosed(&self, why: &dyn std::fmt::Display) -> FacilitatorError {
        self.error(format_args!("who may hear of the settlement is not known for now, ask again: {why}"))
    }

    /// `is_told`: from here on this caller has heard.
    async fn disclosed(
        &self,
        asked: &Asked,
        caller: &Caller,
        outcome: SettleResponse,
        is_told: bool,
    ) -> Result<SettleResponse, FacilitatorError> {
        for _ in 0..ROUNDS {
            let found = self.journal.find(asked).await.map_err(|failure| self.undisclosed(&failure))?;
            let Some(entry) = found.filter(|entry| entry.asked.hash == asked.hash) else {
                return match outcome {
                    // It names nobody who has a right to it.
                    SettleResponse::Failed(_) => Ok(outcome),
                    _ => Err(self.undisclosed(&"its record is gone")),
                };
            };
            match entry.disclosure.hears(caller) {
                Hears::Always => return Ok(outcome),
                Hears::Never => return Ok(self.duplicate(asked, &outcome)),
                Hears::First if !is_told => return Ok(outcome),
                Hears::First => {
                    let Entry { asked, step, disclosure, .. } = entry.clone();
                    let told = disclosure.heard_by(caller);
                    let written =
                        self.journal.write(&asked, Some(&entry), step, told, self.clock.now()).await;
                    match written.map_err(|failure| self.undisclosed(&failure))? {
                        Written::Done(_) => return Ok(outcome),
                        Written::Lost(_) => {}
                    }
                }
            }
        }
        Err(self.undisclosed(&"others are asking at the same time"))
    }

    /// What anybody else hears of a settlement.
    fn duplicate(&self, asked: &Asked, outcome: &SettleResponse) -> SettleResponse {
        let transaction: Option<TransactionId> = match outcome {
            SettleResponse::Settled(receipt) => receipt.transaction.clone(),
            SettleResponse::Pending(pending) => pending.transaction.clone(),
            SettleResponse::Failed(failure) => failure.transaction.clone(),
        };
        let SettleResponse::Failed(failure) = self.refused_of(
            asked,
            super::checks::because(
                Reason::DUPLICATE_SETTLEMENT,
                "this payment is settled for the caller who asked first; its outcome is told to nobody else",
            ),
        ) else {
            unreachable!("a refusal is a failure");
        };
        SettleResponse::Failed(SettleFailure { transaction, ..failure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(key: Option<u8>, name: Option<&str>) -> Caller {
        Caller { key: key.map(B256::repeat_byte), name: name.map(str::to_owned) }
    }

    #[test]
    fn success_is_for_one_caller() {
        use Hears::{Always, First, Never};
        let (nobody, one, two) = (caller(None, None), caller(Some(1), None), caller(Some(2), None));
        let (ann, bob) = (caller(Some(1), Some("ann")), caller(Some(1), Some("bob")));
        let keyless = Disclosure::to(&nobody);
        for (disclosure, asks, expected) in [
            (Disclosure::to(&one), &one, Always),
            (Disclosure::to(&one), &two, Never),
            (Disclosure::to(&one), &nobody, Never),
            // The key alone is not enough where its caller was authenticated; who is told less of itself is nobody else.
            (Disclosure::to(&ann), &ann, Always),
            (Disclosure::to(&ann), &bob, Never),
            (Disclosure::to(&ann), &one, Never),
            (Disclosure::to(&one), &ann, Always),
            (keyless.clone(), &nobody, First),
            (keyless.clone(), &one, First),
            (keyless.heard_by(&nobody), &nobody, Never),
            (keyless.heard_by(&nobody), &one, Never),
            (keyless.heard_by(&one), &one, Always),
            (keyless.heard_by(&one), &two, Never),
            (keyless.heard_by(&one), &nobody, Never),
        ] {
            assert_eq!(disclosure.hears(asks), expected);
        }
    }

    #[test]
    fn a_record_of_before_there_were_keys_is_nobodys_yet() {
        let read: Disclosure = serde_json::from_str("{}").unwrap();
        assert!(read == Disclosure::default());
        assert_eq!(read.hears(&caller(None, None)), Hears::First);
    }
}
