//! What payers have promised: money that one of their payments is about to move is not there for the next. Each alone may
//! look good, and a transaction for it would be sent, and paid for, in vain.
//!
//! Only a payment that was found good makes a promise: strangers cannot make any in the name of others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::{Address, B256, U256};
use tokio::{sync::watch, time::timeout};

use super::{
    ExactFacilitator,
    checks::{Asked, Stop, refusal},
};
use crate::{chain::contracts::Eip3009, exact::reasons};

/// How long a payment waits for those before it, where there is not enough for all: as long as it takes to notice that
/// one was mined, whose money would count twice.
const PATIENCE: Duration = Duration::from_secs(2);

/// The payments under way in this process, by token and payer.
#[derive(Clone, Default)]
pub(super) struct Promises(Arc<Mutex<HashMap<(Address, Address), Account>>>);

/// Those of one payer: nonce and value, in the order they came.
type Promised = BTreeMap<u64, (B256, U256)>;
type Account = watch::Sender<Promised>;

/// Stands until it is dropped.
pub(super) struct Promise {
    promises: Promises,
    account: (Address, Address),
    serial: u64,
}

impl Promises {
    fn accounts(&self) -> MutexGuard<'_, HashMap<(Address, Address), Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, asked: &Asked) -> Promise {
        let account = (asked.terms.token, asked.authorization.from);
        let mut serial = 0;
        self.accounts().entry(account).or_default().send_modify(|promises| {
            serial = promises.last_key_value().map_or(0, |(last, _)| last + 1);
            promises.insert(serial, (asked.authorization.nonce, asked.amount));
        });
        Promise { promises: self.clone(), account, serial }
    }

    /// What the payer has promised besides this payment, before this number.
    fn before(&self, asked: &Asked, serial: u64) -> Option<(watch::Receiver<Promised>, U256)> {
        let accounts = self.accounts();
        let account = accounts.get(&(asked.terms.token, asked.authorization.from))?;
        let promised = sum(&account.borrow(), asked, serial);
        (!promised.is_zero()).then(|| (account.subscribe(), promised))
    }
}

fn sum(promises: &Promised, asked: &Asked, serial: u64) -> U256 {
    let others = promises.range(..serial).filter(|(_, (nonce, _))| *nonce != asked.authorization.nonce);
    others.fold(U256::ZERO, |sum, (_, (_, value))| sum.saturating_add(*value))
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut accounts = self.promises.accounts();
        let Some(account) = accounts.get(&self.account) else { return };
        account.send_modify(|promises| {
            promises.remove(&self.serial);
        });
        if account.borrow().is_empty() {
            accounts.remove(&self.account);
        }
    }
}

impl ExactFacilitator {
    /// Promises the money for a payment that is about to be sent, if the payer has it besides what they promised before.
    pub(super) async fn promise(&self, asked: &Asked) -> Result<Promise, Stop> {
        let promise = self.promises.make(asked);
        // Since it was found good, one before it may have been mined. So the balance is read even if nothing is promised.
        let promised = self.promises.before(asked, promise.serial);
        if self.has(asked, promised.as_ref().map_or(U256::ZERO, |(_, promised)| *promised)).await? {
            return Ok(promise);
        }
        if let Some((mut promises, _)) = promised {
            let none = promises.wait_for(|promises| sum(promises, asked, promise.serial).is_zero());
            let _ = timeout(PATIENCE, none).await; // what there is then is looked at
            let promised = self.promises.before(asked, promise.serial);
            if self.has(asked, promised.map_or(U256::ZERO, |(_, promised)| promised)).await? {
                return Ok(promise);
            }
        }
        Err(Stop::Refused(refusal(reasons::INSUFFICIENT_BALANCE)))
    }

    /// Whether the payer has the money for a payment that was found good besides all that is under way.
    pub(super) async fn could_promise(&self, asked: &Asked) -> Result<(), Stop> {
        match self.promises.before(asked, u64::MAX) {
            Some((_, promised)) if !self.has(asked, promised).await? => {
                Err(Stop::Refused(refusal(reasons::INSUFFICIENT_BALANCE)))
            }
            _ => Ok(()),
        }
    }

    async fn has(&self, asked: &Asked, promised: U256) -> Result<bool, Stop> {
        let call = Eip3009::balanceOfCall { account: asked.authorization.from };
        let balance = self.rpc.view(asked.terms.token, &call).await.map_err(|fault| self.stop(&fault))?;
        // What is no balance, the dry run has told.
        Ok(balance.is_none_or(|balance| balance >= promised.saturating_add(asked.amount)))
    }
}
