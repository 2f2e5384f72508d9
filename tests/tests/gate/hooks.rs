//! The points where an application steps in.

use std::sync::Arc;

use x402_core::{
    address::Address,
    facilitator::FacilitatorErrorKind as Kind,
    gate::RequestDecision,
    hooks::{Failure, PaymentHooks, Proceed},
    payment::{JsonMap, Payment, Receipt, SettleResponse, VerifyResponse},
};
use x402_tests::{
    script::{Act, HASH, Script},
    serve::Counter,
};

use crate::{
    shop::Shop,
    support::{assert_asked, assert_no_receipt, assert_refused, assert_sold, assert_spent, marker},
};

#[tokio::test]
async fn a_request_hook_lets_pass_charges_or_refuses() {
    let set_up = |gate: x402_core::gate::GateBuilder| {
        gate.on_request(async |request| match request.headers.get("x-key").map(|value| value.as_bytes()) {
            Some(b"member") => RequestDecision::Free,
            Some(b"banned") => RequestDecision::Refuse("no entry".to_owned()),
            _ => RequestDecision::Charge,
        })
        .on_request(async |request| match request.headers.contains_key("x-key") {
            true => RequestDecision::Refuse("the second hook".to_owned()),
            false => RequestDecision::Charge,
        })
    };
    let shop = Shop::open_with(Script::new(), set_up).await;
    let free = shop.get("/cheap", &[("x-key", "member")]).await;
    assert_eq!((free.status, free.body.as_str()), (200, marker("/cheap").as_str()));
    assert_no_receipt(&free);
    let refused = shop.get("/cheap", &[("x-key", "banned")]).await;
    assert_refused(&refused, 403, "no entry");
    assert_eq!(refused.count("payment-required"), 0);
    assert_refused(&shop.get("/cheap", &[("x-key", "other")]).await, 403, "the second hook");
    assert_eq!(shop.get("/cheap", &[]).await.status, 402);
    assert_eq!(shop.counts(), (1, 0, 0));
    let payment = x402_tests::serve::encoded(&shop.v2("/cheap").await);
    let banned = shop.get("/cheap", &[("x-key", "banned"), ("payment-signature", &payment)]).await;
    assert_eq!(banned.status, 403);
    let member = shop.get("/cheap", &[("x-key", "member"), ("payment-signature", &payment)]).await;
    assert_eq!((member.status, member.count("payment-response")), (200, 0), "members keep their money");
    assert_sold(&shop.get("/cheap", &[("payment-signature", &payment)]).await, "/cheap");
    assert_eq!(shop.counts(), (3, 1, 1));
}

/// Does what it is told at each of the six points, and counts them.
#[derive(Clone, Default)]
struct Told {
    before_verify: Option<&'static str>,
    after_verify: Option<&'static str>,
    recover_verify: bool,
    before_settle: Option<&'static str>,
    recover_settle: bool,
    panics_after: bool,
    called: Arc<[Counter; 6]>,
}

impl Told {
    fn counts(&self) -> [usize; 6] {
        std::array::from_fn(|index| self.called[index].get())
    }
}

fn proceed(abort: Option<&'static str>) -> Proceed {
    abort.map_or(Proceed::Continue, |reason| Proceed::Abort(reason.into()))
}

const RESCUER: &str = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";

impl PaymentHooks for Told {
    async fn before_verify(&self, _: &Payment) -> Proceed {
        self.called[0].count();
        proceed(self.before_verify)
    }

    async fn after_verify(&self, _: &Payment) -> Proceed {
        self.called[1].count();
        proceed(self.after_verify)
    }

    async fn on_verify_failure(&self, _: &Payment, _: &Failure<'_, VerifyResponse>) -> Option<Address> {
        self.called[2].count();
        self.recover_verify.then(|| RESCUER.parse().unwrap())
    }

    async fn before_settle(&self, _: &Payment) -> Proceed {
        self.called[3].count();
        proceed(self.before_settle)
    }

    async fn after_settle(&self, _: &Payment, receipt: &Receipt) {
        assert!(receipt.transaction.is_some());
        self.called[4].count();
        assert!(!self.panics_after, "the hook panics, as it should");
    }

    async fn on_settle_failure(&self, payment: &Payment, _: &Failure<'_, SettleResponse>) -> Option<Receipt> {
        self.called[5].count();
        self.recover_settle.then(|| Receipt {
            transaction: Some(HASH.parse().unwrap()),
            network: payment.requirements.network.clone(),
            payer: None,
            amount: None,
            extensions: JsonMap::new(),
        })
    }
}

async fn hooked(script: Script, told: &Told) -> Shop {
    let told = told.clone();
    Shop::open_with(script, |gate| gate.hooks(told)).await
}

#[tokio::test]
async fn a_good_payment_passes_every_point_once() {
    let told = Told::default();
    let shop = hooked(Script::new(), &told).await;
    for path in ["/cheap", "/first"] {
        assert_sold(&shop.pay(path, &shop.v2(path).await).await, path);
    }
    assert_eq!(told.counts(), [2, 2, 0, 2, 2, 0]);
    shop.pay("/fails", &shop.v2("/fails").await).await;
    assert_eq!(told.counts(), [3, 3, 0, 2, 2, 0], "nothing is settled for a failure");
}

#[tokio::test]
async fn an_abort_around_verifying_refuses_and_spends_nothing() {
    for (told, verified) in [
        (Told { before_verify: Some("not_today"), ..Told::default() }, 0),
        (Told { after_verify: Some("not_today"), ..Told::default() }, 1),
    ] {
        let shop = hooked(Script::new(), &told).await;
        let payment = shop.v2("/cheap").await;
        for round in 1..=2 {
            assert_asked(&shop.pay("/cheap", &payment).await, "not_today");
            assert_eq!(shop.counts(), (0, verified * round, 0));
        }
    }
}

#[tokio::test]
async fn an_abort_before_settling_leaves_the_money_where_it_is() {
    for (path, visits) in [("/cheap", 1), ("/first", 0)] {
        let told = Told { before_settle: Some("not_today"), ..Told::default() };
        let shop = hooked(Script::new(), &told).await;
        let payment = shop.v2(path).await;
        for round in 1..=2 {
            let answer = shop.pay(path, &payment).await;
            assert_refused(&answer, 402, "not_today");
            assert_eq!(answer.decoded("payment-response").unwrap()["success"], false);
            assert_eq!(shop.counts(), (visits * round, round, 0));
        }
        assert_eq!(told.counts()[4..], [0, 0]);
    }
}

#[tokio::test]
async fn a_payment_can_be_taken_although_verifying_failed() {
    for act in [Act::No("insufficient_funds"), Act::Fail(Kind::Unreachable)] {
        let told = Told { recover_verify: true, ..Told::default() };
        let shop = hooked(Script::new().on_verify([act.clone()]), &told).await;
        let answer = shop.pay("/who", &shop.v2("/who").await).await;
        assert_sold(&answer, "/who");
        assert!(answer.body.contains(RESCUER), "the hook names the payer: {answer:?}");
        assert_eq!(shop.counts().1, 1);
        assert_eq!(told.counts(), [1, 1, 1, 1, 1, 0], "{act:?}");
        let silent = Told::default();
        let shop = hooked(Script::new().on_verify([act]), &silent).await;
        assert_ne!(shop.pay("/cheap", &shop.v2("/cheap").await).await.status, 200);
        assert_eq!(silent.counts(), [1, 0, 1, 0, 0, 0]);
    }
}

#[tokio::test]
async fn a_payment_can_be_taken_although_settling_failed() {
    for act in [Act::No("insufficient_funds"), Act::Fail(Kind::NoAnswer), Act::Pending] {
        let told = Told { recover_settle: true, ..Told::default() };
        let shop = hooked(Script::new().on_settle([act.clone()]), &told).await;
        let payment = shop.v2("/cheap").await;
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        assert_eq!(told.counts(), [1, 1, 0, 1, 1, 1], "{act:?}");
        assert_spent(&shop.pay("/cheap", &payment).await);
    }
}

#[tokio::test]
async fn a_hook_that_panics_after_settling_does_not_lose_what_was_bought() {
    for path in ["/cheap", "/first"] {
        let told = Told { panics_after: true, ..Told::default() };
        let shop = hooked(Script::new(), &told).await;
        assert_sold(&shop.pay(path, &shop.v2(path).await).await, path);
        assert_eq!(told.counts(), [1, 1, 0, 1, 1, 0]);
    }
}

/// Takes any payment as settled, with a receipt too long for a header.
struct Verbose;

impl PaymentHooks for Verbose {
    async fn on_settle_failure(&self, payment: &Payment, _: &Failure<'_, SettleResponse>) -> Option<Receipt> {
        let mut extensions = JsonMap::new();
        extensions.insert("long".to_owned(), "x".repeat(100_000).into());
        Some(Receipt {
            transaction: Some(HASH.parse().unwrap()),
            network: payment.requirements.network.clone(),
            payer: None,
            amount: None,
            extensions,
        })
    }
}

#[tokio::test]
async fn a_receipt_too_long_for_a_header_loses_its_extensions() {
    let script = Script::new().on_settle([Act::No("insufficient_funds")]);
    let shop = Shop::open_with(script, |gate| gate.hooks(Verbose)).await;
    let answer = shop.pay("/cheap", &shop.v2("/cheap").await).await;
    assert_sold(&answer, "/cheap");
    assert!(answer.header("payment-response").unwrap().len() < 8192);
    assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
}
