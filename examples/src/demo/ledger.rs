//! Balances as the chain has them.

use alloy::primitives::{Address, U256};
use anyhow::ensure;
use x402_tests::Chain;

/// Two accounts, watched.
pub(crate) struct Ledger<'a> {
    chain: &'a Chain,
    payer: Address,
    merchant: Address,
    last: (U256, U256),
    transfers: usize,
    moved: u64,
}

impl<'a> Ledger<'a> {
    /// Notes and prints what both have.
    pub(crate) async fn open(chain: &'a Chain, payer: Address, merchant: Address) -> anyhow::Result<Self> {
        let last = (chain.balance(payer).await?, chain.balance(merchant).await?);
        println!("balances:     payer {}, merchant {}", last.0, last.1);
        Ok(Self { chain, payer, merchant, last, transfers: 0, moved: 0 })
    }

    /// Prints both balances, and fails unless exactly this moved since the last time, in one transfer or none.
    pub(crate) async fn expect_paid(&mut self, amount: u64) -> anyhow::Result<()> {
        let now = (self.chain.balance(self.payer).await?, self.chain.balance(self.merchant).await?);
        println!("balances:     payer {} -> {}, merchant {} -> {}", self.last.0, now.0, self.last.1, now.1);
        let transfers = self.chain.transfers(self.merchant).await?;
        let moved = U256::from(amount);
        ensure!(
            self.last.0 - now.0 == moved
                && now.1 - self.last.1 == moved
                && transfers - self.transfers == usize::from(amount > 0),
            "{amount} atomic units should have moved"
        );
        self.last = now;
        self.transfers = transfers;
        self.moved += amount;
        Ok(())
    }

    pub(crate) fn transfers(&self) -> usize {
        self.transfers
    }

    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }
}
