//! Records end by themselves, by the store's clock.

use std::time::Duration;

use tokio::time::sleep;
use x402_core::store::{ClaimStore, Record, Stamp, Swapped};

use crate::harness::{Case, Does, Kind, case, key, lost, open, record, timed, until};

pub const CASES: &[Case] = &[
    case!(an_expired_record_is_gone),
    case!(an_expired_record_is_in_nobody_s_way),
    case!(a_replaced_record_is_kept_anew),
    case!(age_grows_and_begins_again_with_a_writing),
    case!(expired_records_are_not_open),
    case!(any_length_of_time),
];

const SHORT: Duration = Duration::from_secs(1);

fn short(record: Record) -> Record {
    Record { keep: SHORT, ..record }
}

async fn an_expired_record_is_gone(kind: Kind) {
    let store = kind.place().await.store().await;
    let (stamp, took) = timed(async {
        let stamp = store.put(&key("a"), None, short(record("1"))).await;
        until(async || store.load(&key("a")).await.unwrap().is_none()).await;
        stamp
    })
    .await;
    assert!(took > SHORT - Duration::from_millis(50), "it was gone after {took:?}");
    assert!(took < SHORT * 8, "it was gone after {took:?}");
    // Gone for those as well who have seen it.
    assert_eq!(lost(store.swap(&key("a"), Some(stamp), None).await.unwrap()), None);
    assert_eq!(lost(store.swap(&key("a"), Some(stamp), Some(record("2"))).await.unwrap()), None);
}

async fn an_expired_record_is_in_nobody_s_way(kind: Kind) {
    let store = kind.place().await.store().await;
    store.put(&key("a"), None, short(open("1"))).await;
    store.put(&key("b"), None, short(open("1"))).await;
    let next = open("2");
    until(async || store.swap(&key("a"), None, Some(next.clone())).await.unwrap() == Swapped::Done).await;
    assert_eq!(store.stamp(&key("a")).await, Some(next.stamp));
    // As long as it says, and not as long as the one before it said.
    until(async || store.load(&key("b")).await.unwrap().is_none()).await;
    sleep(SHORT).await;
    assert_eq!(store.ids("claim").await, ["a"]);
    assert_eq!(store.swap(&key("b"), None, None).await.unwrap(), Swapped::Done);
}

async fn a_replaced_record_is_kept_anew(kind: Kind) {
    let store = kind.place().await.store().await;
    let long = store.put(&key("longer"), None, short(open("1"))).await;
    let long = store.put(&key("longer"), Some(long), open("2")).await;
    let shorter = store.put(&key("shorter"), None, open("1")).await;
    store.put(&key("shorter"), Some(shorter), short(open("2"))).await;
    until(async || store.load(&key("shorter")).await.unwrap().is_none()).await;
    sleep(SHORT / 2).await; // the other's first writing has expired by now
    assert_eq!(store.stamp(&key("longer")).await, Some(long));
    assert_eq!(store.ids("claim").await, ["longer"]);
}

async fn age_grows_and_begins_again_with_a_writing(kind: Kind) {
    let store = kind.place().await.store().await;
    let age = async || store.load(&key("a")).await.unwrap().unwrap().age;
    let stamp = store.put(&key("a"), None, open("1")).await;
    let first = age().await;
    until(async || age().await >= first + Duration::from_millis(300)).await;
    assert!(store.open("claim").await.unwrap()["a"].age >= Duration::from_millis(300));
    let found = lost(store.swap(&key("a"), None, None).await.unwrap()).unwrap();
    assert!(found.age >= Duration::from_millis(300));

    // The same writing once more is none.
    let again = Record { stamp, ..open("1") };
    store.put(&key("a"), Some(Stamp::new()), again).await;
    assert!(age().await >= Duration::from_millis(300));

    store.put(&key("a"), Some(stamp), open("2")).await;
    assert!(age().await < Duration::from_millis(300));
}

async fn expired_records_are_not_open(kind: Kind) {
    let store = kind.place().await.store().await;
    for id in ["a", "b", "c"] {
        store.put(&key(id), None, short(open("1"))).await;
    }
    store.put(&key("d"), None, open("1")).await;
    until(async || store.ids("claim").await == ["d"]).await;
    // An index that lists what is gone does not bring it back.
    store.put(&key("a"), None, record("2")).await;
    store.put(&key("e"), None, open("2")).await;
    assert_eq!(store.ids("claim").await, ["d", "e"]);
}

async fn any_length_of_time(kind: Kind) {
    let store = kind.place().await.store().await;
    for (id, keep) in [("max", Duration::MAX), ("long", Duration::from_secs(u64::from(u32::MAX)))] {
        let stamp = store.put(&key(id), None, Record { keep, ..open("1") }).await;
        assert_eq!(store.stamp(&key(id)).await, Some(stamp));
    }
    for (id, keep) in [("zero", Duration::ZERO), ("nano", Duration::from_nanos(1))] {
        store.put(&key(id), None, Record { keep, ..open("1") }).await;
        until(async || store.load(&key(id)).await.unwrap().is_none()).await;
    }
    assert_eq!(store.ids("claim").await, ["long", "max"]);
}
