//! Which payments are being settled in this process: of all that has to do with one nonce of a payer, one thing is done
//! at a time, and whoever asks for the same meanwhile hears the same. What came of it is in the [`journal`](super::journal).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::{Address, B256};
use tokio::sync::watch;
use x402_core::{facilitator::FacilitatorError, payment::SettleResponse};

use super::checks::Asked;

pub(super) type Answer = Result<SettleResponse, FacilitatorError>;
pub(super) type Sender = watch::Sender<Option<Answer>>;
pub(super) type Receiver = watch::Receiver<Option<Answer>>;

/// The token, the payer and the nonce: a token lets one authorization of these be used.
type Key = (Address, Address, B256);

#[derive(Default)]
pub(super) struct Ledger(Mutex<HashMap<Key, Run>>);

struct Run {
    /// The authorization it is about, with the signature it was begun with; a wallet may take others for the same
    /// message.
    asked: Asked,
    attempt: Receiver,
}

/// What is to be done about a payment.
pub(super) enum Turn {
    /// Settle it, then [`leave`](Ledger::leave) and tell.
    Begin { tell: Sender, answer: Receiver },
    /// Nothing: it is being done.
    Wait { answer: Receiver, same_signature: bool },
    /// Nothing yet: another authorization with its nonce is being settled.
    Behind { answer: Receiver },
}

impl Ledger {
    pub(super) fn enter(&self, asked: &Asked) -> Turn {
        let mut runs = self.runs();
        if let Some(run) = runs.get(&key(asked)).filter(|run| run.goes_on()) {
            let answer = run.attempt.clone();
            return if run.asked.hash == asked.hash {
                Turn::Wait { answer, same_signature: run.asked.signature == asked.signature }
            } else {
                Turn::Behind { answer }
            };
        }
        let (tell, answer) = watch::channel(None);
        runs.insert(key(asked), Run { asked: asked.clone(), attempt: answer.clone() });
        Turn::Begin { tell, answer }
    }

    /// Whether anything that has to do with its nonce is being done.
    pub(super) fn is_at_work(&self, asked: &Asked) -> bool {
        self.runs().get(&key(asked)).is_some_and(Run::goes_on)
    }

    pub(super) fn leave(&self, asked: &Asked) {
        self.runs().remove(&key(asked));
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<Key, Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(asked: &Asked) -> Key {
    (asked.terms.token, asked.authorization.from, asked.authorization.nonce)
}

impl Run {
    /// Whether it has not told its answer, and is still there to do so.
    fn goes_on(&self) -> bool {
        self.attempt.borrow().is_none() && self.attempt.has_changed().is_ok()
    }
}
