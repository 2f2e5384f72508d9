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
mod patient;
mod place;
mod record;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Mutex;

use self::{
    entry::{Debt, Entry, Held},
    identified::{Bound, Identified},
    record::{Unwritten, Written},
};
pub(super) use self::{identified::Identifier, kept::KeptAnswer, patient::Patient, place::Place};
use super::{
    event::{Listeners, PaymentEvent, PaymentState},
    offer::Matched,
    refusal::Refusal,
};
use crate::{
    BoxFuture,
    address::Address,
    failpoint::failpoint,
    payment::{Payment, PendingSettlement, Reason, Receipt},
    scheme::PaymentIdentity,
    store::{AnyClaimStore, ClaimStore, Key, Record, Stamp, StoreError, StoreErrorKind, Stored},
};

/// Where the records are.
const SPACE: &str = "gate";
/// How long a spent payment is remembered at most. By then the chain itself knows that it is spent.
const SPENT_FOR: u64 = 24 * 60 * 60;
/// How long it is remembered after its payment expired, and a claim after its lease.
const MARGIN: u64 = 600;
/// How long an answer is owed.
const HELD_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often a client may go away from what it paid for first and named, and be served when it is back: each time the
/// handler has run.
const MOST_LEFT: u8 = 3;
/// How often a store is asked whose answer did not come: what is written bears a stamp, and is written once.
const ATTEMPTS: usize = 3;

/// The claims of a gate.
pub(super) struct Claims {
    store: AnyClaimStore,
    /// How long a record stands for somebody at work.
    lease: Duration,
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
        listeners: Listeners,
        background: Background,
    ) -> Arc<Self> {
        Arc::new(Self { store, lease, listeners, background, live: Default::default() })
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

    /// Claims a payment, or says why it cannot be had. `identifier`: what its client calls what it is for, and for how
    /// long that is to be known.
    pub(super) async fn take(
        self: &Arc<Self>,
        matched: Matched,
        place: Place,
        identifier: Option<(Identifier, Duration)>,
    ) -> Result<Taking, Refusal> {
        let (payment, identity) = matched.into_parts();
        self.take_as(payment, identity, place, identifier).await
    }

    /// A client that goes away meanwhile leaves no claim behind.
    async fn take_as(
        self: &Arc<Self>,
        payment: Option<Box<Payment>>,
        identity: PaymentIdentity,
        place: Place,
        identifier: Option<(Identifier, Duration)>,
    ) -> Result<Taking, Refusal> {
        let this = self.clone();
        let claim = self.detached(async move { this.claim_as(payment, identity, place, identifier).await });
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
            Taking::Answered(_) => unreachable!("nobody named it"),
        }
    }

    async fn claim_as(
        self: &Arc<Self>,
        payment: Option<Box<Payment>>,
        identity: PaymentIdentity,
        place: Place,
        identifier: Option<(Identifier, Duration)>,
    ) -> Result<Taking, Refusal> {
        let store_failed = |error: StoreError| Refusal::store(&error);
        let key = key(&identity);
        let bound = identifier.map(|(identifier, keep_for)| {
            Bound::new(Identified::new(identifier, identity.fingerprint.clone()), &key, keep_for)
        });
        let identified = bound.as_ref().map(|bound| &bound.identified);
        let mut found = match payment {
            Some(_) => None,
            None => self.load(&key).await.map_err(store_failed)?,
        };
        let mut was_named = false;
        // Whoever lost to somebody who is done by now has another chance.
        for _ in 0..ATTEMPTS {
            let seen = found.as_ref().map(|found| found.stamp);
            let held = match found.as_ref().map(|stored| self.standing(stored, identified)).transpose()? {
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
                    let taken = Taken { payment, fingerprint, payer, place, bound, left: 0, after };
                    let entry = Entry::Claimed { identified: identified.cloned() };
                    (taken, entry, self.lease + Duration::from_secs(MARGIN))
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
                    let Held { fingerprint, payer, place, debt, left, .. } = (*held).clone();
                    let (bound, after) = (bound.clone(), After::Held(debt));
                    // It stays held for where it was first presented.
                    let taken = Taken { payment, fingerprint, payer, place, bound, left, after };
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
    fn standing(&self, stored: &Stored, asked: Option<&Identified>) -> Result<Standing, Refusal> {
        let at_work = stored.age < self.lease;
        let entry = Entry::read(&stored.state).map_err(|error| Refusal::store(&error))?;
        if matches!(entry, Entry::Claimed { .. }) && !at_work {
            return Ok(Standing::Free);
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
}

/// What a record says of a payment that is presented.
enum Standing {
    Free,
    Held(Box<Held>),
    Answered(Box<KeptAnswer>),
}

/// What a claim is taken with.
struct Taken {
    /// As it was first presented.
    payment: Box<Payment>,
    fingerprint: String,
    payer: Address,
    place: Place,
    /// What its client calls what it is for.
    bound: Option<Bound>,
    /// How often its client has gone away from what was charged before.
    left: u8,
    after: After,
}

/// What becomes of a payment whose claim ends.
enum After {
    Released,
    Held(Debt),
    /// Held if the handler failed, or its client went away and has a name for it. Otherwise spent: going away would be a
    /// way to run the handler again and again.
    Served(Receipt),
    /// Spent, and who asks for the same by its name is given this.
    Answered(KeptAnswer),
}

/// The right to use a payment, until it ends. Dropped, it ends without anybody waiting for it.
pub(super) struct Claim(Option<Box<Open>>);

/// A claim that has not ended.
struct Open {
    claims: Arc<Claims>,
    serial: u64,
    key: Key,
    written: Arc<Mutex<Written>>,
    taken: Taken,
    /// When the payment can no longer be settled.
    expires_at: u64,
    verified: bool,
}

impl Claim {
    fn new(claims: Arc<Claims>, written: Written, taken: Taken, expires_at: u64) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let serial = LAST.fetch_add(1, Ordering::Relaxed);
        let (key, written) = (written.key.clone(), Arc::new(Mutex::new(written)));
        claims.live().insert(serial, written.clone());
        let open = Open { claims, serial, key, written, taken, expires_at, verified: false };
        open.tell(PaymentState::Claimed);
        Self(Some(Box::new(open)))
    }

    /// What its client calls what it is for is bound to it, and to no other payment.
    /// If it was held without a name, it stays so where the name is taken.
    async fn bind(mut self, was_named: bool) -> Result<Self, Refusal> {
        let open = self.open_mut();
        let Some(bound) = &open.taken.bound else { return Ok(self) };
        match open.claims.bind(bound).await {
            Ok(()) => Ok(self),
            Err(refusal) => {
                if !was_named {
                    open.taken.bound = None;
                }
                self.end().await;
                Err(refusal)
            }
        }
    }

    /// Whether its client named what it is for, so that its answer is to be kept.
    pub(super) fn is_identified(&self) -> bool {
        self.open().taken.bound.is_some()
    }

    fn open(&self) -> &Open {
        self.0.as_deref().expect("a claim is open until it ends")
    }

    fn open_mut(&mut self) -> &mut Open {
        self.0.as_deref_mut().expect("a claim is open until it ends")
    }

    pub(super) fn payment(&self) -> &Payment {
        &self.open().taken.payment
    }

    pub(super) fn payer(&self) -> &Address {
        &self.open().taken.payer
    }

    /// Whether its settlement was begun before, and must be ended before anything is served for it.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.open().taken.after, After::Held(_))
    }

    /// The transaction of its settlement, if that is known to have failed.
    pub(super) fn has_failed(&self) -> Option<&PendingSettlement> {
        match &self.open().taken.after {
            After::Held(Debt::Failed(failed)) => Some(failed),
            _ => None,
        }
    }

    /// The settlement that was made before, and nothing served for.
    pub(super) fn unserved(&self) -> Option<&Receipt> {
        match &self.open().taken.after {
            After::Held(Debt::Unserved(receipt)) => Some(receipt),
            _ => None,
        }
    }

    /// The transaction to watch, if one is known.
    pub(super) fn pending(&self) -> Option<&PendingSettlement> {
        match &self.open().taken.after {
            After::Held(Debt::Unresolved(pending)) => pending.as_ref(),
            _ => None,
        }
    }

    /// It would settle, as far as can be known; `payer` is who pays.
    pub(super) fn verified(&mut self, payer: Address) {
        let open = self.open_mut();
        open.verified = true;
        open.taken.payer = payer;
        open.tell(PaymentState::Verified);
    }

    /// The settlement begins: from here on the money may have moved. Where that cannot be written, it must not.
    pub(super) async fn settling(&mut self) -> Result<(), Refusal> {
        let debt = Debt::Unresolved(None);
        failpoint("gate-settling");
        self.write_held(&debt).await.map_err(|error| error.refusal(Refusal::store))?;
        failpoint("gate-held");
        let open = self.open_mut();
        open.taken.after = After::Held(debt);
        open.tell(PaymentState::Settling);
        Ok(())
    }

    /// The same after this transaction has failed.
    pub(super) async fn settling_again(&mut self, failed: PendingSettlement) -> Result<(), Refusal> {
        let debt = Debt::Unresolved(Some(failed));
        self.write_held(&debt).await.map_err(|error| error.refusal(Refusal::store))?;
        self.open_mut().taken.after = After::Held(debt);
        Ok(())
    }

    /// The transaction that may move the money.
    pub(super) async fn sent(&mut self, pending: PendingSettlement) {
        let debt = Debt::Unresolved(Some(pending));
        // Without it, its facilitator is asked all the same.
        let _ = self.write_held(&debt).await;
        failpoint("gate-pending");
        self.open_mut().taken.after = After::Held(debt);
    }

    /// The transaction failed. Nothing is settled for it any more unless it is asked for: it is looked at again then.
    pub(super) fn failed(&mut self, failed: PendingSettlement) {
        self.open_mut().taken.after = After::Held(Debt::Failed(failed));
    }

    /// The money surely did not move, and nobody has seen what could move it.
    pub(super) fn released(&mut self) {
        self.open_mut().taken.after = After::Released;
    }

    /// The money moved, and its answer takes a while: whoever takes this up knows that much.
    pub(super) async fn answering(&self, receipt: Receipt) {
        // Without it, its facilitator is asked once more.
        let _ = self.write_held(&Debt::Unserved(receipt)).await;
    }

    /// The money moved, and an answer is owed for it.
    pub(super) fn settled(&mut self, receipt: Receipt) {
        let open = self.open_mut();
        open.tell(PaymentState::Settled(receipt.clone()));
        open.taken.after = After::Held(Debt::Unserved(receipt));
    }

    /// The money moved, and the handler is to run. Where that cannot be written, it must not: its client could go away
    /// and come again.
    pub(super) async fn serving(&mut self, receipt: Receipt) -> Result<(), Refusal> {
        let debt = Debt::Unserved(receipt.clone());
        self.write_held(&debt).await.map_err(|error| error.refusal(Refusal::unserved))?;
        failpoint("gate-serving");
        self.open_mut().taken.after = After::Served(receipt);
        Ok(())
    }

    /// The handler failed: the answer is owed.
    pub(super) fn owed(&mut self, receipt: Receipt) {
        self.open_mut().taken.after = After::Held(Debt::Unserved(receipt));
    }

    #[cfg(test)]
    async fn spend(self) -> Result<(), Refusal> {
        self.spend_on(None).await
    }

    /// The answer is to leave. Where that cannot be written, it must not: it could be had again. What is kept of it is
    /// written with that.
    pub(super) async fn spend_on(mut self, mut answer: Option<KeptAnswer>) -> Result<(), Refusal> {
        let mut open = self.0.take().expect("a claim is open until it ends");
        let claims = open.claims.clone();
        let spent = claims.detached(async move {
            let keep = open.spent_for();
            let mut written = open.written.clone().lock_owned().await;
            failpoint("gate-spending");
            let mut outcome = open.claims.rewrite(&mut written, open.spent(answer.clone()), keep).await;
            if let Err(Unwritten::Store(error)) = &outcome
                && error.kind() == StoreErrorKind::Full
                && answer.take().is_some()
            {
                tracing::warn!(%error, "an answer is not kept for who asks for it again");
                outcome = open.claims.rewrite(&mut written, open.spent(None), keep).await;
            }
            drop(written);
            match outcome {
                Ok(()) => {
                    failpoint("gate-spent");
                    open.close();
                    open.tell(PaymentState::Spent);
                    open.let_go_of_identifier(Some(keep));
                    Ok(())
                }
                Err(lost @ Unwritten::Lost(_)) => {
                    open.close();
                    Err(lost.refusal(Refusal::unserved))
                }
                Err(Unwritten::Store(error)) => {
                    match answer {
                        Some(answer) => open.taken.after = After::Answered(answer),
                        None => open.owe(),
                    }
                    open.conclude().await;
                    Err(Refusal::unserved(&error))
                }
            }
        });
        spent.await.unwrap_or_else(|| Err(Refusal::unknown(None)))
    }

    /// Ends as it stands, and waits until that is written.
    pub(super) async fn end(self) {
        self.close().await;
    }

    /// Ends with this refusal. Where another instance has the payment by now, what came of it here says nothing of it, and
    /// it may be settled: then it is refused as one that others are at, or that is spent.
    pub(super) async fn refused(self, refusal: Refusal) -> Refusal {
        match self.close().await {
            Some(lost) => lost.refusal(Refusal::store),
            None => refusal,
        }
    }

    async fn close(mut self) -> Option<Unwritten> {
        let open = self.0.take().expect("a claim is open until it ends");
        let claims = open.claims.clone();
        claims.detached(open.conclude()).await.flatten()
    }

    async fn write_held(&self, debt: &Debt) -> Result<(), Unwritten> {
        let open = self.open();
        let (claims, written) = (open.claims.clone(), open.written.clone());
        let state = open.held(debt, true).write();
        let work = async move { claims.rewrite(&mut *written.lock().await, state, HELD_FOR).await };
        let ended = || Err(Unwritten::Store(StoreError::unavailable("its runtime has ended")));
        open.claims.detached(work).await.unwrap_or_else(ended)
    }
}

impl Open {
    fn held(&self, debt: &Debt, busy: bool) -> Entry {
        let Taken { payment, fingerprint, payer, place, left, .. } = &self.taken;
        let Payment { payload, requirements } = Payment::clone(payment);
        Entry::Held(Box::new(Held {
            busy,
            debt: debt.clone(),
            fingerprint: fingerprint.clone(),
            identified: self.identified(),
            payer: payer.clone(),
            place: place.clone(),
            left: *left,
            payload,
            requirements,
        }))
    }

    fn spent(&self, answer: Option<KeptAnswer>) -> String {
        Entry::Spent { identified: self.identified(), answer: answer.map(Box::new) }.write()
    }

    fn identified(&self) -> Option<Identified> {
        self.taken.bound.as_ref().map(|bound| bound.identified.clone())
    }

    /// Until the payment can surely not be settled any more, within reason.
    fn until_expired(&self) -> Duration {
        let left = (self.expires_at.saturating_add(MARGIN)).saturating_sub(now());
        Duration::from_secs(left.clamp(1, SPENT_FOR + MARGIN))
    }

    fn spent_for(&self) -> Duration {
        let left = self.expires_at.saturating_sub(now());
        let spent = Duration::from_secs(left.min(SPENT_FOR) + MARGIN);
        self.taken.bound.as_ref().map_or(spent, |bound| spent.max(bound.keep_for))
    }

    /// What its client calls what it was for is free again, or kept for so long. Nobody has to wait for that: it is
    /// what the payment's record says.
    fn let_go_of_identifier(&self, keep: Option<Duration>) {
        let Some(bound) = self.taken.bound.clone() else { return };
        let claims = self.claims.clone();
        (self.claims.background)(Box::pin(async move {
            match keep {
                Some(keep) => bound.keep(&claims, keep).await,
                None => bound.release(&claims).await,
            }
        }));
    }

    /// What was to be served is owed.
    fn owe(&mut self) {
        if let After::Served(receipt) = &self.taken.after {
            self.taken.after = After::Held(Debt::Unserved(receipt.clone()));
        }
    }

    /// It is not to be renewed any more.
    fn close(&self) {
        self.claims.live().remove(&self.serial);
    }

    /// Ends it, and tells if another has the payment by now.
    async fn conclude(self: Box<Self>) -> Option<Unwritten> {
        self.close();
        let mut written = self.written.lock().await;
        let (state, entry, keep) = match &self.taken.after {
            After::Released => {
                if self.verified {
                    tracing::info!(
                        payer = %self.taken.payer, "a payment was verified and not settled; it is released"
                    );
                }
                let released = self.claims.remove(&mut written).await;
                match &released {
                    Ok(()) => self.let_go_of_identifier(None),
                    // Who has the payment has what it is called, be it that this claim has written that last.
                    Err(Unwritten::Lost(_)) => {}
                    Err(Unwritten::Store(_)) => {
                        (written.state, written.last) = (None, Some(self.event(PaymentState::Released)));
                        self.claims.live().insert(self.serial, self.written.clone());
                    }
                }
                drop(written);
                return self.concluded(PaymentState::Released, released);
            }
            After::Served(_) => (PaymentState::Spent, self.spent(None), self.spent_for()),
            After::Answered(answer) => {
                (PaymentState::Spent, self.spent(Some(answer.clone())), self.spent_for())
            }
            After::Held(debt) => {
                let (state, keep) = match debt {
                    Debt::Unserved(_) => (PaymentState::Owed, HELD_FOR),
                    Debt::Unresolved(Some(PendingSettlement { transaction, .. })) => {
                        (PaymentState::Pending(transaction.clone()), HELD_FOR)
                    }
                    Debt::Unresolved(None) => (PaymentState::Unresolved, HELD_FOR),
                    Debt::Failed(PendingSettlement { transaction, .. }) => {
                        (PaymentState::Failed(transaction.clone()), self.until_expired())
                    }
                };
                (state, self.held(debt, false).write(), keep)
            }
        };
        let outcome = self.claims.rewrite(&mut written, entry.clone(), keep).await;
        if let (Ok(()), After::Served(_) | After::Answered(_)) = (&outcome, &self.taken.after) {
            self.let_go_of_identifier(Some(keep));
        }
        if let Err(Unwritten::Store(_)) = &outcome {
            // That it is spent may be what was written last, and no lease would end that.
            let event = self.event(state.clone());
            (written.state, written.keep, written.last) = (Some(entry), keep, Some(event));
            self.claims.live().insert(self.serial, self.written.clone());
        }
        drop(written);
        self.concluded(state, outcome)
    }

    fn concluded(&self, state: PaymentState, outcome: Result<(), Unwritten>) -> Option<Unwritten> {
        match outcome {
            Ok(()) => self.tell(state),
            Err(lost @ Unwritten::Lost(_)) => {
                tracing::error!(payment = self.key.id, "another instance took up a payment in work here");
                return Some(lost);
            }
            Err(Unwritten::Store(error)) => {
                let state = state.name();
                tracing::error!(%error, state, "the end of a claim could not be written yet");
            }
        }
        None
    }

    fn tell(&self, state: PaymentState) {
        self.claims.listeners.tell(|| self.event(state.clone()), &state);
    }

    fn event(&self, state: PaymentState) -> PaymentEvent {
        PaymentEvent {
            payment: self.key.id.clone(),
            state,
            payer: self.taken.payer.clone(),
            requirements: self.taken.payment.requirements.clone(),
            request: self.taken.place.request().to_owned(),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(mut open) = self.0.take() else { return };
        let named = open.taken.bound.is_some() && open.taken.left < MOST_LEFT;
        if named && matches!(open.taken.after, After::Served(_)) {
            open.taken.left += 1;
        }
        if thread::panicking() || named {
            open.owe();
        }
        let claims = open.claims.clone();
        let end = async move {
            open.conclude().await; // nobody is there to be told
        };
        (claims.background)(Box::pin(end));
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
