//! The points where an application steps in.

use std::sync::Arc;

use x402_core::{
    address::Address,
    facilitator::FacilitatorErrorKind as Kind,
    gate::{GateBuilder, RequestDecision, RequestInfo},
    hooks::{Failure, PaymentHooks, Proceed},
    payment::{JsonMap, Payment, Receipt, SettleResponse, VerifyResponse},
};
use x402_tests::{
    script::{Act, HASH, Script},
    serve::Counter,
};

use crate::{
    goods::{Shelf, of_everything},
    harness::{Case, Stack, case},
    shop::{Shop, Stock, cent},
    support::{assert_asked, assert_no_receipt, assert_refused, assert_sold, assert_spent, marker},
};

pub const CASES: &[Case] = &[
    case!(a_request_hook_lets_pass_charges_or_refuses),
    case!(a_good_payment_passes_every_point_once),
    case!(an_abort_around_verifying_refuses_and_spends_nothing),
    case!(an_abort_before_settling_leaves_the_money_where_it_is),
    case!(a_payment_can_be_taken_although_verifying_failed),
    case!(a_payment_can_be_taken_although_settling_failed),
    case!(a_hook_that_panics_after_settling_does_not_lose_what_was_bought),
    case!(a_receipt_too_long_for_a_header_loses_its_extensions),
    case!(a_handler_of_a_free_pass_sees_no_payment),
    case!(a_route_has_hooks_of_its_own_after_those_of_the_gate),
];

async fn a_request_hook_lets_pass_charges_or_refuses(stack: Stack) {
    let set_up = |gate: GateBuilder| {
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
    let shop = Shop::open_with(stack, Script::new(), set_up).await;
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

async fn hooked(stack: Stack, script: Script, told: &Told) -> Shop {
    let told = told.clone();
    Shop::open_with(stack, script, |gate| gate.hooks(told)).await
}

async fn a_good_payment_passes_every_point_once(stack: Stack) {
    let told = Told::default();
    let shop = hooked(stack, Script::new(), &told).await;
    for path in ["/cheap", "/first"] {
        assert_sold(&shop.pay(path, &shop.v2(path).await).await, path);
    }
    assert_eq!(told.counts(), [2, 2, 0, 2, 2, 0]);
    shop.pay("/fails", &shop.v2("/fails").await).await;
    assert_eq!(told.counts(), [3, 3, 0, 2, 2, 0], "nothing is settled for a failure");
}

async fn an_abort_around_verifying_refuses_and_spends_nothing(stack: Stack) {
    for (told, verified) in [
        (Told { before_verify: Some("not_today"), ..Told::default() }, 0),
        (Told { after_verify: Some("not_today"), ..Told::default() }, 1),
    ] {
        let shop = hooked(stack, Script::new(), &told).await;
        let payment = shop.v2("/cheap").await;
        for round in 1..=2 {
            assert_asked(&shop.pay("/cheap", &payment).await, "not_today");
            assert_eq!(shop.counts(), (0, verified * round, 0));
        }
    }
}

async fn an_abort_before_settling_leaves_the_money_where_it_is(stack: Stack) {
    for (path, visits) in [("/cheap", 1), ("/first", 0)] {
        let told = Told { before_settle: Some("not_today"), ..Told::default() };
        let shop = hooked(stack, Script::new(), &told).await;
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

async fn a_payment_can_be_taken_although_verifying_failed(stack: Stack) {
    for act in [Act::No("insufficient_funds"), Act::Fail(Kind::Unreachable)] {
        let told = Told { recover_verify: true, ..Told::default() };
        let shop = hooked(stack, Script::new().on_verify([act.clone()]), &told).await;
        let answer = shop.pay("/who", &shop.v2("/who").await).await;
        assert_sold(&answer, "/who");
        assert!(answer.body.contains(RESCUER), "the hook names the payer: {answer:?}");
        assert_eq!(shop.counts().1, 1);
        assert_eq!(told.counts(), [1, 1, 1, 1, 1, 0], "{act:?}");
        let silent = Told::default();
        let shop = hooked(stack, Script::new().on_verify([act]), &silent).await;
        assert_ne!(shop.pay("/cheap", &shop.v2("/cheap").await).await.status, 200);
        assert_eq!(silent.counts(), [1, 0, 1, 0, 0, 0]);
    }
}

async fn a_payment_can_be_taken_although_settling_failed(stack: Stack) {
    for act in [Act::No("insufficient_funds"), Act::Fail(Kind::NoAnswer), Act::Pending] {
        let told = Told { recover_settle: true, ..Told::default() };
        let shop = hooked(stack, Script::new().on_settle([act.clone()]), &told).await;
        let payment = shop.v2("/cheap").await;
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        assert_eq!(told.counts(), [1, 1, 0, 1, 1, 1], "{act:?}");
        assert_spent(&shop.pay("/cheap", &payment).await);
    }
}

async fn a_hook_that_panics_after_settling_does_not_lose_what_was_bought(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let told = Told { panics_after: true, ..Told::default() };
        let shop = hooked(stack, Script::new(), &told).await;
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

async fn a_receipt_too_long_for_a_header_loses_its_extensions(stack: Stack) {
    let script = Script::new().on_settle([Act::No("insufficient_funds")]);
    let shop = Shop::open_with(stack, script, |gate| gate.hooks(Verbose)).await;
    let answer = shop.pay("/cheap", &shop.v2("/cheap").await).await;
    assert_sold(&answer, "/cheap");
    assert!(answer.header("payment-response").unwrap().len() < 8192);
    assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
}

async fn a_handler_of_a_free_pass_sees_no_payment(stack: Stack) {
    let free = |gate: GateBuilder| gate.on_request(async |_| RequestDecision::Free);
    let shop = Shop::open_with(stack, Script::new(), free).await;
    for path in ["/maybe", "/bare-maybe"] {
        let answer = shop.get(path, &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "false"));
    }
    let must = shop.get("/who", &[]).await;
    assert_eq!((must.status, must.header("cache-control")), (500, Some("private, no-store")));
    assert!(must.body.contains("a hook let this request pass free: take `Option<Paid>`"), "{must:?}");
    let bare = shop.get("/bare-who", &[]).await;
    assert_eq!(bare.status, 500);
    assert!(bare.body.contains("its route is not charged"), "{bare:?}");
}

async fn a_route_has_hooks_of_its_own_after_those_of_the_gate(stack: Stack) {
    fn key(request: &RequestInfo, is: &str) -> bool {
        request.headers.get("x-key").is_some_and(|key| key == is)
    }
    let charge = cent().on_request(async |request| match key(&request, "member") {
        true => RequestDecision::Free,
        false if key(&request, "banned") => RequestDecision::Refuse("not this one".to_owned()),
        false => RequestDecision::Charge,
    });
    let shelves = vec![Shelf { charge: Some(charge), ..of_everything("/cheap") }, of_everything("/dear")];
    let closed = move |gate: GateBuilder| {
        gate.on_request(async |request| match key(&request, "nobody") {
            true => RequestDecision::Refuse("closed".to_owned()),
            false => RequestDecision::Charge,
        })
    };
    let shop = Shop::stocked(stack, Script::new(), closed, Stock::Priced(shelves)).await;
    let with = async |path, key| shop.get(path, &[("x-key", key)]).await;
    let gift = with("/cheap", "member").await;
    assert_eq!((gift.status, gift.body.as_str()), (200, marker("/cheap").as_str()));
    assert_eq!(gift.header("cache-control"), Some("private"), "not for all");
    assert_refused(&with("/cheap", "banned").await, 403, "not this one");
    assert_refused(&with("/cheap", "nobody").await, 403, "closed");
    assert_eq!((with("/cheap", "x").await.status, shop.counts()), (402, (1, 0, 0)));
    for key in ["member", "banned"] {
        assert_eq!(with("/dear", key).await.status, 402, "the other route has its own");
    }
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");
}
