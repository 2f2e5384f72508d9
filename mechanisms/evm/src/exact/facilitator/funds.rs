//! Whether the account that pays the gas can: a payment that looks good and cannot be sent is not one to say yes to.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use alloy_primitives::U256;

use super::{ExactFacilitator, checks::Stop};
use crate::chain::Fees;

/// What a plain settlement reserves at least, in gas.
const LEAST_GAS: u128 = 100_000;
/// How long an account that had enough is taken to have it.
const SEEN_FOR: Duration = Duration::from_secs(5);

/// When the account was last seen to have enough.
#[derive(Default)]
pub(super) struct Funds(Mutex<Option<Instant>>);

impl ExactFacilitator {
    /// Whether the account has the gas of one settlement, at today's price.
    pub(super) async fn can_pay_gas(&self) -> Result<(), Stop> {
        let seen = || self.shared.funds.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen().is_some_and(|seen| seen.elapsed() < SEEN_FOR) {
            return Ok(());
        }
        let account = self.shared.account.address;
        let (balance, fees) = tokio::try_join!(self.rpc.balance(account), self.rpc.fees())
            .map_err(|fault| self.stop(&fault))?;
        let price = match fees {
            Fees::Eip1559 { max, .. } => max,
            Fees::Legacy(price) => price,
        };
        let needed = U256::from(LEAST_GAS).saturating_mul(U256::from(price));
        if balance < needed {
            return Err(Stop::Fault(self.error(format_args!(
                "the account {account} has {balance} wei, and the gas of a settlement takes {needed}: send it the chain's \
                 own coin; this says nothing about the payment"
            ))));
        }
        *seen() = Some(Instant::now());
        Ok(())
    }
}
