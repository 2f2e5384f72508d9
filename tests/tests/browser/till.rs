//! The embedded facilitator on a real chain, with somebody who gets in its way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;
use x402_core::{
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind, SettleRequest},
    network::Network,
    payment::{
        Payment, PendingSettlement, Refusal, SettleFailure, SettleResponse, Supported, VerifyResponse,
    },
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::LocalFacilitator;
use x402_tests::{Chain, chain, script::HASH, serve::Counter};

/// What becomes of a request to the facilitator.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// It is answered.
    Yes,
    /// It is refused for this reason, and nothing happens.
    No(&'static str),
    /// It is not sent.
    Unreachable,
    /// It is answered, and the answer is lost.
    Lost,
    /// A transaction is said to be on its way, and none is.
    Pending,
    /// It is answered once [`Till::let_go`] is called.
    Wait,
}

/// A facilitator; every clone is the same one. All goes well unless said otherwise.
#[derive(Clone)]
pub struct Till(Arc<Inner>);

struct Inner {
    facilitator: LocalFacilitator,
    verify: Mutex<VecDeque<Act>>,
    settle: Mutex<VecDeque<Act>>,
    settled: Counter,
    gate: Notify,
}

impl Till {
    /// It settles on these chains.
    pub fn on(chains: &[(&Chain, Network)]) -> Self {
        let facilitator = chains.iter().fold(LocalFacilitator::new(), |facilitator, (chain, network)| {
            let on_chain = ExactFacilitator::connect(chain.rpc_url(), network.clone(), chain::facilitator());
            facilitator.with(on_chain.unwrap().allow_token(chain.usdc()))
        });
        Self(Arc::new(Inner {
            facilitator,
            verify: Mutex::default(),
            settle: Mutex::default(),
            settled: Counter::default(),
            gate: Notify::new(),
        }))
    }

    /// What becomes of the requests to verify, time after time; the last goes on for ever.
    pub fn on_verify(&self, acts: impl IntoIterator<Item = Act>) {
        *self.0.verify.lock().unwrap() = acts.into_iter().collect();
    }

    /// What becomes of the requests to settle, time after time; the last goes on for ever.
    pub fn on_settle(&self, acts: impl IntoIterator<Item = Act>) {
        *self.0.settle.lock().unwrap() = acts.into_iter().collect();
    }

    /// Lets one waiting request go, now or when it comes to wait.
    pub fn let_go(&self) {
        self.0.gate.notify_one();
    }

    /// How often it was asked to settle.
    pub fn settle_calls(&self) -> usize {
        self.0.settled.get()
    }

    /// Waits until it was asked to settle this often.
    pub async fn settle_begun(&self, times: usize) {
        self.0.settled.reaches(times).await;
    }

    async fn act(&self, acts: &Mutex<VecDeque<Act>>) -> Result<Act, FacilitatorError> {
        let act = {
            let mut acts = acts.lock().unwrap();
            if acts.len() > 1 { acts.pop_front() } else { acts.front().copied() }
        };
        match act.unwrap_or(Act::Yes) {
            Act::Unreachable => Err(FacilitatorError::new(FacilitatorErrorKind::Unreachable, "as it should")),
            Act::Wait => {
                self.0.gate.notified().await;
                Ok(Act::Yes)
            }
            act => Ok(act),
        }
    }
}

fn lost() -> FacilitatorError {
    FacilitatorError::new(FacilitatorErrorKind::NoAnswer, "as it should")
}

impl Facilitator for Till {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        self.0.facilitator.supported().await
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        match self.act(&self.0.verify).await? {
            Act::No(reason) => {
                Ok(VerifyResponse::Invalid(Refusal { reason: reason.into(), message: None, payer: None }))
            }
            _ => self.0.facilitator.verify(payment).await,
        }
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        self.0.settled.count();
        let network = payment.requirements.network.clone();
        match self.act(&self.0.settle).await? {
            Act::No(reason) => Ok(SettleResponse::Failed(SettleFailure {
                reason: reason.into(),
                message: None,
                payer: None,
                transaction: None,
                network,
                is_dead: false,
            })),
            Act::Pending => Ok(SettleResponse::Pending(PendingSettlement {
                transaction: HASH.parse().ok(),
                network,
                payer: None,
            })),
            Act::Lost => {
                self.0.facilitator.settle(request).await?;
                Err(lost())
            }
            _ => self.0.facilitator.settle(request).await,
        }
    }
}
