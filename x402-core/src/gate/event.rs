//! What happens to payments, told as it happens: for a ledger, and for counters.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::refusal::Refusal;
use crate::{
    address::Address,
    payment::{PaymentRequirements, Receipt, TransactionId},
};

/// A change in the state of a payment, told when the store has it, apart from [`Settled`](PaymentState::Settled): that is
/// told at once, and may be told again by whoever takes the payment up. So a ledger enters each state of a payment once.
///
/// What an instance does not live to tell is not told: the store and the chain know better than a stream of events.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PaymentEvent {
    /// Which payment: canonical, as [`PaymentIdentity`](crate::scheme::PaymentIdentity) has it.
    pub payment: String,
    /// What happened to it.
    pub state: PaymentState,
    /// Who pays.
    pub payer: Address,
    /// What was asked for.
    pub requirements: PaymentRequirements,
    /// What it was presented for: our origin, the method, path and query.
    pub request: String,
}

/// The state a payment came into.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PaymentState {
    /// It was presented, and nobody else is using it.
    Claimed,
    /// The facilitator says that it would settle.
    Verified,
    /// The facilitator is asked to settle it: from here on the money may have moved.
    Settling,
    /// A transaction is on its way, whose fate is not known.
    Pending(TransactionId),
    /// Whether the money moved is not known, nor by which transaction.
    Unresolved,
    /// The money moved.
    Settled(Receipt),
    /// The transaction failed, and nothing was charged. Another one may make the payment until it expires, so it is known
    /// that long, and is looked at when it is presented again.
    Failed(TransactionId),
    /// It bought its answer.
    Spent,
    /// The money moved, and nothing was served for it: an answer is owed.
    Owed,
    /// Nothing was charged, and it can be presented again.
    Released,
}

impl PaymentState {
    /// Its name, as counters have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Verified => "verified",
            Self::Settling => "settling",
            Self::Pending(_) => "pending",
            Self::Unresolved => "unresolved",
            Self::Settled(_) => "settled",
            Self::Failed(_) => "failed",
            Self::Spent => "spent",
            Self::Owed => "owed",
            Self::Released => "released",
        }
    }
}

type Listener = Arc<dyn Fn(&PaymentEvent) + Send + Sync>;

/// Who is told, in the order they were added.
#[derive(Clone, Default)]
pub(super) struct Listeners(Vec<Listener>);

impl Listeners {
    pub(super) fn push(&mut self, listener: impl Fn(&PaymentEvent) + Send + Sync + 'static) {
        self.0.push(Arc::new(listener));
    }

    pub(super) fn tell(&self, event: impl FnOnce() -> PaymentEvent, state: &PaymentState) {
        count("x402_payments_total", "state", state.name());
        if self.0.is_empty() {
            return;
        }
        let event = event();
        for listener in &self.0 {
            // It must change nothing about a payment.
            if catch_unwind(AssertUnwindSafe(|| listener(&event))).is_err() {
                tracing::error!(state = state.name(), "a listener to payments panicked");
            }
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listeners", self.0.len())
    }
}

/// Counts a refusal.
pub(super) fn refused(refusal: &Refusal) {
    count("x402_refusals_total", "why", refusal.name());
}

/// Counts an answer that was given again.
pub(super) fn replayed() {
    #[cfg(feature = "metrics")]
    metrics::counter!(REPLAYED).increment(1);
}

#[cfg(feature = "metrics")]
const REPLAYED: &str = "x402_replayed_answers_total";

/// Counts a request that a hook let pass although its payment had failed. Nothing else ever lets one pass.
pub(super) fn allowed_by_failure() {
    #[cfg(feature = "metrics")]
    metrics::counter!(ALLOWED_BY_FAILURE).increment(1);
}

#[cfg(feature = "metrics")]
const ALLOWED_BY_FAILURE: &str = "x402_allowed_by_failure_total";

/// Says what there will be to count, so that a counter that never rises is there, at zero.
pub(super) fn describe() {
    #[cfg(feature = "metrics")]
    {
        use metrics::{counter, describe_counter};
        describe_counter!("x402_payments_total", "Payments by the state they came into");
        describe_counter!("x402_refusals_total", "Refused requests by the reason");
        describe_counter!(REPLAYED, "Answers given again to who asked for the same, paid for once");
        describe_counter!(
            ALLOWED_BY_FAILURE,
            "Requests that a hook let pass although their payment had failed"
        );
        counter!(ALLOWED_BY_FAILURE).increment(0);
    }
}

#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "nobody counts"))]
fn count(counter: &'static str, label: &'static str, value: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(counter, label => value).increment(1);
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, atomic::AtomicU64, atomic::Ordering},
    };

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;

    /// Keeps what is counted, by name and labels.
    #[derive(Default)]
    struct Counted(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder for Counted {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
            let name = format!("{} {}", key.name(), labels.join(" "));
            Counter::from_arc(self.0.lock().expect("nobody panics").entry(name).or_default().clone())
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn what_happens_is_counted_and_what_never_happens_is_there_at_zero() {
        let counted = Counted::default();
        metrics::with_local_recorder(&counted, || {
            describe();
            let nobody = Listeners::default();
            for _ in 0..2 {
                nobody.tell(|| unreachable!("nobody listens"), &PaymentState::Spent);
            }
            refused(&Refusal::spent());
        });
        let counted = counted.0.into_inner().unwrap();
        let counts: Vec<_> =
            counted.iter().map(|(name, count)| (name.as_str(), count.load(Ordering::Relaxed))).collect();
        assert_eq!(
            counts,
            [
                ("x402_allowed_by_failure_total ", 0),
                ("x402_payments_total spent", 2),
                ("x402_refusals_total spent", 1),
            ]
        );
    }
}
