//! Keys and states that nobody would choose.

use x402_core::store::{ClaimStore, Key};

use crate::harness::{Case, Does, Kind, case, key, open, record, timed};

pub const CASES: &[Case] =
    &[case!(any_text_is_a_key), case!(any_text_is_a_state), case!(secrets_stay_out_of_what_is_shown)];

async fn any_text_is_a_key(kind: Kind) {
    let store = kind.place().await.store().await;
    let long = "0123456789abcdef".repeat(8192);
    let texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "'; DROP TABLE x402.records; --",
        "\"quoted\"",
        "\\x00",
        "%s{}$1",
        "{a}b",
        "}{",
        "a\nb\r\n",
        "ключ",
        "鍵",
        "🔑",
        "e\u{301}",
        "é",
        "\u{202e}",
        "*",
        "?[a]",
        long.as_str(),
    ];
    for (nth, id) in texts.into_iter().enumerate() {
        for space in ["claim", id] {
            let key = Key::new(space.to_owned(), id);
            let first = store.put(&key, None, open(&nth.to_string())).await;
            let stored = store.load(&key).await.unwrap().unwrap();
            assert_eq!((stored.stamp, stored.state), (first, nth.to_string()), "{id:?}");
            assert!(store.open(space).await.unwrap().contains_key(id), "{id:?}");
        }
    }
    assert_eq!(store.ids("claim").await.len(), texts.len());
    for id in texts {
        let seen = store.stamp(&key(id)).await.unwrap();
        store.remove(&key(id), seen).await;
    }
    assert!(store.ids("claim").await.is_empty());
}

async fn any_text_is_a_state(kind: Kind) {
    let store = kind.place().await.store().await;
    let large = "\u{1d11e}x".repeat(400_000);
    let mut seen = None;
    for state in ["", "\0", "{}", r#"{"a":"'\u0000\\"}"#, "鍵", large.as_str(), "1"] {
        seen = Some(store.put(&key("a"), seen, open(state)).await);
        assert!(store.load(&key("a")).await.unwrap().unwrap().state == state);
        assert!(store.open("claim").await.unwrap()["a"].state == state);
    }
    for id in 0..20 {
        store.put(&key(&format!("large {id}")), None, open(&large)).await;
    }
    let (listed, took) = timed(store.open("claim")).await;
    assert_eq!(listed.unwrap().len(), 21, "in {took:?}");
}

async fn secrets_stay_out_of_what_is_shown(kind: Kind) {
    let store = kind.place().await.store().await;
    let secret = record("0x5ec4e7");
    store.put(&key("a"), None, secret).await;
    let stored = store.load(&key("a")).await.unwrap();
    let shown = format!("{store:?} {stored:?}");
    assert!(!shown.contains("5ec4e7"), "{shown}");
}
