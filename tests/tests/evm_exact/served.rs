//! What a gate serves when somebody else broadcasts a payment that it has seen unused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, routing::get};
use x402_axum::GateExt;
use x402_core::{
    gate::{PaymentGate, exact},
    hooks::{PaymentHooks, Proceed},
    store::MemoryStore,
};
use x402_facilitator::LocalFacilitator;
use x402_tests::serve::{Answer, Serving, encoded};

use super::{
    faulty::{Act, Endpoint, FaultyStore, Write},
    support::*,
};

/// Broadcasts a payment, as its payer may, when the gate has found it good.
struct Broadcasts(Arc<Chain>, TransferWithAuthorization);

impl PaymentHooks for Broadcasts {
    async fn after_verify(&self, _: &Payment) -> Proceed {
        send_as(&self.0, chain::stranger(), USDC, transfer_call(&self.1)).await;
        Proceed::Continue
    }
}

/// A shop that sells one thing for the price.
struct Shop {
    serving: Serving,
    payment: String,
    _gate: PaymentGate,
}

impl Shop {
    /// With this facilitator; the payment that comes is broadcast as soon as it was found good.
    async fn open(chain: Arc<Chain>, facilitator: ExactFacilitator) -> Self {
        let message = authorization(1);
        let gate = PaymentGate::builder("http://shop.test")
            .facilitator(LocalFacilitator::new().with(facilitator))
            .scheme(exact::server())
            // The default is one for all gates of a process, and each chain here is another one with the same payments.
            .store(MemoryStore::new())
            .hooks(Broadcasts(chain, message.clone()))
            .build()
            .unwrap();
        gate.ready().await.unwrap();
        let price = exact("$0.01").on(Network::evm(BASE_SEPOLIA)).to(chain::merchant().address());
        let charge = gate.charge(price).unwrap();
        let app = Router::new().route("/paid", get(async || "secret").layer(charge));
        let serving = Serving::start(app).await.unwrap();
        let offer = serving.get("/paid", &[]).await.unwrap().decoded("payment-required").unwrap();
        let payment = json!({
            "x402Version": 2,
            "resource": offer["resource"],
            "accepted": offer["accepts"][0],
            "payload": payload(&message, &sign(&message)),
        });
        Self { serving, payment: encoded(&payment), _gate: gate }
    }

    async fn pay(&self) -> Answer {
        self.serving.get("/paid", &[("payment-signature", &self.payment)]).await.unwrap()
    }

    /// Nothing is served, and nobody is asked to pay again.
    async fn holds_it(&self) {
        let answer = self.pay().await;
        assert_eq!((answer.status, answer.count("payment-required")), (502, 0), "{answer:?}");
        assert_eq!(answer.json().unwrap()["error"], "settlement_pending", "{answer:?}");
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }

    /// Once.
    async fn serves_it(&self) {
        let answer = self.pay().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "secret"), "{answer:?}");
        let again = self.pay().await;
        assert_eq!((again.status, again.count("payment-required")), (402, 0), "{again:?}");
    }
}

async fn funded() -> Arc<Chain> {
    let (chain, _) = start().await;
    Arc::new(chain)
}

#[tokio::test]
async fn what_was_paid_is_served_when_its_log_is_found() {
    let chain = funded().await;
    let indexed = Arc::new(AtomicBool::new(false));
    let endpoint = Endpoint::before(&chain, {
        let indexed = indexed.clone();
        move |method, _| match method {
            "eth_getLogs" if !indexed.load(Ordering::SeqCst) => Act::Answer(json!([])),
            _ => Act::Pass,
        }
    })
    .await;
    let shop = Shop::open(chain.clone(), facilitator_at(&endpoint.url)).await;
    for _ in 0..2 {
        shop.holds_it().await;
    }
    indexed.store(true, Ordering::SeqCst);
    shop.serves_it().await;
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn what_was_paid_is_served_when_the_journal_takes_it() {
    let chain = funded().await;
    let full = Arc::new(AtomicBool::new(true));
    let store = FaultyStore::new({
        let full = full.clone();
        move |_| if full.load(Ordering::SeqCst) { Write::Full } else { Write::Works }
    });
    let shop = Shop::open(chain.clone(), facilitator_of(&chain).store(store)).await;
    for _ in 0..2 {
        shop.holds_it().await;
    }
    full.store(false, Ordering::SeqCst);
    shop.serves_it().await;
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}
