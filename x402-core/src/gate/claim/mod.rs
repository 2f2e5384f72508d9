//! One payment buys one answer: claims on payments.
//!
//! A claim is taken before a payment is verified, and ends in one of these ways:
//!
//! - *Released*: nothing was charged, and the payment can be presented again.
//! - *Spent*: it bought its answer, and buys no other.
//! - *Held*: the money may have moved, or it did and nothing was served for it. Whoever presents the same payment
//!   again, for the same request, is served once it has settled; nobody is asked to pay again.
//!
//! What is claimed is written into a [`ClaimStore`], where other instances find it, and where it stays when this one is
//! killed. Whoever is at work on a payment has its record for as long as they renew it; a record that is not renewed
//! is free to be taken up from where it stands. Whoever thought that they still had it find another's stamp on it, and
//! serve nothing.
//!
//! | Killed | The record says | The payment, presented again |
//! |---|---|---|
//! | before the facilitator is asked to settle | claimed | is new |
//! | while it is asked | held, unresolved | is settled once more, which a facilitator does once, and served |
//! | before a handler's answer, settled first | held, unserved | is served |
//! | from when the answer was to leave | spent | buys nothing: the answer may have arrived |
//!
//! A client may name what it pays for. Then the answer is kept with the record that says `spent`, and given to it again.

mod entry;
mod identified;
mod kept;
mod open;
mod patient;
mod place;
mod record;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::Mutex;

use self::{
    entry::{Debt, Entry, Held},
    identified::{Bound, Identified},
    open::{After, Taken},
    record::{Unwritten, Written},
};
pub(super) use self::{
    identified::Identifier, kept::KeptAnswer, open::Claim, patient::Patient, place::Place,
};
use super::{event::Listeners, offer::Matched, refusal::Refusal};
use crate::{
    BoxFuture,
    failpoint::failpoint,
    payment::{Payment, Reason},
    scheme::PaymentIdentity,
    store::{AnyClaimStore, ClaimStore, Key, Record, Stamp, StoreError, Stored},
};

/// Where the records are.
const SPACE: &str = "gate";
/// How long it is remembered after its payment expired, and a claim after its lease.
const MARGIN: u64 = 600;
/// How long a spent payment is remembered at most, in seconds. By then the chain itself knows that it is spent.
pub(super) const SPENT_FOR: u64 = 24 * 60 * 60;
/// How long an answer is owed.
const HELD_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often a store is asked whose answer did not come: what is written bears a stamp, and is written once.
const ATTEMPTS: usize = 3;

/// The claims of a gate.
pub(super) struct Claims {
    store: AnyClaimStore,
    /// How long a record stands for somebody at work.
    lease: Duration,
    /// How long a spent payment is remembered at most, in seconds.
    spent_for: u64,
    listeners: Listeners,
    background: Background,
    /// The claims that are to be renewed.
    live: std::sync::Mutex<HashMap<u64, Arc<Mutex<Written>>>>,
}

/// Runs what is to be done when nobody waits for it any more.
pub(super) type Background = Box<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

impl Claims {
    pub(super) fn new(
        store: AnyClaimStore,
        lease: Duration,
        spent_for: u64,
        listeners: Listeners,
        background: Background,
    ) -> Arc<Self> {
        Arc::new(Self { store, lease, spent_for, listeners, background, live: Default::default() })
    }

    /// How long a spent payment is remembered at most, in seconds.
    pub(super) fn spent_for(&self) -> u64 {
        self.spent_for
    }

    /// Asks the store for a record that nobody writes.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.store.load(&Key::new(SPACE, "probe")).await.map(drop)
    }

    /// Waits until no claim's end is still to be written. Those are tried again with every renewal.
    pub(super) async fn written(&self) {
        while self.are_ends_due().await {
            tokio::time::sleep(self.lease / record::RENEWALS).await;
        }
    }

    async fn are_ends_due(&self) -> bool {
        let live: Vec<_> = self.live().values().cloned().collect();
        for written in live {
            if written.lock().await.last.is_some() {
                return true;
            }
        }
        false
    }

    /// What is known of a payment of this identity, that may have bought what its client calls `id`.
    pub(super) async fn known(&self, identity: &PaymentIdentity, id: Option<&str>) -> Result<Known, Refusal> {
        let found = self.load(&key(identity)).await.map_err(|error| Refusal::store(&error))?;
        let entry = found.map(|found| Entry::read(&found.state)).transpose();
        Ok(match entry.map_err(|error| Refusal::store(&error))? {
            Some(Entry::Held(_)) => Known::Resumable,
            Some(Entry::Spent { identified: Some(by), .. }) if id.is_some_and(|id| by.is(id)) => {
                Known::Resumable
            }
            Some(Entry::Spent { .. }) => Known::Spent,
            Some(Entry::Claimed { .. }) | None => Known::Otherwise,
        })
    }

    /// Claims a payment, or says why it cannot be had.
    pub(super) async fn take(
        self: &Arc<Self>,
        matched: Matched,
        place: Place,
        naming: Naming,
    ) -> Result<Taking, Refusal> {
        let (payment, identity) = matched.into_parts();
        self.take_as(payment, identity, place, naming).await
    }

    /// A client that goes away meanwhile leaves no claim behind.
    async fn take_as(
        self: &Arc<Self>,
        payment: Option<Box<Payment>>,
        identity: PaymentIdentity,
        place: Place,
        naming: impl Into<Naming>,
    ) -> Result<Taking, Refusal> {
        let (this, naming) = (self.clone(), naming.into());
        let claim = self.detached(async move { this.claim_as(payment, identity, place, naming).await });
        claim.await.unwrap_or_else(|| Err(Refusal::in_progress()))
    }

    #[cfg(test)]
    async fn claim(
        self: &Arc<Self>,
        payment: Option<Box<Payment>>,
        identity: PaymentIdentity,
        place: Place,
    ) -> Result<Claim, Refusal> {
        match self.take_as(payment, identity, place, None).await? {
            Taking::Claimed(claim) => Ok(claim),
            Taking::Answered(_) | Taking::Unread(_) => unreachable!("nobody named it"),
        }
    }

    async fn claim_as(
        self: &Arc<Self>,
        payment: Option<Box<Payment>>,
        identity: PaymentIdentity,
        place: Place,
        naming: impl Into<Naming>,
    ) -> Result<Taking, Refusal> {
        let store_failed = |error: StoreError| Refusal::store(&error);
        let key = key(&identity);
        let (bound, unread) = match naming.into() {
            Naming::None => (None, None),
            Naming::Unread(id) => (None, Some(id)),
            Naming::Known(identifier, keep_for) => {
                let identified = Identified::new(identifier, identity.fingerprint.clone());
                (Some(Bound::new(identified, &key, keep_for)), None)
            }
        };
        if let Some(id) = &unread
            && self.is_bound_elsewhere(id, &key).await?
        {
            return Err(Refusal::identifier_taken());
        }
        let identified = bound.as_ref().map(|bound| &bound.identified);
        let mut found = match payment {
            Some(_) => None,
            None => self.load(&key).await.map_err(store_failed)?,
        };
        let mut was_named = false;
        // Whoever lost to somebody who is done by now has another chance.
        for _ in 0..ATTEMPTS {
            let seen = found.as_ref().map(|found| found.stamp);
            let standing = found.as_ref().map(|stored| self.standing(stored, identified, unread.as_deref()));
            let held = match standing.transpose()? {
                Some(Standing::Unread) => {
                    return Ok(Taking::Unread(Box::new(Matched::new(payment, identity))));
                }
                Some(Standing::Answered(answer)) => return Ok(Taking::Answered(answer)),
                Some(Standing::Held(held)) => Some(held),
                Some(Standing::Free) | None => None,
            };
            let (taken, entry, keep) = match held {
                None => {
                    // Without a payment it was held a moment ago.
                    let Some(payment) = &payment else { return Err(Refusal::in_progress()) };
                    let PaymentIdentity { fingerprint, payer, .. } = identity.clone();
                    let (payment, place) = (payment.clone(), place.clone());
                    let (bound, after) = (bound.clone(), After::Released);
                    let (key, seen_unused, left) = (None, false, 0);
                    let taken =
                        Taken { payment, fingerprint, payer, place, bound, key, seen_unused, left, after };
                    let entry = Entry::Claimed { identified: identified.cloned() };
                    (taken, entry, claimed_for(self.lease))
                }
                Some(held) if held.fingerprint != identity.fingerprint => {
                    return Err(Refusal::held_elsewhere());
                }
                Some(mut held) => {
                    let payment = Box::new(held.payment());
                    let paid = &payment.requirements;
                    match held.debt {
                        // Nothing was paid yet, so it keeps no price.
                        Debt::Failed(_) if !held.place.asks_for(paid, &place) => {
                            return Err(Refusal::rejected(Reason::NO_MATCH));
                        }
                        Debt::Failed(_) => {}
                        Debt::Unresolved(_) | Debt::Unserved(_) if held.place.buys(paid, &place) => {}
                        Debt::Unresolved(_) | Debt::Unserved(_) => return Err(Refusal::held_elsewhere()),
                    }
                    held.busy = true;
                    was_named = held.identified.is_some();
                    held.identified = identified.cloned();
                    let Held { fingerprint, payer, place, key, seen_unused, debt, left, .. } =
                        (*held).clone();
                    let key = key.and_then(|key| key.parse().ok());
                    let (bound, after) = (bound.clone(), After::Held(debt));
                    // It stays held for where it was first presented.
                    let taken =
                        Taken { payment, fingerprint, payer, place, bound, key, seen_unused, left, after };
                    (taken, Entry::Held(held), HELD_FOR)
                }
            };
            let (state, stamp) = (entry.write(), Stamp::new());
            failpoint("gate-claiming");
            match self.swap(&key, seen, stamp, &state, keep).await {
                Ok(()) => {
                    failpoint("gate-claimed");
                    let (state, tried) = (Some(state), Vec::new());
                    let written = Written { key, stamp, state, keep, tried, last: None };
                    let claim = Claim::new(self.clone(), written, taken, identity.expires_at);
                    return claim.bind(was_named).await.map(Taking::Claimed);
                }
                Err(Unwritten::Lost(now)) => found = now,
                Err(Unwritten::Store(error)) => {
                    // It may be there all the same, and would stand in the way for a lease. A debt stays one.
                    let back = match entry {
                        Entry::Held(mut held) => {
                            held.busy = false;
                            let state = Entry::Held(held).write();
                            Some(Record { stamp: Stamp::new(), state, open: false, keep })
                        }
                        Entry::Claimed { .. } | Entry::Spent { .. } => None,
                    };
                    let this = self.clone();
                    let undo = async move {
                        let _ = this.store.swap(&key, Some(stamp), back).await;
                    };
                    (self.background)(Box::pin(undo));
                    return Err(Refusal::store(&error));
                }
            }
        }
        Err(Refusal::in_progress())
    }

    /// What a record says of a payment that is presented, and of what its client calls what it is for.
    /// `unread`: its name, where the request that is so called has not been read yet.
    fn standing(
        &self,
        stored: &Stored,
        asked: Option<&Identified>,
        unread: Option<&str>,
    ) -> Result<Standing, Refusal> {
        let at_work = stored.age < self.lease;
        let entry = Entry::read(&stored.state).map_err(|error| Refusal::store(&error))?;
        if matches!(entry, Entry::Claimed { .. }) && !at_work {
            return Ok(Standing::Free);
        }
        if let (Some(by), Some(id)) = (entry.identified(), unread)
            && by.is(id)
        {
            return Ok(Standing::Unread);
        }
        if let (Some(by), Some(asked)) = (entry.identified(), asked)
            && by.contradicts(asked)
        {
            return Err(Refusal::identifier_taken());
        }
        match entry {
            Entry::Claimed { .. } => Err(Refusal::in_progress()),
            Entry::Held(held) if held.busy && at_work => Err(Refusal::in_progress()),
            Entry::Held(held) if held.identified.is_some() && held.identified.as_ref() != asked => {
                Err(Refusal::held_elsewhere())
            }
            Entry::Held(held) => Ok(Standing::Held(held)),
            Entry::Spent { identified: Some(by), answer } if Some(&by) == asked => match answer {
                Some(answer) => Ok(Standing::Answered(answer)),
                None => Err(Refusal::not_kept()),
            },
            Entry::Spent { .. } => Err(Refusal::spent()),
        }
    }
}

/// How long the record of a payment at work is kept without being renewed.
fn claimed_for(lease: Duration) -> Duration {
    lease + Duration::from_secs(MARGIN)
}

fn key(identity: &PaymentIdentity) -> Key {
    Key::new(SPACE, identity.key.clone())
}

/// What is known of a payment that takes nothing of what is offered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It is held, or bought what it is presented for by name: whatever is offered by now.
    Resumable,
    Spent,
    Otherwise,
}

/// What comes of presenting a payment.
pub(super) enum Taking {
    Claimed(Claim),
    /// It bought this answer, for who asks for the same by the same name.
    Answered(Box<KeptAnswer>),
    /// It is known by this name already: which request the name stands for must be read first.
    Unread(Box<Matched>),
}

/// What a client calls what it pays for.
pub(super) enum Naming {
    None,
    /// This, and the request that is so called has not been read yet: it is read when its payment was found good.
    Unread(String),
    /// This, and for how long at least that is to be known.
    Known(Identifier, Duration),
}

impl From<Option<(Identifier, Duration)>> for Naming {
    fn from(known: Option<(Identifier, Duration)>) -> Self {
        known.map_or(Self::None, |(identifier, keep_for)| Self::Known(identifier, keep_for))
    }
}

/// What a record says of a payment that is presented.
enum Standing {
    Free,
    Held(Box<Held>),
    Answered(Box<KeptAnswer>),
    Unread,
}

#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
