//! Settlements that fail, hang between, or never answer.

use x402_core::facilitator::FacilitatorErrorKind as Kind;
use x402_tests::script::{Act, HASH, Script};

use crate::{
    harness::{Case, Stack, case},
    shop::Shop,
    support::{MARKER, NETWORK, assert_no_receipt, assert_refused, assert_sold, assert_spent},
};

pub const CASES: &[Case] = &[
    case!(a_settlement_that_fails_gives_nothing_away_and_spends_nothing),
    case!(a_failed_settlement_is_told_in_version_1_too),
    case!(a_pending_settlement_never_asks_for_another_payment),
    case!(a_pending_settlement_that_lands_serves_the_same_payment),
    case!(a_pending_payment_can_be_claimed_by_nobody_else),
    case!(an_unanswered_settlement_is_asked_about_again_and_not_verified_again),
    case!(a_settlement_that_was_never_asked_for_spends_nothing),
    case!(a_facilitator_that_panics_while_settling_keeps_the_payment_claimed),
    case!(a_settlement_on_another_chain_is_none),
    case!(a_no_to_the_second_question_says_nothing_about_the_first_attempt),
    case!(a_payment_that_was_used_before_is_refused_without_an_offer),
    case!(the_failure_of_the_transaction_that_was_watched_ends_the_wait),
    case!(a_payment_that_failed_on_chain_and_was_made_since_is_served),
    case!(what_failed_on_chain_stays_so_while_nobody_is_reached),
    case!(what_a_facilitator_says_at_length_does_not_burst_the_answer),
];

/// The money surely did not move: a 402 that asks for nothing.
#[track_caller]
fn assert_not_settled(answer: &x402_tests::serve::Answer, reason: &str) {
    assert_refused(answer, 402, reason);
    assert_eq!(answer.count("payment-required"), 0, "{answer:?}");
    assert_eq!(answer.json().unwrap().get("accepts"), None, "{answer:?}");
    let response = answer.decoded("payment-response").unwrap();
    assert_eq!((&response["success"], &response["errorReason"]), (&false.into(), &reason.into()));
}

async fn a_settlement_that_fails_gives_nothing_away_and_spends_nothing(stack: Stack) {
    for (path, visits) in [("/cheap", 1), ("/first", 0), ("/stream", 1)] {
        let script = Script::new().on_settle([Act::No("insufficient_funds"), Act::Yes]);
        let shop = Shop::open(stack, script).await;
        let payment = shop.v2(path).await;
        assert_not_settled(&shop.pay(path, &payment).await, "insufficient_funds");
        assert_eq!(shop.counts(), (visits, 1, 1));
        assert_eq!(shop.polls.get(), 0, "no byte was made");
        let again = shop.pay(path, &payment).await;
        assert_eq!((again.status, again.count("payment-response")), (200, 1));
        assert!(again.body.contains(MARKER));
        assert_eq!(shop.counts(), (visits + 1, 2, 2));
    }
}

async fn a_failed_settlement_is_told_in_version_1_too(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::No("insufficient_funds")])).await;
    let answer = shop.pay("/cheap", &shop.v1("/cheap").await).await;
    assert_refused(&answer, 402, "insufficient_funds");
    let response = answer.decoded("x-payment-response").unwrap();
    assert_eq!((&response["success"], &response["network"]), (&false.into(), &"base-sepolia".into()));
    assert_eq!(answer.count("payment-response") + answer.count("payment-required"), 0);
}

async fn a_pending_settlement_never_asks_for_another_payment(stack: Stack) {
    for (path, visits) in [("/cheap", 1), ("/first", 0)] {
        let shop = Shop::open(stack, Script::new().on_settle([Act::Pending])).await;
        let payment = shop.v2(path).await;
        for round in 1..=3 {
            let answer = shop.pay(path, &payment).await;
            assert_refused(&answer, 503, "settlement_pending");
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.count("payment-required"), 0);
            let response = answer.decoded("payment-response").unwrap();
            assert_eq!(response["transaction"], HASH);
            assert_eq!((&response["success"], &response["network"]), (&false.into(), &NETWORK.into()));
            assert_eq!(answer.json().unwrap()["transaction"], HASH);
            // Asked twice each time: once more, the same, as the protocol has it.
            assert_eq!(shop.counts(), (visits, 1, 2 * round));
        }
    }
}

async fn a_pending_settlement_that_lands_serves_the_same_payment(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let script = Script::new().on_settle([Act::Pending, Act::Pending, Act::Pending, Act::Yes]);
        let shop = Shop::open(stack, script).await;
        let payment = shop.v2(path).await;
        assert_refused(&shop.pay(path, &payment).await, 503, "settlement_pending");
        let visits = shop.visits.get();
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_eq!(shop.counts(), (visits + 1, 1, 4));
        assert_spent(&shop.pay(path, &payment).await);
        assert_eq!(shop.script.settle_calls(), 4);
    }
    let shop = Shop::open(stack, Script::new().on_settle([Act::Pending, Act::Yes])).await;
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");
    assert_eq!(shop.counts(), (1, 1, 2), "asked again at once");
}

async fn a_pending_payment_can_be_claimed_by_nobody_else(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Pending, Act::Pending, Act::Yes])).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 503, "settlement_pending");
    let calls = shop.script.settle_calls();
    let mut forged = payment.clone();
    forged["payload"]["signature"] = format!("0x{}", "ab".repeat(65)).into();
    for _ in 0..3 {
        assert_refused(&shop.pay("/cheap", &forged).await, 409, "payment_in_progress");
    }
    assert_eq!(shop.counts(), (1, 1, calls), "nobody was asked");
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn an_unanswered_settlement_is_asked_about_again_and_not_verified_again(stack: Stack) {
    for kind in [Kind::NoAnswer, Kind::BadAnswer] {
        for (path, visits) in [("/cheap", 1), ("/first", 0)] {
            let shop =
                Shop::open(stack, Script::new().on_settle([Act::Fail(kind), Act::Fail(kind), Act::Yes]))
                    .await;
            let payment = shop.v2(path).await;
            for round in 1..=2 {
                let answer = shop.pay(path, &payment).await;
                assert_refused(&answer, 502, "settlement_pending");
                assert_eq!(answer.count("payment-required"), 0);
                assert_no_receipt(&answer);
                assert!(!answer.body.contains("scripted"), "{answer:?}");
                assert_eq!(shop.counts(), (visits, 1, round), "{kind:?}");
            }
            assert_sold(&shop.pay(path, &payment).await, path);
            assert_eq!(shop.counts(), (visits + 1, 1, 3), "{kind:?}");
        }
    }
}

async fn a_settlement_that_was_never_asked_for_spends_nothing(stack: Stack) {
    for (kind, status) in [(Kind::Unreachable, 503), (Kind::NotActed, 503)] {
        let shop = Shop::open(stack, Script::new().on_settle([Act::Fail(kind), Act::Yes])).await;
        let payment = shop.v2("/cheap").await;
        assert_refused(&shop.pay("/cheap", &payment).await, status, "facilitator_unavailable");
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        assert_eq!(shop.counts(), (2, 2, 2), "{kind:?}");
    }
}

async fn a_facilitator_that_panics_while_settling_keeps_the_payment_claimed(stack: Stack) {
    let shop =
        Shop::open(stack, Script::new().on_settle([Act::Panic, Act::Panic, Act::Panic, Act::Yes])).await;
    let payment = shop.v2("/cheap").await;
    let answer = shop.pay("/cheap", &payment).await;
    assert_refused(&answer, 502, "settlement_pending");
    assert_eq!(answer.count("payment-required"), 0);
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    assert_eq!(shop.counts(), (2, 1, 4));
}

async fn a_settlement_on_another_chain_is_none(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Elsewhere])).await;
    let answer = shop.pay("/cheap", &shop.v2("/cheap").await).await;
    assert_refused(&answer, 502, "settlement_pending");
    assert_no_receipt(&answer);
}

async fn a_no_to_the_second_question_says_nothing_about_the_first_attempt(stack: Stack) {
    for reason in [
        "invalid_exact_evm_nonce_already_used",
        "duplicate_settlement",
        // Whether the first attempt landed is as unknown as before.
        "invalid_exact_evm_payload_authorization_valid_before",
        "invalid_exact_evm_transaction_failed",
        "insufficient_funds",
    ] {
        let script = Script::new().on_settle([Act::Fail(Kind::NoAnswer), Act::No(reason), Act::Yes]);
        let shop = Shop::open(stack, script).await;
        let payment = shop.v2("/cheap").await;
        for _ in 0..2 {
            let answer = shop.pay("/cheap", &payment).await;
            assert_refused(&answer, 502, "settlement_pending");
            assert_eq!(answer.count("payment-required"), 0);
            assert_no_receipt(&answer);
        }
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        let script = Script::new().on_settle([Act::Pending, Act::Pending, Act::No(reason), Act::Yes]);
        let shop = Shop::open(stack, script).await;
        let payment = shop.v2("/cheap").await;
        for _ in 0..2 {
            let answer = shop.pay("/cheap", &payment).await;
            assert_refused(&answer, 503, "settlement_pending");
            assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH, "still known");
        }
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    }
}

async fn a_payment_that_was_used_before_is_refused_without_an_offer(stack: Stack) {
    // As after a store that has forgotten it: whoever lost the answer must not be led to pay again.
    let used = "invalid_exact_evm_nonce_already_used";
    let shop = Shop::open(stack, Script::new().on_verify([Act::No(used), Act::Yes])).await;
    let payment = shop.v2("/cheap").await;
    let answer = shop.pay("/cheap", &payment).await;
    assert_refused(&answer, 402, used);
    assert_eq!((answer.count("payment-required"), answer.json().unwrap().get("accepts")), (0, None));
    assert_eq!(shop.counts(), (0, 1, 0));
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn the_failure_of_the_transaction_that_was_watched_ends_the_wait(stack: Stack) {
    let failed = "invalid_exact_evm_transaction_failed";
    let script = Script::new().on_settle([Act::Pending, Act::Pending, Act::Reverted(failed), Act::Yes]);
    let shop = Shop::open(stack, script).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 503, "settlement_pending");
    assert_not_settled(&shop.pay("/cheap", &payment).await, failed);
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    assert_eq!(shop.script.verify_calls(), 1, "its nonce may be used by now");
}

/// All that is signed can be read off the chain then, and anybody may make the payment with it until it expires.
async fn a_payment_that_failed_on_chain_and_was_made_since_is_served(stack: Stack) {
    let failed = "invalid_exact_evm_transaction_failed";
    for path in ["/cheap", "/first"] {
        let (late, used) =
            ("invalid_exact_evm_payload_authorization_valid_before", "invalid_exact_evm_nonce_already_used");
        let acts = [Act::Reverted(failed), Act::Reverted(failed), Act::No(late), Act::No(used), Act::Yes];
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        for reason in [failed, failed, late] {
            assert_not_settled(&shop.pay(path, &payment).await, reason);
        }
        // Somebody has used it; whether for this, only a facilitator that looks can say.
        let answer = shop.pay(path, &payment).await;
        assert_refused(&answer, 402, used);
        assert_eq!(answer.count("payment-required"), 0);
        assert_eq!(shop.script.verify_calls(), 1, "its nonce may be used by now");
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_spent(&shop.pay(path, &payment).await);
    }
}

/// Whoever was surely not asked has sent nothing more for it.
async fn what_failed_on_chain_stays_so_while_nobody_is_reached(stack: Stack) {
    let failed = "invalid_exact_evm_transaction_failed";
    for path in ["/cheap", "/first"] {
        let silence = [Act::Fail(Kind::Unreachable), Act::Fail(Kind::NotActed)];
        let acts = [Act::Reverted(failed)].into_iter().chain(silence).chain([Act::No("x"), Act::Yes]);
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        assert_not_settled(&shop.pay(path, &payment).await, failed);
        for _ in 0..2 {
            let answer = shop.pay(path, &payment).await;
            assert_refused(&answer, 503, "facilitator_unavailable");
            assert_eq!(answer.count("payment-required"), 0);
        }
        // It is known to have failed, and needs no proof of that.
        assert_not_settled(&shop.pay(path, &payment).await, "x");
        assert_sold(&shop.pay(path, &payment).await, path);
        // Of several calls, one may have got through.
        for then in [Act::Fail(Kind::Unreachable), Act::Fail(Kind::NotActed), Act::No("x")] {
            let acts = [Act::Reverted(failed), Act::Fail(Kind::Internal), then, Act::No("x"), Act::Yes];
            let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
            let payment = shop.v2(path).await;
            assert_not_settled(&shop.pay(path, &payment).await, failed);
            for _ in 0..2 {
                assert_refused(&shop.pay(path, &payment).await, 503, "settlement_pending");
            }
            assert_sold(&shop.pay(path, &payment).await, path);
        }
    }
}

async fn what_a_facilitator_says_at_length_does_not_burst_the_answer(stack: Stack) {
    let long: &'static str = Box::leak("x\r\nset-cookie: a=b ".repeat(4_000).into_boxed_str());
    let script = Script::new().on_verify([Act::No(long), Act::Yes]).on_settle([Act::No(long)]);
    let shop = Shop::open(stack, script).await;
    let payment = shop.v2("/cheap").await;
    for header in ["payment-required", "payment-response"] {
        let answer = shop.pay("/cheap", &payment).await;
        assert_eq!((answer.status, answer.count("set-cookie")), (402, 0));
        assert!(answer.header(header).unwrap().len() < 8192, "{}", answer.header(header).unwrap().len());
        assert!(answer.body.len() < 8192);
    }
}
