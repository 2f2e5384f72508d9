//! What a client names is charged once, and answered as often as it is asked for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinSet,
};
use x402_core::{
    gate::{Charge, GateBuilder, Idempotency},
    store::{ClaimStore, Key, MemoryStore, Record, Stamp, StoreError, Stored, Swapped},
};
use x402_reqwest::{PaymentId, ResponseExt};
use x402_tests::{
    chain,
    script::{Act, Script},
    serve::{Answer, encoded},
};

use crate::{
    goods::{Good, Methods, Shelf, of_everything},
    harness::{Case, Framework, Stack, Wire, case},
    shop::{Shop, Stock, cent, dollar},
    support::{MARKER, assert_asked, assert_refused, assert_sold, assert_spent, header_of, marker, sign_v2},
};

pub mod instances;
pub mod uploads;

pub const CASES: &[Case] = &[
    case!(the_402_offers_it),
    case!(what_comes_again_is_answered_again),
    case!(an_answer_again_has_no_cookies_and_is_private),
    case!(a_head_is_answered_again_without_a_body),
    case!(another_payment_for_the_same_identifier_is_refused),
    case!(another_identifier_for_the_same_payment_buys_nothing),
    case!(an_identifier_stands_for_one_request),
    case!(an_identifier_that_is_required_has_to_come),
    case!(what_is_no_identifier_is_refused),
    case!(without_an_identifier_all_is_as_ever),
    case!(where_it_is_not_offered_it_is_not_looked_at),
    case!(sixteen_at_once_are_served_once).threads(),
    case!(an_answer_that_cannot_be_kept_is_not_sold_again),
    case!(an_answer_is_kept_up_to_a_limit),
    case!(what_was_not_charged_leaves_the_identifier_free),
    case!(a_payment_that_is_refused_leaves_the_identifier_free),
    case!(an_answer_that_breaks_off_is_owed),
    case!(settled_first_it_is_the_same),
    case!(who_hangs_up_is_answered_when_back).http1(),
    case!(who_hangs_up_too_often_is_not_answered).only(&[Framework::Axum, Framework::Tower]).http1(),
    case!(what_failed_on_chain_leaves_the_identifier_free),
    case!(a_pending_payment_is_resumed_by_its_own_name),
    case!(a_price_that_changed_does_not_ask_for_another_payment),
    case!(grpc_calls_have_none),
    case!(our_client_asks_again_and_pays_once),
];

const ID: &str = "order-0123456789";

fn shelf(path: &'static str, methods: Methods, charge: Charge, good: Good) -> Shelf {
    Shelf { path, methods, charge: Some(charge), good }
}

fn shelves() -> Vec<Shelf> {
    let listed = |path, charge: Charge| Shelf { charge: Some(charge), ..of_everything(path) };
    vec![
        listed("/cheap", cent().idempotent()),
        listed("/twin", cent().idempotent()),
        listed("/dear/{id}", cent().idempotent()),
        listed("/echo", cent().idempotent()),
        listed("/cached", cent().idempotent()),
        listed("/stream", cent().idempotent()),
        listed("/twice", cent().idempotent()),
        listed("/slow", cent().idempotent()),
        listed("/first", cent().settle_first().idempotent()),
        listed("/first-missing", cent().settle_first().idempotent()),
        listed("/first-fails", cent().settle_first().idempotent()),
        listed("/first-slow", cent().settle_first().idempotent()),
        listed("/grpc", cent().idempotent()),
        shelf("/long", Methods::Get, cent().idempotent(), Good::Long(64 * 1024)),
        shelf("/longer", Methods::Get, cent().idempotent(), Good::Long(64 * 1024 + 1)),
        shelf("/torn", Methods::Get, cent().idempotent(), Good::Torn),
        shelf("/stalls", Methods::Get, cent().idempotent(), Good::Stalls),
        shelf("/named", Methods::Any, cent().require_identifier(), Good::Says("/named")),
        shelf("/named-grpc", Methods::Any, cent().require_identifier(), Good::Grpc("0")),
        shelf("/plain", Methods::Any, cent(), Good::Says("/plain")),
        of_everything("/free"),
    ]
}

async fn open(stack: Stack, script: Script) -> Shop {
    open_with(stack, script, |gate| gate).await
}

/// A shop of its own: the same identifiers are used by all cases.
async fn open_with(stack: Stack, script: Script, set_up: impl FnOnce(GateBuilder) -> GateBuilder) -> Shop {
    let set_up = |gate: GateBuilder| set_up(gate.store(MemoryStore::new()));
    Shop::stocked(stack, script, set_up, Stock::Priced(shelves())).await
}

/// The payment, for what its client calls so.
fn named(payment: &Value, id: impl Into<Value>) -> Value {
    let mut payment = payment.clone();
    payment["extensions"] =
        json!({ "payment-identifier": { "info": { "required": false, "id": id.into() } } });
    payment
}

impl Shop {
    /// A payment for what is called so.
    async fn named(&self, path: &str, id: &str) -> Value {
        let offer = self.send("POST", path, &[("content-length", "0")]).await;
        let offer = match offer.decoded("payment-required") {
            Ok(offer) => offer,
            Err(_) => self.offer(path).await,
        };
        named(&sign_v2(&offer, 0).await, id)
    }

    async fn post(&self, path: &str, payment: &Value, body: &str) -> Answer {
        let headers = [(header_of(payment), &*encoded(payment))];
        self.serving.upload("POST", path, &headers, body).await.unwrap()
    }

    /// Pays until it is not told to wait, as long as that takes.
    async fn pay_until(&self, path: &str, payment: &Value) -> Answer {
        loop {
            let answer = self.pay(path, payment).await;
            if answer.status != 409 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The same answer as before, without what was for that one exchange.
#[track_caller]
fn assert_again(again: &Answer, first: &Answer) {
    let lasting = |answer: &Answer| -> BTreeMap<String, Vec<String>> {
        let mut headers = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in &answer.headers {
            let new = matches!(&**name, "idempotent-replayed" | "date" | "set-cookie" | "connection")
                || (name == "access-control-expose-headers" && value == "Idempotent-Replayed");
            if !new {
                headers.entry(name.clone()).or_default().push(value.clone());
            }
        }
        headers
    };
    assert_eq!((again.status, &again.body), (first.status, &first.body), "{again:?}");
    assert_eq!(lasting(again), lasting(first));
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again:?}");
    assert_eq!(first.count("idempotent-replayed"), 0, "{first:?}");
    assert_eq!(again.count("set-cookie"), 0);
    assert!(again.header("cache-control").unwrap().contains("private"));
}

/// A 409 that asks for nothing, not even to come again.
#[track_caller]
fn assert_conflict(answer: &Answer, code: &str) {
    assert_refused(answer, 409, code);
    assert_eq!(answer.count("payment-required") + answer.count("retry-after"), 0, "{answer:?}");
    assert!(answer.json().unwrap().get("accepts").is_none());
}

async fn the_402_offers_it(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    for (path, required) in [("/cheap", Some(false)), ("/named", Some(true)), ("/plain", None)] {
        let answer = shop.get(path, &[]).await;
        let offer = answer.decoded("payment-required").unwrap();
        let declared = &offer["extensions"]["payment-identifier"];
        assert_eq!(declared["info"]["required"].as_bool(), required, "{offer}");
        assert_eq!(declared["schema"].is_object(), required.is_some(), "{offer}");
        assert!(declared["info"].get("id").is_none());
        // Version 1 has no words for it: where it is required, who pays in version 1 would pay in vain.
        assert_eq!(answer.json().unwrap()["x402Version"] == 1, path != "/named", "{answer:?}");
    }
}

async fn what_comes_again_is_answered_again(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/cheap?a=1", ID).await;
    let first = shop.pay("/cheap?a=1", &payment).await;
    assert_sold(&first, "/cheap");
    for _ in 0..3 {
        assert_again(&shop.pay("/cheap?a=1", &payment).await, &first);
    }
    assert_eq!(shop.counts(), (1, 1, 1));

    let payment = shop.named("/echo", "order-with-a-body").await;
    let first = shop.post("/echo", &payment, "two of these").await;
    assert_sold(&first, "/echo");
    assert!(first.body.ends_with("two of these"), "the handler has the whole of it: {first:?}");
    assert_again(&shop.post("/echo", &payment, "two of these").await, &first);
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn an_answer_again_has_no_cookies_and_is_private(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/cached", ID).await;
    let first = shop.pay("/cached", &payment).await;
    assert_eq!((first.status, first.count("set-cookie")), (200, 2));
    let again = shop.pay("/cached", &payment).await;
    assert_again(&again, &first);
    assert_eq!(again.header("cache-control"), Some("private, max-age=60"));
    assert_eq!((again.header("x-stays"), again.count("settlement-overrides")), (Some("1"), 0));
    assert_eq!(again.decoded("payment-response").unwrap(), first.decoded("payment-response").unwrap());
}

async fn a_head_is_answered_again_without_a_body(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/cheap", ID).await;
    let header = encoded(&payment);
    let headers = [("payment-signature", &*header)];
    let first = shop.send("HEAD", "/cheap", &headers).await;
    assert_eq!((first.status, first.body.len()), (200, 0));
    let again = shop.send("HEAD", "/cheap", &headers).await;
    assert_eq!((again.status, again.body.len(), shop.counts()), (200, 0, (1, 1, 1)));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let length = marker("/cheap").len().to_string();
    assert_eq!(
        (again.header("content-length"), first.header("content-length")),
        (Some(&*length), Some(&*length))
    );
    assert_conflict(&shop.pay("/cheap", &payment).await, "payment_identifier_conflict");
}

async fn another_payment_for_the_same_identifier_is_refused(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/cheap", ID).await;
    let first = shop.pay("/cheap", &payment).await;
    assert_sold(&first, "/cheap");
    for path in ["/cheap", "/twin", "/first"] {
        assert_conflict(&shop.pay(path, &shop.named(path, ID).await).await, "payment_identifier_conflict");
    }
    // The key of a payment can be read off the chain; another signature makes it another payload.
    let mut forged = payment.clone();
    forged["payload"]["signature"] = format!("0x{}", "cd".repeat(65)).into();
    assert_conflict(&shop.pay("/cheap", &forged).await, "payment_identifier_conflict");
    assert_eq!(shop.counts(), (1, 1, 1), "nobody was asked");
    assert_again(&shop.pay("/cheap", &payment).await, &first);

    let shop = open(stack, Script::new().on_verify([Act::Wait, Act::Yes])).await;
    let (payment, other) =
        (shop.named("/cheap", "order-in-flight-1").await, shop.named("/cheap", "order-in-flight-1").await);
    let (first, ()) = tokio::join!(shop.pay("/cheap", &payment), async {
        shop.script.verify_begun(1).await;
        assert_conflict(&shop.pay("/cheap", &other).await, "payment_identifier_conflict");
        let same = shop.pay("/cheap", &payment).await;
        assert_refused(&same, 409, "payment_in_progress");
        assert!(same.header("retry-after").is_some());
        shop.script.let_go();
    });
    assert_sold(&first, "/cheap");
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn another_identifier_for_the_same_payment_buys_nothing(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/cheap", ID).await;
    let first = shop.pay("/cheap", &payment).await;
    assert_sold(&first, "/cheap");
    let other = "order-of-another-kind";
    assert_spent(&shop.pay("/cheap", &named(&payment, other)).await);
    let mut plain = payment.clone();
    plain["extensions"] = Value::Null;
    assert_spent(&shop.pay("/cheap", &plain).await);
    assert_eq!(shop.counts(), (1, 1, 1));
    assert_sold(&shop.pay("/cheap", &shop.named("/cheap", other).await).await, "/cheap");
    assert_again(&shop.pay("/cheap", &payment).await, &first);
}

async fn an_identifier_stands_for_one_request(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/cheap?a=1", ID).await;
    assert_sold(&shop.post("/cheap?a=1", &payment, "a body").await, "/cheap");
    let header = encoded(&payment);
    for (method, path, body) in [
        ("POST", "/cheap?a=1", "a bodY"),
        ("POST", "/cheap?a=1", ""),
        ("POST", "/cheap?a=1", "a body "),
        ("PUT", "/cheap?a=1", "a body"),
        ("POST", "/cheap?a=2", "a body"),
        ("POST", "/cheap", "a body"),
        ("POST", "/echo?a=1", "a body"),
        ("POST", "/cheap%3Fa=1", "a body"),
    ] {
        let headers = [("payment-signature", &*header)];
        let answer = shop.serving.upload(method, path, &headers, body).await.unwrap();
        if path.contains('%') {
            assert_eq!(answer.status, 404, "there is no such route");
            continue;
        }
        assert_conflict(&answer, "payment_identifier_conflict");
    }
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn an_identifier_that_is_required_has_to_come(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.v2("/named").await;
    let mut repeated = payment.clone();
    repeated["extensions"] = shop.offer("/named").await["extensions"].clone();
    for payment in [&payment, &repeated] {
        let answer = shop.pay("/named", payment).await;
        assert_refused(&answer, 400, "payment_identifier_required");
        assert_eq!(answer.count("payment-required"), 0);
    }
    let mut one = shop.v1("/cheap").await;
    let answer = shop.pay("/named", &one).await;
    assert_refused(&answer, 400, "payment_identifier_required");
    assert!(answer.json().unwrap()["message"].as_str().unwrap().contains("use version 2"));
    one["extensions"] = named(&payment, ID)["extensions"].clone();
    assert_refused(&shop.pay("/named", &one).await, 400, "payment_identifier_required");
    assert_eq!(shop.counts(), (0, 0, 0));
    assert_sold(&shop.pay("/named", &named(&payment, ID)).await, "/named");
}

async fn what_is_no_identifier_is_refused(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.v2("/cheap").await;
    let (longest, long) = ("x".repeat(128), "x".repeat(129));
    for bad in [
        json!("fifteen-letters"),
        json!(long),
        json!(""),
        json!("order 0123456789"),
        json!("order.0123456789"),
        json!("order-0123456789\n"),
        json!("örder-0123456789"),
        json!(1_234_567_890_123_456_i64),
        json!({ "id": ID }),
        json!([ID]),
        json!(true),
    ] {
        let answer = shop.pay("/cheap", &named(&payment, bad.clone())).await;
        assert_refused(&answer, 400, "invalid_payment_identifier");
        assert_eq!(answer.count("payment-required"), 0, "{bad}");
    }
    for bad in [json!("x"), json!([]), json!({}), json!({ "info": ID }), json!({ "info": [ID] })] {
        let mut payment = payment.clone();
        payment["extensions"] = json!({ "payment-identifier": bad });
        assert_refused(&shop.pay("/cheap", &payment).await, 400, "invalid_payment_identifier");
    }
    // Two of them: readers could take either.
    use base64::{Engine, prelude::BASE64_STANDARD};
    let twice = named(&payment, ID).to_string();
    let twice =
        twice.replace(&format!(r#""id":"{ID}""#), &format!(r#""id":"{ID}","id":"another-0123456789""#));
    let answer = shop.get("/cheap", &[("payment-signature", &BASE64_STANDARD.encode(twice))]).await;
    assert_refused(&answer, 400, "invalid_payload");
    assert_eq!(shop.counts(), (0, 0, 0));

    for good in [&*longest, "0123456789abcdef", "-_-_-_-_-_-_-_-_"] {
        let payment = shop.named("/cheap", good).await;
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    }
}

async fn without_an_identifier_all_is_as_ever(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    for payment in [shop.v2("/cheap").await, shop.v1("/cheap").await] {
        assert_eq!(shop.pay("/cheap", &payment).await.status, 200);
        assert_spent(&shop.pay("/cheap", &payment).await);
        assert_spent(&shop.pay("/cheap", &named(&payment, ID)).await);
    }
    assert_eq!(shop.counts(), (2, 2, 2));
    // Nor does a payment that bought nothing by that name stand in the way of another.
    assert_sold(&shop.pay("/cheap", &shop.named("/cheap", ID).await).await, "/cheap");
}

async fn where_it_is_not_offered_it_is_not_looked_at(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    for id in [json!(ID), json!(ID), json!("?")] {
        let payment = named(&shop.v2("/plain").await, id);
        assert_sold(&shop.pay("/plain", &payment).await, "/plain");
        assert_spent(&shop.pay("/plain", &payment).await);
    }
}

async fn sixteen_at_once_are_served_once(stack: Stack) {
    let shop = open(stack, Script::new().on_verify([Act::Dawdle]).on_settle([Act::Dawdle])).await;
    let shop = Arc::new(shop);
    for round in 0..8 {
        for path in ["/cheap", "/first"] {
            let before = shop.counts();
            let payment = shop.named(path, &format!("round-{round:04}{path}").replace('/', "-of-the-")).await;
            let mut answers = JoinSet::new();
            for _ in 0..16 {
                let (shop, payment) = (shop.clone(), payment.clone());
                answers.spawn(async move { shop.pay(path, &payment).await });
            }
            let answers = answers.join_all().await;
            let first = answers
                .iter()
                .find(|answer| answer.status == 200 && answer.count("idempotent-replayed") == 0);
            let first = first.expect("one is served by the handler");
            for answer in &answers {
                match answer.count("idempotent-replayed") {
                    1 => assert_again(answer, first),
                    _ if answer.status == 409 => assert_refused(answer, 409, "payment_in_progress"),
                    _ => assert_eq!(answer.headers, first.headers),
                }
            }
            let after = shop.counts();
            assert_eq!(
                (after.0 - before.0, after.1 - before.1, after.2 - before.2),
                (1, 1, 1),
                "round {round}"
            );
            assert_again(&shop.pay(path, &payment).await, first);
        }
    }
}

async fn an_answer_that_cannot_be_kept_is_not_sold_again(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    for (path, id) in [("/stream", "a-stream-of-pieces"), ("/longer", "more-than-is-kept")] {
        let before = shop.counts();
        let payment = shop.named(path, id).await;
        let first = shop.pay(path, &payment).await;
        assert_eq!((first.status, first.count("payment-response")), (200, 1));
        assert!(first.body.contains(MARKER));
        for _ in 0..2 {
            assert_conflict(&shop.pay(path, &payment).await, "payment_answer_not_kept");
        }
        let other = shop.pay(path, &shop.named(path, id).await).await;
        assert_conflict(&other, "payment_identifier_conflict");
        assert_eq!(shop.counts(), (before.0 + 1, before.1 + 1, before.2 + 1));
    }
}

async fn an_answer_is_kept_up_to_a_limit(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/long", ID).await;
    let first = shop.pay("/long", &payment).await;
    assert_eq!((first.status, first.body.len()), (200, 64 * 1024));
    assert_again(&shop.pay("/long", &payment).await, &first);

    let little = |gate: GateBuilder| gate.idempotency(Idempotency::default().longest_answer(4));
    let shop = open_with(stack, Script::new(), little).await;
    let payment = shop.named("/cheap", "order-of-too-much").await;
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    assert_conflict(&shop.pay("/cheap", &payment).await, "payment_answer_not_kept");
}

async fn what_was_not_charged_leaves_the_identifier_free(stack: Stack) {
    for same in [true, false] {
        let shop = open(stack, Script::new()).await;
        let id = format!("order-that-fails-{same}");
        assert_sold(&shop.pay("/twice", &shop.named("/twice", "another-order-before").await).await, "/twice");
        let payment = shop.named("/twice", &id).await;
        assert_eq!(shop.pay("/twice", &payment).await.status, 409, "the handler's own");
        assert_eq!(shop.counts(), (2, 2, 1));
        let payment = if same { payment } else { shop.named("/twice", &id).await };
        let first = shop.pay("/twice", &payment).await;
        assert_sold(&first, "/twice");
        assert_again(&shop.pay("/twice", &payment).await, &first);
        assert_eq!(shop.counts(), (3, 3, 2));
    }
}

async fn a_payment_that_is_refused_leaves_the_identifier_free(stack: Stack) {
    let shop = open(
        stack,
        Script::new().on_verify([Act::No("invalid_x"), Act::Yes]).on_settle([Act::No("invalid_y"), Act::Yes]),
    )
    .await;
    assert_asked(&shop.pay("/cheap", &shop.named("/cheap", ID).await).await, "invalid_x");
    let answer = shop.pay("/cheap", &shop.named("/cheap", ID).await).await;
    assert_eq!((answer.status, answer.json().unwrap()["error"].as_str()), (402, Some("invalid_y")));
    assert_sold(&shop.pay("/twin", &shop.named("/twin", ID).await).await, "/twin");
    assert_eq!(shop.counts(), (2, 3, 2));
}

async fn an_answer_that_breaks_off_is_owed(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/torn", ID).await;
    let torn = shop.pay("/torn", &payment).await;
    assert_refused(&torn, 503, "settlement_pending");
    assert!(torn.header("retry-after").is_some());
    let first = shop.pay("/torn", &payment).await;
    assert_sold(&first, "/torn");
    assert_eq!(first.body, marker("/torn").repeat(2));
    assert_again(&shop.pay("/torn", &payment).await, &first);
    assert_eq!(shop.counts(), (2, 1, 1));
}

/// A client that knows no more of it, like one with a limit of time. actix-web and poem make the answer all the same.
async fn who_hangs_up_is_answered_when_back(stack: Stack) {
    for path in ["/slow", "/first-slow"] {
        let shop = open(stack, Script::new()).await;
        let payment = shop.named(path, ID).await;
        let connection = shop.paying(path, &payment).await;
        shop.visits.reaches(1).await;
        drop(connection);
        let runs_on = [Framework::Actix, Framework::Poem].contains(&stack.framework);
        let (answer, ()) = tokio::join!(shop.pay_until(path, &payment), async {
            shop.visits.reaches(if runs_on { 1 } else { 2 }).await;
            shop.goods.let_go.notify_one();
        });
        assert_sold(&answer, path);
        assert_eq!(answer.count("idempotent-replayed"), usize::from(runs_on));
        assert_eq!(shop.pay(path, &payment).await.body, answer.body);
        assert_eq!(shop.script.settle_calls(), 1);
    }
}

/// Each time the handler has run.
async fn who_hangs_up_too_often_is_not_answered(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/first-slow", ID).await;
    for runs in 1..=4 {
        let begin = async {
            // As long as the one before is not noticed to have gone, it is told to wait.
            loop {
                let connection = shop.paying("/first-slow", &payment).await;
                let begun = tokio::time::timeout(Duration::from_millis(300), shop.visits.reaches(runs)).await;
                if begun.is_ok() {
                    return connection;
                }
            }
        };
        drop(begin.await);
    }
    let answer = loop {
        let answer = shop.pay("/first-slow", &payment).await;
        if answer.count("retry-after") == 0 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_conflict(&answer, "payment_answer_not_kept");
    assert_eq!((shop.visits.get(), shop.script.settle_calls()), (4, 1));
}

async fn what_failed_on_chain_leaves_the_identifier_free(stack: Stack) {
    let failed = "invalid_exact_evm_transaction_failed";
    let shop = open(stack, Script::new().on_settle([Act::Reverted(failed), Act::Yes])).await;
    let (payment, other) = (shop.named("/cheap", ID).await, shop.named("/cheap", ID).await);
    assert_refused(&shop.pay("/cheap", &payment).await, 402, failed);
    assert_sold(&shop.pay("/cheap", &other).await, "/cheap");
    assert_conflict(&shop.pay("/cheap", &payment).await, "payment_identifier_conflict");
    assert_eq!(shop.script.settle_calls(), 2);
}

async fn settled_first_it_is_the_same(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    for (path, status) in [("/first", 200), ("/first-missing", 404)] {
        let id = format!("order-first{path}").replace('/', "-of-the-");
        let payment = shop.named(path, &id).await;
        let first = shop.pay(path, &payment).await;
        assert_eq!((first.status, first.count("payment-response")), (status, 1));
        assert_again(&shop.pay(path, &payment).await, &first);
        assert_conflict(&shop.pay(path, &shop.named(path, &id).await).await, "payment_identifier_conflict");
    }
    assert_eq!(shop.counts(), (2, 2, 2));
    // Our own failure is owed an answer, to that payment and no other.
    let payment = shop.named("/first-fails", ID).await;
    assert_eq!(shop.pay("/first-fails", &payment).await.status, 502);
    let other = shop.pay("/first-fails", &shop.named("/first-fails", ID).await).await;
    assert_conflict(&other, "payment_identifier_conflict");
    assert_eq!(shop.pay("/first-fails", &payment).await.status, 502);
    assert_eq!(shop.counts(), (4, 3, 3));
}

async fn a_pending_payment_is_resumed_by_its_own_name(stack: Stack) {
    let shop = open(stack, Script::new().on_settle([Act::Pending, Act::Pending, Act::Yes])).await;
    let payment = shop.named("/echo", ID).await;
    assert_refused(&shop.post("/echo", &payment, "a").await, 503, "settlement_pending");
    let mut plain = payment.clone();
    plain["extensions"] = Value::Null;
    assert_refused(&shop.post("/echo", &plain, "a").await, 409, "payment_in_progress");
    assert_refused(
        &shop.post("/echo", &named(&payment, "some-other-order-1"), "a").await,
        409,
        "payment_in_progress",
    );
    assert_conflict(&shop.post("/echo", &payment, "b").await, "payment_identifier_conflict");
    assert_conflict(
        &shop.post("/echo", &shop.named("/echo", ID).await, "a").await,
        "payment_identifier_conflict",
    );
    assert_eq!(shop.counts(), (1, 1, 2));
    let first = shop.post("/echo", &payment, "a").await;
    assert_sold(&first, "/echo");
    assert_again(&shop.post("/echo", &payment, "a").await, &first);
    assert_eq!(shop.counts(), (2, 1, 3));
}

async fn a_price_that_changed_does_not_ask_for_another_payment(stack: Stack) {
    let store = MemoryStore::new();
    let shop = open_with(stack, Script::new(), |gate| gate.store(store.clone())).await;
    let payment = shop.named("/cheap", ID).await;
    let first = shop.pay("/cheap", &payment).await;
    assert_sold(&first, "/cheap");
    let dear = Shelf { charge: Some(dollar().idempotent()), ..of_everything("/cheap") };
    let dearer =
        Shop::stocked(stack, Script::new(), |gate| gate.store(store), Stock::Priced(vec![dear])).await;
    assert_again(&dearer.pay("/cheap", &payment).await, &first);
    let mut other = payment.clone();
    other["extensions"]["payment-identifier"]["info"]["id"] = "some-other-order-2".into();
    assert_eq!(dearer.pay("/cheap", &other).await.status, 402);
    assert_eq!(dearer.counts(), (0, 0, 0));
}

async fn grpc_calls_have_none(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let grpc = ("content-type", "application/grpc");
    let unpaid = shop.send("POST", "/grpc", &[grpc, ("content-length", "0")]).await;
    let offer = unpaid.decoded("payment-required").unwrap();
    assert!(offer.get("extensions").is_none(), "{offer}");
    let payment = sign_v2(&offer, 0).await;
    let call = async |path, payment: &Value| {
        let payment = encoded(payment);
        shop.send("POST", path, &[grpc, ("content-length", "0"), ("payment-signature", &payment)]).await
    };
    let refused = call("/grpc", &named(&payment, ID)).await;
    assert_eq!((refused.status, refused.header("grpc-status")), (200, Some("3")), "{refused:?}");
    let refused = call("/named-grpc", &payment).await;
    assert_eq!((refused.status, refused.header("grpc-status")), (200, Some("3")), "{refused:?}");
    assert_eq!(shop.counts(), (0, 0, 0));
    assert_eq!(call("/grpc", &payment).await.header("grpc-status"), Some("0"));
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn our_client_asks_again_and_pays_once(stack: Stack) {
    x402_tests::install_crypto();
    let shop = open(stack, Script::new()).await;
    let wallet = x402_evm::exact::client(chain::payer());
    let client = x402_reqwest::Client::builder().scheme(wallet).max_per_request("$0.10").build().unwrap();
    let id: PaymentId = ID.parse().unwrap();
    let order = || client.post(shop.serving.url("/echo")).body("two of these");
    let first = order().with_extension(id.clone()).send().await.unwrap();
    assert_eq!(first.status(), 200);
    let payment = first.payment().unwrap().clone();
    assert_eq!(payment.identifier(), Some(&id));
    let text = first.text().await.unwrap();
    let again = order().with_extension(payment.clone()).send().await.unwrap();
    assert_eq!(
        (again.status().as_u16(), &again.headers()["idempotent-replayed"]),
        (200, &"true".parse().unwrap())
    );
    assert_eq!(again.text().await.unwrap(), text);
    assert_eq!(shop.counts(), (1, 1, 1));
    // Without the payment, a new one is signed: the identifier says that it was bought.
    let conflict = order().with_extension(id).send().await.unwrap();
    assert_eq!((conflict.status().as_u16(), shop.counts()), (409, (1, 1, 1)));
    // Where the caller names nothing, each request has a name of its own.
    for path in ["/named", "/cheap"] {
        let mut names = Vec::new();
        for _ in 0..2 {
            let answer = client.get(shop.serving.url(path)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            names.push(answer.payment().unwrap().identifier().unwrap().as_str().to_owned());
        }
        assert_ne!(names[0], names[1]);
    }
    let plain = client.get(shop.serving.url("/plain")).send().await.unwrap();
    assert_eq!((plain.status().as_u16(), plain.payment().unwrap().identifier()), (200, None));
}
