//! What a facilitator says of a settlement, and what it proves: nobody is served for what is in doubt, and nobody asked to
//! pay twice.

use std::time::Duration;

use x402_core::{
    address::Address,
    facilitator::FacilitatorErrorKind as Kind,
    gate::TimeLimits,
    hooks::{Failure, PaymentHooks},
    payment::{Payment, VerifyResponse},
    store::MemoryStore,
};
use x402_tests::{
    chain,
    script::{Act, HASH, Script},
    serve::Answer,
};

use crate::{
    harness::{Case, Stack, case},
    shop::{Shop, cent},
    support::{SELLER, assert_no_receipt, assert_refused, assert_sold, assert_spent},
};

pub const CASES: &[Case] = &[
    case!(each_payment_is_settled_with_a_key_of_its_own_and_always_the_same),
    case!(a_settlement_on_its_way_that_names_no_transaction_is_waited_for),
    case!(a_gateway_that_answers_for_the_facilitator_proves_nothing),
    case!(a_facilitator_in_passing_trouble_is_asked_again_at_once),
    case!(what_does_not_look_like_a_transaction_is_no_receipt),
    case!(what_a_facilitator_surely_did_not_send_is_released_at_once),
    case!(after_a_call_without_an_answer_nothing_sent_now_releases_nothing),
    case!(a_held_payment_is_released_when_its_authorization_is_dead),
    case!(a_settlement_for_another_caller_is_no_failure_and_makes_no_offer),
    case!(a_duplicate_of_the_watched_transaction_leaves_the_payment_held),
    case!(a_payment_made_by_a_third_party_is_served_where_it_was_seen_unused),
    case!(a_payment_that_was_seen_unused_and_is_used_is_held_until_it_is_known_by_what),
    case!(a_payment_made_by_a_third_party_before_it_came_is_refused_without_an_offer),
    case!(a_hook_that_takes_a_used_payment_as_valid_has_not_seen_it_unused),
    case!(a_payee_of_this_store_alone_is_served_what_a_third_party_paid),
    case!(a_facilitator_that_hangs_is_given_up_on),
];

#[track_caller]
fn assert_held(answer: &Answer, status: u16) {
    assert_refused(answer, status, "settlement_pending");
    assert_eq!(answer.count("payment-required"), 0, "{answer:?}");
    assert!(answer.json().unwrap().get("accepts").is_none(), "{answer:?}");
}

/// No, and no word of how to pay.
#[track_caller]
fn assert_no_offer(answer: &Answer, reason: &str) {
    assert_refused(answer, 402, reason);
    assert_eq!(answer.count("payment-required"), 0, "{answer:?}");
    assert!(answer.json().unwrap().get("accepts").is_none(), "{answer:?}");
}

const THIRD_PARTY: &str = "payment_made_by_third_party";
const USED: &str = "invalid_exact_evm_nonce_already_used";

async fn each_payment_is_settled_with_a_key_of_its_own_and_always_the_same(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let acts = [Act::Fail(Kind::NoAnswer), Act::Pending, Act::Pending, Act::Yes];
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        assert_held(&shop.pay(path, &payment).await, 502);
        assert_held(&shop.pay(path, &payment).await, 503);
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_sold(&shop.pay(path, &shop.v2(path).await).await, path);
        let keys: Vec<String> = shop.script.keys().into_iter().map(Option::unwrap).collect();
        let [first, again @ .., other] = &keys[..] else { panic!("{keys:?}") };
        assert!(again.len() == 3 && again.iter().all(|key| key == first), "{keys:?}");
        assert_ne!(first, other);
        assert!(keys.iter().all(|key| key.len() == 32), "128 bits: {keys:?}");
    }
}

async fn a_settlement_on_its_way_that_names_no_transaction_is_waited_for(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let acts = [Act::PendingUnnamed, Act::PendingUnnamed, Act::No("x"), Act::Yes];
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        assert_held(&shop.pay(path, &payment).await, 503);
        // It says nothing of what is on its way.
        assert_held(&shop.pay(path, &payment).await, 502);
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_spent(&shop.pay(path, &payment).await);
    }
}

async fn a_gateway_that_answers_for_the_facilitator_proves_nothing(stack: Stack) {
    for path in ["/cheap", "/first"] {
        // It is asked again at once, and then the payment is held.
        let rejected = || Act::Fail(Kind::Rejected);
        let acts = [rejected(), rejected(), rejected(), Act::No("x"), Act::Fail(Kind::NotActed), Act::Yes];
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        for calls in 3..=5 {
            let answer = shop.pay(path, &payment).await;
            assert_held(&answer, 502);
            assert_no_receipt(&answer);
            assert_eq!(shop.script.settle_calls(), calls);
        }
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_eq!(shop.script.verify_calls(), 1);
        assert!(shop.script.keys().iter().all(|key| *key == shop.script.keys()[0]));
    }
}

async fn a_facilitator_in_passing_trouble_is_asked_again_at_once(stack: Stack) {
    for kind in [Kind::Rejected, Kind::Internal] {
        let shop = Shop::open(stack, Script::new().on_settle([Act::Fail(kind), Act::Yes])).await;
        assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");
        assert_eq!(shop.counts(), (1, 1, 2), "{kind:?}");
        // What it says then is not the answer to the first call.
        for no in [Act::No("insufficient_funds"), Act::Reverted("x"), Act::Fail(Kind::NotActed)] {
            let shop = Shop::open(stack, Script::new().on_settle([Act::Fail(kind), no, Act::Yes])).await;
            let payment = shop.v2("/cheap").await;
            assert_held(&shop.pay("/cheap", &payment).await, 502);
            assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        }
    }
}

async fn what_does_not_look_like_a_transaction_is_no_receipt(stack: Stack) {
    for hash in [
        "0x",
        "pending",
        "0x1234",
        "0x111111111111111111111111111111111111111111111111111111111111111111",
        "0X1111111111111111111111111111111111111111111111111111111111111111",
        "1111111111111111111111111111111111111111111111111111111111111111",
        "0x111111111111111111111111111111111111111111111111111111111111111g",
    ] {
        let shop = Shop::open(stack, Script::new().on_settle([Act::Hash(hash), Act::Yes])).await;
        let payment = shop.v2("/cheap").await;
        let answer = shop.pay("/cheap", &payment).await;
        assert_held(&answer, 502);
        assert_no_receipt(&answer);
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    }
    let upper = "0xABCDEF1111111111111111111111111111111111111111111111111111111111";
    let shop = Shop::open(stack, Script::new().on_settle([Act::Hash(upper)])).await;
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");
}

async fn what_a_facilitator_surely_did_not_send_is_released_at_once(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let acts = [Act::Fail(Kind::NotActed), Act::Fail(Kind::NotActed), Act::Yes];
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        for round in 1..=2 {
            assert_refused(&shop.pay(path, &payment).await, 503, "facilitator_unavailable");
            assert_eq!((shop.script.verify_calls(), shop.script.settle_calls()), (round, round));
        }
        // It is as free as before: another request may have it.
        assert_sold(&shop.pay(path, &payment).await, path);
    }
}

async fn after_a_call_without_an_answer_nothing_sent_now_releases_nothing(stack: Stack) {
    let nothing = [Act::Fail(Kind::NotActed), Act::Fail(Kind::Unreachable), Act::Yes];
    for first in [Kind::NoAnswer, Kind::BadAnswer] {
        let acts = [Act::Fail(first)].into_iter().chain(nothing.clone());
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2("/cheap").await;
        for _ in 0..3 {
            assert_held(&shop.pay("/cheap", &payment).await, 502);
        }
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        assert_eq!(shop.script.verify_calls(), 1);
    }
}

async fn a_held_payment_is_released_when_its_authorization_is_dead(stack: Stack) {
    let expired = "invalid_exact_evm_payload_authorization_valid_before";
    for begins in [vec![Act::Fail(Kind::NoAnswer)], vec![Act::Pending, Act::Pending]] {
        for path in ["/cheap", "/first"] {
            // The reason alone proves nothing.
            let ends = [Act::No(expired), Act::Dead(expired), Act::Yes];
            let acts = begins.iter().cloned().chain(ends);
            let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
            let payment = shop.v2(path).await;
            let status = if begins.len() == 1 { 502 } else { 503 };
            for _ in 0..2 {
                assert_held(&shop.pay(path, &payment).await, status);
            }
            let answer = shop.pay(path, &payment).await;
            assert_no_offer(&answer, expired);
            let response = answer.decoded("payment-response").unwrap();
            assert_eq!((&response["success"], &response["authorizationDead"]), (&false.into(), &true.into()));
            // Nothing is known of it any more.
            let verified = shop.script.verify_calls();
            assert_sold(&shop.pay(path, &payment).await, path);
            assert_eq!(shop.script.verify_calls(), verified + 1);
        }
    }
}

async fn a_settlement_for_another_caller_is_no_failure_and_makes_no_offer(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let duplicate = Act::Says("duplicate_settlement", HASH);
        let shop = Shop::open(stack, Script::new().on_settle([duplicate.clone(), duplicate, Act::Yes])).await;
        let payment = shop.v2(path).await;
        let answer = shop.pay(path, &payment).await;
        assert_no_offer(&answer, "duplicate_settlement");
        assert_no_receipt(&answer);
        assert_held(&shop.pay(path, &payment).await, 503);
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_eq!(shop.script.verify_calls(), 1);
    }
}

async fn a_duplicate_of_the_watched_transaction_leaves_the_payment_held(stack: Stack) {
    let duplicate = || Act::Says("duplicate_settlement", HASH);
    let acts = [Act::Pending, Act::Pending, duplicate(), duplicate(), Act::Yes];
    let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
    let payment = shop.v2("/cheap").await;
    for _ in 0..3 {
        let answer = shop.pay("/cheap", &payment).await;
        assert_held(&answer, 503);
        assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
    }
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn a_payment_made_by_a_third_party_is_served_where_it_was_seen_unused(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let shop = Shop::open(stack, Script::new().on_settle([Act::Says(THIRD_PARTY, HASH)])).await;
        let payment = shop.v2(path).await;
        let answer = shop.pay(path, &payment).await;
        assert_sold(&answer, path);
        assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
        assert_spent(&shop.pay(path, &payment).await);
        // Seen by the instance that began, it is served by the one that goes on.
        let acts = [Act::Fail(Kind::NoAnswer), Act::Says(THIRD_PARTY, HASH)];
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        assert_held(&shop.pay(path, &payment).await, 502);
        assert_sold(&shop.pay(path, &payment).await, path);
        // What names no transaction proves nothing, but that it is used.
        let acts = [Act::Says(THIRD_PARTY, "0x12"), Act::Says(THIRD_PARTY, HASH)];
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        assert_held(&shop.pay(path, &payment).await, 502);
        assert_sold(&shop.pay(path, &payment).await, path);
    }
}

/// As long as the endpoint has not indexed the log, its facilitator knows no more than that.
async fn a_payment_that_was_seen_unused_and_is_used_is_held_until_it_is_known_by_what(stack: Stack) {
    for path in ["/cheap", "/first"] {
        let acts = [Act::No(USED), Act::No(USED), Act::Says(THIRD_PARTY, HASH)];
        let shop = Shop::open(stack, Script::new().on_settle(acts)).await;
        let payment = shop.v2(path).await;
        for _ in 0..2 {
            assert_held(&shop.pay(path, &payment).await, 502);
        }
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_spent(&shop.pay(path, &payment).await);
        assert_eq!(shop.script.verify_calls(), 1);
        // Withdrawn by its payer, it has paid for nothing.
        let shop = Shop::open(stack, Script::new().on_settle([Act::Dead(USED), Act::Yes])).await;
        let payment = shop.v2(path).await;
        assert_no_offer(&shop.pay(path, &payment).await, USED);
        assert_sold(&shop.pay(path, &payment).await, path);
        // A hook has seen nothing.
        let script = Script::new().on_verify([Act::No(USED)]).on_settle([Act::No(USED), Act::Yes]);
        let shop = Shop::open_with(stack, script, |gate| gate.hooks(Credulous)).await;
        let payment = shop.v2(path).await;
        assert_no_offer(&shop.pay(path, &payment).await, USED);
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_eq!(shop.script.verify_calls(), 2, "it was released");
    }
}

async fn a_payment_made_by_a_third_party_before_it_came_is_refused_without_an_offer(stack: Stack) {
    for reason in [THIRD_PARTY, USED] {
        let shop = Shop::open(stack, Script::new().on_verify([Act::No(reason)])).await;
        let payment = shop.v2("/cheap").await;
        for _ in 0..2 {
            assert_no_offer(&shop.pay("/cheap", &payment).await, reason);
        }
        assert_eq!((shop.visits.get(), shop.script.settle_calls()), (0, 0));
    }
}

/// Takes every payment as valid.
struct Credulous;

impl PaymentHooks for Credulous {
    async fn on_verify_failure(&self, _: &Payment, _: &Failure<'_, VerifyResponse>) -> Option<Address> {
        Some(chain::payer().address().to_string().parse().unwrap())
    }
}

async fn a_hook_that_takes_a_used_payment_as_valid_has_not_seen_it_unused(stack: Stack) {
    let script = Script::new().on_verify([Act::No(USED)]).on_settle([Act::Says(THIRD_PARTY, HASH)]);
    let shop = Shop::open_with(stack, script, |gate| gate.hooks(Credulous)).await;
    assert_no_offer(&shop.pay("/cheap", &shop.v2("/cheap").await).await, THIRD_PARTY);
    // After a call without an answer it may be our own transaction that made it: then it stays held.
    let acts = [Act::Fail(Kind::NoAnswer), Act::Says(THIRD_PARTY, HASH), Act::Yes];
    let script = Script::new().on_verify([Act::No(USED)]).on_settle(acts);
    let shop = Shop::open_with(stack, script, |gate| gate.hooks(Credulous)).await;
    let payment = shop.v2("/cheap").await;
    for _ in 0..2 {
        assert_held(&shop.pay("/cheap", &payment).await, 502);
    }
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn a_payee_of_this_store_alone_is_served_what_a_third_party_paid(stack: Stack) {
    for (path, reason) in [("/cheap", USED), ("/cheap", THIRD_PARTY), ("/first", USED)] {
        let script = || Script::new().on_verify([Act::No(reason)]).on_settle([Act::Says(THIRD_PARTY, HASH)]);
        let alone = |payee: &'static str| {
            move |gate: x402_core::gate::GateBuilder| gate.store(MemoryStore::new()).exclusive_payee(payee)
        };
        let shop = Shop::open_with(stack, script(), alone(SELLER)).await;
        let payment = shop.v2(path).await;
        assert_sold(&shop.pay(path, &payment).await, path);
        assert_spent(&shop.pay(path, &payment).await);
        // Settled before the handler runs, whatever the charge says: a used payment buys no work.
        let no = Script::new().on_verify([Act::No(reason)]).on_settle([Act::No("x")]);
        let shop = Shop::open_with(stack, no, alone(SELLER)).await;
        assert_eq!(shop.pay(path, &shop.v2(path).await).await.status, 402);
        assert_eq!(shop.visits.get(), 0);
        // One that is valid for longer than spent payments are remembered could come again.
        let shop = Shop::open_with(stack, script(), alone(SELLER)).await;
        let mut lasting = shop.v2(path).await;
        let valid_before = &mut lasting["payload"]["authorization"]["validBefore"];
        let end: u64 = valid_before.as_str().unwrap().parse().unwrap();
        *valid_before = (end + 500 * 24 * 60 * 60).to_string().into();
        assert_no_offer(&shop.pay(path, &lasting).await, reason);
        // Another payee is not meant.
        let shop =
            Shop::open_with(stack, script(), alone("0x000000000000000000000000000000000000dEaD")).await;
        assert_no_offer(&shop.pay(path, &shop.v2(path).await).await, reason);
    }
}

async fn a_facilitator_that_hangs_is_given_up_on(stack: Stack) {
    let limits = TimeLimits::default().verify(Duration::from_millis(50)).settle(Duration::from_millis(50));
    let script = Script::new().on_verify([Act::Hang, Act::Yes]).on_settle([Act::Hang, Act::Yes]);
    let shop = Shop::selling_with(stack, script, |gate| gate.time_limits(limits), cent()).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 502, "facilitator_unavailable");
    assert_held(&shop.pay("/cheap", &payment).await, 502);
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}
