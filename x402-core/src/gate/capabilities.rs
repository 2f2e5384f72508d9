//! What the facilitator can do, kept fresh in the background: never asked on a request's way.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use crate::{
    facilitator::{AnyFacilitator, Facilitator, FacilitatorError, FacilitatorErrorKind},
    payment::Supported,
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
    known: Arc<ArcSwapOption<Known>>,
    first: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Capabilities {
    /// Starts asking. Needs a Tokio runtime.
    pub(super) fn watch(facilitator: AnyFacilitator, runtime: &tokio::runtime::Handle) -> Self {
        let known = Arc::new(ArcSwapOption::empty());
        let (tell, first) = watch::channel(false);
        let task = runtime.spawn(keep_fresh(facilitator, known.clone(), tell)).abort_handle();
        Self { known, first, task }
    }

    /// What is known, if anything is.
    pub(super) fn get(&self) -> Option<Arc<Known>> {
        self.known.load_full()
    }

    /// Waits until something is known.
    pub(super) async fn ready(&self) {
        // The sender lives as long as the task, and the task as long as `self`.
        let _ = self.first.clone().wait_for(|known| *known).await;
    }
}

impl Drop for Capabilities {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_fresh(
    facilitator: AnyFacilitator,
    known: Arc<ArcSwapOption<Known>>,
    tell: watch::Sender<bool>,
) {
    let mut retry = FIRST_RETRY;
    loop {
        let pause = match ask(&facilitator).await {
            Ok(supported) => {
                let before = known.load();
                if before.as_ref().is_none_or(|before| before.supported != supported) {
                    let epoch = before.as_ref().map_or(1, |before| before.epoch + 1);
                    tracing::info!(kinds = supported.kinds.len(), "the facilitator told what it supports");
                    known.store(Some(Arc::new(Known { epoch, supported })));
                    tell.send_replace(true);
                }
                if known.load().as_ref().is_some_and(|known| known.supported.kinds.is_empty()) {
                    back_off(&mut retry)
                } else {
                    retry = FIRST_RETRY;
                    REFRESH_EVERY
                }
            }
            Err(error) => {
                let paid_routes = if known.load().is_some() { "go on as before" } else { "answer 503" };
                tracing::warn!(
                    %error, retry_in = ?retry,
                    "the facilitator does not tell what it supports; paid routes {paid_routes}"
                );
                back_off(&mut retry)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn back_off(retry: &mut Duration) -> Duration {
    let pause = *retry;
    *retry = (pause * 2).min(LAST_RETRY);
    pause
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
