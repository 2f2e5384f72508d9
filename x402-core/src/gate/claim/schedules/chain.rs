//! A chain, and the facilitator before it.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};

use super::world::{AtWork, Pause, Process, World, count, lock, one_in};
use crate::{
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind, SettleRequest},
    payment::{
        Payment, PendingSettlement, Receipt, SettleFailure, SettleResponse, Supported, TransactionId,
        VerifyResponse,
    },
};

/// What the chain knows of the one payment.
pub(super) struct Chain {
    /// How many transactions were sent for it.
    sent: u32,
    /// How many of them failed.
    failed: u32,
    latest: Fate,
    /// Whether the facilitator, when it verifies, finds out that the money moved.
    watchful: bool,
    calm: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    None,
    Sent,
    Mined,
}

impl Chain {
    pub(super) fn new() -> Self {
        // A facilitator that is not watchful puts more to the test what claims alone guarantee.
        Self { sent: 0, failed: 0, latest: Fate::None, watchful: !one_in(3), calm: false }
    }

    pub(super) fn has_moved(&self) -> bool {
        self.latest == Fate::Mined
    }

    pub(super) fn calm(&mut self) {
        self.calm = true;
        if self.latest == Fate::Sent {
            self.latest = if one_in(2) { Fate::Mined } else { Fate::None };
        }
    }

    fn transaction(&self) -> TransactionId {
        format!("0x{:064x}", self.sent).parse().expect("a transaction id")
    }

    /// What a facilitator does, however often it is asked: it sends a transaction unless one is on its way, or was
    /// mined.
    fn settle(&mut self) {
        if self.latest == Fate::None {
            self.sent += 1;
            self.latest = Fate::Sent;
        }
        if self.latest == Fate::Sent && (self.calm || !one_in(3)) {
            self.latest = Fate::Mined;
        }
    }

    fn settled(&self, payment: &Payment) -> SettleResponse {
        SettleResponse::Settled(Receipt {
            transaction: Some(self.transaction()),
            network: payment.requirements.network.clone(),
            payer: None,
            amount: None,
            extensions: Default::default(),
        })
    }

    fn pending(&self, payment: &Payment) -> SettleResponse {
        let network = payment.requirements.network.clone();
        SettleResponse::Pending(PendingSettlement {
            transaction: Some(self.transaction()),
            network,
            payer: None,
        })
    }
}

/// The facilitator, as a process reaches it.
pub(super) struct Remote(pub(super) Arc<Process>);

impl Facilitator for Remote {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        unreachable!("nobody runs what asks for it")
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        let Self(process) = self;
        process.step().await;
        let (trouble, refused) = {
            let chain = lock(process.world.chain(payment));
            (!chain.calm && one_in(12), chain.watchful && chain.has_moved())
        };
        process.step().await;
        if trouble {
            return Err(FacilitatorError::new(FacilitatorErrorKind::NoAnswer, "lost"));
        }
        if refused {
            process.note(|| "is told by the facilitator that the payment was used".to_owned());
            return Ok(VerifyResponse::invalid("nonce_used", None));
        }
        Ok(VerifyResponse::Valid { payer: None })
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let (Self(process), payment) = (self, request.payment);
        count(&process.world.tally.settlements_asked);
        process.note(|| "asks to settle".to_owned());
        let _at_work = AtWork::begin(&process.world);
        let failed_before = lock(process.world.chain(payment)).failed;
        process.step().await;
        let answer = answer(&process.world, payment, failed_before);
        process.note(|| match &answer {
            Ok(SettleResponse::Settled(_)) => "is told that it is settled".to_owned(),
            answer => format!("is told {answer:?}"),
        });
        process.step().await;
        answer
    }
}

fn answer(
    world: &Arc<World>,
    payment: &Payment,
    failed_before: u32,
) -> Result<SettleResponse, FacilitatorError> {
    let mut chain = lock(world.chain(payment));
    let lost = || Err(FacilitatorError::new(FacilitatorErrorKind::NoAnswer, "lost"));
    let failed = |transaction| {
        Ok(SettleResponse::Failed(SettleFailure {
            reason: "it_failed".into(),
            message: None,
            payer: None,
            transaction,
            network: payment.requirements.network.clone(),
            is_dead: false,
        }))
    };
    if chain.calm {
        chain.settle();
        return Ok(chain.settled(payment));
    }
    // What is told of a transaction that failed must hold: who began to ask before it failed sends no other.
    if chain.latest == Fate::None && chain.failed > failed_before {
        return failed(Some(chain.transaction()));
    }
    match thread_rng().gen_range(0..12) {
        // What it was asked does not arrive, or arrives when nobody waits for it any more.
        0 => Err(FacilitatorError::new(FacilitatorErrorKind::Unreachable, "not sent")),
        1 => lost(),
        2 if chain.sent == 0 => {
            drop(chain);
            let (world, payment) = (world.clone(), payment.clone());
            world.clone().spawn(async move {
                for _ in 0..thread_rng().gen_range(1..20) {
                    Pause(false).await;
                }
                let mut chain = lock(world.chain(&payment));
                // Likewise.
                if chain.sent == 0 {
                    chain.settle();
                }
            });
            lost()
        }
        // It fails: there is no money, or the transaction is dropped.
        3 if chain.latest == Fate::None => failed(None),
        4 if chain.latest == Fate::None => {
            chain.sent += 1;
            chain.failed += 1;
            failed(Some(chain.transaction()))
        }
        3 | 4 if chain.latest == Fate::Sent => {
            chain.latest = Fate::None;
            chain.failed += 1;
            failed(Some(chain.transaction()))
        }
        // It fails, since an earlier attempt succeeded.
        3 if chain.latest == Fate::Mined => failed(None),
        5 | 6 => {
            chain.settle();
            lost()
        }
        _ => {
            chain.settle();
            Ok(if chain.has_moved() { chain.settled(payment) } else { chain.pending(payment) })
        }
    }
}
