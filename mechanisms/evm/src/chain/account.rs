//! The account that sends, and its lane: one transaction after the other, without gaps.

use std::{collections::BTreeMap, fmt};

use alloy::{
    eips::Encodable2718,
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder, TxSigner},
    rpc::types::TransactionRequest,
};
use alloy_primitives::{Address, B256, Bytes, Signature};
use tokio::sync::Mutex;

use super::{Fault, Fees, Rpc};

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
}

/// A transaction that was, or may have been, sent. No `Debug`: it holds the payment.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) hash: B256,
    pub(crate) nonce: u64,
    raw: Bytes,
}

/// Why nothing was sent.
pub(crate) enum Unsent {
    Fault(Fault),
    Signer(String),
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Signer(why) => write!(f, "the signer did not sign: {why}"),
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

    /// Sends a transaction. `Ok` also when it is not known whether it arrived; `Err` only when it certainly did not,
    /// and then its nonce is free again. `announce` hears of the transaction before it leaves.
    pub(crate) async fn send(
        &self,
        rpc: &Rpc,
        transaction: &Transaction,
        announce: impl Fn(&Sent),
    ) -> Result<Sent, Unsent> {
        let mut lane = self.lane.lock().await;
        let mut again = true;
        loop {
            let nonce = match lane.next {
                Some(nonce) => nonce,
                None => self.find_next(rpc, &lane).await?,
            };
            let sent = self.sign(transaction, nonce).await?;
            // Whoever drops this future from here on leaves a lane that looks before it sends.
            lane.next = None;
            announce(&sent);
            let Err(fault) = rpc.send(&sent.raw).await else {
                lane.took(&sent);
                return Ok(sent);
            };
            if fault.was_not_sent() {
                lane.next = Some(nonce);
                return Err(fault.into());
            }
            let words = fault.answer().unwrap_or_default();
            if says_known(&words) {
                lane.took(&sent);
                return Ok(sent);
            }
            match rpc.knows(sent.hash).await {
                Ok(true) => {
                    lane.took(&sent);
                    return Ok(sent);
                }
                Ok(false) if again && says_taken(&words) => again = false,
                Ok(false) if says_refused(&words) => return Err(fault.into()),
                // Other words prove nothing, nor does a node behind the endpoint that has not heard of it.
                _ => {
                    lane.may_have(&sent);
                    return Ok(sent);
                }
            }
        }
    }

    /// Sends the very same bytes once more. The outcome is for whoever looks for the receipt.
    pub(crate) async fn send_again(&self, rpc: &Rpc, sent: &Sent) {
        let mut lane = self.lane.lock().await;
        let next = lane.next.take();
        match rpc.send(&sent.raw).await {
            Ok(_) => lane.may_have(sent),
            Err(fault)
                if fault.was_not_sent() || fault.answer().is_some_and(|words| says_refused(&words)) =>
            {
                lane.next = next;
            }
            Err(_) => {}
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

    async fn sign(&self, transaction: &Transaction, nonce: u64) -> Result<Sent, Unsent> {
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
        let signed = request.build(&self.wallet).await.map_err(|error| Unsent::Signer(error.to_string()))?;
        Ok(Sent { hash: *signed.tx_hash(), nonce, raw: signed.encoded_2718().into() })
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

/// Nodes have words of their own for a transaction they have already.
fn says_known(words: &str) -> bool {
    words.starts_with("known transaction")
        || ["already known", "alreadyknown", "already imported", "already in", "already exists"]
            .iter()
            .any(|known| words.contains(known))
}

/// And for a nonce that is not the next.
fn says_taken(words: &str) -> bool {
    ["nonce too low", "nonce is too low", "replacement transaction underpriced", "replacement underpriced"]
        .iter()
        .any(|taken| words.contains(taken))
}

/// The words with which a node rejects a transaction as it is, so that it cannot have taken it. Whatever is not here,
/// like "internal error", may have been said after the transaction was passed on.
fn says_refused(words: &str) -> bool {
    const REFUSALS: [&str; 15] = [
        "insufficient funds",
        "underpriced",
        "intrinsic gas too low",
        "max fee per gas less than block base fee",
        "fee cap less than block base fee",
        "max priority fee per gas higher than max fee per gas",
        "exceeds the configured cap",
        "exceeds block gas limit",
        "gas required exceeds",
        "invalid sender",
        "invalid signature",
        "invalid chain id",
        "invalid chainid",
        "invalid transaction v, r, s values",
        "oversized data",
    ];
    says_taken(words) || REFUSALS.iter().any(|refusal| words.contains(refusal))
}
