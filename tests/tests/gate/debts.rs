//! What a payer is owed is served, once, and never asked for again; what proves nothing settles nothing.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, body::Body, http::Request, routing::any};
use tower::ServiceExt;
use x402_axum::GateExt;
use x402_core::{
    facilitator::FacilitatorErrorKind as Kind,
    gate::{GateBuilder, RequestDecision, RequestInfo, exact, exact_with},
    network::BASE_SEPOLIA,
    store::MemoryStore,
};
use x402_tests::{
    script::{Act, Script},
    serve::encoded,
};

use crate::{
    goods::of_everything,
    harness::{Case, Framework, Stack, case},
    outcomes::once_free,
    shop::{Shop, Stock, cent},
    support::{MARKER, SELLER, assert_refused, assert_sold, assert_spent, marker, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(a_success_that_proves_nothing_is_none),
    case!(a_price_that_moves_asks_nobody_twice_for_a_pending_payment),
    case!(other_spellings_of_a_pending_payment_are_the_same_payment),
    case!(a_pending_payment_is_for_its_own_route),
    case!(settled_first_what_a_panic_kept_back_is_served_when_asked_again),
    case!(a_pending_payment_is_resumed_at_its_own_price),
    case!(a_pending_payment_is_resumed_for_its_own_payee),
    case!(a_price_by_headers_is_not_bought_with_other_headers),
    case!(what_is_owed_is_served_though_its_price_was_changed),
    case!(what_failed_on_chain_buys_only_what_is_asked_for_now),
    case!(a_payment_that_is_served_late_is_not_lost_to_an_answer_that_costs_nothing),
    case!(a_pending_payment_is_resumed_for_its_own_host).http1(),
    case!(who_hangs_up_on_a_late_answer_is_served_when_back)
        .only(&[Framework::Axum, Framework::Tower])
        .http1(),
    case!(two_charges_in_a_row_take_one_payment_and_say_so),
    case!(two_gates_of_a_process_sell_one_answer_for_one_payment),
    case!(what_is_given_away_is_not_cached_for_all),
    case!(a_gate_tells_when_its_settlements_are_done),
    case!(who_goes_away_while_paying_is_served_when_back).only(&[Framework::Axum]).http1(),
];

async fn a_success_that_proves_nothing_is_none(stack: Stack) {
    for act in [Act::NoProof, Act::OneUnit, Act::Stranger, Act::Elsewhere] {
        for path in ["/cheap", "/first"] {
            let shop = Shop::open(stack, Script::new().on_settle([act.clone(), Act::Yes])).await;
            let payment = shop.v2(path).await;
            assert_refused(&shop.pay(path, &payment).await, 502, "settlement_pending");
            assert_sold(&shop.pay(path, &payment).await, path);
        }
    }
    let shop = Shop::open(stack, Script::new().on_verify([Act::Stranger])).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 502, "facilitator_unavailable");
    assert_eq!(shop.counts(), (0, 1, 0));
}

async fn a_price_that_moves_asks_nobody_twice_for_a_pending_payment(stack: Stack) {
    let price = Arc::new(AtomicU64::new(1));
    let asked = price.clone();
    let charge = exact_with(move |_| {
        let cents = asked.load(Ordering::SeqCst);
        async move { Ok(format!("$0.0{cents}")) }
    });
    let acts = [Act::Pending, Act::Pending, Act::Pending, Act::Pending, Act::Yes];
    let shop = Shop::selling(stack, Script::new().on_settle(acts), charge.on(BASE_SEPOLIA).to(SELLER)).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 503, "settlement_pending");
    price.store(2, Ordering::SeqCst);
    let answer = shop.pay("/cheap", &payment).await;
    assert_refused(&answer, 503, "settlement_pending");
    assert_eq!(answer.count("payment-required"), 0);
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    let settled = shop.script.seen().pop().unwrap();
    assert_eq!(settled.requirements.amount.to_string(), "10000", "what was asked for when it was signed");
}

async fn other_spellings_of_a_pending_payment_are_the_same_payment(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::Yes])).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 502, "settlement_pending");
    let mut lower = payment.clone();
    for field in ["/payload/authorization/from", "/payload/signature"] {
        let text = lower.pointer_mut(field).unwrap();
        *text = text.as_str().unwrap().to_lowercase().into();
    }
    assert_ne!(lower, payment);
    assert_sold(&shop.pay("/cheap", &lower).await, "/cheap");
    assert_spent(&shop.pay("/cheap", &payment).await);
}

async fn a_pending_payment_is_for_its_own_route(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::Yes])).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 502, "settlement_pending");
    for path in ["/twin", "/dear", "/first"] {
        let answer = shop.pay(path, &payment).await;
        assert_refused(&answer, 409, "payment_in_progress");
        assert_eq!(answer.count("payment-required"), 0);
    }
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn settled_first_what_a_panic_kept_back_is_served_when_asked_again(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/first-mended").await;
    let header = encoded(&payment);
    assert!(shop.serving.get("/first-mended", &[("payment-signature", &header)]).await.is_err());
    shop.goods.mended.store(true, Ordering::SeqCst);
    assert_sold(&shop.pay("/first-mended", &payment).await, "/first-mended");
    assert_eq!((shop.script.verify_calls(), shop.script.settle_calls()), (1, 1));
    assert_spent(&shop.pay("/first-mended", &payment).await);
}

async fn a_pending_payment_is_resumed_at_its_own_price(stack: Stack) {
    let computed = |price: &'static str| exact_with(move |_| ready(Ok(price))).on(BASE_SEPOLIA).to(SELLER);
    let script = Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::Yes]);
    let cheap = Shop::selling(stack, script.clone(), computed("$0.01")).await;
    let dear = Shop::selling(stack, script.clone(), computed("$1")).await;
    let alike = Shop::selling(stack, script, computed("$0.01")).await;
    let payment = cheap.v2("/cheap").await;
    assert_refused(&cheap.pay("/cheap", &payment).await, 502, "settlement_pending");
    assert_refused(&dear.pay("/cheap", &payment).await, 409, "payment_in_progress");
    assert_eq!(dear.visits.get(), 0);
    assert_sold(&alike.pay("/cheap", &payment).await, "/cheap");
    assert_spent(&cheap.pay("/cheap", &payment).await);
}

async fn a_pending_payment_is_resumed_for_its_own_payee(stack: Stack) {
    let payee = async |request: RequestInfo| Ok(request.headers["x-seller"].to_str()?.parse()?);
    let charge = exact("$0.01").on(BASE_SEPOLIA).to_with(payee);
    let script = Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::Yes]);
    let shop = Shop::selling(stack, script, charge).await;
    let [good, evil] =
        [SELLER, "0x90F79bf6EB2c4f870365E785982E1f101E93b906"].map(|seller| ("x-seller", seller));
    let offer = shop.get("/cheap", &[evil]).await.decoded("payment-required").unwrap();
    let payment = encoded(&sign_v2(&offer, 0).await);
    let pay = async |seller| shop.get("/cheap", &[seller, ("payment-signature", &payment)]).await;
    assert_refused(&pay(evil).await, 502, "settlement_pending");
    assert_refused(&pay(good).await, 409, "payment_in_progress");
    assert_sold(&pay(evil).await, "/cheap");
}

async fn a_price_by_headers_is_not_bought_with_other_headers(stack: Stack) {
    // A price that also rises with time must not keep anybody from what they paid for.
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let price = exact_with(move |request: RequestInfo| {
        let sharp = request.headers.get("x-quality").is_some_and(|quality| quality == "sharp");
        let cents = if sharp { 10_000 } else { 1 + count.load(Ordering::SeqCst) };
        ready(Ok(format!("${}.{:02}", cents / 100, cents % 100)))
    });
    let script = Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::Yes]);
    let shop = Shop::selling(stack, script, price.on(BASE_SEPOLIA).to(SELLER)).await;
    let blurred = ("x-quality", "blurred");
    let offer = shop.get("/cheap", &[blurred]).await.decoded("payment-required").unwrap();
    let payment = encoded(&sign_v2(&offer, 0).await);
    let pay = async |headers: &[(&str, &str)]| {
        shop.get("/cheap", &[headers, &[("payment-signature", payment.as_str())]].concat()).await
    };
    assert_refused(&pay(&[blurred]).await, 502, "settlement_pending");
    assert_refused(&pay(&[("x-quality", "sharp")]).await, 409, "payment_in_progress");
    asked.store(5, Ordering::SeqCst);
    assert_refused(&pay(&[("x-quality", "whatever")]).await, 409, "payment_in_progress");
    assert_sold(&pay(&[blurred, ("x-request-id", "another")]).await, "/cheap");
}

/// Of two versions of a service, one store: the second has other prices. What was bought was bought at the old one.
/// A higher one may be that of something else at the same address.
async fn what_is_owed_is_served_though_its_price_was_changed(stack: Stack) {
    let other = || exact("$0.01").on(BASE_SEPOLIA).to("0x90F79bf6EB2c4f870365E785982E1f101E93b906");
    for (now, is_served) in [
        (exact("$0.009").on(BASE_SEPOLIA).to(SELLER), true),
        (exact("$0.02").on(BASE_SEPOLIA).to(SELLER), false),
        (cent().max_timeout_seconds(77), true),
        (other(), false),
    ] {
        let store = MemoryStore::new();
        let script = Script::new().on_settle([Act::Pending, Act::Pending, Act::Yes]);
        let on = |gate: GateBuilder| gate.store(store.clone());
        let before = Shop::selling_with(stack, script.clone(), on, cent()).await;
        let payment = before.v2("/cheap").await;
        assert_refused(&before.pay("/cheap", &payment).await, 503, "settlement_pending");
        let after = Shop::selling_with(stack, script, on, now).await;
        if is_served {
            assert_sold(&after.pay("/cheap", &payment).await, "/cheap");
            assert_spent(&after.pay("/cheap", &payment).await);
        } else {
            assert_refused(&after.pay("/cheap", &payment).await, 409, "payment_in_progress");
        }
    }
}

/// Nothing was paid with it yet: it keeps no price.
async fn what_failed_on_chain_buys_only_what_is_asked_for_now(stack: Stack) {
    let (store, failed) = (MemoryStore::new(), "invalid_exact_evm_transaction_failed");
    let on = |gate: GateBuilder| gate.store(store.clone());
    let before =
        Shop::selling_with(stack, Script::new().on_settle([Act::Reverted(failed)]), on, cent()).await;
    let payment = before.v2("/cheap").await;
    assert_refused(&before.pay("/cheap", &payment).await, 402, failed);
    for price in ["$0.009", "$0.02"] {
        let now = exact(price).on(BASE_SEPOLIA).to(SELLER);
        let after = Shop::selling_with(stack, Script::new(), on, now).await;
        let answer = after.pay("/cheap", &payment).await;
        assert_refused(&answer, 402, "no_matching_payment_requirements");
        assert_eq!((answer.count("payment-required"), after.script.settle_calls()), (1, 0));
    }
    let again = Shop::selling_with(stack, Script::new(), on, cent()).await;
    assert_sold(&again.pay("/cheap", &payment).await, "/cheap");
}

/// What was settled late is charged already.
async fn a_payment_that_is_served_late_is_not_lost_to_an_answer_that_costs_nothing(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::Yes])).await;
    let payment = shop.v2("/twice").await;
    assert_refused(&shop.pay("/twice", &payment).await, 502, "settlement_pending");
    let failed = shop.pay("/twice", &payment).await;
    assert_eq!((failed.status, failed.count("payment-response")), (409, 1), "{failed:?}");
    assert_sold(&shop.pay("/twice", &payment).await, "/twice");
    assert_eq!(shop.counts(), (3, 1, 2));
    assert_spent(&shop.pay("/twice", &payment).await);
}

/// Whoever says two hosts, in the target and beside it, is held to both.
async fn a_pending_payment_is_resumed_for_its_own_host(stack: Stack) {
    for target in ["/cheap", "http://x.test/cheap"] {
        let price = exact_with(async |request: RequestInfo| {
            let cheap = request.headers.get("host").is_some_and(|host| host == "cheap.test");
            Ok(if cheap { "$0.01" } else { "$100" })
        });
        let script = Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::Yes]);
        let shop = Shop::selling(stack, script, price.on(BASE_SEPOLIA).to(SELLER)).await;
        let ask = async |host: &str, payment: &str| {
            let head = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
            let request = match payment {
                "" => format!("{head}\r\n"),
                payment => format!("{head}payment-signature: {payment}\r\n\r\n"),
            };
            shop.serving.raw(request.as_bytes()).await.unwrap()
        };
        let offer = ask("cheap.test", "").await.decoded("payment-required").unwrap();
        let payment = encoded(&sign_v2(&offer, 0).await);
        assert_refused(&ask("cheap.test", &payment).await, 502, "settlement_pending");
        assert_refused(&ask("dear.test", &payment).await, 409, "payment_in_progress");
        assert_sold(&ask("Cheap.test:80", &payment).await, "/cheap");
    }
}

/// What was settled late is charged already; as long as nothing was served for it, going away loses nothing.
async fn who_hangs_up_on_a_late_answer_is_served_when_back(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::Yes])).await;
    let payment = shop.v2("/slow").await;
    shop.goods.let_go.notify_one();
    assert_refused(&shop.pay("/slow", &payment).await, 502, "settlement_pending");
    let connection = shop.paying("/slow", &payment).await;
    shop.visits.reaches(2).await;
    drop(connection);
    let (answer, ()) = tokio::join!(once_free(&shop, "/slow", &payment), async {
        shop.visits.reaches(3).await;
        shop.goods.let_go.notify_one();
    });
    assert_sold(&answer, "/slow");
    assert_eq!((shop.script.verify_calls(), shop.script.settle_calls()), (1, 2));
}

async fn two_charges_in_a_row_take_one_payment_and_say_so(stack: Stack) {
    let stock = Stock::Whole(vec![of_everything("/cheap"), of_everything("/free")], cent());
    let shop = Shop::stocked(stack, Script::new(), |gate| gate, stock).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 500, "payment_misconfigured");
    assert_eq!(shop.counts(), (0, 1, 0), "nothing was charged");
    assert_eq!(shop.pay("/free", &payment).await.status, 200, "the payment is still good");
}

async fn two_gates_of_a_process_sell_one_answer_for_one_payment(stack: Stack) {
    let (one, two) = (Shop::open(stack, Script::new()).await, Shop::open(stack, Script::new()).await);
    let payment = one.v2("/cheap").await;
    assert_sold(&one.pay("/cheap", &payment).await, "/cheap");
    assert_spent(&two.pay("/cheap", &payment).await);
    assert_eq!(two.counts(), (0, 0, 0));
}

async fn what_is_given_away_is_not_cached_for_all(stack: Stack) {
    let free = |gate: GateBuilder| gate.on_request(async |_| RequestDecision::Free);
    let shop = Shop::open_with(stack, Script::new(), free).await;
    let answer = shop.get("/cached", &[]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("private, max-age=60")));
    assert_eq!((answer.count("settlement-overrides"), answer.count("set-cookie")), (0, 2));
    assert!(answer.body.contains(MARKER));
}

async fn a_gate_tells_when_its_settlements_are_done(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Wait])).await;
    shop.gate.settled().await;
    let payment = shop.v2("/cheap").await;
    let connection = shop.paying("/cheap", &payment).await;
    shop.script.settle_begun(1).await;
    drop(connection);
    let settled = shop.gate.settled();
    let mut settled = std::pin::pin!(settled);
    assert!(futures_util::poll!(settled.as_mut()).is_pending());
    shop.script.let_go();
    settled.await;
}

async fn who_goes_away_while_paying_is_served_when_back(stack: Stack) {
    for charge in [cent(), cent().settle_first()] {
        let shop = Shop::open(stack, Script::new().on_settle([Act::Wait])).await;
        let header = encoded(&shop.v2("/cheap").await);
        let handler = any(async || marker("back"));
        let app = Router::new().route("/cheap", handler.layer(shop.gate.charge(charge).unwrap()));
        let pay = || {
            let request = Request::get("/cheap").header("payment-signature", &header);
            app.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        let request = tokio::spawn(pay());
        shop.script.settle_begun(1).await;
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        shop.script.let_go();
        shop.gate.settled().await;
        for status in [200, 402] {
            assert_eq!(pay().await.unwrap().status(), status);
        }
        assert_eq!((shop.script.verify_calls(), shop.script.settle_calls()), (1, 1));
    }
}
