//! The service's own code at the gate's points: where it panics or hangs, the client has an answer, and nothing is charged.

use std::{future::pending, time::Duration};

use x402_core::{
    gate::{GateBuilder, RequestDecision, TimeLimits, exact_with},
    hooks::{Failure, PaymentHooks, Proceed},
    network::BASE_SEPOLIA,
    payment::{Payment, Receipt, SettleResponse},
};
use x402_tests::{
    script::{Act, Script},
    serve::Answer,
};

use crate::{
    harness::{Case, Stack, case},
    shop::{Shop, cent},
    support::{SELLER, assert_refused, assert_sold},
};

pub const CASES: &[Case] = &[
    case!(a_request_hook_that_fails_is_an_answer),
    case!(a_computed_price_or_payee_that_fails_is_an_answer),
    case!(a_body_that_cannot_be_made_is_an_answer),
    case!(a_hook_that_fails_before_settling_charges_nothing_and_holds_nothing),
    case!(a_hook_that_fails_after_settling_keeps_nothing_back),
];

fn soon(gate: GateBuilder) -> GateBuilder {
    gate.time_limits(TimeLimits::default().hooks(Duration::from_millis(50)))
}

/// Our own trouble, told in words, with no way to pay.
#[track_caller]
fn assert_failed(answer: &Answer, code: &str) {
    assert_refused(answer, 500, code);
    assert_eq!(answer.count("payment-required"), 0, "{answer:?}");
}

/// How code fails.
#[derive(Debug, Clone, Copy)]
enum Fails {
    Panics,
    Hangs,
}

impl Fails {
    const BOTH: [Self; 2] = [Self::Panics, Self::Hangs];

    async fn now(self) {
        match self {
            Self::Panics => panic!("the hook panics, as it should"),
            Self::Hangs => pending().await,
        }
    }
}

async fn a_request_hook_that_fails_is_an_answer(stack: Stack) {
    for fails in Fails::BOTH {
        let hook = move |gate: GateBuilder| {
            soon(gate).on_request(move |_| async move {
                fails.now().await;
                RequestDecision::Free
            })
        };
        let shop = Shop::open_with(stack, Script::new(), hook).await;
        assert_failed(&shop.get("/cheap", &[]).await, "payment_hook_failed");
        let head = shop.send("HEAD", "/cheap", &[]).await;
        assert_eq!((head.status, head.body.as_str()), (500, ""));
        assert_eq!(shop.counts(), (0, 0, 0));
        assert_eq!(shop.get("/free", &[]).await.status, 200);
    }
    // It need not come as far as its future.
    let hook = |gate: GateBuilder| {
        gate.on_request(|request| {
            assert!(request.headers.contains_key("x-no-such"), "as it should");
            async { RequestDecision::Free }
        })
    };
    let shop = Shop::open_with(stack, Script::new(), hook).await;
    assert_failed(&shop.get("/cheap", &[]).await, "payment_hook_failed");
}

async fn a_computed_price_or_payee_that_fails_is_an_answer(stack: Stack) {
    for fails in Fails::BOTH {
        let priced = exact_with(move |_| async move {
            fails.now().await;
            Ok("$0.01")
        });
        let paid = x402_core::gate::exact("$0.01").on(BASE_SEPOLIA).to_with(move |_| async move {
            fails.now().await;
            Ok(SELLER.parse().unwrap())
        });
        for charge in [priced.on(BASE_SEPOLIA).to(SELLER), paid] {
            let shop = Shop::selling_with(stack, Script::new(), soon, charge).await;
            assert_failed(&shop.get("/cheap", &[]).await, "payment_hook_failed");
        }
    }
}

async fn a_body_that_cannot_be_made_is_an_answer(stack: Stack) {
    let charge = cent().unpaid_body(|_| panic!("the closure panics, as it should"));
    let shop = Shop::selling(stack, Script::new(), charge).await;
    assert_failed(&shop.get("/cheap", &[]).await, "payment_misconfigured");
    let head = shop.send("HEAD", "/cheap", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (500, ""));
    // Whoever tried to pay hears what came of it all the same.
    let charge = cent().settlement_failed_body(|_| panic!("the closure panics, as it should"));
    let shop = Shop::selling(stack, Script::new().on_settle([Act::No("insufficient_funds")]), charge).await;
    let answer = shop.pay("/cheap", &shop.v2("/cheap").await).await;
    assert_refused(&answer, 402, "insufficient_funds");
    assert_eq!(answer.decoded("payment-response").unwrap()["success"], false);
}

/// Fails at one of the points.
struct At(&'static str, Fails);

impl At {
    async fn reached(&self, point: &str) {
        if self.0 == point {
            self.1.now().await;
        }
    }
}

impl PaymentHooks for At {
    async fn before_verify(&self, _: &Payment) -> Proceed {
        self.reached("before_verify").await;
        Proceed::Continue
    }

    async fn after_verify(&self, _: &Payment) -> Proceed {
        self.reached("after_verify").await;
        Proceed::Continue
    }

    async fn before_settle(&self, _: &Payment) -> Proceed {
        self.reached("before_settle").await;
        Proceed::Continue
    }

    async fn after_settle(&self, _: &Payment, _: &Receipt) {
        self.reached("after_settle").await;
    }

    async fn on_settle_failure(&self, _: &Payment, _: &Failure<'_, SettleResponse>) -> Option<Receipt> {
        self.reached("on_settle_failure").await;
        None
    }
}

async fn a_hook_that_fails_before_settling_charges_nothing_and_holds_nothing(stack: Stack) {
    for fails in Fails::BOTH {
        for (point, verified) in [("before_verify", 0), ("after_verify", 1), ("before_settle", 1)] {
            for path in ["/cheap", "/first"] {
                let shop =
                    Shop::open_with(stack, Script::new(), |gate| soon(gate).hooks(At(point, fails))).await;
                let payment = shop.v2(path).await;
                // The second time it is as new: nothing is held.
                for round in 1..=2 {
                    let answer = shop.pay(path, &payment).await;
                    assert_failed(&answer, "payment_hook_failed");
                    assert_eq!(answer.count("payment-response"), 0, "{point} {answer:?}");
                    assert_eq!(shop.script.verify_calls(), verified * round, "{point}");
                }
                assert_eq!(shop.script.settle_calls(), 0, "{point}");
            }
        }
    }
}

async fn a_hook_that_fails_after_settling_keeps_nothing_back(stack: Stack) {
    for fails in Fails::BOTH {
        for path in ["/cheap", "/first"] {
            let hook = |gate: GateBuilder| soon(gate).hooks(At("after_settle", fails));
            let shop = Shop::open_with(stack, Script::new(), hook).await;
            assert_sold(&shop.pay(path, &shop.v2(path).await).await, path);
            // One that may recover a failure recovers none.
            let hook = |gate: GateBuilder| soon(gate).hooks(At("on_settle_failure", fails));
            let script = Script::new().on_settle([Act::No("insufficient_funds"), Act::Yes]);
            let shop = Shop::open_with(stack, script, hook).await;
            let payment = shop.v2(path).await;
            assert_refused(&shop.pay(path, &payment).await, 402, "insufficient_funds");
            assert_sold(&shop.pay(path, &payment).await, path);
        }
    }
}
