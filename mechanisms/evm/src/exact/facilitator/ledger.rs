//! Which payments are being settled here, and what became of those that were: however often and at how many places
//! at once a payment is to be settled, there is one transaction and one answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::{B256, Bytes};
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
type Sender = watch::Sender<Option<Answer>>;
pub(super) type Receiver = watch::Receiver<Option<Answer>>;

/// By what was signed.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    entries: HashMap<B256, Entry>,
    entered: u64,
}

struct Entry {
    /// The signature it was begun with; a wallet may take others for the same message.
    signature: Bytes,
    expires_at: u64,
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
}

impl Ledger {
    pub(super) fn enter(&self, asked: &Asked, now: u64) -> Turn {
        let mut book = self.book();
        if let Some(entry) = book.entries.get_mut(&asked.hash) {
            let same_signature = entry.signature == asked.signature;
            if let Some(answer) = &entry.settled {
                return Turn::Done { answer: answer.clone(), same_signature };
            }
            if entry.runs() {
                return Turn::Wait { answer: entry.attempt.clone(), same_signature };
            }
            let (tell, answer) = watch::channel(None);
            entry.attempt = answer.clone();
            return Turn::Begin { tell, answer, sent: entry.sent.clone(), same_signature };
        }
        book.make_room(now);
        let (tell, answer) = watch::channel(None);
        book.entered += 1;
        let entry = Entry {
            signature: asked.signature.clone(),
            expires_at: asked.authorization.valid_before.saturating_to(),
            entered: book.entered,
            attempt: answer.clone(),
            sent: None,
            settled: None,
        };
        book.entries.insert(asked.hash, entry);
        Turn::Begin { tell, answer, sent: None, same_signature: true }
    }

    /// Before it leaves: whatever happens next, this transaction is to be looked for.
    pub(super) fn sending(&self, asked: &Asked, sent: &Sent) {
        if let Some(entry) = self.book().entries.get_mut(&asked.hash) {
            entry.sent = Some(sent.clone());
        }
    }

    /// It did not leave.
    pub(super) fn not_sent(&self, asked: &Asked) {
        if let Some(entry) = self.book().entries.get_mut(&asked.hash) {
            entry.sent = None;
        }
    }

    pub(super) fn finish(&self, asked: &Asked, answer: &Answer) {
        let mut book = self.book();
        let Some(entry) = book.entries.get_mut(&asked.hash) else { return };
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
                book.entries.remove(&asked.hash);
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn make_room(&mut self, now: u64) {
        if self.entries.len() < REMEMBERED {
            return;
        }
        self.entries.retain(|_, entry| entry.runs() || entry.expires_at.saturating_add(REMEMBERED_FOR) > now);
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
    /// Whether an attempt is under way: it has not told its answer, and it is still there to do so.
    fn runs(&self) -> bool {
        self.attempt.borrow().is_none() && self.attempt.has_changed().is_ok()
    }
}
