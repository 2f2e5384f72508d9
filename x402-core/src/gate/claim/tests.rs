use std::{sync::Mutex as StdMutex, thread};

use serde_json::json;

use super::*;
use crate::{
    gate::request::RequestView,
    payment::{PendingSettlement, Receipt},
    store::{MemoryStore, Swapped},
};

const LONG: Duration = Duration::from_secs(60);

/// The claims of one instance, of those that share a store.
fn claims_on(store: &MemoryStore, lease: Duration) -> Arc<Claims> {
    let background: Background = Box::new(|mut work| {
        let polled = work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_ready(), "a store in memory answers at once");
    });
    Claims::new(AnyClaimStore::new(store.clone()), lease, SPENT_FOR, Listeners::default(), background)
}

fn claims() -> Arc<Claims> {
    claims_on(&MemoryStore::new(), LONG)
}

pub(super) fn payment() -> Box<Payment> {
    let requirements = json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "1", "asset": "0x1", "payTo": "0x2",
        "maxTimeoutSeconds": 60,
    });
    let payload = json!({ "x402Version": 1, "accepted": requirements, "payload": { "signature": "0x4" } });
    Box::new(Payment {
        payload: serde_json::from_value(payload).unwrap(),
        requirements: serde_json::from_value(requirements).unwrap(),
    })
}

pub(super) fn identity(key: &str, fingerprint: &str) -> PaymentIdentity {
    let (key, fingerprint) = (key.to_owned(), fingerprint.to_owned());
    PaymentIdentity { key, fingerprint, payer: "0x3".parse().unwrap(), expires_at: 100 }
}

pub(super) fn place(cost: u64, uri: &'static str) -> Place {
    let (uri, headers) = (http::Uri::from_static(uri), http::HeaderMap::new());
    let method = &http::Method::GET;
    let view = RequestView { method, uri: &uri, headers: &headers, route: None, access: None };
    let cost = serde_json::from_value(json!({ "anywhere": cost, "here": cost })).unwrap();
    Place::new("https://a.b", cost, view, vec![payment().requirements])
}

async fn take(claims: &Arc<Claims>, key: &str, fingerprint: &str) -> Result<Claim, Refusal> {
    claims.claim(Some(payment()), identity(key, fingerprint), place(1, "/")).await
}

/// The name of the refusal, or `claimed`.
async fn outcome(claims: &Arc<Claims>, key: &str) -> &'static str {
    take(claims, key, "x").await.map_or_else(|refusal| refusal.name(), |_| "claimed")
}

fn receipt() -> Receipt {
    Receipt {
        transaction: Some("0xabc".parse().unwrap()),
        network: crate::network::BASE,
        payer: Some("0x3".parse().unwrap()),
        amount: Some(crate::amount::Amount::from(1)),
        extensions: Default::default(),
    }
}

fn pending() -> PendingSettlement {
    PendingSettlement { transaction: "0xabc".parse().ok(), network: crate::network::BASE, payer: None }
}

#[tokio::test]
async fn a_payment_is_claimed_once() {
    let claims = claims();
    let claim = take(&claims, "a", "x").await.ok().unwrap();
    assert_eq!(outcome(&claims, "a").await, "in_progress");
    assert_eq!(outcome(&claims, "b").await, "claimed", "another payment");
    drop(claim);
    let claim = take(&claims, "a", "x").await.ok().unwrap();
    assert!(claim.spend().await.is_ok());
    assert_eq!(outcome(&claims, "a").await, "spent");
}

#[tokio::test]
async fn two_instances_on_one_store_are_one() {
    let store = MemoryStore::new();
    let (one, other) = (claims_on(&store, LONG), claims_on(&store, LONG));
    let claim = take(&one, "a", "x").await.ok().unwrap();
    assert_eq!(outcome(&other, "a").await, "in_progress");
    claim.spend().await.ok().unwrap();
    assert_eq!(outcome(&other, "a").await, "spent");
}

#[tokio::test]
async fn a_held_payment_is_resumed_as_it_was_and_where_it_was() {
    let claims = claims();
    let mut claim = take(&claims, "a", "x").await.ok().unwrap();
    assert!(!claim.is_held());
    claim.settling().await.ok().unwrap();
    claim.sent(pending()).await;
    claim.end().await;
    assert_eq!(claims.known(&identity("a", "x"), None).await.unwrap(), Known::Resumable);
    assert!(take(&claims, "a", "forged").await.is_err());
    let take =
        async |payment, key, place: &Place| claims.claim(payment, identity(key, "x"), place.clone()).await;
    let mut elsewhere = place(2, "/");
    assert!(take(Some(payment()), "a", &elsewhere).await.is_ok(), "another charge that asks for the same");
    let mut options = vec![payment().requirements];
    options[0].amount = crate::amount::Amount::from(2);
    elsewhere.ask(options.clone());
    assert!(take(None, "a", &elsewhere).await.is_err(), "a higher price");
    options[0].amount = crate::amount::Amount::from(0);
    elsewhere.ask(options.clone());
    assert!(take(None, "a", &elsewhere).await.is_ok(), "a lower price");
    options[0].pay_to = "0x9".parse().unwrap();
    elsewhere.ask(options);
    assert!(take(None, "a", &elsewhere).await.is_err(), "another payee");
    assert!(take(Some(payment()), "a", &place(1, "/?2")).await.is_err(), "another query");
    for _ in 0..2 {
        let resumed = take(None, "a", &place(1, "/")).await.ok().unwrap();
        assert!(resumed.is_held(), "dropping a resumed claim keeps it");
        assert_eq!((resumed.payment(), resumed.pending()), (&*payment(), Some(&pending())));
    }
    assert!(take(None, "b", &place(1, "/")).await.is_err(), "nothing is held");
}

#[tokio::test]
async fn what_was_settled_and_not_served_is_owed_when_the_handler_failed() {
    let serving = async |claims: &Arc<Claims>| {
        let mut claim = take(claims, "a", "x").await.ok().unwrap();
        claim.settling().await.ok().unwrap();
        claim.settled(receipt());
        claim.serving(receipt()).await.ok().unwrap();
        claim
    };
    let claims = claims();
    let mut failed = serving(&claims).await;
    failed.owed(receipt());
    drop(failed);
    assert_eq!(take(&claims, "a", "x").await.ok().unwrap().unserved(), Some(&receipt()));

    let claims = self::claims();
    drop(serving(&claims).await);
    assert_eq!(outcome(&claims, "a").await, "spent", "its client went away");

    let claims = self::claims();
    let claim = serving(&claims).await;
    let handler = thread::spawn(move || {
        let _claim = claim;
        panic!("the handler's");
    });
    assert!(handler.join().is_err());
    assert!(take(&claims, "a", "x").await.ok().unwrap().unserved().is_some());
}

/// What an instance leaves behind when it is killed: a claim that is neither dropped nor renewed.
fn kill(claim: Claim) {
    std::mem::forget(claim);
}

#[tokio::test]
async fn a_payment_whose_instance_was_killed_is_taken_up_when_its_lease_is_over() {
    let store = MemoryStore::new();
    let (early, late) = (claims_on(&store, LONG), claims_on(&store, Duration::ZERO));

    kill(take(&early, "claimed", "x").await.ok().unwrap());
    assert_eq!(outcome(&early, "claimed").await, "in_progress");
    let Ok(again) = take(&late, "claimed", "x").await else { panic!("nothing was asked of anyone") };
    assert!(!again.is_held());

    let mut settling = take(&early, "settling", "x").await.ok().unwrap();
    settling.settling().await.ok().unwrap();
    kill(settling);
    assert_eq!(outcome(&early, "settling").await, "in_progress");
    let resumed = take(&late, "settling", "x").await.ok().unwrap();
    assert!(resumed.is_held() && resumed.unserved().is_none());

    let mut sent = take(&early, "sent", "x").await.ok().unwrap();
    sent.settling().await.ok().unwrap();
    sent.sent(pending()).await;
    kill(sent);
    assert_eq!(take(&late, "sent", "x").await.ok().unwrap().pending(), Some(&pending()));

    let mut serving = take(&early, "serving", "x").await.ok().unwrap();
    serving.settling().await.ok().unwrap();
    serving.serving(receipt()).await.ok().unwrap();
    kill(serving);
    assert_eq!(take(&late, "serving", "x").await.ok().unwrap().unserved(), Some(&receipt()));
}

#[tokio::test]
async fn whoever_was_too_slow_settles_nothing_and_serves_nothing() {
    let store = MemoryStore::new();
    let (slow, quick) = (claims_on(&store, LONG), claims_on(&store, Duration::ZERO));

    let mut late = take(&slow, "a", "x").await.ok().unwrap();
    let other = take(&quick, "a", "x").await.ok().unwrap();
    assert_eq!(late.settling().await.unwrap_err().name(), "in_progress");
    drop(late);
    other.spend().await.ok().unwrap();
    assert_eq!(outcome(&quick, "a").await, "spent");

    // What it is refused for here may be that it was settled there.
    let used = || Refusal::rejected("nonce_used".into());
    let late = take(&slow, "c", "x").await.ok().unwrap();
    let other = take(&quick, "c", "x").await.ok().unwrap();
    assert_eq!(late.refused(used()).await.name(), "in_progress");
    other.spend().await.ok().unwrap();
    let late = take(&slow, "d", "x").await.ok().unwrap();
    take(&quick, "d", "x").await.ok().unwrap().spend().await.ok().unwrap();
    assert_eq!(late.refused(used()).await.name(), "spent");
    let prompt = take(&slow, "e", "x").await.ok().unwrap();
    assert_eq!(prompt.refused(used()).await.name(), used().name());

    let mut late = take(&slow, "b", "x").await.ok().unwrap();
    late.settling().await.ok().unwrap();
    late.settled(receipt());
    let other = take(&quick, "b", "x").await.ok().unwrap();
    assert!(other.is_held());
    other.spend().await.ok().unwrap();
    assert_eq!(late.spend().await.unwrap_err().name(), "spent");
    assert_eq!(outcome(&quick, "b").await, "spent");
}

#[tokio::test]
async fn what_is_at_work_is_renewed() {
    let store = MemoryStore::new();
    let claims = claims_on(&store, LONG);
    let claim = take(&claims, "a", "x").await.ok().unwrap();
    let before = store.load(&Key::new(SPACE, "a")).await.unwrap().unwrap();
    claims.renew().await;
    let after = store.load(&Key::new(SPACE, "a")).await.unwrap().unwrap();
    assert_ne!(before.stamp, after.stamp);
    assert_eq!(before.state, after.state);
    claim.spend().await.ok().unwrap();
    claims.renew().await;
    assert_eq!(outcome(&claims, "a").await, "spent");
    assert!(claims.live().is_empty());
}

/// A store that loses answers, before or after it did as it was told.
struct Flaky {
    inner: MemoryStore,
    /// For each swap to come: whether it happens, and whether that is told.
    script: StdMutex<Vec<(bool, bool)>>,
}

impl ClaimStore for Flaky {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.inner.load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        let (happens, told) = self.script.lock().unwrap().pop().unwrap_or((true, true));
        let answer = if happens { Some(self.inner.swap(key, seen, next).await?) } else { None };
        answer.filter(|_| told).ok_or_else(|| StoreError::unavailable("gone"))
    }

    async fn open(&self, space: &str) -> Result<std::collections::BTreeMap<String, Stored>, StoreError> {
        self.inner.open(space).await
    }
}

/// Claims on a store that follows a script.
fn flaky_claims() -> (Arc<Flaky>, Arc<Claims>) {
    let flaky = Arc::new(Flaky { inner: MemoryStore::new(), script: StdMutex::default() });
    let background: Background = Box::new(|mut work| {
        let _ = work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    });
    let store = AnyClaimStore::new(flaky.clone());
    (flaky, Claims::new(store, LONG, SPENT_FOR, Listeners::default(), background))
}

#[tokio::test]
async fn an_answer_of_the_store_that_is_lost_changes_nothing() {
    let happened = [(true, false); ATTEMPTS];
    let not = [(false, false); ATTEMPTS];
    for (script, expected) in [
        (&happened[..1], Ok(())),
        (&not[..1], Ok(())),
        (&happened, Err("not_ready")),
        (&not, Err("not_ready")),
    ] {
        let (flaky, claims) = flaky_claims();
        let mut claim = take(&claims, "a", "x").await.ok().unwrap();
        claim.settling().await.ok().unwrap();
        claim.settled(receipt());
        flaky.script.lock().unwrap().extend(script);
        let spent = claim.spend().await.map_err(|refusal| refusal.name());
        assert_eq!(spent, expected, "{script:?}");
        // Where the answer did not leave it is still owed, although `spent` was written.
        let again = outcome(&claims, "a").await;
        assert_eq!(again, if expected.is_ok() { "spent" } else { "claimed" }, "{script:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_takes_no_payments_and_settles_none() {
    let (flaky, claims) = flaky_claims();
    flaky.script.lock().unwrap().extend([(false, false); ATTEMPTS]);
    assert_eq!(outcome(&claims, "a").await, "not_ready");
    let mut claim = take(&claims, "a", "x").await.ok().unwrap();
    flaky.script.lock().unwrap().extend([(false, false); ATTEMPTS]);
    assert_eq!(claim.settling().await.unwrap_err().name(), "not_ready");
    drop(claim);
    assert_eq!(outcome(&claims, "a").await, "claimed", "it was not settled, and is released");
}

#[tokio::test]
async fn a_debt_outlasts_a_take_up_whose_answer_is_lost() {
    let (flaky, claims) = flaky_claims();
    let mut claim = take(&claims, "a", "x").await.ok().unwrap();
    claim.settling().await.ok().unwrap();
    claim.settled(receipt());
    claim.end().await;
    // From the last to the first: the debt is found; it is taken up, which is not told; that is undone.
    flaky.script.lock().unwrap().extend([
        (true, true),
        (true, false),
        (true, false),
        (true, false),
        (true, true),
    ]);
    assert_eq!(outcome(&claims, "a").await, "not_ready");
    assert_eq!(take(&claims, "a", "x").await.ok().unwrap().unserved(), Some(&receipt()));
}

#[tokio::test]
async fn what_was_written_and_not_told_is_known_after_another_lost_answer() {
    let (flaky, claims) = flaky_claims();
    let mut claim = take(&claims, "a", "x").await.ok().unwrap();
    flaky.script.lock().unwrap().extend([(true, false); ATTEMPTS]);
    assert!(claim.settling().await.is_err());
    flaky.script.lock().unwrap().extend([(false, false), (false, false), (false, false), (true, true)]);
    assert!(claim.settling().await.is_err(), "it finds what was written, and gets no further");
    claim.settling().await.ok().unwrap();
}

#[tokio::test]
async fn what_a_payment_is_owed_is_written_when_the_store_is_back() {
    let (flaky, claims) = flaky_claims();
    let mut claim = take(&claims, "a", "x").await.ok().unwrap();
    claim.settling().await.ok().unwrap();
    claim.settled(receipt());
    flaky.script.lock().unwrap().extend([[(false, false); ATTEMPTS], [(true, false); ATTEMPTS]].concat());
    assert_eq!(claim.spend().await.unwrap_err().name(), "not_ready");
    assert_eq!(outcome(&claims, "a").await, "spent", "it was written, and nothing was served");
    claims.renew().await;
    assert!(claims.live().is_empty());
    assert_eq!(take(&claims, "a", "x").await.ok().unwrap().unserved(), Some(&receipt()));
}

fn identifier(id: &str, request: &str) -> (Identifier, Duration) {
    (Identifier::new("https://a.b", &id.parse().unwrap(), request.to_owned()), LONG)
}

const ID: &str = "order-0123456789";

/// Claims a payment for what its client calls so.
async fn take_for(claims: &Arc<Claims>, key: &str, id: &str, request: &str) -> Result<Claim, &'static str> {
    let identifier = Some(identifier(id, request));
    match claims.claim_as(Some(payment()), identity(key, "x"), place(1, "/"), identifier).await {
        Ok(Taking::Claimed(claim)) => Ok(claim),
        Ok(Taking::Answered(_)) => Err("answered"),
        Ok(Taking::Unread(_)) => unreachable!("it was read"),
        Err(refusal) => Err(refusal.name()),
    }
}

async fn outcome_for(claims: &Arc<Claims>, key: &str, id: &str, request: &str) -> &'static str {
    take_for(claims, key, id, request).await.map_or_else(|refused| refused, |_| "claimed")
}

async fn binding(store: &MemoryStore) -> Option<Stored> {
    store.load(&Key::new("gate-ids", format!("https://a.b {ID}"))).await.unwrap()
}

fn kept() -> Option<KeptAnswer> {
    let kept = json!({ "status": 200, "headers": [["x-y", "z"]], "body": "YWJj" });
    serde_json::from_value(kept).unwrap()
}

#[tokio::test]
async fn what_is_named_is_claimed_by_one_payment_and_for_one_request() {
    let store = MemoryStore::new();
    let (one, other) = (claims_on(&store, LONG), claims_on(&store, LONG));
    let claim = take_for(&one, "a", ID, "r").await.ok().unwrap();
    assert_eq!(outcome_for(&other, "a", ID, "r").await, "in_progress");
    assert_eq!(outcome_for(&other, "a", ID, "s").await, "conflict");
    assert_eq!(outcome_for(&other, "b", ID, "r").await, "conflict");
    assert_eq!(outcome(&other, "b").await, "claimed", "it was released");
    drop(claim);
    assert!(binding(&store).await.is_none(), "nothing of it is left");
    let claim = take_for(&other, "b", ID, "s").await.ok().unwrap();
    assert!(claim.spend_on(kept()).await.is_ok());
    assert_eq!(outcome_for(&one, "b", ID, "s").await, "answered");
    assert_eq!(outcome_for(&one, "b", ID, "r").await, "conflict");
    assert_eq!(outcome_for(&one, "a", ID, "s").await, "conflict");
    assert_eq!(outcome_for(&one, "b", "order-9876543210", "s").await, "spent");
    assert_eq!(outcome(&one, "b").await, "spent");
    let elsewhere = Identifier::new("https://c.d", &ID.parse().unwrap(), "r".to_owned());
    let elsewhere =
        one.claim_as(Some(payment()), identity("c", "x"), place(1, "/"), Some((elsewhere, LONG))).await;
    assert!(matches!(elsewhere, Ok(Taking::Claimed(_))), "another service's");
}

#[tokio::test]
async fn whoever_was_too_slow_has_no_name_and_settles_nothing() {
    let store = MemoryStore::new();
    let (slow, quick) = (claims_on(&store, LONG), claims_on(&store, Duration::ZERO));
    let mut late = take_for(&slow, "a", ID, "r").await.ok().unwrap();
    let other = take_for(&quick, "b", ID, "r").await.ok().unwrap();
    assert_eq!(late.settling().await.unwrap_err().name(), "in_progress");
    drop(late);
    assert!(other.spend_on(kept()).await.is_ok());
    assert_eq!(outcome_for(&quick, "b", ID, "r").await, "answered");

    let mut settling = take_for(&slow, "c", "order-9876543210", "r").await.ok().unwrap();
    settling.settling().await.ok().unwrap();
    kill(settling);
    assert_eq!(
        outcome_for(&quick, "d", "order-9876543210", "r").await,
        "conflict",
        "its money may have moved"
    );
    assert!(take_for(&quick, "c", "order-9876543210", "r").await.ok().unwrap().is_held());
}

/// Lets somebody else act before a name changes hands.
struct Interrupted {
    inner: MemoryStore,
    meanwhile: StdMutex<Option<BoxFuture<'static, ()>>>,
}

impl ClaimStore for Interrupted {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.inner.load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        let meanwhile = match (&*key.space, seen) {
            ("gate-ids", Some(_)) => self.meanwhile.lock().unwrap().take(),
            _ => None,
        };
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        self.inner.swap(key, seen, next).await
    }

    async fn open(&self, space: &str) -> Result<std::collections::BTreeMap<String, Stored>, StoreError> {
        self.inner.open(space).await
    }
}

#[tokio::test]
async fn a_payment_that_comes_again_while_its_name_changes_hands_keeps_it() {
    let inner = MemoryStore::new();
    let (slow, third) = (claims_on(&inner, LONG), claims_on(&inner, LONG));
    kill(take_for(&slow, "a", ID, "r").await.ok().unwrap());
    let key = Key::new(SPACE, "a");
    let left = inner.load(&key).await.unwrap().unwrap();
    assert_eq!(inner.swap(&key, Some(left.stamp), None).await.unwrap(), Swapped::Done, "it is released");
    let claimed = Arc::new(StdMutex::new(None));
    let meanwhile = {
        let claimed = claimed.clone();
        Box::pin(async move {
            *claimed.lock().unwrap() = take_for(&third, "a", ID, "r").await.ok();
        })
    };
    let store = Interrupted { inner, meanwhile: StdMutex::new(Some(meanwhile)) };
    let background: Background = Box::new(|mut work| {
        let _ = work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    });
    let quick = Claims::new(AnyClaimStore::new(store), LONG, SPENT_FOR, Listeners::default(), background);
    assert_eq!(outcome_for(&quick, "c", ID, "r").await, "conflict");
    let mut again = claimed.lock().unwrap().take().expect("it came again");
    again.settling().await.expect("it has its name");
    drop(again);
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_not_kept_and_its_payment_is_spent() {
    let store = MemoryStore::new().with_room(0);
    let claims = claims_on(&store, LONG);
    let claim = take_for(&claims, "a", ID, "r").await.ok().unwrap();
    let long = json!({ "status": 200, "headers": [["x-y", "z".repeat(10_000)]], "body": "" });
    assert!(claim.spend_on(serde_json::from_value(long).unwrap()).await.is_ok());
    assert_eq!(outcome_for(&claims, "a", ID, "r").await, "conflict");
    assert_eq!(outcome(&claims, "a").await, "spent");
}

#[tokio::test]
async fn a_payment_that_is_held_without_a_name_stays_so_where_the_name_is_taken() {
    let claims = claims();
    take_for(&claims, "a", ID, "r").await.ok().unwrap().spend_on(kept()).await.ok().unwrap();
    let mut held = take(&claims, "b", "x").await.ok().unwrap();
    held.settling().await.ok().unwrap();
    held.end().await;
    assert_eq!(outcome_for(&claims, "b", ID, "r").await, "conflict");
    assert!(take(&claims, "b", "x").await.ok().unwrap().is_held());
    let named = take_for(&claims, "b", "order-9876543210", "r").await.ok().unwrap();
    assert!(named.is_held());
    drop(named);
    assert!(take(&claims, "b", "x").await.is_err(), "from now on it has a name");
}

#[tokio::test]
async fn what_is_named_is_known_for_as_long_as_it_is_said() {
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    for (keep_for, expected) in [(Duration::ZERO, Duration::from_secs(MARGIN)), (hours(2), hours(2))] {
        let (identifier, _) = identifier(ID, "r");
        let named = Some((identifier, keep_for));
        let taken = claims().claim_as(Some(payment()), identity("a", "x"), place(1, "/"), named).await;
        let Ok(Taking::Claimed(claim)) = taken else { panic!("it is free") };
        assert_eq!(claim.open().spent_for(), expected);
    }
}

#[tokio::test]
async fn a_kept_answer_outlasts_lost_answers_of_the_store() {
    for lost in [[(true, false); ATTEMPTS], [(false, false); ATTEMPTS]] {
        let (flaky, claims) = flaky_claims();
        let mut claim = take_for(&claims, "a", ID, "r").await.ok().unwrap();
        claim.settling().await.ok().unwrap();
        claim.settled(receipt());
        flaky.script.lock().unwrap().extend(lost);
        assert_eq!(claim.spend_on(kept()).await.unwrap_err().name(), "not_ready");
        assert_eq!(outcome_for(&claims, "a", ID, "r").await, "answered", "no handler runs again");
    }
}

#[tokio::test]
async fn what_was_not_charged_is_released_however_the_store_answers() {
    // One answer is lost, all are, or the store is away for good and comes back with the renewals.
    for script in [vec![(false, false)], vec![(true, false)], vec![(false, false); ATTEMPTS]] {
        let (flaky, claims) = flaky_claims();
        let mut claim = take(&claims, "a", "x").await.ok().unwrap();
        claim.settling().await.ok().unwrap();
        claim.released();
        flaky.script.lock().unwrap().extend(&script);
        claim.end().await;
        claims.renew().await;
        let again = take(&claims, "a", "x").await.ok().unwrap();
        assert!(!again.is_held(), "{script:?}");
        drop(again);
        assert!(claims.live().is_empty(), "{script:?}");
    }
    // It was written that the settlement begins, and not told: nobody was asked to settle.
    let (flaky, claims) = flaky_claims();
    let mut claim = take(&claims, "a", "x").await.ok().unwrap();
    flaky.script.lock().unwrap().extend([(true, false); ATTEMPTS]);
    assert!(claim.settling().await.is_err());
    claim.end().await;
    assert!(!take(&claims, "a", "x").await.ok().unwrap().is_held());
}

/// A store that takes its time, and does as told before it says so.
struct Slow(MemoryStore);

const SLOW: Duration = Duration::from_millis(20);

impl ClaimStore for Slow {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.0.load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        let answer = self.0.swap(key, seen, next).await;
        tokio::time::sleep(SLOW).await;
        answer
    }

    async fn open(&self, space: &str) -> Result<std::collections::BTreeMap<String, Stored>, StoreError> {
        self.0.open(space).await
    }
}

fn slow_claims() -> Arc<Claims> {
    let background: Background = Box::new(|work| drop(tokio::spawn(work)));
    let store = AnyClaimStore::new(Slow(MemoryStore::new()));
    Claims::new(store, LONG, SPENT_FOR, Listeners::default(), background)
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_while_a_payment_is_claimed_leaves_no_claim() {
    let claims = slow_claims();
    assert!(tokio::time::timeout(SLOW / 2, take(&claims, "a", "x")).await.is_err());
    tokio::time::sleep(4 * SLOW).await;
    assert_eq!(outcome(&claims, "a").await, "claimed");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_costs_nobody_the_claim() {
    let claims = slow_claims();
    let mut claim = take(&claims, "a", "x").await.ok().unwrap();
    claim.settling().await.ok().unwrap();
    assert!(tokio::time::timeout(SLOW / 2, claim.serving(receipt())).await.is_err());
    claim.owed(receipt());
    claim.end().await;
    assert_eq!(take(&claims, "a", "x").await.ok().unwrap().unserved(), Some(&receipt()));
}

#[tokio::test(start_paused = true)]
async fn many_are_renewed_within_a_lease() {
    let claims = slow_claims();
    let mut all = Vec::new();
    for n in 0..4_000 {
        all.push(take(&claims, &n.to_string(), "x").await.ok().unwrap());
    }
    let begun = tokio::time::Instant::now();
    claims.renew().await;
    assert!(begun.elapsed() < LONG / record::RENEWALS, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_listener_that_panics_changes_nothing() {
    let mut listeners = Listeners::default();
    listeners.push(|_| panic!("the ledger is closed"));
    let background: Background = Box::new(|mut work| {
        let _ = work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    });
    let claims = Claims::new(AnyClaimStore::new(MemoryStore::new()), LONG, SPENT_FOR, listeners, background);
    drop(take(&claims, "a", "x").await.ok().unwrap());
    take(&claims, "a", "x").await.ok().unwrap().spend().await.ok().unwrap();
    assert_eq!(outcome(&claims, "a").await, "spent");
    assert!(claims.live().is_empty());
}

#[test]
fn what_cannot_be_read_is_not_repeated() {
    let error = Entry::read(r#"{"state":"held","payload":"0xSECRET"}"#).unwrap_err().to_string();
    assert!(!error.contains("SECRET"), "{error}");
}
