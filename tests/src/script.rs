//! A facilitator that does as it is told, and counts what it is asked.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;
use x402_core::{
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind},
    network::{BASE, BASE_SEPOLIA, Network},
    payment::{
        JsonMap, Payment, PendingSettlement, Receipt, Refusal, SettleFailure, SettleResponse, Supported,
        SupportedKind, TransactionId, VerifyResponse, Version,
    },
};

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
    /// Fails like this.
    Fail(FacilitatorErrorKind),
    /// Never answers.
    Hang,
    /// Answers once [`Script::let_go`] is called, with yes.
    Wait,
    /// Panics.
    Panic,
}

/// A scripted facilitator: every clone is the same one. It says yes unless told otherwise.
#[derive(Debug, Clone, Default)]
pub struct Script(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    plan: Mutex<Plan>,
    supported: AtomicUsize,
    verified: AtomicUsize,
    settled: AtomicUsize,
    gate: Notify,
}

#[derive(Debug, Default)]
struct Plan {
    supported: VecDeque<Act>,
    verify: VecDeque<Act>,
    settle: VecDeque<Act>,
    networks: Option<Vec<Network>>,
    v2_only: bool,
    seen: Vec<Payment>,
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

    /// It knows version 2 of the protocol only.
    #[must_use]
    pub fn v2_only(self) -> Self {
        self.plan().v2_only = true;
        self
    }

    /// Lets one waiting answer go, now or when it comes to wait.
    pub fn let_go(&self) {
        self.0.gate.notify_one();
    }

    /// How often it was asked what it supports.
    pub fn supported_calls(&self) -> usize {
        self.0.supported.load(Ordering::SeqCst)
    }

    /// How often it was asked to verify.
    pub fn verify_calls(&self) -> usize {
        self.0.verified.load(Ordering::SeqCst)
    }

    /// How often it was asked to settle.
    pub fn settle_calls(&self) -> usize {
        self.0.settled.load(Ordering::SeqCst)
    }

    /// The payments it was asked about, verified and settled.
    pub fn seen(&self) -> Vec<Payment> {
        self.plan().seen.clone()
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
            Act::Panic => panic!("scripted panic"),
            act => Ok(act),
        }
    }
}

impl Facilitator for Script {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        self.0.supported.fetch_add(1, Ordering::SeqCst);
        self.act(|plan| &mut plan.supported).await?;
        let plan = self.plan();
        let networks = plan.networks.clone().unwrap_or_else(|| vec![BASE, BASE_SEPOLIA]);
        let versions: &[Version] = if plan.v2_only { &[Version::V2] } else { &[Version::V1, Version::V2] };
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
        self.0.verified.fetch_add(1, Ordering::SeqCst);
        self.plan().seen.push(payment.clone());
        Ok(match self.act(|plan| &mut plan.verify).await? {
            Act::No(reason) => VerifyResponse::Invalid(Refusal {
                reason: reason.into(),
                message: Some("scripted".to_owned()),
                payer: None,
            }),
            _ => VerifyResponse::Valid { payer: None },
        })
    }

    async fn settle(&self, payment: &Payment) -> Result<SettleResponse, FacilitatorError> {
        self.0.settled.fetch_add(1, Ordering::SeqCst);
        self.plan().seen.push(payment.clone());
        let network = payment.requirements.network.clone();
        let transaction: TransactionId = HASH.parse().expect("the hash is one");
        Ok(match self.act(|plan| &mut plan.settle).await? {
            Act::No(reason) => SettleResponse::Failed(SettleFailure {
                reason: reason.into(),
                message: Some("scripted".to_owned()),
                payer: None,
                transaction: None,
                network,
            }),
            Act::Pending => SettleResponse::Pending(PendingSettlement { transaction, network, payer: None }),
            _ => SettleResponse::Settled(Receipt {
                transaction: Some(transaction),
                network,
                payer: None,
                amount: None,
                extensions: JsonMap::new(),
            }),
        })
    }
}
