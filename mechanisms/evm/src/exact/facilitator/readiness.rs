//! Whether payments can be settled at all: an endpoint serves the network, and the journal has said what an earlier process
//! left. Found out once, and again for as long as it is not so, by whoever asks; those who ask at once share one look.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{Instrument, Span};
use x402_core::facilitator::{FacilitatorError, FacilitatorErrorKind};

use super::ExactFacilitator;

/// How long a failed look is believed: who asks without end makes no more calls than this allows.
const BELIEVED: Duration = Duration::from_millis(250);

/// How long a look may take. Endpoints have their own time; a store need not.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Readiness(Arc<watch::Sender<State>>);

#[derive(Clone)]
enum State {
    Unknown,
    Looking,
    NotReady { since: Instant, why: FacilitatorError },
    Ready,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::Unknown)))
    }
}

impl State {
    fn is_due(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::NotReady { since, .. } => since.elapsed() >= BELIEVED,
            Self::Looking | Self::Ready => false,
        }
    }
}

impl ExactFacilitator {
    pub(super) async fn is_ready(&self) -> Result<(), FacilitatorError> {
        let state = &self.readiness.0;
        if matches!(*state.borrow(), State::Ready) {
            return Ok(());
        }
        let begins = state.send_if_modified(|state| {
            let due = state.is_due();
            if due {
                *state = State::Looking;
            }
            due
        });
        if begins {
            // In a task of its own: whoever asked may give up, and others wait for the same look.
            let look = Look { state: Arc::clone(state), ended: false };
            let this = self.clone();
            tokio::spawn(
                async move { look.end(this.look_whether_ready().await) }.instrument(Span::current()),
            );
        }
        match &*state
            .subscribe()
            .wait_for(|state| !matches!(state, State::Looking))
            .await
            .map_err(|_| broken())?
        {
            State::NotReady { why, .. } => Err(why.clone()),
            State::Unknown | State::Looking | State::Ready => Ok(()),
        }
    }

    async fn look_whether_ready(&self) -> Result<(), FacilitatorError> {
        let look = async {
            self.check().await?;
            self.recover().await
        };
        let late = |_| Err(self.error("its endpoint or its store did not answer within a minute"));
        timeout(LONGEST_LOOK, look).await.unwrap_or_else(late)
    }
}

/// A look that is under way. One that ends without a word, by a panic or with its runtime, has failed.
struct Look {
    state: Arc<watch::Sender<State>>,
    ended: bool,
}

impl Look {
    fn end(mut self, found: Result<(), FacilitatorError>) {
        self.ended = true;
        self.set(found);
    }

    fn set(&self, found: Result<(), FacilitatorError>) {
        self.state.send_replace(match found {
            Ok(()) => State::Ready,
            Err(why) => State::NotReady { since: Instant::now(), why },
        });
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if !self.ended {
            self.set(Err(broken()));
        }
    }
}

fn broken() -> FacilitatorError {
    FacilitatorError::new(
        FacilitatorErrorKind::Internal,
        "it broke off while it was looked at: it is looked at again",
    )
}
