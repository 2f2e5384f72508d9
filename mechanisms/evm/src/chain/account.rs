//! The account that sends, and its lane: one transaction after the other, without gaps.

use std::{collections::BTreeMap, fmt, time::Duration};

use alloy::{
    eips::Encodable2718,
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder, TxSigner},
    rpc::types::TransactionRequest,
};
use alloy_primitives::{Address, B256, Bytes, Signature, keccak256};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};
use tracing::debug;
use x402_core::failpoint::failpoint;

use super::{
    Fault, Fees, Rpc,
    words::{say_known, say_refused, say_taken},
};

/// How many of its last transactions a lane can name.
const REMEMBERED: usize = 256;

/// An account on one chain. There must be one lane for it: two processes that send from one account on the same
/// chain take each other's nonces.
pub(crate) struct Account {
    pub(crate) address: Address,
    chain_id: u64,
    wallet: EthereumWallet,
    lane: Mutex<Lane>,
}

#[derive(Default)]
struct Lane {
    /// The next transaction's nonce; unknown at the start and when something went wrong.
    next: Option<u64>,
    /// What the endpoint took from us, by nonce.
    sent: BTreeMap<u64, B256>,
}

/// What to send, without what the lane adds.
pub(crate) struct Transaction {
    pub(crate) to: Address,
    pub(crate) input: Bytes,
    pub(crate) gas: u64,
    pub(crate) fees: Fees,
    /// The newest block, as far as it is known.
    pub(crate) head: Option<u64>,
}

/// A transaction that was, or may have been, or is to be sent. No `Debug`: it holds the payment.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Whose nonce it takes: not always ours, where several facilitators share what they know.
    pub(crate) account: Address,
    pub(crate) nonce: u64,
    pub(crate) hash: B256,
    raw: Bytes,
    /// The newest block when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) head: Option<u64>,
}

impl Sent {
    /// Whether the hash is that of the bytes.
    pub(crate) fn is_whole(&self) -> bool {
        keccak256(&self.raw) == self.hash
    }
}

/// The account's place in its order, while one transaction is made and leaves: nobody else sends meanwhile.
pub(crate) struct Turn<'a> {
    account: &'a Account,
    rpc: &'a Rpc,
    lane: MutexGuard<'a, Lane>,
}

/// What came of sending.
pub(crate) enum Departure {
    /// It left, or may have.
    Left,
    /// It certainly did not: its nonce belongs to another transaction.
    Taken(Fault),
    /// It certainly did not.
    Refused(Fault),
}

/// Why nothing was sent.
pub(crate) enum Unsent {
    Fault(Fault),
    Signer(String),
    Busy(Duration),
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Signer(why) => write!(f, "the signer did not sign: {why}"),
            Self::Busy(patience) => {
                write!(f, "other transactions of the account took more than {} ms", patience.as_millis())
            }
        }
    }
}

impl From<Fault> for Unsent {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Account {
    pub(crate) fn new(chain_id: u64, signer: impl TxSigner<Signature> + Send + Sync + 'static) -> Self {
        let address = signer.address();
        Self { address, chain_id, wallet: EthereumWallet::new(signer), lane: Mutex::default() }
    }

    /// Waits for the account's turn, so long at most.
    pub(crate) async fn turn<'a>(&'a self, rpc: &'a Rpc, patience: Duration) -> Result<Turn<'a>, Unsent> {
        let lane = timeout(patience, self.lane.lock()).await.map_err(|_| Unsent::Busy(patience))?;
        Ok(Turn { account: self, rpc, lane })
    }

    /// Sends the very same bytes once more, whoever's they are. The outcome is for whoever looks for the receipt.
    pub(crate) async fn send_again(&self, rpc: &Rpc, sent: &Sent) {
        if sent.account != self.address {
            if let Err(fault) = rpc.send(&sent.raw).await {
                debug!(%fault, tx = %sent.hash, "another facilitator's transaction was not sent again");
            }
            return;
        }
        let mut lane = self.lane.lock().await;
        let next = lane.next.take();
        match rpc.send(&sent.raw).await {
            Ok(_) => lane.may_have(sent),
            Err(fault) if fault.was_not_sent() || fault.answer().is_some_and(|words| say_refused(&words)) => {
                lane.next = next;
            }
            Err(_) => {}
        }
    }

    /// Tells the lane of a transaction that an earlier process sent.
    pub(crate) async fn remember(&self, sent: &Sent) {
        if sent.account == self.address {
            self.lane.lock().await.may_have(sent);
        }
    }

    /// Something sent was not mined in time: the next transaction looks where the chain stands.
    pub(crate) async fn doubt(&self) {
        self.lane.lock().await.next = None;
    }

    /// The lowest nonce that neither the chain has nor a transaction of ours that still waits. A transaction that
    /// its endpoint has forgotten leaves a gap that nothing behind it can pass: it is filled.
    async fn find_next(&self, rpc: &Rpc, lane: &Lane) -> Result<u64, Fault> {
        let mut next = rpc.pending_nonce(self.address).await?;
        while let Some(hash) = lane.sent.get(&next) {
            if !rpc.knows(*hash).await? {
                break;
            }
            next += 1;
        }
        Ok(next)
    }

    async fn sign(&self, transaction: &Transaction, nonce: u64, patience: Duration) -> Result<Sent, Unsent> {
        let request = TransactionRequest::default()
            .with_chain_id(self.chain_id)
            .with_nonce(nonce)
            .with_to(transaction.to)
            .with_input(transaction.input.clone())
            .with_gas_limit(transaction.gas);
        let request = match transaction.fees {
            Fees::Eip1559 { max, priority } => {
                request.with_max_fee_per_gas(max).with_max_priority_fee_per_gas(priority)
            }
            Fees::Legacy(price) => request.with_gas_price(price),
        };
        // Signers may be far away, and everyone else waits for the lane.
        let signed = timeout(patience, request.build(&self.wallet)).await;
        let signed = signed
            .map_err(|_| Unsent::Signer(format!("no answer within {} ms", patience.as_millis())))?
            .map_err(|error| Unsent::Signer(error.to_string()))?;
        let (hash, raw) = (*signed.tx_hash(), signed.encoded_2718().into());
        Ok(Sent { account: self.address, nonce, hash, raw, head: transaction.head })
    }
}

impl Turn<'_> {
    /// The account's next transaction. Nothing has left yet, and if nothing does, its nonce is the next one's.
    pub(crate) async fn sign(&mut self, transaction: &Transaction) -> Result<Sent, Unsent> {
        let nonce = match self.lane.next {
            Some(nonce) => nonce,
            None => self.account.find_next(self.rpc, &self.lane).await?,
        };
        self.lane.next = Some(nonce);
        self.account.sign(transaction, nonce, self.rpc.timeout).await
    }

    /// Sends what was signed.
    pub(crate) async fn send(&mut self, sent: &Sent) -> Departure {
        // Whoever drops this future from here on leaves a lane that looks before it sends.
        self.lane.next = None;
        let outcome = self.rpc.send(&sent.raw).await;
        failpoint("settle-left");
        let Err(fault) = outcome else { return self.left(sent) };
        if fault.was_not_sent() {
            self.lane.next = Some(sent.nonce);
            return Departure::Refused(fault);
        }
        let words = fault.answer().unwrap_or_default();
        if say_known(&words) {
            return self.left(sent);
        }
        match self.rpc.knows(sent.hash).await {
            Ok(true) => self.left(sent),
            Ok(false) if say_taken(&words) => Departure::Taken(fault),
            Ok(false) if say_refused(&words) => Departure::Refused(fault),
            // Other words prove nothing, nor does a node behind the endpoint that has not heard of it.
            _ => {
                self.lane.may_have(sent);
                Departure::Left
            }
        }
    }

    fn left(&mut self, sent: &Sent) -> Departure {
        self.lane.took(sent);
        Departure::Left
    }
}

impl Lane {
    fn took(&mut self, sent: &Sent) {
        self.next = Some(sent.nonce + 1);
        self.may_have(sent);
    }

    fn may_have(&mut self, sent: &Sent) {
        self.sent.insert(sent.nonce, sent.hash);
        while self.sent.len() > REMEMBERED {
            self.sent.pop_first();
        }
    }
}
