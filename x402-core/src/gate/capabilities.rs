//! What the facilitator can do, kept fresh in the background: never asked on a request's way.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::status::{Trouble, Unsupported};
use crate::{
    facilitator::{AnyFacilitator, Facilitator, FacilitatorError, FacilitatorErrorKind},
    network::Network,
    payment::{Supported, Version},
};

const REFRESH_EVERY: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

/// What is known, and since which change of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) epoch: u64,
    pub(super) supported: Supported,
}

/// The latest answer of `/supported`, and the task that asks for it. The task ends with this.
pub(super) struct Capabilities {
    shared: Arc<Shared>,
    /// Counts the answers, and the failures to answer.
    asked: watch::Receiver<u64>,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    known: ArcSwapOption<Known>,
    /// The ways to pay of all charges.
    needed: Mutex<BTreeSet<Needed>>,
    /// Since when the facilitator does not answer, and why.
    trouble: Mutex<Option<Trouble>>,
    /// Something speaks against what is known: a call failed, or a charge needs more.
    doubt: Arc<Notify>,
}

/// A way to pay of a charge, and whether version 1 has words for it and is spoken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Needed {
    way: Unsupported,
    in_v1: bool,
}

impl Needed {
    fn is_missing(&self, supported: &Supported) -> bool {
        let Unsupported { scheme, network } = &self.way;
        let kind = |version| supported.kind(version, scheme, network);
        kind(Version::V2).is_none() && (!self.in_v1 || kind(Version::V1).is_none())
    }
}

impl Capabilities {
    /// Starts asking. Needs a Tokio runtime.
    pub(super) fn watch(facilitator: AnyFacilitator, runtime: &tokio::runtime::Handle) -> Self {
        let shared = Arc::new(Shared::default());
        let (tell, asked) = watch::channel(0);
        let task = runtime.spawn(keep_fresh(facilitator, shared.clone(), tell)).abort_handle();
        Self { shared, asked, task }
    }

    /// What is known, if anything is.
    pub(super) fn get(&self) -> Option<Arc<Known>> {
        self.shared.known.load_full()
    }

    /// A charge is paid in this way, in version 2 or, `in_v1`, in either. Where the facilitator is known not to settle it,
    /// that is said at once.
    pub(super) fn need(&self, scheme: &str, network: &Network, in_v1: bool) {
        let way = Unsupported { scheme: scheme.to_owned(), network: network.clone() };
        let needed = Needed { way: way.clone(), in_v1 };
        let is_new = lock(&self.shared.needed).insert(needed.clone());
        // Asked for after it was inserted: whoever learns of more meanwhile sees it there.
        let is_missing = self.get().is_some_and(|known| needed.is_missing(&known.supported));
        if is_new && is_missing {
            say_missing(&[way]);
            self.shared.doubt.notify_one();
        }
    }

    /// Told when the facilitator did not answer: it is asked soon what it supports.
    pub(super) fn doubt(&self) -> Arc<Notify> {
        self.shared.doubt.clone()
    }

    /// Since when the facilitator does not answer, and why.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        lock(&self.shared.trouble).clone()
    }

    /// The ways to pay of the charges that the facilitator does not settle, once it told what it settles.
    pub(super) fn missing(&self) -> Vec<Unsupported> {
        self.shared.missing()
    }

    /// Waits until the facilitator answers, and settles in all the ways that charges are paid in.
    pub(super) async fn ready(&self) {
        let is_ready =
            |_: &u64| self.get().is_some() && self.trouble().is_none() && self.missing().is_empty();
        // The sender lives as long as the task, and the task as long as `self`.
        let _ = self.asked.clone().wait_for(is_ready).await;
    }
}

impl Drop for Capabilities {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn missing(&self) -> Vec<Unsupported> {
        let Some(known) = self.known.load_full() else { return Vec::new() };
        let needed = lock(&self.needed);
        let missing = needed.iter().filter(|needed| needed.is_missing(&known.supported));
        let mut ways: Vec<_> = missing.map(|needed| needed.way.clone()).collect();
        ways.dedup();
        ways
    }

    fn learn(&self, supported: Supported) {
        *lock(&self.trouble) = None;
        let before = self.known.load();
        if before.as_ref().is_some_and(|before| before.supported == supported) {
            return;
        }
        let epoch = before.as_ref().map_or(1, |before| before.epoch + 1);
        tracing::info!(kinds = supported.kinds.len(), "the facilitator told what it supports");
        self.known.store(Some(Arc::new(Known { epoch, supported })));
        say_missing(&self.missing());
    }

    fn fail(&self, error: &FacilitatorError) {
        let mut trouble = lock(&self.trouble);
        let since = trouble.as_ref().and_then(|trouble| trouble.since).or(Some(SystemTime::now()));
        *trouble = Some(Trouble { since, why: format!("{error:#}") });
    }
}

fn say_missing(missing: &[Unsupported]) {
    for Unsupported { scheme, network } in missing {
        tracing::error!(
            scheme, %network,
            "a charge is paid in a way that the facilitator does not settle: it is not offered; charge on a network that the \
             facilitator settles, or name another facilitator"
        );
    }
}

async fn keep_fresh(facilitator: AnyFacilitator, shared: Arc<Shared>, tell: watch::Sender<u64>) {
    let (mut retry, mut doubted) = (FIRST_RETRY, FIRST_RETRY);
    loop {
        match ask(&facilitator).await {
            Ok(supported) => shared.learn(supported),
            Err(error) => {
                let paid_routes =
                    if shared.known.load().is_some() { "go on as before" } else { "answer 503" };
                tracing::warn!(
                    error = format_args!("{error:#}"), retry_in = ?retry,
                    "the facilitator does not tell what it supports; paid routes {paid_routes}"
                );
                shared.fail(&error);
            }
        }
        tell.send_modify(|asked| *asked += 1);
        let is_bare = shared.known.load().as_ref().is_none_or(|known| known.supported.kinds.is_empty());
        if is_bare || lock(&shared.trouble).is_some() || !shared.missing().is_empty() {
            let pause = retry;
            retry = (pause * 2).min(LAST_RETRY);
            tokio::time::sleep(pause).await;
        } else {
            retry = FIRST_RETRY;
            let is_doubted = timeout(REFRESH_EVERY, shared.doubt.notified()).await.is_ok();
            if is_doubted {
                // Whatever fails without end is not made worse by being asked without end.
                tokio::time::sleep(doubted).await;
            }
            doubted = if is_doubted { (doubted * 2).min(LAST_RETRY) } else { FIRST_RETRY };
        }
    }
}

/// Asks in a task of its own: a facilitator that panics, or never answers, is asked again.
async fn ask(facilitator: &AnyFacilitator) -> Result<Supported, FacilitatorError> {
    let facilitator = facilitator.clone();
    let mut task = JoinSet::new(); // dropped, it ends the task
    task.spawn(async move { facilitator.supported().await });
    match timeout(LONGEST_ANSWER, task.join_next()).await {
        Ok(Some(Ok(answer))) => answer,
        Ok(_) => Err(FacilitatorError::new(FacilitatorErrorKind::Internal, "it panicked")),
        Err(_) => Err(FacilitatorError::new(FacilitatorErrorKind::NoAnswer, "it does not answer")),
    }
}

/// Nothing behind these locks is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
