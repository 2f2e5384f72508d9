//! What a client names is charged once: identifiers are bound to payments.
//!
//! An identifier has a record of its own, which names the payment it was last presented with, and stands for as long as
//! that payment's own record says so: while somebody is at work on it, while its money may have moved, and when it bought
//! its answer. So the payment's record alone says what becomes of both, in one swap, and there is nothing to be undone
//! where an instance is killed in between.
//!
//! Whoever wants to settle has claimed their payment first, and written the identifier's record after that. Whoever finds
//! another payment there asks for that payment's record, which comes later than the identifier's that was seen: if nobody
//! is at work on it any more, its claim is taken from whoever may still think so, and then the identifier is swapped from
//! what was seen. Had somebody claimed the other payment meanwhile, they would have written the identifier again, and the
//! swap is lost. So of any number of payments for one identifier, on any number of instances, one is settled.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ATTEMPTS, Claims, HELD_FOR, Unwritten,
    entry::{Debt, Entry},
};
use crate::{
    extension::payment_identifier::PaymentId,
    gate::refusal::Refusal,
    store::{ClaimStore, Key, Record, Stamp, StoreError, Stored, Swapped},
};

/// Where the records of identifiers are.
const SPACE: &str = "gate-ids";
/// How long such a record is kept at first: longer than that of any payment, for which it stands.
const KEEP: Duration = Duration::from_secs(HELD_FOR.as_secs() + 24 * 60 * 60);

/// What a client names: a request, at our origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Identifier {
    /// Two services that share a store have their own.
    id: String,
    /// A digest of the request that is named.
    request: String,
}

impl Identifier {
    pub(in super::super) fn new(origin: &str, id: &PaymentId, request: String) -> Self {
        Self { id: Self::id(origin, id), request }
    }

    /// The name, as records have it.
    pub(in super::super) fn id(origin: &str, id: &PaymentId) -> String {
        format!("{origin} {}", id.as_str())
    }
}

/// A request, by its client's name for it, and the payment it came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identified {
    #[serde(flatten)]
    identifier: Identifier,
    /// The fingerprint of the payment: its key can be read off the chain.
    fingerprint: String,
}

impl Identified {
    pub(super) fn new(identifier: Identifier, fingerprint: String) -> Self {
        Self { identifier, fingerprint }
    }

    pub(super) fn is(&self, id: &str) -> bool {
        self.identifier.id == id
    }

    /// Whether it has the same name, and is something else.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        self.is(&other.identifier.id) && self != other
    }

    fn key(&self) -> Key {
        Key::new(SPACE, self.identifier.id.clone())
    }
}

/// What the record of an identifier says.
#[derive(PartialEq, Serialize, Deserialize)]
struct Binding {
    /// The key of the payment.
    payment: String,
    identified: Identified,
}

impl Binding {
    fn write(&self) -> String {
        serde_json::to_string(self).expect("a binding is JSON")
    }

    fn read(state: &str) -> Result<Self, StoreError> {
        serde_json::from_str(state).map_err(|error| {
            let column = error.column();
            StoreError::corrupt(format_args!("what an identifier is bound to, up to column {column}"))
        })
    }
}

/// An identifier, bound to the payment of a claim.
#[derive(Clone)]
pub(super) struct Bound {
    pub(super) identified: Identified,
    payment: String,
    stamp: Stamp,
    /// How long at least it is known that it was paid for.
    pub(super) keep_for: Duration,
}

impl Bound {
    pub(super) fn new(identified: Identified, payment: &Key, keep_for: Duration) -> Self {
        Self { identified, payment: payment.id.clone(), stamp: Stamp::new(), keep_for }
    }

    fn state(&self) -> String {
        let Self { payment, identified, .. } = self;
        Binding { payment: payment.clone(), identified: identified.clone() }.write()
    }

    /// Its payment bought its answer, which is known for so long: so is this.
    pub(super) async fn keep(self, claims: &Claims, keep: Duration) {
        let record = Record { stamp: Stamp::new(), state: self.state(), open: false, keep };
        // Without it, it is kept for longer.
        let _ = claims.store.swap(&self.identified.key(), Some(self.stamp), Some(record)).await;
    }

    /// Its payment was released.
    pub(super) async fn release(self, claims: &Claims) {
        // Without it, it binds to a payment that nobody is at work on, which binds nobody.
        let _ = claims.store.swap(&self.identified.key(), Some(self.stamp), None).await;
    }
}

impl Claims {
    /// Binds an identifier to a payment that was claimed here; an error if it stands for another, or for another request.
    pub(super) async fn bind(&self, bound: &Bound) -> Result<(), Refusal> {
        let (key, state) = (bound.identified.key(), bound.state());
        let mut found: Option<Stored> = None;
        for _ in 0..=ATTEMPTS {
            let seen = match &found {
                Some(stored) => {
                    let other = Binding::read(&stored.state).map_err(|error| Refusal::store(&error))?;
                    if other.payment != bound.payment && self.stands(&other).await? {
                        return Err(Refusal::identifier_taken());
                    }
                    Some(stored.stamp)
                }
                None => None,
            };
            match self.swap(&key, seen, bound.stamp, &state, KEEP).await {
                Ok(()) => return Ok(()),
                Err(Unwritten::Lost(now)) => found = now,
                // If it was written after all, it binds to a payment that nobody is at work on.
                Err(Unwritten::Store(error)) => return Err(Refusal::store(&error)),
            }
        }
        Err(Refusal::in_progress())
    }

    /// Whether this name stands for another payment than that of this key.
    pub(super) async fn is_bound_elsewhere(&self, id: &str, payment: &Key) -> Result<bool, Refusal> {
        let key = Key::new(SPACE, id);
        let Some(stored) = self.load(&key).await.map_err(|error| Refusal::store(&error))? else {
            return Ok(false);
        };
        let binding = Binding::read(&stored.state).map_err(|error| Refusal::store(&error))?;
        Ok(binding.payment != payment.id && self.stands(&binding).await?)
    }

    /// Whether a binding says something still, by the record of its payment. Where somebody who is not at work any more
    /// holds that, they lose it here.
    async fn stands(&self, binding: &Binding) -> Result<bool, Refusal> {
        let key = Key::new(super::SPACE, binding.payment.clone());
        let Some(stored) = self.load(&key).await.map_err(|error| Refusal::store(&error))? else {
            return Ok(false);
        };
        let entry = Entry::read(&stored.state).map_err(|error| Refusal::store(&error))?;
        if !entry.identified().is_some_and(|by| by.is(&binding.identified.identifier.id)) {
            return Ok(false);
        }
        match entry {
            Entry::Claimed { .. } if stored.age >= self.lease => {
                match self.store.swap(&key, Some(stored.stamp), None).await {
                    Ok(Swapped::Done) => Ok(false),
                    Ok(Swapped::Lost(_)) => Ok(true),
                    Err(error) => Err(Refusal::store(&error)),
                }
            }
            // What was not charged leaves its name to others. Whoever takes it up again binds the name again, too.
            Entry::Held(held) if !held.busy && matches!(held.debt, Debt::Failed(_)) => Ok(false),
            Entry::Claimed { .. } | Entry::Held(_) | Entry::Spent { .. } => Ok(true),
        }
    }
}
