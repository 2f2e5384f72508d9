//! What `ClaimStore` promises of one who writes at a time.

use std::time::Duration;

use x402_core::store::{ClaimStore, Key, Stamp, Swapped};

use crate::harness::{Case, Does, Kind, case, key, lost, open, record, two};

pub const CASES: &[Case] = &[
    case!(what_is_put_there_is_there),
    case!(what_was_never_there_is_not),
    case!(only_who_has_seen_the_latest_replaces_it),
    case!(a_writing_that_is_there_already_has_happened),
    case!(a_deleted_record_is_gone),
    case!(nothing_in_place_of_nothing),
    case!(open_follows_every_transition),
    case!(spaces_and_ids_are_kept_apart),
    case!(another_instance_sees_it_at_once),
];

async fn what_is_put_there_is_there(kind: Kind) {
    let store = kind.place().await.store().await;
    let first = store.put(&key("a"), None, record(r#"{"n":1}"#)).await;
    let stored = store.load(&key("a")).await.unwrap().unwrap();
    assert_eq!((stored.stamp, stored.state.as_str()), (first, r#"{"n":1}"#));
    assert!(stored.age < Duration::from_secs(5), "{:?}", stored.age);

    let second = store.put(&key("a"), Some(first), record("2")).await;
    let stored = store.load(&key("a")).await.unwrap().unwrap();
    assert_eq!((stored.stamp, stored.state.as_str()), (second, "2"));
}

async fn what_was_never_there_is_not(kind: Kind) {
    let store = kind.place().await.store().await;
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    assert!(store.open("claim").await.unwrap().is_empty());
    assert_eq!(lost(store.swap(&key("a"), Some(Stamp::new()), Some(record("1"))).await.unwrap()), None);
    assert_eq!(lost(store.swap(&key("a"), Some(Stamp::new()), None).await.unwrap()), None);
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
}

async fn only_who_has_seen_the_latest_replaces_it(kind: Kind) {
    let store = kind.place().await.store().await;
    let first = store.put(&key("a"), None, record("1")).await;
    let second = store.put(&key("a"), Some(first), record("2")).await;
    for seen in [None, Some(first), Some(Stamp::new())] {
        for next in [Some(record("3")), Some(open("3")), None] {
            let found = lost(store.swap(&key("a"), seen, next).await.unwrap()).unwrap();
            assert_eq!((found.stamp, found.state.as_str()), (second, "2"));
        }
    }
    assert!(store.ids("claim").await.is_empty());
    assert_eq!(store.stamp(&key("a")).await, Some(second));
}

async fn a_writing_that_is_there_already_has_happened(kind: Kind) {
    let store = kind.place().await.store().await;
    let (first, second) = (record("1"), record("2"));
    for seen in [None, None, Some(Stamp::new())] {
        assert_eq!(store.swap(&key("a"), seen, Some(first.clone())).await.unwrap(), Swapped::Done);
    }
    for _ in 0..2 {
        let swapped = store.swap(&key("a"), Some(first.stamp), Some(second.clone())).await.unwrap();
        assert_eq!(swapped, Swapped::Done);
    }
    // Not when somebody has gone on from there.
    assert_eq!(
        lost(store.swap(&key("a"), None, Some(first)).await.unwrap()).map(|found| found.stamp),
        Some(second.stamp)
    );
}

async fn a_deleted_record_is_gone(kind: Kind) {
    let store = kind.place().await.store().await;
    let first = store.put(&key("a"), None, open("1")).await;
    store.remove(&key("a"), first).await;
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    assert!(store.ids("claim").await.is_empty());
    assert_eq!(lost(store.swap(&key("a"), Some(first), None).await.unwrap()), None);
    assert_eq!(lost(store.swap(&key("a"), Some(first), Some(record("2"))).await.unwrap()), None);
    store.put(&key("a"), None, record("3")).await;
}

async fn nothing_in_place_of_nothing(kind: Kind) {
    let store = kind.place().await.store().await;
    assert_eq!(store.swap(&key("a"), None, None).await.unwrap(), Swapped::Done);
    let first = store.put(&key("a"), None, record("1")).await;
    let found = lost(store.swap(&key("a"), None, None).await.unwrap());
    assert_eq!(found.map(|found| found.stamp), Some(first));
}

async fn open_follows_every_transition(kind: Kind) {
    let store = kind.place().await.store().await;
    let a = store.put(&key("a"), None, open("1")).await;
    let b = store.put(&key("b"), None, record("1")).await;
    store.put(&Key::new("other", "c"), None, open("1")).await;
    assert_eq!(store.ids("claim").await, ["a"]);
    assert_eq!(store.ids("other").await, ["c"]);
    assert!(store.ids("third").await.is_empty());

    let b = store.put(&key("b"), Some(b), open("2")).await;
    let listed = store.open("claim").await.unwrap();
    let listed: Vec<_> =
        listed.iter().map(|(id, found)| (id.as_str(), found.stamp, found.state.as_str())).collect();
    assert_eq!(listed, [("a", a, "1"), ("b", b, "2")]);

    let a = store.put(&key("a"), Some(a), open("2")).await;
    assert_eq!(store.open("claim").await.unwrap()["a"].stamp, a);
    let a = store.put(&key("a"), Some(a), record("3")).await;
    assert_eq!(store.ids("claim").await, ["b"]);
    store.remove(&key("b"), b).await;
    assert!(store.ids("claim").await.is_empty());

    store.put(&key("a"), Some(a), open("4")).await;
    store.put(&key("b"), None, open("4")).await;
    assert_eq!(store.ids("claim").await, ["a", "b"]);
    assert_eq!(store.ids("other").await, ["c"]);
}

async fn spaces_and_ids_are_kept_apart(kind: Kind) {
    let store = kind.place().await.store().await;
    let keys =
        [("a", "b:c"), ("a:b", "c"), ("a:", "b:c"), ("", "a:b:c"), ("a:b:c", ""), ("1:a", "b"), ("A", "b:c")];
    for (space, id) in keys {
        store.put(&Key::new(space, id), None, open(&format!("{space}/{id}"))).await;
    }
    for (space, id) in keys {
        let stored = store.load(&Key::new(space, id)).await.unwrap().unwrap();
        assert_eq!(stored.state, format!("{space}/{id}"));
        assert_eq!(store.ids(space).await, [id]);
    }
}

async fn another_instance_sees_it_at_once(kind: Kind) {
    let [one, other] = two(kind).await;
    for round in 0..50 {
        let key = key(&round.to_string());
        let first = one.put(&key, None, open("1")).await;
        assert_eq!(other.stamp(&key).await, Some(first));
        let second = other.put(&key, Some(first), record("2")).await;
        assert_eq!(one.stamp(&key).await, Some(second));
        assert!(one.ids("claim").await.is_empty());
    }
}
