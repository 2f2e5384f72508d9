//! What a crash leaves is settled once, and answered the same; so is what several facilitators do with one store.

use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use x402_core::store::{ClaimStore, Key, MemoryStore, Record, Stamp};

use super::faulty::{Act, Endpoint, FaultyStore, Write};
use super::support::*;

const SPACE: &str = "settle:eip155:84532";

/// Settles in a process that ends as soon as something hangs in it.
async fn crash(facilitator: ExactFacilitator, payment: &Payment, hangs: Arc<Notify>) {
    crash_with(None, facilitator, payment, hangs).await;
}

/// The same, begun with this key.
async fn crash_with(
    key: Option<&SettlementKey>,
    facilitator: ExactFacilitator,
    payment: &Payment,
    hangs: Arc<Notify>,
) {
    let process = Runtime::new().unwrap();
    let (payment, key) = (payment.clone(), key.cloned());
    process
        .spawn(async move { facilitator.settle(SettleRequest::new(&payment).with_key(key.as_ref())).await });
    tokio::time::timeout(Duration::from_secs(10), hangs.notified()).await.expect("it does not hang");
    process.shutdown_background();
}

/// A facilitator that knows only what is in the store.
fn restarted(chain: &Chain, store: &MemoryStore) -> ExactFacilitator {
    facilitator_of(chain).store(store.clone())
}

fn writes(nth: usize, fault: Write) -> impl Fn(usize) -> Write + Send + Sync + 'static {
    move |number| if number == nth { fault } else { Write::Works }
}

async fn settles_once(chain: &Chain, store: &MemoryStore, payment: &Payment, case: &str) -> B256 {
    let facilitator = restarted(chain, store);
    let answer = facilitator.settle(payment.into()).await.unwrap();
    let hash = settled(answer.clone());
    assert_eq!(facilitator.settle(payment.into()).await.unwrap(), answer, "{case}");
    assert_eq!(restarted(chain, store).settle(payment.into()).await.unwrap(), answer, "{case}");
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1, "{case}");
    assert_eq!(chain.transactions_of(chain::facilitator().address()).await.unwrap(), [hash], "{case}");
    assert!(store.open(SPACE).await.unwrap().is_empty(), "{case}");
    hash
}

#[tokio::test]
async fn whatever_a_crash_leaves_is_settled_once() {
    for (case, nth, fault, sent) in [
        ("before it is written down", 0, Write::HangsBefore, false),
        ("written down and not sent", 0, Write::HangsAfter, false),
        ("mined, and its answer not written down", 1, Write::HangsBefore, true),
        ("its answer written down, and not told", 1, Write::HangsAfter, true),
    ] {
        let (chain, _) = start().await;
        let payment = signed(Version::V2, &requirements()).await;
        let store = FaultyStore::new(writes(nth, fault));
        crash(facilitator_of(&chain).store(store.clone()), &payment, store.hangs.clone()).await;
        let before = chain.transactions_of(chain::facilitator().address()).await.unwrap();
        assert_eq!(before.len(), usize::from(sent), "{case}");
        let written = store.inner.open(SPACE).await.unwrap();
        let hash = settles_once(&chain, &store.inner, &payment, case).await;
        if let Some(record) = written.values().next() {
            assert!(
                record.state.contains(&hash.to_string()),
                "{case}: the transaction is the one written down"
            );
        }
        assert!(before.iter().all(|before| *before == hash), "{case}");
    }
}

#[tokio::test]
async fn a_crash_after_sending_loses_no_transaction() {
    // Its bytes arrived and the answer did not; it waits in the pool and is mined while nobody looks, or afterwards.
    for (method, mined_meanwhile) in [
        ("eth_sendRawTransaction", true),
        ("eth_getTransactionReceipt", true),
        ("eth_getTransactionReceipt", false),
    ] {
        let (chain, _) = start().await;
        let case = format!("{method} {mined_meanwhile}");
        chain.set_automine(false).await.unwrap();
        let endpoint = Endpoint::before(
            &chain,
            move |called, _| {
                if called == method { Act::Swallow } else { Act::Pass }
            },
        )
        .await;
        let store = MemoryStore::new();
        let payment = signed(Version::V2, &requirements()).await;
        let facilitator = facilitator_at(&endpoint.url).store(store.clone());
        crash(facilitator, &payment, endpoint.proxy.hangs.clone()).await;
        assert_eq!(chain.pending().await.unwrap(), 1, "{case}: what is sent was written down, and sent");
        if mined_meanwhile {
            chain.mine().await.unwrap();
        } else {
            let facilitator = restarted(&chain, &store).receipt_timeout(Duration::from_millis(200));
            let pending = facilitator.settle((&payment).into()).await.unwrap();
            assert!(matches!(pending, SettleResponse::Pending(_)), "{case}: {pending:?}");
            assert_eq!(chain.pending().await.unwrap(), 1, "{case}");
            chain.mine().await.unwrap();
        }
        chain.set_automine(true).await.unwrap();
        settles_once(&chain, &store, &payment, &case).await;
    }
}

/// The same without anybody asking for the payment again.
#[tokio::test]
async fn the_journal_is_brought_up_to_date_from_the_chain() {
    let (chain, _) = start().await;
    let payment = signed(Version::V2, &requirements()).await;
    let store = FaultyStore::new(writes(1, Write::HangsBefore));
    crash(facilitator_of(&chain).store(store.clone()), &payment, store.hangs.clone()).await;
    assert_eq!(store.inner.open(SPACE).await.unwrap().len(), 1);
    restarted(&chain, &store.inner).recover().await.unwrap();
    until(async || store.inner.open(SPACE).await.unwrap().is_empty()).await;
    // And it needs no chain to say so.
    let endpoint = Endpoint::before(&chain, |_, _| Act::Status(503)).await;
    let facilitator = facilitator_at(&endpoint.url).store(store.inner.clone());
    let hash = settled(facilitator.settle((&payment).into()).await.unwrap());
    assert_eq!(chain.transactions_of(chain::facilitator().address()).await.unwrap(), [hash]);
}

#[tokio::test]
async fn a_payers_next_payment_waits_for_what_is_left_of_the_last() {
    let (chain, _) = start().await;
    chain.mint(chain::stranger().address(), FUNDS).await.unwrap();
    chain.set_automine(false).await.unwrap();
    let endpoint =
        Endpoint::before(
            &chain,
            |method, _| {
                if method == "eth_getTransactionReceipt" { Act::Hang } else { Act::Pass }
            },
        )
        .await;
    let store = MemoryStore::new();
    let first = signed(Version::V2, &requirements()).await;
    crash(facilitator_at(&endpoint.url).store(store.clone()), &first, endpoint.proxy.hangs.clone()).await;

    let facilitator = restarted(&chain, &store);
    let hasty = facilitator.clone().receipt_timeout(Duration::from_millis(300));
    let second = signed(Version::V2, &requirements()).await;
    let error = hasty.settle((&second).into()).await.unwrap_err();
    assert!(!error.may_have_acted() && error.to_string().contains("again later"), "{error}");
    assert_eq!(chain.pending().await.unwrap(), 1, "nothing is sent for it");
    // Others have nothing to do with it.
    let mut message = authorization(9);
    message.from = chain::stranger().address();
    let signature = sign_in(&message, &chain::stranger(), "USDC", "2", USDC);
    let of_another = payment(Version::V2, &requirements(), payload(&message, &signature));
    let pending = hasty.settle((&of_another).into()).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    assert_eq!(chain.pending().await.unwrap(), 2);

    let waiting = tokio::spawn({
        let (facilitator, second) = (facilitator.clone(), second.clone());
        async move { facilitator.settle((&second).into()).await }
    });
    chain.mine().await.unwrap();
    chain.set_automine(true).await.unwrap();
    let second = settled(waiting.await.unwrap().unwrap());
    let first = settled(facilitator.settle((&first).into()).await.unwrap());
    let third = settled(facilitator.settle((&of_another).into()).await.unwrap());
    let sent = chain.transactions_of(chain::facilitator().address()).await.unwrap();
    assert_eq!(sent, [first, third, second]);
}

/// Whoever finds it again, the outcome is for the key that it was begun with.
#[tokio::test]
async fn what_is_sent_again_after_a_crash_is_told_to_the_first_caller() {
    let (chain, _) = start().await;
    let payment = signed(Version::V2, &requirements()).await;
    let store = FaultyStore::new(writes(0, Write::HangsAfter));
    let (first, other): (SettlementKey, SettlementKey) =
        ("the-first-of-all-keys".parse().unwrap(), "another-key-altogether".parse().unwrap());
    let settling = tokio::spawn({
        let (facilitator, payment, key) =
            (facilitator_of(&chain).store(store.clone()), payment.clone(), first.clone());
        async move { facilitator.settle(SettleRequest::new(&payment).with_key(&key)).await }
    });
    store.hangs.notified().await;
    settling.abort();
    let facilitator = restarted(&chain, &store.inner);
    let ask = async |key: Option<&SettlementKey>| {
        facilitator.settle(SettleRequest::new(&payment).with_key(key)).await.unwrap()
    };
    for key in [Some(&other), None] {
        let SettleResponse::Failed(failure) = ask(key).await else { panic!("told to another") };
        assert_eq!(failure.reason, Reason::DUPLICATE_SETTLEMENT);
    }
    settled(ask(Some(&first)).await);
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

/// Somebody else broadcast the authorization while we were away; ours can only revert.
#[tokio::test]
async fn another_one_may_have_paid_meanwhile() {
    let (chain, _) = start().await;
    let message = authorization(1);
    let store = FaultyStore::new(writes(0, Write::HangsAfter));
    crash(facilitator_of(&chain).store(store.clone()), &with(&message), store.hangs.clone()).await;
    let theirs = send_as(&chain, chain::stranger(), USDC, transfer_call(&message)).await;
    let facilitator = restarted(&chain, &store.inner);
    assert_eq!(settled(facilitator.settle((&with(&message)).into()).await.unwrap()), theirs);
    assert_eq!(
        settled(facilitator.settle((&with(&message)).into()).await.unwrap()),
        theirs,
        "and it stays so"
    );
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 0, "nothing is sent for it");
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

/// The same, where the endpoint shows no log of it: what it was is not known, and that nothing more comes of it is.
#[tokio::test]
async fn a_log_that_is_lost_does_not_hold_up_a_payers_next_payment() {
    let (chain, _) = start().await;
    let message = authorization(1);
    let store = FaultyStore::new(writes(0, Write::HangsAfter));
    crash(facilitator_of(&chain).store(store.clone()), &with(&message), store.hangs.clone()).await;
    let theirs = send_as(&chain, chain::stranger(), USDC, transfer_call(&message)).await;
    let endpoint =
        Endpoint::before(
            &chain,
            |method, _| {
                if method == "eth_getLogs" { Act::Answer(json!([])) } else { Act::Pass }
            },
        )
        .await;
    let facilitator = facilitator_at(&endpoint.url).store(store.inner.clone());
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    let pending = facilitator.settle((&with(&message)).into()).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    assert_eq!(
        settled(restarted(&chain, &store.inner).settle((&with(&message)).into()).await.unwrap()),
        theirs
    );
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 2);
}

/// Another transaction took the place of the one that was written down: only then there is a new one.
#[tokio::test]
async fn what_can_never_be_mined_is_settled_anew() {
    let (chain, _) = start().await;
    let payment = signed(Version::V2, &requirements()).await;
    let store = FaultyStore::new(writes(0, Write::HangsAfter));
    crash(facilitator_of(&chain).store(store.clone()), &payment, store.hangs.clone()).await;
    send_as(&chain, chain::facilitator(), chain::stranger().address(), vec![]).await;
    settled(restarted(&chain, &store.inner).settle((&payment).into()).await.unwrap());
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 2);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_sent() {
    let (chain, _) = start().await;
    let account = chain::facilitator().address();
    let payment = signed(Version::V2, &requirements()).await;
    let full = facilitator_of(&chain).store(MemoryStore::with_capacity(0));
    let store = FaultyStore::new(|number| if number < 3 { Write::Fails } else { Write::Works });
    let faulty = facilitator_of(&chain).store(store.clone());
    store.set_down(true);
    // Where the journal cannot be read, what it says of earlier attempts is not known.
    let (internal, not_acted) = (FacilitatorErrorKind::Internal, FacilitatorErrorKind::NotActed);
    for (facilitator, say, kind) in [(&faulty, "connection is lost", internal), (&full, "full", not_acted)] {
        let error = facilitator.settle((&payment).into()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("nothing was sent") && error.to_string().contains(say), "{error}");
    }
    // It can be read, and not written.
    store.set_down(false);
    // What was written may come there yet, and is sent then: that nothing was sent is not the last word.
    let error = faulty.settle((&payment).into()).await.unwrap_err();
    assert!(error.may_have_acted(), "{error}");
    assert_eq!(chain.pending().await.unwrap(), 0);
    assert_eq!(chain.nonce(account).await.unwrap(), 0);
    // The place in the account's order is free.
    let hash = settled(faulty.settle((&payment).into()).await.unwrap());
    assert_eq!(chain.transactions_of(account).await.unwrap(), [hash]);
}

/// The second try finds no room, and the first may land all the same.
#[tokio::test]
async fn a_writing_that_may_yet_land_is_not_taken_for_one_that_found_no_room() {
    let (chain, _) = start().await;
    let store = FaultyStore::new(|number| match number {
        0 => Write::Fails,
        1 => Write::Full,
        _ => Write::Works,
    });
    let facilitator = facilitator_of(&chain).store(store);
    let payment = signed(Version::V2, &requirements()).await;
    let error = facilitator.settle((&payment).into()).await.unwrap_err();
    assert_eq!(error.kind(), FacilitatorErrorKind::Internal, "{error}");
    assert!(error.to_string().contains("connection is lost"), "{error}");
    settled(facilitator.settle((&payment).into()).await.unwrap());
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

/// A settlement that was begun with a key, whose transaction was replaced before it was sent: the key, and what is there.
async fn begun_and_replaced(
    chain: &Chain,
    message: &TransferWithAuthorization,
) -> (SettlementKey, MemoryStore) {
    let store = FaultyStore::new(writes(0, Write::HangsAfter));
    let first: SettlementKey = "the-first-of-all-keys".parse().unwrap();
    let facilitator = facilitator_of(chain).store(store.clone());
    crash_with(Some(&first), facilitator, &with(message), store.hangs.clone()).await;
    send_as(chain, chain::facilitator(), chain::stranger().address(), vec![]).await;
    (first, store.inner)
}

/// It is settled for the caller who began it, and told to no other.
async fn is_still_the_first_callers(
    chain: &Chain,
    store: &MemoryStore,
    message: &TransferWithAuthorization,
    first: &SettlementKey,
) {
    let (facilitator, payment) = (restarted(chain, store), with(message));
    let other: SettlementKey = "another-key-altogether".parse().unwrap();
    let SettleResponse::Failed(failure) =
        facilitator.settle(SettleRequest::new(&payment).with_key(&other)).await.unwrap()
    else {
        panic!("told to another")
    };
    assert_eq!(failure.reason, Reason::DUPLICATE_SETTLEMENT);
    settled(facilitator.settle(SettleRequest::new(&payment).with_key(first)).await.unwrap());
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

fn valid_for_longer(message: &TransferWithAuthorization) -> TransferWithAuthorization {
    TransferWithAuthorization { validBefore: message.validBefore + U256::ONE, ..message.clone() }
}

/// Anybody who has seen an authorization may come with it, or with one like it, and no signature.
#[tokio::test]
async fn a_forged_authorization_takes_no_record_away() {
    let (chain, _) = start().await;
    let message = authorization(1);
    let (first, store) = begun_and_replaced(&chain, &message).await;
    for message in [valid_for_longer(&message), message.clone()] {
        let forged = sign_in(&message, &chain::stranger(), "USDC", "2", USDC);
        let forged = payment(Version::V2, &requirements(), payload(&message, &forged));
        refused_settle(&restarted(&chain, &store), &forged, &reasons::SIGNATURE).await;
    }
    is_still_the_first_callers(&chain, &store, &message, &first).await;
}

/// Nor does one that was put in its place, and that the endpoint would not take.
#[tokio::test]
async fn what_is_not_sent_leaves_the_record_that_was_there() {
    let (chain, _) = start().await;
    let message = authorization(1);
    let (first, store) = begun_and_replaced(&chain, &message).await;
    let endpoint = Endpoint::before(&chain, |method, _| match method {
        "eth_sendRawTransaction" => Act::Error("insufficient funds for gas"),
        _ => Act::Pass,
    })
    .await;
    let poor = facilitator_at(&endpoint.url).store(store.clone());
    for payment in [with(&message), with(&valid_for_longer(&message))] {
        let error = poor.settle((&payment).into()).await.unwrap_err();
        assert!(error.may_have_acted() && error.to_string().contains("insufficient funds"), "{error}");
    }
    is_still_the_first_callers(&chain, &store, &message, &first).await;
}

/// Whatever it was, it may have been about a transaction that lives. Others go on.
#[tokio::test]
async fn a_record_that_cannot_be_read_sends_nothing() {
    let (chain, _) = start().await;
    for state in ["", "{}", r#"{"sent":{}}"#] {
        let store = MemoryStore::new();
        let message = authorization(1);
        let id = format!("{USDC:#x}/{:#x}/{:#x}", message.from, message.nonce);
        let keep = Duration::from_secs(60);
        let record = Record { stamp: Stamp::new(), state: state.into(), open: true, keep };
        let _ = store.swap(&Key::new(SPACE, id), None, Some(record)).await.unwrap();
        let facilitator = restarted(&chain, &store);
        facilitator.recover().await.unwrap();
        let error = facilitator.settle((&with(&message)).into()).await.unwrap_err();
        assert!(error.may_have_acted() && error.to_string().contains("nobody put there"), "{error}");
        settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    }
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 3);
}

/// What is sent again is what was written down, or nothing.
#[tokio::test]
async fn a_record_that_names_another_transaction_than_it_has_sends_nothing() {
    let (chain, _) = start().await;
    let message = authorization(1);
    let store = FaultyStore::new(writes(0, Write::HangsAfter));
    crash(facilitator_of(&chain).store(store.clone()), &with(&message), store.hangs.clone()).await;
    let (id, stored) = store.inner.open(SPACE).await.unwrap().pop_first().unwrap();
    let mut state: Value = serde_json::from_str(&stored.state).unwrap();
    assert!(state["sent"]["hash"].is_string(), "{state}");
    state["sent"]["hash"] = json!(B256::repeat_byte(7));
    let keep = Duration::from_secs(60);
    let record = Record { stamp: Stamp::new(), state: state.to_string(), open: true, keep };
    let _ = store.inner.swap(&Key::new(SPACE, id), Some(stored.stamp), Some(record)).await.unwrap();
    let error = restarted(&chain, &store.inner).settle((&with(&message)).into()).await.unwrap_err();
    assert!(error.may_have_acted() && error.to_string().contains("nobody put there"), "{error}");
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_writing_of_unknown_outcome_is_asked_after() {
    let (chain, _) = start().await;
    let store = FaultyStore::new(|number| if number % 2 == 0 { Write::FailsAfter } else { Write::Works });
    let payment = signed(Version::V2, &requirements()).await;
    settled(facilitator_of(&chain).store(store.clone()).settle((&payment).into()).await.unwrap());
    settles_once(&chain, &store.inner, &payment, "written twice").await;
}

/// Money has moved by then: the answer is told, and found out again from the chain.
#[tokio::test]
async fn an_answer_that_is_not_written_down_is_still_told() {
    let (chain, _) = start().await;
    let store = FaultyStore::new(|number| if number == 0 { Write::Works } else { Write::Fails });
    let payment = signed(Version::V2, &requirements()).await;
    let answer = facilitator_of(&chain).store(store.clone()).settle((&payment).into()).await.unwrap();
    let hash = settles_once(&chain, &store.inner, &payment, "not written").await;
    assert_eq!(settled(answer), hash);
}

/// And it is written down once the store takes it, though nobody asks.
#[tokio::test]
async fn an_answer_that_is_not_written_down_is_looked_up_later() {
    let (chain, _) = start().await;
    let store =
        FaultyStore::new(|number| if (1..=3).contains(&number) { Write::Fails } else { Write::Works });
    let payment = signed(Version::V2, &requirements()).await;
    settled(facilitator_of(&chain).store(store.clone()).settle((&payment).into()).await.unwrap());
    assert_eq!(store.inner.open(SPACE).await.unwrap().len(), 1);
    until(async || store.inner.open(SPACE).await.unwrap().is_empty()).await;
}

/// A failure that was on chain is as final as a success.
#[tokio::test]
async fn a_failure_on_chain_outlives_a_restart() {
    let (chain, facilitator) = start().await;
    let store = MemoryStore::new();
    let facilitator = facilitator.store(store.clone());
    let asset = chain.deploy("SilentToken", &[]).await.unwrap();
    let mut asked = requirements();
    asked.asset = asset.to_string().parse().unwrap();
    let message = authorization(1);
    let signature = sign_in(&message, &chain::payer(), "USDC", "2", asset);
    let payment = payment(Version::V2, &asked, payload(&message, &signature));
    let answer = facilitator.allow_token(asset).settle((&payment).into()).await.unwrap();
    assert!(matches!(answer, SettleResponse::Failed(_)), "{answer:?}");
    let anew = restarted(&chain, &store).allow_token(asset).settle((&payment).into()).await.unwrap();
    assert_eq!(anew, answer);
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn of_two_facilitators_with_one_store_one_sends() {
    let (chain, first) = start().await;
    let store = MemoryStore::new();
    let second =
        ExactFacilitator::connect(chain.rpc_url(), Network::evm(BASE_SEPOLIA), chain::second_facilitator())
            .unwrap()
            .store(store.clone());
    let first = first.store(store);
    for round in 1..=10 {
        let payment = signed(Version::V2, &requirements()).await;
        let asked = (0..6).map(|number| {
            let facilitator = if (number + round) % 2 == 0 { first.clone() } else { second.clone() };
            let payment = payment.clone();
            tokio::spawn(async move { facilitator.settle((&payment).into()).await.unwrap() })
        });
        let mut answers = Vec::new();
        for task in asked.collect::<Vec<_>>() {
            answers.push(task.await.unwrap());
        }
        settled(answers[0].clone());
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 10);
    let sent = chain.nonce(chain::facilitator().address()).await.unwrap()
        + chain.nonce(chain::second_facilitator().address()).await.unwrap();
    assert_eq!(sent, 10);
}

/// The one that sends is gone; the other one sends the same bytes, from the account that signed them.
#[tokio::test]
async fn another_facilitator_finishes_what_one_has_begun() {
    let (chain, _) = start().await;
    let payment = signed(Version::V2, &requirements()).await;
    let store = FaultyStore::new(writes(0, Write::HangsAfter));
    crash(facilitator_of(&chain).store(store.clone()), &payment, store.hangs.clone()).await;
    let other =
        ExactFacilitator::connect(chain.rpc_url(), Network::evm(BASE_SEPOLIA), chain::second_facilitator())
            .unwrap()
            .store(store.inner.clone());
    let hash = settled(other.settle((&payment).into()).await.unwrap());
    assert_eq!(chain.transactions_of(chain::facilitator().address()).await.unwrap(), [hash]);
    assert_eq!(chain.nonce(chain::second_facilitator().address()).await.unwrap(), 0);
    settles_once(&chain, &store.inner, &payment, "by another").await;
}

/// Another facilitator has found the transaction and sent it, while the one that made it hears that its endpoint does
/// not take it. It does not make a new one.
#[tokio::test]
async fn what_another_one_has_sent_is_not_taken_for_unsent() {
    let (chain, _) = start().await;
    chain.set_automine(false).await.unwrap();
    let endpoint = Endpoint::before(&chain, |method, _| match method {
        "eth_sendRawTransaction" => Act::Refused("insufficient funds for gas"),
        "eth_getTransactionByHash" => Act::Answer(Value::Null),
        _ => Act::Pass,
    })
    .await;
    let store = MemoryStore::new();
    let payment = signed(Version::V2, &requirements()).await;
    let first = tokio::spawn({
        let (facilitator, payment) = (facilitator_at(&endpoint.url).store(store.clone()), payment.clone());
        async move { facilitator.settle((&payment).into()).await }
    });
    endpoint.proxy.hangs.notified().await;
    let other =
        ExactFacilitator::connect(chain.rpc_url(), Network::evm(BASE_SEPOLIA), chain::second_facilitator());
    let other = other.unwrap().store(store.clone()).receipt_timeout(Duration::from_millis(300));
    let pending = other.settle((&payment).into()).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    endpoint.proxy.goes_on.notify_one();
    chain.mine().await.unwrap();
    // Pending, if it looks just when the block is made: its endpoint denies the transaction whose log it has.
    let answer = first.await.unwrap().unwrap();
    assert!(!matches!(answer, SettleResponse::Failed(_)), "{answer:?}");
    assert_eq!(hash_of(&answer), hash_of(&pending));
    chain.set_automine(true).await.unwrap();
    settles_once(&chain, &store, &payment, "by both").await;
}

/// What was written down and not sent has expired, by the chain's clock; ours says nothing about that.
#[tokio::test]
async fn what_has_expired_on_chain_has_failed() {
    let (chain, _) = start().await;
    let store = FaultyStore::new(writes(0, Write::HangsAfter));
    let message = authorization(1);
    crash(facilitator_of(&chain).store(store.clone()), &with(&message), store.hangs.clone()).await;
    // Nodes behind one URL are not all at the same block.
    let expires = message.validBefore.to::<u64>();
    for after in [0, 59] {
        chain.mine_at(expires + after).await.unwrap();
        let pending = restarted(&chain, &store.inner).settle((&with(&message)).into()).await.unwrap();
        assert!(matches!(pending, SettleResponse::Pending(_)), "{after}: {pending:?}");
    }
    chain.mine_at(expires + 60).await.unwrap();
    let answer = restarted(&chain, &store.inner).settle((&with(&message)).into()).await.unwrap();
    let SettleResponse::Failed(failure) = &answer else { panic!("{answer:?}") };
    assert_eq!(failure.reason, reasons::VALID_BEFORE);
    assert!(failure.transaction.is_some());
    assert_eq!(restarted(&chain, &store.inner).settle((&with(&message)).into()).await.unwrap(), answer);
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 0);
}
