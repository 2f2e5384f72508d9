//! What happened, counted from the chain, from the shop's own ledger and from the stores.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::SocketAddr,
    time::Duration,
};

use alloy::{
    primitives::{Address, B256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolEvent,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use x402_core::store::{AnyClaimStore, ClaimStore, Key, StoreError};
use x402_tests::{Chain, crash::Ledger, token::Token};

use crate::buyer::{Heard, Payment};

/// How long records may take to come to rest once nobody pays any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where facilitators write what they settle on Base Sepolia.
pub const JOURNAL: &str = "settle:eip155:84532";

/// Where a trial is counted from.
pub struct Books<'a> {
    pub chain: &'a Chain,
    pub seller: Address,
    pub shops: &'a [SocketAddr],
    pub ledger: &'a Ledger,
    /// The gate's.
    pub store: AnyClaimStore,
    /// The facilitator's.
    pub journal: AnyClaimStore,
}

/// What is printed at the end.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Like `20 kills`.
    pub done: Vec<(&'static str, usize)>,
    pub payments: usize,
    pub transfers: usize,
    pub grants: usize,
    pub runs: usize,
    /// Grants that never arrived, and settlements that were never granted: the process died, or its store, when the
    /// answer was to leave.
    pub lost: usize,
    /// Payments that were granted more often than their money moved, or whose goods arrived twice.
    pub double_grants: usize,
    /// Payments whose money moved twice.
    pub double_charges: usize,
    /// Payments whose money moved, and whose payer was asked for another one.
    pub asked_again: usize,
    /// Transactions that the facilitator paid for, and that moved nothing.
    pub in_vain: usize,
    /// Payments, in the gate's store or in the facilitator's, that are neither free nor done.
    pub unresolved: usize,
}

impl Sums {
    pub fn add(&mut self, other: Self) {
        for (what, count) in other.done {
            match self.done.iter_mut().find(|(known, _)| *known == what) {
                Some((_, sum)) => *sum += count,
                None => self.done.push((what, count)),
            }
        }
        self.payments += other.payments;
        self.transfers += other.transfers;
        self.grants += other.grants;
        self.runs += other.runs;
        self.lost += other.lost;
        self.double_grants += other.double_grants;
        self.double_charges += other.double_charges;
        self.asked_again += other.asked_again;
        self.in_vain += other.in_vain;
        self.unresolved += other.unresolved;
    }

    /// Nothing is wrong.
    #[track_caller]
    pub fn assert_sound(&self) {
        let Self { double_grants, double_charges, asked_again, in_vain, unresolved, .. } = *self;
        assert_eq!([double_grants, double_charges, asked_again, in_vain, unresolved], [0; 5], "{self}");
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.done {
            write!(f, "{count} {what}, ")?;
        }
        let Self { payments, transfers, grants, runs, lost, .. } = self;
        let Self { double_grants, double_charges, asked_again, in_vain, unresolved, .. } = self;
        write!(
            f,
            "{payments} payments: {transfers} transfers, {grants} grants, {runs} handler runs, {lost} answers lost, \
             {in_vain} transactions in vain, {double_grants} double grants, {double_charges} double charges, \
             {asked_again} asked to pay again, {unresolved} unresolved"
        )
    }
}

impl Books<'_> {
    /// Counts what became of these payments, once the stores are at rest. Before that each is presented once more, at every
    /// shop: who has the goods may want them again.
    pub async fn count(&self, payments: &mut [Payment]) -> Sums {
        for payment in payments.iter_mut().filter(|payment| !payment.has_ended()) {
            // Too much broke meanwhile. Everything runs again by now.
            payment.present_until_its_end(self.shops).await;
        }
        let unresolved = self.unresolved(payments).await;
        for payment in &mut *payments {
            for shop in self.shops {
                payment.present(*shop).await;
            }
        }
        let moved = self.transfers().await;
        let deeds = self.ledger.read().unwrap();
        let mut sums = Sums { payments: payments.len(), unresolved, ..Sums::default() };
        for payment in &*payments {
            let transfers = moved.get(&(payment.payer, payment.nonce)).copied().unwrap_or_default();
            let deeds = deeds.get(&payment.id).copied().unwrap_or_default();
            let received = payment.received();
            let asked = payment.heard.iter().any(|heard| matches!(heard, Heard::Asked(_)));
            sums.transfers += transfers;
            sums.grants += deeds.grants;
            sums.runs += deeds.runs;
            let wrong = [
                deeds.grants > transfers || received > deeds.grants || deeds.runs < deeds.grants,
                transfers > 1,
                transfers > 0 && asked,
                !payment.has_ended(),
            ];
            sums.double_grants += usize::from(wrong[0]);
            sums.double_charges += usize::from(wrong[1]);
            sums.asked_again += usize::from(wrong[2]);
            sums.unresolved += usize::from(wrong[3]);
            sums.lost += transfers.saturating_sub(received);
            if wrong.contains(&true) || (asked && transfers == 0) {
                println!(
                    "{payment}: {transfers} transfers, {deeds:?}, received {received}, heard {:?}",
                    payment.heard
                );
            }
        }
        sums
    }

    /// How many records of these payments say that something is still to be done.
    async fn unresolved(&self, payments: &[Payment]) -> usize {
        let begun = Instant::now();
        loop {
            let open = self.open(payments).await;
            match &open {
                Ok(open) if open.is_empty() => return 0,
                // A connection to a server that was killed is found broken when it is used.
                _ if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(100)).await,
                open => {
                    let open = open.as_ref().unwrap();
                    open.iter().for_each(|open| println!("unresolved: {open}"));
                    return open.len();
                }
            }
        }
    }

    async fn open(&self, payments: &[Payment]) -> Result<Vec<String>, StoreError> {
        let mut open = Vec::new();
        for payment in payments {
            let found = self.store.load(&Key::new("gate", payment.to_string())).await?;
            let state = found.map(|found| serde_json::from_str::<Value>(&found.state).unwrap());
            if let Some(state) = state.filter(|state| state["state"] != "spent") {
                open.push(format!("{payment}: {state}"));
            }
        }
        for (id, stored) in self.journal.open(JOURNAL).await? {
            open.push(format!("{id}: {}", stored.state));
        }
        Ok(open)
    }

    /// How often money moved to the seller, by payer and nonce.
    async fn transfers(&self) -> HashMap<(Address, B256), usize> {
        let paid = self.chain.transfer_log(self.seller).await.unwrap();
        let paid: HashSet<_> = paid.iter().map(|transfer| (transfer.transaction, transfer.from)).collect();
        let used = Filter::new().from_block(0).address(self.chain.usdc());
        let used = used.event_signature(Token::AuthorizationUsed::SIGNATURE_HASH);
        let mut moved = HashMap::new();
        for log in self.chain.provider().get_logs(&used).await.unwrap() {
            let transaction = log.transaction_hash.unwrap();
            let Token::AuthorizationUsed { authorizer, nonce } = log.log_decode().unwrap().inner.data;
            if paid.contains(&(transaction, authorizer)) {
                *moved.entry((authorizer, nonce)).or_default() += 1;
            }
        }
        moved
    }
}
