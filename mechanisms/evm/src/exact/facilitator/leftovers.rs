//! What was sent before this process began, and has no answer yet. It is looked up on chain before anything new is sent
//! for the same payer: what they still owe, or have paid, is known by then.
//!
//! Nothing is sent for it from here. Who asked for it was told that it is pending, or nothing, and may have given it up
//! since; when they ask again, the very same transaction is sent again if it is nowhere to be found.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use alloy_primitives::Address;
use tokio::{
    sync::{OnceCell, watch},
    time::timeout,
};
use tracing::{Instrument, Span, info, warn};
use x402_core::facilitator::FacilitatorError;

use super::{
    ExactFacilitator,
    checks::Asked,
    journal::{self, Entry, Step},
    settle::{Look, unacted},
};

/// How long a payer's next payment waits for what is left of their earlier ones, if not as long as for a receipt.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[derive(Clone, Default)]
pub(super) struct Leftovers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    found: OnceCell<()>,
    /// Whose they are, by the ids of their records.
    open: watch::Sender<HashMap<String, Address>>,
}

impl ExactFacilitator {
    /// Looks up what became of the settlements that an earlier process began, in the background. They are looked up
    /// before the first settlement in any case: this is for whoever does not want to wait for that.
    ///
    /// # Errors
    /// When the store does not say which there are.
    pub async fn recover(&self) -> Result<(), FacilitatorError> {
        self.leftovers.0.found.get_or_try_init(|| self.find_leftovers()).await.copied()
    }

    /// Returns once nothing is left of the payer's earlier payments, apart from this one.
    pub(super) async fn after_leftovers(&self, asked: &Asked) -> Result<(), FacilitatorError> {
        self.recover().await?;
        let (payer, own) = (asked.authorization.from, journal::id(asked));
        let mut open = self.leftovers.0.open.subscribe();
        let none = open.wait_for(|open| !open.iter().any(|(id, of)| *of == payer && *id != own));
        match timeout(self.settings.receipt_timeout.min(PATIENCE), none).await {
            Ok(_) => Ok(()),
            Err(_) => Err(unacted(&self.error(
                "what became of an earlier payment of the payer is not known yet: settle this one again later",
            ))),
        }
    }

    async fn find_leftovers(&self) -> Result<(), FacilitatorError> {
        let open = self.journal.open().await.map_err(|failure| self.unstored(&failure))?;
        if open.is_empty() {
            return Ok(());
        }
        info!(settlements = open.len(), network = %self.network, "looking up what became of earlier settlements");
        for entry in &open {
            if let Step::Sent(sent) = &entry.step {
                self.shared.account.remember(sent).await;
            }
        }
        let payers = open.iter().map(|entry| (entry.id.clone(), entry.asked.authorization.from));
        self.leftovers.0.open.send_replace(payers.collect());
        let this = self.clone();
        tokio::spawn(async move { this.look_up(open).await }.instrument(Span::current()));
        Ok(())
    }

    /// The same for a settlement of this process whose answer the store did not take.
    pub(super) fn look_up_later(&self, entry: Entry) {
        let this = self.clone();
        let work = async move {
            tokio::time::sleep(FIRST_PAUSE).await;
            this.look_up(vec![entry]).await;
        };
        let work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(work.instrument(Span::current()));
        tokio::spawn(work);
    }

    async fn look_up(&self, mut open: Vec<Entry>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut still = Vec::new();
            for entry in open {
                let id = entry.id.clone();
                let (left, stands_in_the_way) = self.look_up_one(entry).await;
                still.extend(left);
                if !stands_in_the_way {
                    self.leftovers.0.open.send_if_modified(|open| open.remove(&id).is_some());
                }
            }
            open = still;
            if open.is_empty() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The entry, if it is to be looked up once more, and whether the payer's next payments wait for it.
    async fn look_up_one(&self, entry: Entry) -> (Option<Entry>, bool) {
        // Whoever asked for it again, or another facilitator, may have been quicker.
        let entry = match self.journal.find_by_id(&entry.id).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return (None, false),
            Err(failure) => {
                warn!(%failure, "an earlier settlement is looked up again later");
                return (Some(entry), true);
            }
        };
        let Step::Sent(sent) = &entry.step else { return (None, false) };
        match self.look(&entry.asked, sent).await {
            Ok(Look::Came(answer)) => {
                let answer = self.conclude(&entry.asked, Some(&entry), answer).await;
                self.report(&entry.asked, &Ok(answer));
                (None, false)
            }
            Ok(Look::Waits) => (Some(entry), true),
            // Nothing more can come of it, so nothing has to wait.
            Ok(Look::Used(fault)) => {
                warn!(%fault, tx = %sent.hash, "an earlier settlement is looked up again when it is asked for");
                (None, false)
            }
            Ok(Look::Nowhere) => {
                info!(tx = %sent.hash, "an earlier settlement is not on chain: it is sent again when it is asked for");
                (None, false)
            }
            Ok(Look::Dead) => {
                info!(tx = %sent.hash, "an earlier settlement can never be mined: another one is sent when it is asked for");
                (None, false)
            }
            Err(error) => {
                warn!(%error, "an earlier settlement is looked up again later");
                (Some(entry), true)
            }
        }
    }
}
