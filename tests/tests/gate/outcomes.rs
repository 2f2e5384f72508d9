//! Who says no, and what is charged when: the facilitator refuses or fails, the handler fails or never ends.

use serde_json::Value;
use x402_core::facilitator::FacilitatorErrorKind as Kind;
use x402_tests::{
    script::{Act, HASH, Script},
    serve::Answer,
};

use crate::{
    harness::{Case, Framework, Stack, case},
    shop::Shop,
    support::{MARKER, assert_asked, assert_no_receipt, assert_refused, assert_sold, assert_spent},
};

pub const CASES: &[Case] = &[
    case!(the_facilitators_no_is_a_402_with_its_reason),
    case!(a_facilitator_that_fails_to_verify_costs_nothing),
    case!(a_facilitator_that_panics_while_verifying_costs_nothing),
    case!(a_handler_that_fails_is_not_paid),
    case!(a_redirect_and_an_unchanged_answer_are_paid),
    case!(a_handler_that_panics_is_not_paid),
    case!(settled_first_a_failing_handler_is_paid_and_the_receipt_comes_with_the_failure),
    case!(settled_first_a_panicking_handler_is_paid_once_and_asked_again),
    case!(a_client_that_hangs_up_while_the_handler_runs_is_not_charged).http1(),
    case!(a_client_that_hangs_up_while_its_payment_is_verified_is_not_charged)
        .http1()
        .only(&[Framework::Axum, Framework::Tower]),
    case!(a_client_that_hangs_up_while_its_payment_is_verified_is_charged)
        .http1()
        .only(&[Framework::Actix, Framework::Poem]),
    case!(settled_first_a_client_that_hangs_up_is_charged).http1(),
    case!(a_client_that_hangs_up_does_not_stop_a_settlement).http1(),
];

async fn the_facilitators_no_is_a_402_with_its_reason(stack: Stack) {
    let script =
        Script::new().on_verify([Act::No("insufficient_funds"), Act::No("insufficient_funds"), Act::Yes]);
    let shop = Shop::open(stack, script).await;
    let (two, one) = (shop.v2("/cheap").await, shop.v1("/cheap").await);
    for payment in [&two, &one] {
        let answer = shop.pay("/cheap", payment).await;
        assert_asked(&answer, "insufficient_funds");
        assert_eq!(answer.json().unwrap()["message"], "scripted");
    }
    assert_eq!(shop.counts(), (0, 2, 0));
    assert_sold(&shop.pay("/cheap", &two).await, "/cheap");
    assert_eq!(shop.pay("/cheap", &one).await.status, 200);
}

async fn a_facilitator_that_fails_to_verify_costs_nothing(stack: Stack) {
    for (kind, status) in [
        (Kind::Unreachable, 503),
        (Kind::NoAnswer, 502),
        (Kind::BadAnswer, 502),
        (Kind::Rejected, 502),
        (Kind::Internal, 502),
    ] {
        let shop = Shop::open(stack, Script::new().on_verify([Act::Fail(kind), Act::Yes])).await;
        for path in ["/cheap", "/first"] {
            let payment = shop.v2(path).await;
            if path == "/cheap" {
                let answer = shop.pay(path, &payment).await;
                assert_refused(&answer, status, "facilitator_unavailable");
                assert_eq!(answer.header("retry-after").is_some(), status == 503);
                assert_eq!(answer.count("payment-required"), 0, "{kind:?}");
                assert!(!answer.body.contains("scripted failure"), "{answer:?}");
                assert_no_receipt(&answer);
                assert_eq!(shop.counts(), (0, 1, 0));
            }
            assert_sold(&shop.pay(path, &payment).await, path);
        }
    }
}

async fn a_facilitator_that_panics_while_verifying_costs_nothing(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_verify([Act::Panic, Act::Yes])).await;
    let payment = shop.v2("/cheap").await;
    if let Ok(answer) =
        shop.serving.get("/cheap", &[("payment-signature", &x402_tests::serve::encoded(&payment))]).await
    {
        assert!(answer.status >= 500 && !answer.body.contains(MARKER), "{answer:?}");
    }
    assert_eq!(shop.counts(), (0, 1, 0));
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn a_handler_that_fails_is_not_paid(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for (path, status) in [("/fails", 500), ("/missing", 404)] {
        for payment in [shop.v2(path).await, shop.v1(path).await] {
            let before = shop.script.settle_calls();
            let answer = shop.pay(path, &payment).await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert_no_receipt(&answer);
            assert_eq!(shop.script.settle_calls(), before);
            assert_eq!(shop.pay("/cheap", &payment).await.status, 200, "the payment is still good");
        }
    }
    assert_eq!(shop.counts(), (8, 8, 4));
}

async fn a_redirect_and_an_unchanged_answer_are_paid(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for (path, status) in [("/moved", 302), ("/unchanged", 304), ("/first-moved", 302)] {
        let payment = shop.v2(path).await;
        let answer = shop.pay(path, &payment).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
        assert_spent(&shop.pay("/cheap", &payment).await);
    }
    assert_eq!(shop.counts(), (3, 3, 3));
}

async fn a_handler_that_panics_is_not_paid(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/panics").await;
    let header = x402_tests::serve::encoded(&payment);
    let answer = shop.serving.get("/panics", &[("payment-signature", &header)]).await;
    assert!(answer.is_err(), "axum closes the connection: {answer:?}");
    assert_eq!(shop.counts(), (1, 1, 0));
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn settled_first_a_failing_handler_is_paid_and_the_receipt_comes_with_the_failure(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for (path, status) in [("/first-fails", 502), ("/first-missing", 404), ("/first-late", 408)] {
        let payment = shop.v2(path).await;
        let answer = shop.pay(path, &payment).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
        assert_eq!(answer.header("cache-control"), Some("private"));
        let again = shop.pay(path, &payment).await;
        match status {
            404 => assert_spent(&again),
            // Our own trouble is not what was paid for: asked again, and not paid again.
            _ => assert_eq!((again.status, again.count("payment-response")), (status, 1)),
        }
    }
    assert_eq!(shop.counts(), (5, 3, 3));
}

async fn settled_first_a_panicking_handler_is_paid_once_and_asked_again(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/first-panics").await;
    let header = x402_tests::serve::encoded(&payment);
    assert!(shop.serving.get("/first-panics", &[("payment-signature", &header)]).await.is_err());
    assert_eq!(shop.counts(), (1, 1, 1));
    assert_refused(&shop.pay("/cheap", &payment).await, 409, "payment_in_progress");
    let again = shop.serving.get("/first-panics", &[("payment-signature", &header)]).await;
    assert!(again.is_err(), "it panics again: {again:?}");
    assert_eq!(shop.counts(), (2, 1, 1), "and is not paid again");
}

async fn a_client_that_hangs_up_while_the_handler_runs_is_not_charged(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/slow").await;
    let connection = shop.paying("/slow", &payment).await;
    shop.visits.reaches(1).await;
    assert_refused(&shop.pay("/slow", &payment).await, 409, "payment_in_progress");
    drop(connection);
    if !stack.drops_who_hangs_up() {
        // Nobody tells the handler, and its answer is charged like any other.
        shop.goods.let_go.notify_one();
        shop.script.settle_begun(1).await;
        shop.gate.settled().await;
        assert_spent(&once_free(&shop, "/slow", &payment).await);
        assert_eq!(shop.counts(), (1, 1, 1));
        return;
    }
    assert_sold(&once_free(&shop, "/cheap", &payment).await, "/cheap");
    assert_eq!(shop.counts(), (2, 2, 1));
}

/// The answer to a payment, once the server has noticed, in its own time, that nobody waits any more.
pub async fn once_free(shop: &Shop, path: &str, payment: &Value) -> Answer {
    loop {
        let answer = shop.pay(path, payment).await;
        if answer.status != 409 {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

/// Where a request goes on to its end, it is answered and charged.
async fn a_client_that_hangs_up_while_its_payment_is_verified_is_charged(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_verify([Act::Wait])).await;
    let payment = shop.v2("/cheap").await;
    let connection = shop.paying("/cheap", &payment).await;
    shop.script.verify_begun(1).await;
    drop(connection);
    shop.script.let_go();
    shop.script.settle_begun(1).await;
    assert_spent(&once_free(&shop, "/cheap", &payment).await);
    assert_eq!(shop.counts(), (1, 1, 1));
}

/// Where a request ends with its client.
async fn a_client_that_hangs_up_while_its_payment_is_verified_is_not_charged(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_verify([Act::Hang, Act::Yes])).await;
    let payment = shop.v2("/first").await;
    let connection = shop.paying("/first", &payment).await;
    shop.script.verify_begun(1).await;
    drop(connection);
    assert_sold(&once_free(&shop, "/cheap", &payment).await, "/cheap");
    assert_eq!(shop.counts(), (1, 2, 1));
}

async fn settled_first_a_client_that_hangs_up_is_charged(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/first-slow").await;
    let connection = shop.paying("/first-slow", &payment).await;
    shop.visits.reaches(1).await;
    drop(connection);
    if !stack.drops_who_hangs_up() {
        shop.goods.let_go.notify_one();
    }
    assert_spent(&once_free(&shop, "/cheap", &payment).await);
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn a_client_that_hangs_up_does_not_stop_a_settlement(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let shop = Shop::open(stack, Script::new().on_settle([Act::Wait, Act::Yes])).await;
        let payment = shop.v2(path).await;
        let connection = shop.paying(path, &payment).await;
        shop.script.settle_begun(1).await;
        drop(connection);
        // Once the server has noticed, whoever comes again still finds the settlement under way.
        for _ in 0..20 {
            assert_refused(&shop.pay(path, &payment).await, 409, "payment_in_progress");
        }
        shop.script.let_go();
        let answer = once_free(&shop, path, &payment).await;
        // What it paid for it gets when it is back, unless the server never noticed that it had gone.
        match answer.status {
            200 => assert_sold(&answer, path),
            _ => assert_spent(&answer),
        }
        assert_eq!(shop.script.settle_calls(), 1);
    }
}
