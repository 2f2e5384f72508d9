//! Balances as the chain has them.

use alloy::primitives::{Address, U256};
use anyhow::ensure;
use x402_tests::Chain;

/// Two accounts, watched.
pub(crate) struct Ledger<'a> {
    chain: &'a Chain,
    payer: Address,
    payee: Address,
    last: (U256, U256),
    transfers: usize,
    moved: U256,
}

impl<'a> Ledger<'a> {
    /// Notes and prints what both have.
    pub(crate) async fn open(chain: &'a Chain, payer: Address, payee: Address) -> anyhow::Result<Self> {
        let last = (chain.balance(payer).await?, chain.balance(payee).await?);
        println!("balances: payer {}, payee {}", dollars(last.0), dollars(last.1));
        Ok(Self { chain, payer, payee, last, transfers: 0, moved: U256::ZERO })
    }

    /// Prints both balances, and fails unless exactly this moved since the last time, in one transfer or none.
    pub(crate) async fn expect_paid(&mut self, amount: u64) -> anyhow::Result<()> {
        let now = (self.chain.balance(self.payer).await?, self.chain.balance(self.payee).await?);
        let [payer, payee] = [(self.last.0, now.0), (self.last.1, now.1)]
            .map(|(was, is)| format!("{} -> {}", dollars(was), dollars(is)));
        println!("balances: payer {payer}, payee {payee}");
        let transfers = self.chain.transfers(self.payee).await?;
        let moved = U256::from(amount);
        ensure!(
            self.last.0 - now.0 == moved
                && now.1 - self.last.1 == moved
                && transfers - self.transfers == usize::from(amount > 0),
            "{amount} atomic units should have moved"
        );
        self.last = now;
        self.transfers = transfers;
        self.moved += moved;
        Ok(())
    }

    pub(crate) fn transfers(&self) -> usize {
        self.transfers
    }

    pub(crate) fn moved(&self) -> U256 {
        self.moved
    }
}

/// An amount of USDC, which has six decimals.
pub(crate) fn dollars(amount: U256) -> String {
    let unit = U256::from(1_000_000);
    format!("${}.{:06}", amount / unit, (amount % unit).to::<u64>())
}
