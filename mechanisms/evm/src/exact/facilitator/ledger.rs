//! Which payments are being settled here, and what became of those that were: however often and at how many places
//! at once a payment is to be settled, there is one transaction and one answer; and of the authorizations that a payer
//! signed with one nonce, one is settled at a time, and at most one at all.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::{Address, B256};
use tokio::sync::watch;
use x402_core::{
    facilitator::FacilitatorError,
    payment::{SettleFailure, SettleResponse},
};

use super::checks::Asked;
use crate::chain::Sent;

/// How many payments are remembered before the oldest are forgotten. A forgotten payment is found on chain again.
const REMEMBERED: usize = 16_384;
/// How long after it expired a payment is remembered.
const REMEMBERED_FOR: u64 = 3_600;

pub(super) type Answer = Result<SettleResponse, FacilitatorError>;
pub(super) type Sender = watch::Sender<Option<Answer>>;
pub(super) type Receiver = watch::Receiver<Option<Answer>>;

/// The token, the payer and the nonce: a token lets one authorization of these be used.
type Key = (Address, Address, B256);

#[derive(Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    entries: HashMap<Key, Entry>,
    entered: u64,
}

struct Entry {
    /// The authorization that has the nonce now, with the signature it was begun with; a wallet may take others for
    /// the same message.
    asked: Asked,
    entered: u64,
    attempt: Receiver,
    sent: Option<Sent>,
    settled: Option<SettleResponse>,
}

/// What is to be done about a payment.
pub(super) enum Turn {
    /// Nothing: this came of it.
    Done { answer: SettleResponse, same_signature: bool },
    /// Nothing: it is being done.
    Wait { answer: Receiver, same_signature: bool },
    /// Settle it. `sent` is what an earlier attempt sent, whose fate was not known.
    Begin { tell: Sender, answer: Receiver, sent: Option<Sent>, same_signature: bool },
    /// Nothing: another authorization with its nonce was settled.
    Taken,
    /// Nothing yet: another authorization with its nonce is being settled.
    Behind { answer: Receiver },
    /// Find out what became of another authorization with its nonce, which was sent.
    Clear { holder: Box<Asked>, sent: Sent, tell: Sender, answer: Receiver },
}

impl Ledger {
    pub(super) fn enter(&self, asked: &Asked, now: u64) -> Turn {
        let mut book = self.book();
        let turn = match book.entries.get_mut(&key(asked)) {
            Some(entry) if entry.asked.hash == asked.hash => Some(entry.once_more(asked)),
            Some(entry) => entry.beside(),
            None => None,
        };
        turn.unwrap_or_else(|| book.begin(asked, now))
    }

    /// Before it leaves: whatever happens next, this transaction is to be looked for.
    pub(super) fn sending(&self, asked: &Asked, sent: &Sent) {
        if let Some(entry) = self.book().entry(asked) {
            entry.sent = Some(sent.clone());
        }
    }

    /// It did not leave.
    pub(super) fn not_sent(&self, asked: &Asked) {
        if let Some(entry) = self.book().entry(asked) {
            entry.sent = None;
        }
    }

    pub(super) fn finish(&self, asked: &Asked, answer: &Answer) {
        let mut book = self.book();
        let Some(entry) = book.entry(asked) else { return };
        match answer {
            Ok(
                last @ (SettleResponse::Settled(_)
                | SettleResponse::Failed(SettleFailure { transaction: Some(_), .. })),
            ) => {
                entry.settled = Some(last.clone());
                entry.sent = None;
            }
            _ if entry.sent.is_some() => {}
            _ => {
                book.entries.remove(&key(asked));
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(asked: &Asked) -> Key {
    (asked.terms.token, asked.authorization.from, asked.authorization.nonce)
}

impl Book {
    /// This authorization's, not another's with its nonce.
    fn entry(&mut self, asked: &Asked) -> Option<&mut Entry> {
        self.entries.get_mut(&key(asked)).filter(|entry| entry.asked.hash == asked.hash)
    }

    fn begin(&mut self, asked: &Asked, now: u64) -> Turn {
        self.make_room(now);
        let (tell, answer) = watch::channel(None);
        self.entered += 1;
        let entry = Entry {
            asked: asked.clone(),
            entered: self.entered,
            attempt: answer.clone(),
            sent: None,
            settled: None,
        };
        self.entries.insert(key(asked), entry);
        Turn::Begin { tell, answer, sent: None, same_signature: true }
    }

    fn make_room(&mut self, now: u64) {
        if self.entries.len() < REMEMBERED {
            return;
        }
        self.entries
            .retain(|_, entry| entry.runs() || entry.expires_at().saturating_add(REMEMBERED_FOR) > now);
        if self.entries.len() < REMEMBERED {
            return;
        }
        let mut ages: Vec<u64> = self.entries.values().map(|entry| entry.entered).collect();
        let (_, quarter, _) = ages.select_nth_unstable(REMEMBERED / 4);
        let oldest = *quarter;
        self.entries.retain(|_, entry| entry.runs() || entry.entered > oldest);
    }
}

impl Entry {
    /// The same authorization comes again.
    fn once_more(&mut self, asked: &Asked) -> Turn {
        let same_signature = self.asked.signature == asked.signature;
        if let Some(answer) = &self.settled {
            return Turn::Done { answer: answer.clone(), same_signature };
        }
        if self.runs() {
            return Turn::Wait { answer: self.attempt.clone(), same_signature };
        }
        let (tell, answer) = watch::channel(None);
        self.attempt = answer.clone();
        Turn::Begin { tell, answer, sent: self.sent.clone(), same_signature }
    }

    /// Another authorization with the same nonce comes; `None` when nothing is in its way.
    fn beside(&mut self) -> Option<Turn> {
        match &self.settled {
            Some(SettleResponse::Settled(_)) => return Some(Turn::Taken),
            Some(_) => return None,
            None if self.runs() => return Some(Turn::Behind { answer: self.attempt.clone() }),
            None => {}
        }
        let sent = self.sent.clone()?;
        let (tell, answer) = watch::channel(None);
        self.attempt = answer.clone();
        Some(Turn::Clear { holder: Box::new(self.asked.clone()), sent, tell, answer })
    }

    fn expires_at(&self) -> u64 {
        self.asked.authorization.valid_before.saturating_to()
    }

    /// Whether an attempt is under way: it has not told its answer, and it is still there to do so.
    fn runs(&self) -> bool {
        self.attempt.borrow().is_none() && self.attempt.has_changed().is_ok()
    }
}
