//! A facilitator that does as it is told, and counts what it is asked.

use std::{
    collections::VecDeque,
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use x402_core::{
    address::Address,
    amount::Amount,
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind, SettleRequest},
    network::{BASE, BASE_SEPOLIA, Network},
    payment::{
        JsonMap, Payment, PendingSettlement, Receipt, Refusal, SettleFailure, SettleResponse, Supported,
        SupportedKind, TransactionId, VerifyResponse, Version,
    },
};

use crate::serve::Counter;

/// The hash that scripted settlements name.
pub const HASH: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";

/// What the facilitator does when it is asked.
#[derive(Debug, Clone)]
pub enum Act {
    /// Says yes.
    Yes,
    /// Says no, for this reason.
    No(&'static str),
    /// Says that a transaction is on its way.
    Pending,
    /// The same, and does not say which.
    PendingUnnamed,
    /// Says no, for this reason, and that what was signed can never move money any more.
    Dead(&'static str),
    /// Says no, for this reason, about this transaction.
    Says(&'static str, &'static str),
    /// Says that the money moved, in what it calls a transaction.
    Hash(&'static str),
    /// Fails like this.
    Fail(FacilitatorErrorKind),
    /// Never answers.
    Hang,
    /// Answers once [`Script::let_go`] is called, with yes.
    Wait,
    /// Says yes, after others had a turn.
    Dawdle,
    /// Says no, and that the transaction it told of failed, for this reason.
    Reverted(&'static str),
    /// Says that the money moved, on another chain than it was asked about.
    Elsewhere,
    /// Says that the money moved, and names no transaction.
    NoProof,
    /// Says that one atomic unit moved.
    OneUnit,
    /// Says yes, about another payer.
    Stranger,
    /// Panics.
    Panic,
}

/// A scripted facilitator: every clone is the same one. It says yes unless told otherwise.
#[derive(Debug, Clone, Default)]
pub struct Script(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    plan: Mutex<Plan>,
    supported: Counter,
    verified: Counter,
    settled: Counter,
    gate: Notify,
}

type Judge = Arc<dyn Fn(&Payment) -> bool + Send + Sync>;

#[derive(Default)]
struct Plan {
    supported: VecDeque<Act>,
    verify: VecDeque<Act>,
    settle: VecDeque<Act>,
    networks: Option<Vec<Network>>,
    versions: Option<Vec<Version>>,
    judge: Option<Judge>,
    seen: Vec<Payment>,
    keys: Vec<Option<String>>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("verify", &self.verify)
            .field("settle", &self.settle)
            .finish_non_exhaustive()
    }
}

impl Script {
    /// A facilitator that supports `exact` on Base and Base Sepolia, and says yes.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it does when asked what it supports, time after time; the last goes on for ever.
    #[must_use]
    pub fn on_supported(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.plan().supported = acts.into_iter().collect();
        self
    }

    /// What it does when asked to verify, time after time; the last goes on for ever.
    #[must_use]
    pub fn on_verify(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.plan().verify = acts.into_iter().collect();
        self
    }

    /// What it does when asked to settle, time after time; the last goes on for ever.
    #[must_use]
    pub fn on_settle(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.plan().settle = acts.into_iter().collect();
        self
    }

    /// The networks it supports.
    #[must_use]
    pub fn networks(self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.plan().networks = Some(networks.into_iter().collect());
        self
    }

    /// The versions of the protocol it knows.
    #[must_use]
    pub fn versions(self, versions: impl IntoIterator<Item = Version>) -> Self {
        self.plan().versions = Some(versions.into_iter().collect());
        self
    }

    /// It finds only those payments valid that `judge` does, whatever else it is told.
    #[must_use]
    pub fn judged_by(self, judge: impl Fn(&Payment) -> bool + Send + Sync + 'static) -> Self {
        self.plan().judge = Some(Arc::new(judge));
        self
    }

    /// Lets one waiting answer go, now or when it comes to wait.
    pub fn let_go(&self) {
        self.0.gate.notify_one();
    }

    /// How often it was asked what it supports.
    pub fn supported_calls(&self) -> usize {
        self.0.supported.get()
    }

    /// How often it was asked to verify.
    pub fn verify_calls(&self) -> usize {
        self.0.verified.get()
    }

    /// How often it was asked to settle.
    pub fn settle_calls(&self) -> usize {
        self.0.settled.get()
    }

    /// Waits until it was asked what it supports this often.
    pub async fn supported_begun(&self, times: usize) {
        self.0.supported.reaches(times).await;
    }

    /// Waits until it was asked to verify this often.
    pub async fn verify_begun(&self, times: usize) {
        self.0.verified.reaches(times).await;
    }

    /// Waits until it was asked to settle this often.
    pub async fn settle_begun(&self, times: usize) {
        self.0.settled.reaches(times).await;
    }

    /// The payments it was asked about, verified and settled.
    pub fn seen(&self) -> Vec<Payment> {
        self.plan().seen.clone()
    }

    /// The keys with which it was asked to settle, in order.
    pub fn keys(&self) -> Vec<Option<String>> {
        self.plan().keys.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn act(&self, pick: fn(&mut Plan) -> &mut VecDeque<Act>) -> Result<Act, FacilitatorError> {
        let act = {
            let mut plan = self.plan();
            let acts = pick(&mut plan);
            if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() }
        };
        match act.unwrap_or(Act::Yes) {
            Act::Fail(kind) => Err(FacilitatorError::new(kind, "scripted failure")),
            Act::Hang => pending().await,
            Act::Wait => {
                self.0.gate.notified().await;
                Ok(Act::Yes)
            }
            Act::Dawdle => {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                Ok(Act::Yes)
            }
            Act::Panic => panic!("the facilitator panics, as it should"),
            act => Ok(act),
        }
    }
}

impl Facilitator for Script {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        self.0.supported.count();
        self.act(|plan| &mut plan.supported).await?;
        let plan = self.plan();
        let networks = plan.networks.clone().unwrap_or_else(|| vec![BASE, BASE_SEPOLIA]);
        let versions = plan.versions.clone().unwrap_or_else(|| vec![Version::V1, Version::V2]);
        let kinds = networks.iter().flat_map(|network| {
            versions.iter().map(|version| SupportedKind {
                version: *version,
                scheme: "exact".to_owned(),
                network: network.clone(),
                extra: JsonMap::new(),
            })
        });
        Ok(Supported { kinds: kinds.collect(), ..Supported::default() })
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        self.0.verified.count();
        self.plan().seen.push(payment.clone());
        let judge = self.plan().judge.clone();
        if judge.is_some_and(|judge| !judge(payment)) {
            return Ok(VerifyResponse::invalid("judged_invalid", None));
        }
        Ok(match self.act(|plan| &mut plan.verify).await? {
            Act::No(reason) => VerifyResponse::Invalid(Refusal {
                reason: reason.into(),
                message: Some("scripted".to_owned()),
                payer: None,
            }),
            Act::Stranger => VerifyResponse::Valid { payer: stranger() },
            _ => VerifyResponse::Valid { payer: None },
        })
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let SettleRequest { payment, key, .. } = request;
        self.plan().seen.push(payment.clone());
        self.plan().keys.push(key.map(|key| key.as_str().to_owned()));
        self.0.settled.count();
        let network = payment.requirements.network.clone();
        let transaction: TransactionId = HASH.parse().expect("the hash is one");
        let act = self.act(|plan| &mut plan.settle).await?;
        Ok(match act {
            Act::No(reason) | Act::Reverted(reason) | Act::Dead(reason) => {
                SettleResponse::Failed(SettleFailure {
                    reason: reason.into(),
                    message: Some("scripted".to_owned()),
                    payer: None,
                    transaction: matches!(act, Act::Reverted(_)).then_some(transaction),
                    network,
                    is_dead: matches!(act, Act::Dead(_)),
                })
            }
            Act::Pending | Act::PendingUnnamed => SettleResponse::Pending(PendingSettlement {
                transaction: matches!(act, Act::Pending).then_some(transaction),
                network,
                payer: None,
            }),
            Act::Says(reason, hash) => SettleResponse::Failed(SettleFailure {
                reason: reason.into(),
                message: None,
                payer: None,
                transaction: hash.parse().ok(),
                network,
                is_dead: false,
            }),
            Act::Hash(hash) => SettleResponse::Settled(Receipt {
                transaction: hash.parse().ok(),
                network,
                payer: None,
                amount: None,
                extensions: JsonMap::new(),
            }),
            act => SettleResponse::Settled(Receipt {
                transaction: Some(transaction).filter(|_| !matches!(act, Act::NoProof)),
                network: if matches!(act, Act::Elsewhere) { Network::evm(1) } else { network },
                payer: if matches!(act, Act::Stranger) { stranger() } else { None },
                amount: matches!(act, Act::OneUnit).then(|| Amount::from(1)),
                extensions: JsonMap::new(),
            }),
        })
    }
}

fn stranger() -> Option<Address> {
    "0x000000000000000000000000000000000000dEaD".parse().ok()
}
