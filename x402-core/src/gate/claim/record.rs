//! The record of a claim in its store: read, written, renewed and taken away.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::sync::{Mutex, oneshot};

use super::{ATTEMPTS, Claims, Refusal, entry::Entry};
use crate::{
    gate::event::PaymentEvent,
    store::{ClaimStore, Key, Record, Stamp, StoreError, StoreErrorKind, Stored, Swapped},
};

/// How often a record is renewed in one lease.
pub(super) const RENEWALS: u32 = 3;
/// How many of them at once.
const RENEWED_AT_ONCE: usize = 64;

/// The record of a claim, as it was written last.
pub(super) struct Written {
    pub(super) key: Key,
    pub(super) stamp: Stamp,
    /// `None`: it is to be taken away.
    pub(super) state: Option<String>,
    pub(super) keep: Duration,
    /// The stamps of what may have been written since.
    pub(super) tried: Vec<Stamp>,
    /// The state is the one that the claim ended in, and is still to be written; and then this is to be told.
    pub(super) last: Option<PaymentEvent>,
}

impl Written {
    /// Whether what is there was written for this claim: the answer to an earlier write was lost.
    fn finds_its_own(&mut self, found: Option<&Stored>) -> bool {
        let Some(at) = found.and_then(|found| self.tried.iter().position(|tried| *tried == found.stamp))
        else {
            return false;
        };
        self.stamp = self.tried.swap_remove(at);
        true
    }
}

/// What came of writing.
pub(super) enum Unwritten {
    /// Another has the payment by now.
    Lost(Option<Stored>),
    Store(StoreError),
}

impl Claims {
    /// Renews what is at work, until these claims are gone.
    pub(in super::super) async fn keep_renewing(this: Weak<Self>, lease: Duration) {
        loop {
            tokio::time::sleep(lease / RENEWALS).await;
            let Some(claims) = this.upgrade() else { return };
            claims.renew().await;
        }
    }

    /// All at once, so that none waits for the others, nor all for one that is slow.
    pub(super) async fn renew(&self) {
        let live: Vec<_> = self.live().iter().map(|(serial, written)| (*serial, written.clone())).collect();
        let renewals = live.into_iter().map(|(serial, written)| self.renew_one(serial, written));
        stream::iter(renewals).for_each_concurrent(RENEWED_AT_ONCE, |renewal| renewal).await;
    }

    async fn renew_one(&self, serial: u64, written: Arc<Mutex<Written>>) {
        let mut written = written.lock().await;
        if !self.live().contains_key(&serial) {
            return;
        }
        let outcome = match written.state.clone() {
            Some(state) => {
                let keep = written.keep;
                self.rewrite(&mut written, state, keep).await
            }
            None => self.remove(&mut written).await,
        };
        match outcome {
            Ok(()) => {
                if let Some(event) = written.last.take() {
                    self.live().remove(&serial);
                    let state = event.state.clone();
                    self.listeners.tell(|| event, &state);
                }
            }
            Err(Unwritten::Lost(_)) => {
                if written.last.is_some() {
                    self.live().remove(&serial);
                }
                tracing::error!(
                    payment = written.key.id,
                    "another instance took up a payment in work here: it was not renewed in time"
                );
            }
            Err(Unwritten::Store(error)) => {
                tracing::warn!(%error, "a payment in work could not be renewed");
            }
        }
    }

    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<u64, Arc<Mutex<Written>>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        let (store, key) = (self.store.clone(), key.clone());
        let found = self.detached(async move {
            let mut attempt = 1;
            loop {
                match store.load(&key).await {
                    Err(error) if is_passing(&error) && attempt < ATTEMPTS => attempt += 1,
                    answer => return answer,
                }
            }
        });
        found.await.unwrap_or_else(|| Err(StoreError::unavailable("its runtime has ended")))
    }

    pub(super) async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        stamp: Stamp,
        state: &str,
        keep: Duration,
    ) -> Result<(), Unwritten> {
        let mut attempt = 1;
        loop {
            let record = Record { stamp, state: state.to_owned(), open: false, keep };
            match self.store.swap(key, seen, Some(record)).await {
                Ok(Swapped::Done) => return Ok(()),
                Ok(Swapped::Lost(found)) => return Err(Unwritten::Lost(found)),
                Err(error) if is_passing(&error) && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(Unwritten::Store(error)),
            }
        }
    }

    /// Writes the next state of a claim.
    pub(super) async fn rewrite(
        &self,
        written: &mut Written,
        state: String,
        keep: Duration,
    ) -> Result<(), Unwritten> {
        let stamp = Stamp::new();
        // Before it is, since whoever waits for it may go away.
        written.tried.push(stamp);
        loop {
            match self.swap(&written.key, Some(written.stamp), stamp, &state, keep).await {
                Ok(()) => {
                    let (key, state, last) = (written.key.clone(), Some(state), written.last.take());
                    *written = Written { key, stamp, state, keep, tried: Vec::new(), last };
                    return Ok(());
                }
                Err(Unwritten::Lost(found)) if written.finds_its_own(found.as_ref()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the record of a claim away.
    pub(super) async fn remove(&self, written: &mut Written) -> Result<(), Unwritten> {
        let mut attempt = 1;
        loop {
            match self.store.swap(&written.key, Some(written.stamp), None).await {
                // Whoever had it since is done, and has let it go, too.
                Ok(Swapped::Done | Swapped::Lost(None)) => return Ok(()),
                Ok(Swapped::Lost(found)) if written.finds_its_own(found.as_ref()) => {}
                Ok(Swapped::Lost(found)) => return Err(Unwritten::Lost(found)),
                Err(error) if is_passing(&error) && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(Unwritten::Store(error)),
            }
        }
    }

    /// Does it, whether or not somebody still waits for it, and in the gate's runtime: what a store has open there must not
    /// depend on a worker of the framework's, which may be busy, or end.
    pub(super) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        (self.background)(Box::pin(async move {
            let _ = tell.send(work.await); // whoever waited may have gone
        }));
        told.await.ok()
    }
}

/// Whether it may help to ask again.
fn is_passing(error: &StoreError) -> bool {
    error.kind() == StoreErrorKind::Unavailable
}

impl Unwritten {
    pub(super) fn refusal(&self, trouble: impl FnOnce(&StoreError) -> Refusal) -> Refusal {
        match self {
            Self::Store(error) => trouble(error),
            Self::Lost(found) => match found.as_ref().map(|found| Entry::read(&found.state)) {
                // Who named it is given the answer when it comes again.
                Some(Ok(Entry::Spent { identified: None, .. })) => Refusal::spent(),
                _ => Refusal::in_progress(),
            },
        }
    }
}
