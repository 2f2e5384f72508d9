//! Looking for what used a nonce, for whoever asks as often as they like.
//!
//! Used authorizations are public and as many as one wants, and a search for what used one costs an endpoint that
//! searches ten blocks at once dozens of calls. So there are so many searches for payments of strangers, and others for
//! those that this facilitator has seen unused or has sent itself: whoever floods it with the one does not keep it from
//! the other. Where there are too many, the answer is an error that says so, never one about the payment.
//!
//! That a payment was not made is remembered where nothing can change it any more: its nonce was used so long ago that
//! the chain does not take it back and endpoints have its logs. Anything newer is looked for again when it is asked for:
//! a log that an endpoint has not indexed yet may show that the payment was made.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use alloy_primitives::{B256, keccak256};
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::debug;
use x402_core::payment::{Reason, Refusal};

use super::{
    ExactFacilitator,
    checks::{Asked, because},
    diagnose::{Evidence, MOST_CALLS, MOST_CALLS_FROM_HEAD, Made, among},
};
use crate::chain::{Fault, LogBudget, Rpc, contracts::Eip3009};

/// Calls of searches at each endpoint: at once, and a second.
const STRANGERS: (u32, u32) = (8 * MOST_CALLS_FROM_HEAD, 8);
const ACQUAINTED: (u32, u32) = (4 * MOST_CALLS, 8);

/// A use is final when it is this deep: full nodes keep the states of 128 blocks,
const DEEP: u64 = 100;
/// and this old, in seconds: chains have blocks of a quarter of a second, and endpoints some lag.
const OLD: u64 = 120;

/// How long a negative is remembered: an endpoint may search further later than it does now.
const REMEMBERED_FOR: Duration = Duration::from_secs(15 * 60);
const MOST_REMEMBERED: usize = 10_000;

pub(super) struct Searches {
    strangers: LogBudget,
    acquainted: LogBudget,
    /// Payments that were not made, by what was signed and what was looked for.
    unpaid: Mutex<Memory<(B256, bool), Unpaid>>,
    /// Authorizations that were seen good here.
    seen_good: Mutex<Memory<B256, ()>>,
}

#[derive(Clone)]
struct Unpaid {
    until: Instant,
    /// The signature that was checked: another one may be none.
    signature: B256,
    reason: Reason,
    /// Whether its payer has withdrawn it.
    made: Made,
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            strangers: LogBudget::new(STRANGERS.0, STRANGERS.1),
            acquainted: LogBudget::new(ACQUAINTED.0, ACQUAINTED.1),
            unpaid: Mutex::default(),
            seen_good: Mutex::default(),
        }
    }
}

impl Searches {
    /// Whoever asks for this payment again is not a stranger to us.
    pub(super) fn has_seen_good(&self, asked: &Asked) {
        remembered(&self.seen_good).insert(asked.hash, ());
    }

    fn unpaid(&self, asked: &Asked, evidence: Evidence) -> Option<Unpaid> {
        let found = remembered(&self.unpaid).get(&key(asked, evidence)).cloned();
        found.filter(|unpaid| Instant::now() < unpaid.until)
    }
}

fn key(asked: &Asked, evidence: Evidence) -> (B256, bool) {
    (asked.hash, evidence == Evidence::Words)
}

fn remembered<T>(memory: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ExactFacilitator {
    /// Why this payment, with this signature, is refused again without a question to the chain.
    pub(super) fn refused_for_good(&self, asked: &Asked) -> Option<Refusal> {
        let unpaid = self.shared.searches.unpaid(asked, Evidence::Words)?;
        (unpaid.signature == keccak256(&asked.signature)).then(|| {
            because(
                unpaid.reason,
                "the payer's nonce was used long ago, and not by this authorization: sign another one",
            )
        })
    }

    /// Whether this facilitator has never seen the authorization good.
    pub(super) fn is_stranger(&self, asked: &Asked) -> bool {
        remembered(&self.shared.searches.seen_good).get(&asked.hash).is_none()
    }

    /// As [`made`](Self::made), within what is there for searches. `reason` is why the payment is refused if nobody made
    /// it.
    pub(super) async fn made_within_budget(
        &self,
        asked: &Asked,
        evidence: Evidence,
        reason: &Reason,
    ) -> Result<Made, Fault> {
        let searches = &self.shared.searches;
        if let Some(unpaid) = searches.unpaid(asked, evidence) {
            return Ok(unpaid.made);
        }
        let sent_by_us = evidence != Evidence::Words;
        let is_stranger = !sent_by_us && self.is_stranger(asked);
        let budget = if is_stranger { &searches.strangers } else { &searches.acquainted };
        let longest = if sent_by_us { MOST_CALLS } else { MOST_CALLS_FROM_HEAD };
        let each = self.rpc.each().await?;
        let found = join_all(each.iter().map(|one| async {
            let allowance = budget.allowance(longest);
            let found = self.made_at(&one.within(allowance.clone()), asked, None, evidence).await;
            (found, allowance.was_used())
        }))
        .await;
        let searched = found.iter().any(|(_, searched)| *searched);
        let made = among(found.into_iter().map(|(found, _)| found).collect())?;
        if let Made::By(_) = made {
            return Ok(made);
        }
        if searched && self.used_for_good(&each, asked).await {
            let signature = keccak256(&asked.signature);
            let until = Instant::now() + REMEMBERED_FOR;
            let unpaid = Unpaid { until, signature, reason: reason.clone(), made };
            remembered(&searches.unpaid).insert(key(asked, evidence), unpaid);
        }
        Ok(made)
    }

    /// Whether every endpoint has the nonce used in a block that is deep and old.
    async fn used_for_good(&self, each: &[Rpc], asked: &Asked) -> bool {
        let state = Eip3009::authorizationStateCall {
            authorizer: asked.authorization.from,
            nonce: asked.authorization.nonce,
        };
        let states = join_all(each.iter().map(|one| async {
            let head = one.head().await?;
            let Some(deep) = head.number.checked_sub(DEEP) else { return Ok(false) };
            let took = head.timestamp.saturating_sub(one.time_of(deep).await?);
            // As many blocks as take long enough, as fast as they come now.
            let depth = if took < OLD { DEEP * OLD / took.max(1) } else { DEEP };
            let Some(block) = head.number.checked_sub(depth) else { return Ok(false) };
            Ok(one.view_at(asked.terms.token, &state, Some(block)).await? == Some(true))
        }))
        .await;
        states.into_iter().all(|used| {
            used.unwrap_or_else(|fault: Fault| {
                debug!(%fault, "for how long a nonce has been used is not known");
                false
            })
        })
    }
}

/// The last things that were said, and no more of them than so many.
struct Memory<K, V> {
    known: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + std::hash::Hash, V> Memory<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.known.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MOST_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut memory = Memory::default();
        for number in 0..MOST_REMEMBERED + 5 {
            memory.insert(number, ());
            memory.insert(number, ());
        }
        assert_eq!((memory.known.len(), memory.order.len()), (MOST_REMEMBERED, MOST_REMEMBERED));
        assert!(memory.get(&4).is_none() && memory.get(&5).is_some());
    }
}
