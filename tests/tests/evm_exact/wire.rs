//! Over HTTP: who hears of a settlement, and what a failure says of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    extract::Request,
    middleware::{self, Next},
};
use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use x402_core::{
    hooks::{Failure, PaymentHooks, Proceed},
    payment::Receipt,
    store::MemoryStore,
    wire,
};
use x402_facilitator::{
    LocalFacilitator,
    http::{self, Caller},
};
use x402_tests::serve::Serving;

use super::{
    faulty::{FaultyStore, Write},
    support::*,
};

const KEY: &str = "a-key-of-the-first-caller";
const OTHER: &str = "a-key-of-another-caller";

async fn api(facilitator: &ExactFacilitator) -> Serving {
    // As a proxy would that knows its callers.
    let caller = async |mut request: Request, next: Next| {
        let name = request.headers().get("x-caller").map(|name| name.to_str().unwrap().to_owned());
        if let Some(name) = name {
            request.extensions_mut().insert(Caller(name));
        }
        next.run(request).await
    };
    let router = http::router(LocalFacilitator::new().with(facilitator.clone()));
    Serving::start(router.layer(middleware::from_fn(caller))).await.unwrap()
}

fn body(payment: &Payment) -> String {
    String::from_utf8(wire::encode_request(payment).unwrap()).unwrap()
}

async fn ask(api: &Serving, path: &str, payment: &Payment, headers: &[(&str, &str)]) -> (u16, Value) {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = api.upload("POST", path, &headers, &body(payment)).await.unwrap();
    (answer.status, answer.json().unwrap())
}

/// Settles, without a key or with one, and says in short what is heard.
async fn settle(api: &Serving, payment: &Payment, key: Option<&str>) -> String {
    let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    heard(ask(api, "/settle", payment, &headers).await)
}

fn heard((status, answer): (u16, Value)) -> String {
    assert_eq!(status, 200, "{answer}");
    if answer["success"] == true {
        assert!(answer["transaction"].as_str().unwrap().len() == 66, "{answer}");
        return "success".to_owned();
    }
    assert_eq!(answer["success"], false, "{answer}");
    let reason = answer["errorReason"].as_str().unwrap().to_owned();
    if reason == "duplicate_settlement" {
        assert_eq!(answer["transaction"].as_str().unwrap().len(), 66, "it is named: {answer}");
    }
    reason
}

#[tokio::test]
async fn of_ten_who_ask_at_once_without_a_key_one_hears_success() {
    let (chain, facilitator) = start().await;
    let api = api(&facilitator).await;
    let payment = signed(Version::V2, &requirements()).await;
    let mut heard = join_all((0..10).map(|_| settle(&api, &payment, None))).await;
    heard.sort();
    assert_eq!(heard[..9], ["duplicate_settlement"; 9]);
    assert_eq!(heard[9], "success");
    assert_eq!(settle(&api, &payment, None).await, "duplicate_settlement", "and it stays so");
    assert_eq!(settle(&api, &payment, Some(KEY)).await, "duplicate_settlement");
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_key_hears_the_same_as_often_as_it_asks_and_nobody_else_does() {
    let (chain, facilitator) = start().await;
    let store = MemoryStore::new();
    let facilitator = facilitator.store(store.clone());
    let first = api(&facilitator).await;
    let payment = signed(Version::V2, &requirements()).await;
    let all = join_all((0..6).map(|_| settle(&first, &payment, Some(KEY)))).await;
    assert_eq!(all, ["success"; 6]);
    // After a restart, and at another facilitator on the same store, with an account of its own.
    let signer = chain::second_facilitator();
    let network = Network::evm(chain.chain_id());
    let another = ExactFacilitator::connect(chain.rpc_url(), network, signer).unwrap().store(store.clone());
    let restarted = facilitator_of(&chain).store(store);
    for api in [first, api(&restarted).await, api(&another).await] {
        for _ in 0..2 {
            assert_eq!(settle(&api, &payment, Some(OTHER)).await, "duplicate_settlement");
            assert_eq!(settle(&api, &payment, None).await, "duplicate_settlement");
            assert_eq!(settle(&api, &payment, Some(KEY)).await, "success");
        }
        // With the same key, another amount is another payment.
        let mut dearer = payment.clone();
        dearer.requirements.amount = (PRICE + 1).into();
        assert_eq!(settle(&api, &dearer, Some(KEY)).await, reasons::VALUE_MISMATCH.as_str());
    }
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn what_was_pending_is_told_once_to_who_asks_next() {
    let (chain, facilitator) = start().await;
    let store = MemoryStore::new();
    let facilitator = facilitator.store(store.clone()).receipt_timeout(Duration::from_millis(200));
    let api_ = api(&facilitator).await;
    chain.set_automine(false).await.unwrap();
    let (plain, keyed) =
        (signed(Version::V2, &requirements()).await, signed(Version::V2, &requirements()).await);
    for _ in 0..2 {
        assert_eq!(settle(&api_, &plain, None).await, "settlement_pending");
        assert_eq!(settle(&api_, &keyed, Some(KEY)).await, "settlement_pending");
        // What is on its way for one caller is for nobody else to wait for.
        assert_eq!(settle(&api_, &keyed, Some(OTHER)).await, "duplicate_settlement");
        assert_eq!(settle(&api_, &keyed, None).await, "duplicate_settlement");
    }
    chain.mine().await.unwrap();
    chain.set_automine(true).await.unwrap();
    let api_ = api(&facilitator_of(&chain).store(store)).await;
    assert_eq!(settle(&api_, &plain, None).await, "success");
    assert_eq!(settle(&api_, &plain, None).await, "duplicate_settlement");
    assert_eq!(settle(&api_, &keyed, Some(KEY)).await, "success");
    assert_eq!(settle(&api_, &keyed, Some(OTHER)).await, "duplicate_settlement");
}

#[tokio::test]
async fn who_hangs_up_was_not_told() {
    let (chain, facilitator) = start().await;
    let api = api(&facilitator).await;
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let (address, body): (SocketAddr, String) = (api.address, body(&payment));
    let mut caller = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /settle HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    chain.wait_for_pending(1).await.unwrap();
    drop(caller);
    chain.mine().await.unwrap();
    chain.set_automine(true).await.unwrap();
    until(async || chain.transfers(chain::merchant().address()).await.unwrap() == 1).await;
    assert_eq!(settle(&api, &payment, None).await, "success");
    assert_eq!(settle(&api, &payment, None).await, "duplicate_settlement");
}

#[tokio::test]
async fn a_key_takes_over_what_was_begun_without_one_and_not_told() {
    let (chain, facilitator) = start().await;
    let api = api(&facilitator.receipt_timeout(Duration::from_millis(200))).await;
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    assert_eq!(settle(&api, &payment, None).await, "settlement_pending");
    chain.mine().await.unwrap();
    assert_eq!(settle(&api, &payment, Some(KEY)).await, "success");
    assert_eq!(settle(&api, &payment, Some(KEY)).await, "success");
    assert_eq!(settle(&api, &payment, Some(OTHER)).await, "duplicate_settlement");
    assert_eq!(settle(&api, &payment, None).await, "duplicate_settlement");
}

#[tokio::test]
async fn an_authenticated_callers_outcome_is_told_to_no_other_caller() {
    let (_chain, facilitator) = start().await;
    let api = api(&facilitator).await;
    let payment = signed(Version::V2, &requirements()).await;
    let by = async |name: Option<&str>, key: Option<&str>| {
        let headers: Vec<_> = name
            .map(|name| ("x-caller", name))
            .into_iter()
            .chain(key.map(|key| ("idempotency-key", key)))
            .collect();
        heard(ask(&api, "/settle", &payment, &headers).await)
    };
    assert_eq!(by(Some("ann"), Some(KEY)).await, "success");
    // Not even with the key.
    assert_eq!(by(Some("bob"), Some(KEY)).await, "duplicate_settlement");
    assert_eq!(by(None, Some(KEY)).await, "duplicate_settlement");
    assert_eq!(by(Some("ann"), None).await, "duplicate_settlement");
    assert_eq!(by(Some("ann"), Some(KEY)).await, "success");
}

#[tokio::test]
async fn a_key_is_sent_once_and_hard_to_guess() {
    let (chain, facilitator) = start().await;
    let api = api(&facilitator).await;
    let payment = signed(Version::V2, &requirements()).await;
    let long = "x".repeat(256);
    for headers in [
        &[("idempotency-key", "short")][..],
        &[("idempotency-key", "")],
        &[("idempotency-key", "with a blank in between")],
        &[("idempotency-key", &long)],
        &[("idempotency-key", KEY), ("idempotency-key", KEY)],
    ] {
        let (status, answer) = ask(&api, "/settle", &payment, headers).await;
        assert_eq!((status, &answer["success"]), (400, &json!(false)), "{headers:?} {answer}");
        assert!(answer["error"].as_str().unwrap().contains("Idempotency-Key"), "{answer}");
    }
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 0, "nothing was sent");
    assert_eq!(settle(&api, &payment, Some(KEY)).await, "success");
}

fn not_acted(answer: &Value) -> bool {
    assert!(answer.get("success").is_none() && answer["error"].is_string(), "{answer}");
    answer.get("notActed").is_some_and(|said| *said == json!(true))
}

#[tokio::test]
async fn that_nothing_was_sent_is_said_over_the_wire_and_only_then() {
    let (chain, _) = start().await;
    let payment = signed(Version::V2, &requirements()).await;
    // The node is down.
    let api_ = api(&facilitator_at("http://127.0.0.1:1")).await;
    let (status, answer) = ask(&api_, "/settle", &payment, &[]).await;
    assert_eq!((status, not_acted(&answer)), (503, true), "{answer}");
    // No money for gas: neither is it settled, nor does anybody say that it would be.
    let penniless = PrivateKeySigner::random();
    let network = Network::evm(chain.chain_id());
    let poor = ExactFacilitator::connect(chain.rpc_url(), network, penniless.clone()).unwrap();
    let api_ = api(&poor).await;
    let (status, answer) = ask(&api_, "/verify", &payment, &[]).await;
    assert!(status >= 500 && answer.get("isValid").is_none(), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("wei"), "{answer}");
    let (status, answer) = ask(&api_, "/settle", &payment, &[]).await;
    assert_eq!((status, not_acted(&answer)), (503, true), "{answer}");
    chain.set_ether(penniless.address(), U256::from(10).pow(U256::from(18))).await.unwrap();
    assert_eq!(ask(&api_, "/verify", &payment, &[]).await.1["isValid"], true);
    // A journal that cannot be read says nothing.
    let store = FaultyStore::new(|_| Write::Works);
    let api_ = api(&facilitator_of(&chain).store(store.clone())).await;
    store.set_down(true);
    let (status, answer) = ask(&api_, "/settle", &payment, &[]).await;
    assert_eq!((status, not_acted(&answer)), (500, false), "{answer}");
    store.set_down(false);
    // Once something was sent, it is never said again.
    let quick = facilitator_of(&chain).store(store.clone()).receipt_timeout(Duration::from_millis(200));
    chain.set_automine(false).await.unwrap();
    assert_eq!(settle(&api(&quick).await, &payment, Some(KEY)).await, "settlement_pending");
    let blind = facilitator_at("http://127.0.0.1:1").store(store.clone());
    let (_, answer) = ask(&api(&blind).await, "/settle", &payment, &[("idempotency-key", KEY)]).await;
    assert!(answer.get("notActed").is_none(), "{answer}");
}

#[tokio::test]
async fn an_authorization_is_dead_when_the_chain_is_well_past_its_end_and_it_was_not_used() {
    let (chain, facilitator) = start().await;
    let api_ = api(&facilitator).await;
    let mut message = authorization(1);
    message.validBefore = U256::from(chain.latest_timestamp().await.unwrap() + 100);
    let payment = with(&message);
    let dead = async |api: &Serving, payment: &Payment| {
        let (status, answer) = ask(api, "/settle", payment, &[]).await;
        assert_eq!((status, &answer["success"]), (200, &json!(false)), "{answer}");
        (answer["errorReason"].as_str().unwrap().to_owned(), answer.get("authorizationDead").cloned())
    };
    let expired = reasons::VALID_BEFORE.to_string();
    let end = message.validBefore.to::<u64>();
    let clocked = facilitator_of(&chain).clock(move || end + 10);
    // By our clock it is over; by the chain's it is not, or not for long.
    for (at, said) in [(end - 50, None), (end + 30, None), (end + 60, Some(json!(true)))] {
        chain.mine_at(at).await.unwrap();
        assert_eq!(dead(&api(&clocked).await, &payment).await, (expired.clone(), said), "{at}");
    }
    // One that was used is not dead, whatever can be found of its use.
    let used = authorization(2);
    send_as(&chain, chain::stranger(), USDC, transfer_call(&used)).await;
    let (reason, said) = dead(&api_, &with(&used)).await;
    assert_eq!((reason.as_str(), said), (Reason::PAID_BY_THIRD_PARTY.as_str(), None));
}

/// Panics before anything is settled.
struct Panics;

impl PaymentHooks for Panics {
    async fn before_settle(&self, _: &Payment) -> Proceed {
        panic!("the hook panics")
    }
}

#[tokio::test]
async fn a_hook_that_fails_before_settling_has_sent_nothing_unless_somebody_had() {
    let (chain, facilitator) = start().await;
    let router = http::router(LocalFacilitator::new().with(facilitator.clone()).with_hooks(Panics));
    let failing = Serving::start(router).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let (status, answer) = ask(&failing, "/settle", &payment, &[]).await;
    assert_eq!((status, not_acted(&answer)), (503, true), "{answer}");
    assert_eq!(settle(&api(&facilitator).await, &payment, Some(KEY)).await, "success");
    let (status, answer) = ask(&failing, "/settle", &payment, &[]).await;
    assert_eq!((status, not_acted(&answer)), (500, false), "{answer}");
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

/// The settlement was begun, and nothing of it is written down yet.
#[tokio::test]
async fn a_hook_that_fails_while_its_payment_is_settled_does_not_say_that_nothing_was_sent() {
    let (chain, _) = start().await;
    let store = FaultyStore::new(|number| if number == 0 { Write::HangsBefore } else { Write::Works });
    let facilitator = facilitator_of(&chain).store(store.clone());
    let payment = signed(Version::V2, &requirements()).await;
    let settling = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), payment.clone());
        async move { facilitator.settle((&payment).into()).await.unwrap() }
    });
    store.hangs.notified().await;
    for local in [
        LocalFacilitator::new().with(facilitator.clone()).with_hooks(Panics),
        LocalFacilitator::new().with(facilitator.clone()).with_hooks(Stops::at_once()),
    ] {
        let api = Serving::start(http::router(local)).await.unwrap();
        let (status, answer) = ask(&api, "/settle", &payment, &[]).await;
        assert_eq!((status, not_acted(&answer)), (500, false), "{answer}");
    }
    settled(settling.await.unwrap());
}

/// Stops every settlement, once it is told to.
#[derive(Clone, Default)]
struct Stops(Arc<AtomicBool>);

impl Stops {
    fn at_once() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl PaymentHooks for Stops {
    async fn before_settle(&self, _: &Payment) -> Proceed {
        match self.0.load(Ordering::SeqCst) {
            true => Proceed::Abort(Reason::from_static("stopped")),
            false => Proceed::Continue,
        }
    }
}

/// Published servers repeat `/settle` after `settlement_pending`, and take a failure for the end of it.
#[tokio::test]
async fn a_hook_does_not_stop_what_was_begun() {
    let (chain, _) = start().await;
    let store = FaultyStore::new(|_| Write::Works);
    let facilitator = facilitator_of(&chain).store(store.clone()).receipt_timeout(Duration::from_millis(200));
    let stops = Stops::default();
    let local = LocalFacilitator::new().with(facilitator).with_hooks(stops.clone());
    let api = Serving::start(http::router(local)).await.unwrap();
    chain.set_automine(false).await.unwrap();
    let message = authorization(1);
    let (begun, new) = (with(&message), signed(Version::V2, &requirements()).await);
    assert_eq!(settle(&api, &begun, None).await, "settlement_pending");
    stops.0.store(true, Ordering::SeqCst);
    assert_eq!(settle(&api, &begun, None).await, "settlement_pending");
    assert_eq!(settle(&api, &new, None).await, "stopped");
    // Of another authorization with the nonce the journal has nothing to say, nor of any that it is not asked about.
    let other = with(&TransferWithAuthorization { validBefore: message.validBefore + U256::ONE, ..message });
    let (status, answer) = ask(&api, "/settle", &other, &[]).await;
    assert_eq!((status, not_acted(&answer)), (500, false), "{answer}");
    store.set_down(true);
    for payment in [&begun, &new] {
        let (status, answer) = ask(&api, "/settle", payment, &[]).await;
        assert_eq!((status, not_acted(&answer)), (500, false), "{answer}");
    }
    store.set_down(false);
    chain.mine().await.unwrap();
    chain.set_automine(true).await.unwrap();
    assert_eq!(settle(&api, &begun, None).await, "success");
    assert_eq!(settle(&api, &begun, None).await, "duplicate_settlement");
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1, "nothing else was sent");
}

/// Takes as settled whatever was not.
struct Recovers;

impl PaymentHooks for Recovers {
    async fn on_settle_failure(&self, payment: &Payment, _: &Failure<'_, SettleResponse>) -> Option<Receipt> {
        Some(Receipt {
            transaction: Some(B256::repeat_byte(0x11).to_string().parse().unwrap()),
            network: payment.requirements.network.clone(),
            payer: None,
            amount: None,
            extensions: Default::default(),
        })
    }
}

#[tokio::test]
async fn what_a_hook_recovers_is_told_and_what_is_for_another_caller_is_not_recovered() {
    let (chain, facilitator) = start().await;
    let recovering = async |facilitator: &ExactFacilitator| {
        let local = LocalFacilitator::new().with(facilitator.clone()).with_hooks(Recovers);
        Serving::start(http::router(local)).await.unwrap()
    };
    let api = recovering(&facilitator).await;
    // Refused, since its payer has nothing.
    let poor = TransferWithAuthorization { from: chain::stranger().address(), ..authorization(1) };
    let signature = sign_in(&poor, &chain::stranger(), "USDC", "2", USDC);
    let poor = payment(Version::V2, &requirements(), payload(&poor, &signature));
    let new = signed(Version::V2, &requirements()).await;
    let blind = recovering(&facilitator_at("http://127.0.0.1:1")).await;
    for key in [None, Some(KEY)] {
        assert_eq!(settle(&api, &poor, key).await, "success", "{key:?}");
        assert_eq!(settle(&blind, &new, key).await, "success", "{key:?}");
    }
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 0);

    let paid = signed(Version::V2, &requirements()).await;
    assert_eq!(settle(&api, &paid, Some(KEY)).await, "success");
    for key in [None, Some(OTHER)] {
        assert_eq!(settle(&api, &paid, key).await, "duplicate_settlement", "{key:?}");
    }
    let elsewhere = authorization(2);
    send_as(&chain, chain::stranger(), USDC, transfer_call(&elsewhere)).await;
    for key in [None, Some(KEY)] {
        let heard = settle(&api, &with(&elsewhere), key).await;
        assert_eq!(heard, Reason::PAID_BY_THIRD_PARTY.as_str(), "{key:?}");
    }
}
