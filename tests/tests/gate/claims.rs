//! Claims in a store: what several instances share, what outlives one, and what is done when it is down.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    runtime::{Handle, Id},
    sync::watch,
    task::yield_now,
};
use x402_core::{
    gate::{GateBuilder, PaymentEvent, PaymentState},
    store::{ClaimStore, Key, MemoryStore, Record, Stamp, StoreError, Stored, Swapped},
};
use x402_tests::script::{Act, HASH, Script};

use crate::{
    harness::{Case, Stack, case},
    shop::Shop,
    support::{assert_refused, assert_sold, assert_spent},
};

pub const CASES: &[Case] = &[
    case!(two_shops_on_one_store_sell_a_payment_once).http1().threads(),
    case!(what_is_held_by_one_shop_is_served_by_the_other),
    case!(a_store_that_is_down_refuses_what_is_paid_and_gives_nothing_away),
    case!(what_cannot_be_written_before_it_is_settled_is_not_settled),
    case!(what_cannot_be_written_before_it_is_served_is_not_served_and_owed),
    case!(settled_first_no_handler_runs_for_what_cannot_be_written),
    case!(the_store_is_asked_where_the_gate_was_built),
    case!(a_ledger_hears_what_could_be_written_only_later),
    case!(a_ledger_hears_of_all_that_happens_to_a_payment),
];

/// A store that fails when told to.
#[derive(Clone, Default)]
struct Shaky {
    inner: MemoryStore,
    trouble: Arc<Mutex<Trouble>>,
}

/// What goes wrong, with every record whose next state has this in it.
#[derive(Clone, Copy, Default)]
enum Trouble {
    #[default]
    None,
    Down,
    /// It is not written.
    Loses(&'static str),
    /// It is written, and not told.
    Hides(&'static str),
}

impl Shaky {
    fn is(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn trouble(&self) -> Trouble {
        *self.trouble.lock().unwrap()
    }
}

fn down<T>() -> Result<T, StoreError> {
    Err(StoreError::unavailable("the store is down"))
}

impl ClaimStore for Shaky {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        if matches!(self.trouble(), Trouble::Down) { down() } else { self.inner.load(key).await }
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        let says = |word: &str| next.as_ref().is_some_and(|next| next.state.contains(word));
        match self.trouble() {
            Trouble::Down => down(),
            Trouble::Loses(word) if says(word) => down(),
            Trouble::Hides(word) if says(word) => {
                let _ = self.inner.swap(key, seen, next).await?;
                down()
            }
            _ => self.inner.swap(key, seen, next).await,
        }
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        self.inner.open(space).await
    }
}

/// A gate on this store whose claims are taken up soon when it is gone.
fn on(store: &Shaky) -> impl FnOnce(GateBuilder) -> GateBuilder + use<> {
    let store = store.clone();
    move |gate| gate.store(store).claim_lease(Duration::from_millis(200))
}

/// Pays until it is no more told to wait.
async fn insist(shop: &Shop, path: &str, payment: &serde_json::Value) -> x402_tests::serve::Answer {
    for _ in 0..200 {
        let answer = shop.pay(path, payment).await;
        if answer.status != 409 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is told to wait for ever")
}

async fn two_shops_on_one_store_sell_a_payment_once(stack: Stack) {
    let store = Shaky::default();
    let script = Script::new().on_verify([Act::Dawdle]).on_settle([Act::Dawdle]);
    // As long as a busy machine takes.
    let lasting = || {
        let store = store.clone();
        move |gate: GateBuilder| gate.store(store)
    };
    let one = Shop::open_with(stack, script.clone(), lasting()).await;
    let other = Shop::open_with(stack, script, lasting()).await;
    for round in 1..=20 {
        for path in ["/cheap", "/first"] {
            let payment = one.v2(path).await;
            let answers = (0..16).map(|turn| if turn % 2 == 0 { &one } else { &other });
            let answers = join_all(answers.map(|shop| shop.pay(path, &payment))).await;
            let sold = answers.iter().filter(|answer| answer.status == 200).count();
            assert_eq!(sold, 1, "round {round}: {answers:?}");
            assert_spent(&one.pay(path, &payment).await);
            assert_spent(&other.pay(path, &payment).await);
        }
    }
    assert_eq!(one.visits.get() + other.visits.get(), 40);
    assert_eq!(one.script.settle_calls(), 40);
}

async fn what_is_held_by_one_shop_is_served_by_the_other(stack: Stack) {
    let store = Shaky::default();
    let pending = Script::new().on_settle([Act::Pending]);
    let one = Shop::open_with(stack, pending, on(&store)).await;
    let other = Shop::open_with(stack, Script::new(), on(&store)).await;
    for path in ["/cheap", "/first"] {
        let payment = one.v2(path).await;
        assert_refused(&one.pay(path, &payment).await, 503, "settlement_pending");
        assert_sold(&other.pay(path, &payment).await, path);
        assert_spent(&one.pay(path, &payment).await);
    }
    assert_eq!(other.script.verify_calls(), 0, "it was verified, and its nonce may be used by now");
}

async fn a_store_that_is_down_refuses_what_is_paid_and_gives_nothing_away(stack: Stack) {
    let store = Shaky::default();
    let shop = Shop::open_with(stack, Script::new(), on(&store)).await;
    let payments = [("/cheap", shop.v2("/cheap").await), ("/first", shop.v2("/first").await)];
    store.is(Trouble::Down);
    for (path, payment) in &payments {
        let answer = shop.pay(path, payment).await;
        assert_refused(&answer, 503, "payment_unavailable");
        assert_eq!(answer.count("payment-required"), 0, "it must not be paid again");
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(shop.get("/cheap", &[]).await.status, 402);
    assert_eq!(shop.get("/free", &[]).await.status, 200);
    assert_eq!(shop.counts(), (0, 0, 0));
    store.is(Trouble::None);
    for (path, payment) in &payments {
        assert_sold(&shop.pay(path, payment).await, path);
    }
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn what_cannot_be_written_before_it_is_settled_is_not_settled(stack: Stack) {
    let store = Shaky::default();
    let shop = Shop::open_with(stack, Script::new(), on(&store)).await;
    for (sold, path) in ["/cheap", "/first"].into_iter().enumerate() {
        let payment = shop.v2(path).await;
        store.is(Trouble::Loses(r#""why":"unresolved""#));
        assert_refused(&shop.pay(path, &payment).await, 503, "payment_unavailable");
        assert_eq!(shop.script.settle_calls(), sold);
        store.is(Trouble::Hides(r#""why":"unresolved""#));
        assert_refused(&shop.pay(path, &payment).await, 503, "payment_unavailable");
        assert_eq!(shop.script.settle_calls(), sold);
        store.is(Trouble::None);
        assert_sold(&insist(&shop, path, &payment).await, path);
        assert_eq!(shop.script.settle_calls(), sold + 1);
        assert_spent(&shop.pay(path, &payment).await);
    }
}

async fn what_cannot_be_written_before_it_is_served_is_not_served_and_owed(stack: Stack) {
    let store = Shaky::default();
    let shop = Shop::open_with(stack, Script::new(), on(&store)).await;
    let mut sold = 0;
    for path in ["/cheap", "/first"] {
        for trouble in [Trouble::Loses(r#""state":"spent""#), Trouble::Hides(r#""state":"spent""#)] {
            let payment = shop.v2(path).await;
            store.is(trouble);
            let answer = shop.pay(path, &payment).await;
            assert_refused(&answer, 503, "settlement_pending");
            assert_eq!(answer.count("payment-required"), 0, "it must not be paid again");
            assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH, "it was charged");
            store.is(Trouble::None);
            assert_sold(&insist(&shop, path, &payment).await, path);
            assert_spent(&shop.pay(path, &payment).await);
            sold += 1;
            assert_eq!(shop.script.settle_calls(), sold, "{path}");
        }
    }
}

async fn settled_first_no_handler_runs_for_what_cannot_be_written(stack: Stack) {
    let store = Shaky::default();
    let shop = Shop::open_with(stack, Script::new(), on(&store)).await;
    let payment = shop.v2("/first").await;
    store.is(Trouble::Loses(r#""why":"unserved""#));
    let answer = shop.pay("/first", &payment).await;
    assert_refused(&answer, 503, "settlement_pending");
    assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH, "it was charged");
    assert_eq!(shop.visits.get(), 0);
    store.is(Trouble::None);
    assert_sold(&insist(&shop, "/first", &payment).await, "/first");
    assert_spent(&shop.pay("/first", &payment).await);
    assert_eq!(shop.visits.get(), 1);
}

/// A store that notes in which runtimes it is at work, before and after it had to wait.
#[derive(Clone, Default)]
struct Traveller {
    inner: MemoryStore,
    seen: Arc<Mutex<Vec<Id>>>,
}

impl Traveller {
    async fn work(&self) {
        self.seen.lock().unwrap().push(Handle::current().id());
        yield_now().await;
        self.seen.lock().unwrap().push(Handle::current().id());
    }
}

impl ClaimStore for Traveller {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.work().await;
        self.inner.load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        self.work().await;
        self.inner.swap(key, seen, next).await
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        self.work().await;
        self.inner.open(space).await
    }
}

/// A worker of a framework may be busy, or end: a connection that is made there would be of no use to all others.
async fn the_store_is_asked_where_the_gate_was_built(stack: Stack) {
    let store = Traveller::default();
    let script = Script::new().on_settle([Act::Yes, Act::Pending, Act::Pending, Act::Yes]);
    let shop = Shop::open_with(stack, script, |gate| gate.store(store.clone())).await;
    let payment = shop.v2("/cheap").await;
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    assert_spent(&shop.pay("/cheap", &payment).await);
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 503, "settlement_pending");
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    assert_eq!(shop.pay("/fails", &shop.v2("/fails").await).await.status, 500);
    let seen = store.seen.lock().unwrap().clone();
    assert!(seen.len() > 20 && seen.iter().all(|id| *id == Handle::current().id()), "{seen:?}");
}

async fn a_ledger_hears_what_could_be_written_only_later(stack: Stack) {
    let (store, told) = (Shaky::default(), watch::Sender::new(Vec::new()));
    let (down, ledger) = (store.clone(), told.clone());
    let hears = move |event: &PaymentEvent| {
        if let PaymentState::Settled(_) = event.state {
            down.is(Trouble::Down);
        }
        ledger.send_modify(|told| told.push(event.state.name()));
    };
    let shop = Shop::open_with(stack, Script::new(), |gate| on(&store)(gate).on_event(hears)).await;
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 503, "settlement_pending");
    assert_eq!(*told.borrow(), ["claimed", "verified", "settling", "settled"]);
    store.is(Trouble::None);
    let mut heard = told.subscribe();
    let owed = heard.wait_for(|told| told.last() == Some(&"owed"));
    tokio::time::timeout(Duration::from_secs(20), owed).await.expect("nobody tells it").unwrap();
    assert_sold(&insist(&shop, "/cheap", &payment).await, "/cheap");
    assert_eq!(told.borrow()[4..], ["owed", "claimed", "spent"]);
}

async fn a_ledger_hears_of_all_that_happens_to_a_payment(stack: Stack) {
    let ledger: Arc<Mutex<Vec<PaymentEvent>>> = Arc::default();
    let script =
        Script::new().on_settle([Act::Yes, Act::No("no_money"), Act::Pending, Act::Pending, Act::Yes]);
    let script = script.on_verify([Act::Yes, Act::No("bad"), Act::Yes]);
    let shop = Shop::open_with(stack, script, |gate| {
        let ledger = ledger.clone();
        gate.store(MemoryStore::new()).on_event(move |event| ledger.lock().unwrap().push(event.clone()))
    })
    .await;
    let heard = || {
        let events = std::mem::take(&mut *ledger.lock().unwrap());
        let payments: std::collections::BTreeSet<_> = events.iter().map(|event| &event.payment).collect();
        assert!(payments.len() <= 1, "{payments:?}");
        events.iter().map(|event| event.state.name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shop.get("/cheap", &[]).await.status, 402);
    assert_eq!(heard(), "");

    let payment = shop.v2("/cheap").await;
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    let settled = ledger.lock().unwrap().iter().find_map(|event| match &event.state {
        PaymentState::Settled(receipt) => Some((event.clone(), receipt.clone())),
        _ => None,
    });
    let (event, receipt) = settled.unwrap();
    assert!(event.request.ends_with("GET /cheap"), "{event:?}");
    assert_eq!(event.payer.as_str(), payment["payload"]["authorization"]["from"]);
    assert!(receipt.transaction.is_some());
    assert_eq!(event.requirements.amount, x402_core::amount::Amount::from(10_000));
    assert_eq!(heard(), "claimed verified settling settled spent");

    assert_refused(&shop.pay("/cheap", &shop.v2("/cheap").await).await, 402, "bad");
    assert_eq!(heard(), "claimed released");
    assert_refused(&shop.pay("/cheap", &shop.v2("/cheap").await).await, 402, "no_money");
    assert_eq!(heard(), "claimed verified settling released");
    let payment = shop.v2("/cheap").await;
    assert_refused(&shop.pay("/cheap", &payment).await, 503, "settlement_pending");
    assert_eq!(heard(), "claimed verified settling pending");
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    assert_eq!(heard(), "claimed settled spent");
    assert_eq!(shop.pay("/first-fails", &shop.v2("/first-fails").await).await.status, 502);
    assert_eq!(heard(), "claimed verified settling settled owed");
    assert_eq!(shop.pay("/fails", &shop.v2("/fails").await).await.status, 500);
    assert_eq!(heard(), "claimed verified released");
}
