//! One payment buys one answer: claims on payments, in this process.
//!
//! A claim is taken before a payment is verified, and ends in one of three ways. *Released*: nothing was charged,
//! and the payment can be presented again. *Spent*: it bought its answer, and buys no other. *Unresolved*: the money
//! may have moved; whoever presents the payment again makes us ask the facilitator again, never pay again.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::{offer::Matched, refusal::Refusal};
use crate::{
    address::Address,
    payment::{Payment, PendingSettlement, Reason},
};

/// How many claims are kept at most; beyond it payments are refused with 503.
const MOST_CLAIMS: usize = if cfg!(test) { 10_000 } else { 1_000_000 };
/// How long a claim is kept at most. By then the chain itself knows that a settled payment is spent.
const LONGEST_SECONDS: u64 = 24 * 60 * 60;
/// How long a claim outlives its payment.
const MARGIN_SECONDS: u64 = 600;

/// A payment that no one else can use meanwhile.
pub(super) struct Claimed {
    pub(super) payment: Box<Payment>,
    pub(super) payer: Address,
    pub(super) claim: Claim,
}

impl Claimed {
    /// Takes the claim, or says why it cannot be had.
    pub(super) fn take(claims: &Arc<Claims>, matched: Matched) -> Result<Self, Refusal> {
        let (payment, identity) = matched.into_parts();
        let now = now();
        let expires_at = identity.expires_at.min(now + LONGEST_SECONDS) + MARGIN_SECONDS;
        let claim = claims.take(identity.key, &payment.payload.payload, expires_at, now)?;
        Ok(Self { payment, payer: identity.payer, claim })
    }
}

/// The claims of a gate.
#[derive(Default)]
pub(super) struct Claims {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    /// The size at which the expired are next swept out: the cost of sweeping is spread over as many claims.
    sweep_at: usize,
}

struct Entry {
    state: State,
    expires_at: u64,
}

#[derive(Clone)]
enum State {
    InFlight,
    Spent,
    /// What was presented first, and the transaction to watch if one is known. Only the same payload may ask
    /// again: identity alone can be read off the chain by anyone.
    Unresolved {
        payload: Value,
        pending: Option<PendingSettlement>,
    },
}

impl Claims {
    fn take(
        self: &Arc<Self>,
        key: String,
        payload: &Value,
        expires_at: u64,
        now: u64,
    ) -> Result<Claim, Refusal> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_key.len() >= entries.sweep_at {
            entries
                .by_key
                .retain(|_, entry| entry.expires_at > now || matches!(entry.state, State::InFlight));
            entries.sweep_at = (entries.by_key.len() * 2).clamp(1024, MOST_CLAIMS);
        }
        let after = match entries.by_key.get(&key).map(|entry| &entry.state) {
            None => After::Released,
            Some(State::InFlight) => return Err(Refusal::in_progress()),
            Some(State::Spent) => return Err(Refusal::rejected(Reason::DUPLICATE_SETTLEMENT)),
            Some(State::Unresolved { payload: first, pending }) => {
                if first != payload {
                    return Err(Refusal::rejected(Reason::DUPLICATE_SETTLEMENT));
                }
                After::Unresolved { pending: pending.clone() }
            }
        };
        if entries.by_key.len() >= MOST_CLAIMS {
            return Err(Refusal::not_ready("too many payments are being handled; try again shortly"));
        }
        entries.by_key.insert(key.clone(), Entry { state: State::InFlight, expires_at });
        let payload = payload.clone();
        Ok(Claim { claims: self.clone(), key, payload, after })
    }

    fn conclude(&self, key: &str, state: Option<State>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            None => {
                entries.by_key.remove(key);
            }
            Some(state) => {
                if let Some(entry) = entries.by_key.get_mut(key) {
                    entry.state = state;
                }
            }
        }
    }
}

/// The right to use a payment, until it is dropped.
pub(super) struct Claim {
    claims: Arc<Claims>,
    key: String,
    payload: Value,
    after: After,
}

/// What becomes of a payment whose claim is dropped.
enum After {
    Released,
    Spent,
    Unresolved { pending: Option<PendingSettlement> },
}

impl Claim {
    /// Whether an earlier settlement of this payment has not been resolved.
    pub(super) fn is_unresolved(&self) -> bool {
        matches!(self.after, After::Unresolved { .. })
    }

    /// The settlement begins: from here on the money may have moved.
    pub(super) fn unresolved(&mut self, pending: Option<PendingSettlement>) {
        self.after = After::Unresolved { pending };
    }

    /// The transaction to watch, if one is known.
    pub(super) fn pending(&self) -> Option<&PendingSettlement> {
        match &self.after {
            After::Unresolved { pending } => pending.as_ref(),
            After::Released | After::Spent => None,
        }
    }

    /// The money moved.
    pub(super) fn spent(&mut self) {
        self.after = After::Spent;
    }

    /// The money surely did not move.
    pub(super) fn released(&mut self) {
        self.after = After::Released;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let state = match mem::replace(&mut self.after, After::Released) {
            After::Released => None,
            After::Spent => Some(State::Spent),
            After::Unresolved { pending } => {
                Some(State::Unresolved { payload: mem::take(&mut self.payload), pending })
            }
        };
        self.claims.conclude(&self.key, state);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(claims: &Arc<Claims>, key: &str, payload: &str) -> Result<Claim, Refusal> {
        claims.take(key.to_owned(), &Value::from(payload), 100, 1)
    }

    #[test]
    fn a_payment_is_claimed_once() {
        let claims = Arc::<Claims>::default();
        let claim = take(&claims, "a", "x").ok().unwrap();
        assert!(take(&claims, "a", "x").is_err(), "in flight");
        assert!(take(&claims, "b", "x").is_ok(), "another payment");
        drop(claim);
        let Ok(mut claim) = take(&claims, "a", "x") else { panic!("released") };
        claim.spent();
        drop(claim);
        assert!(take(&claims, "a", "x").is_err(), "spent");
    }

    #[test]
    fn an_unresolved_payment_is_resumed_by_the_same_payload_only() {
        let claims = Arc::<Claims>::default();
        let mut claim = take(&claims, "a", "x").ok().unwrap();
        assert!(!claim.is_unresolved());
        claim.unresolved(None);
        drop(claim);
        assert!(take(&claims, "a", "forged").is_err());
        for _ in 0..2 {
            assert!(
                take(&claims, "a", "x").ok().unwrap().is_unresolved(),
                "dropping a resumed claim keeps it"
            );
        }
    }

    #[test]
    fn what_expired_is_swept_out() {
        let claims = Arc::<Claims>::default();
        for n in 0..5000_u64 {
            let mut claim = claims.take(n.to_string(), &Value::Null, n + 10, n).ok().unwrap();
            claim.spent();
        }
        assert!(claims.entries.lock().unwrap().by_key.len() < 1100);
    }

    #[test]
    fn what_expired_makes_room_however_many_there_were() {
        let claims = Arc::<Claims>::default();
        for n in 0..=MOST_CLAIMS {
            let expires_at = if n < MOST_CLAIMS * 3 / 5 { 10 } else { 20 };
            let now = if n < MOST_CLAIMS * 4 / 5 { 1 } else { 15 };
            let taken = claims.take(n.to_string(), &Value::Null, expires_at, now);
            taken.expect("there is room").spent();
        }
    }

    #[test]
    fn what_is_in_flight_is_not_swept_out() {
        let claims = Arc::<Claims>::default();
        let claim = claims.take("a".to_owned(), &Value::Null, 1, 5).ok().unwrap();
        for n in 0..5000_u64 {
            let mut other = claims.take(n.to_string(), &Value::Null, 10, 5).ok().unwrap();
            other.spent();
        }
        assert!(claims.take("a".to_owned(), &Value::Null, 1, 5).is_err());
        drop(claim);
        assert!(claims.take("a".to_owned(), &Value::Null, 1, 5).is_ok());
    }
}
