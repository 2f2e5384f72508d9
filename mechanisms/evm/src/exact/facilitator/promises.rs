//! What payers have promised: money that one of their payments is about to move is not there for the next. Each alone may
//! look good, and a transaction for it would be sent, and paid for, in vain.

use std::{collections::BTreeMap, time::Duration};

use alloy_primitives::{Address, B256, U256};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    ExactFacilitator,
    checks::{Asked, DryRun, Stop, refusal},
};
use crate::{chain::contracts::Eip3009, exact::reasons};

/// How long a payment that is verified waits for those before it, if not as long as for a receipt.
const PATIENCE: Duration = Duration::from_secs(10);

/// The payments under way in this process, in the order they came.
#[derive(Clone, Default)]
pub(super) struct Promises(watch::Sender<BTreeMap<u64, Promised>>);

struct Promised {
    token: Address,
    payer: Address,
    nonce: B256,
    value: U256,
}

/// Stands until it is dropped.
pub(super) struct Promise {
    promises: Promises,
    serial: u64,
}

impl Promises {
    fn make(&self, asked: &Asked) -> Promise {
        let mut serial = 0;
        self.0.send_modify(|promises| {
            serial = promises.last_key_value().map_or(0, |(last, _)| last + 1);
            let (payer, nonce) = (asked.authorization.from, asked.authorization.nonce);
            let promised = Promised { token: asked.terms.token, payer, nonce, value: asked.amount };
            promises.insert(serial, promised);
        });
        Promise { promises: self.clone(), serial }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.promises.0.send_modify(|promises| {
            promises.remove(&self.serial);
        });
    }
}

impl ExactFacilitator {
    /// Returns once the payer has the money for this payment besides what they have promised before.
    pub(super) async fn promise(&self, asked: &Asked) -> Result<Promise, Stop> {
        let promise = self.promises.make(asked);
        self.afford(asked, promise.serial, self.settings.receipt_timeout).await?;
        Ok(promise)
    }

    /// Whether it would be paid as things are, without promising it.
    pub(super) async fn examine_for_promise(&self, asked: &Asked) -> Result<(), Stop> {
        self.examine(asked, DryRun::Call).await?;
        self.afford(asked, u64::MAX, self.settings.receipt_timeout.min(PATIENCE)).await
    }

    async fn afford(&self, asked: &Asked, serial: u64, patience: Duration) -> Result<(), Stop> {
        let (token, from, nonce) = (asked.terms.token, asked.authorization.from, asked.authorization.nonce);
        let before = |promises: &BTreeMap<u64, Promised>| {
            let before = promises.range(..serial).map(|(_, promised)| promised);
            let theirs =
                before.filter(|other| (other.token, other.payer) == (token, from) && other.nonce != nonce);
            theirs.fold(U256::ZERO, |sum, other| sum.saturating_add(other.value))
        };
        let (mut promises, deadline) = (self.promises.0.subscribe(), Instant::now() + patience);
        loop {
            let promised = before(&promises.borrow_and_update());
            if promised.is_zero() {
                return Ok(());
            }
            let balance = self.rpc.view(token, &Eip3009::balanceOfCall { account: from }).await;
            // What is no balance, the dry run tells.
            let balance = balance.map_err(|fault| self.stop(&fault))?.unwrap_or(U256::MAX);
            if balance >= promised.saturating_add(asked.amount) {
                return Ok(());
            }
            if !matches!(timeout_at(deadline, promises.changed()).await, Ok(Ok(()))) {
                return Err(Stop::Refused(refusal(reasons::INSUFFICIENT_BALANCE)));
            }
        }
    }
}
