//! Servers that go away, and come back.

use std::time::Duration;

use x402_core::store::{ClaimStore, Stamp, StoreError, StoreErrorKind};
use x402_store::{PostgresStore, RedisStore};
use x402_tests::stores::{Postgres, Redis};

use crate::harness::{Case, Does, Kind, case, key, open, record, timed, until};

pub const CASES: &[Case] = &[
    case!(a_restarted_redis_without_persistence_is_empty).only(&[Kind::Redis]),
    case!(a_restarted_redis_with_persistence_has_all_it_acknowledged).only(&[Kind::Redis]),
    case!(a_frozen_redis_is_an_error_and_works_again).only(&[Kind::Redis]),
    case!(a_restarted_postgres_has_all_it_acknowledged).only(&[Kind::Postgres]),
    case!(a_statement_that_waits_is_an_error_and_lands_no_more).only(&[Kind::Postgres]),
    case!(who_cannot_be_reached_is_an_error).only(&[Kind::Redis, Kind::Postgres]),
];

/// How long an operation takes at most, and something for a busy machine.
const BOUND: Duration = Duration::from_secs(8);

/// Every operation fails, and none hangs.
async fn is_away(store: &impl ClaimStore) {
    for round in 0..3 {
        let (load, load_took) = timed(store.load(&key("a"))).await;
        let (swap, swap_took) = timed(store.swap(&key("b"), None, Some(record("1")))).await;
        let (open, open_took) = timed(store.open("claim")).await;
        for (error, took) in
            [(load.unwrap_err(), load_took), (swap.unwrap_err(), swap_took), (open.unwrap_err(), open_took)]
        {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            assert!(took < BOUND, "{error} after {took:?} in round {round}");
        }
    }
}

/// It works with the store that has seen it go.
async fn comes_back(store: &impl ClaimStore) {
    let (_, took) = timed(until(async || store.load(&key("a")).await.is_ok())).await;
    assert!(took < BOUND, "after {took:?}");
    // And goes on doing so.
    for _ in 0..20 {
        store.load(&key("a")).await.unwrap();
    }
}

async fn a_restarted_redis_without_persistence_is_empty(_: Kind) {
    let mut server = Redis::start().await.unwrap();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let stamp = store.put(&key("a"), None, open("1")).await;
    server.kill().unwrap();
    is_away(&store).await;
    server.restart().await.unwrap();
    comes_back(&store).await;
    assert_eq!(store.stamp(&key("a")).await, None);
    assert!(store.ids("claim").await.is_empty());
    assert!(
        matches!(store.swap(&key("a"), Some(stamp), None).await, Ok(swapped) if swapped != x402_core::store::Swapped::Done)
    );
    store.put(&key("a"), None, open("2")).await;
}

async fn a_restarted_redis_with_persistence_has_all_it_acknowledged(_: Kind) {
    let mut server = Redis::durable().await.unwrap();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut stamps = Vec::new();
    for id in 0..50 {
        stamps.push(store.put(&key(&format!("{id:02}")), None, open("1")).await);
    }
    store.remove(&key("49"), stamps.pop().unwrap()).await;
    server.kill().unwrap();
    is_away(&store).await;
    server.restart().await.unwrap();
    comes_back(&store).await;
    let listed: Vec<Stamp> =
        store.open("claim").await.unwrap().into_values().map(|found| found.stamp).collect();
    assert_eq!(listed, stamps);
    assert_eq!(store.stamp(&key("49")).await, None);
}

async fn a_frozen_redis_is_an_error_and_works_again(_: Kind) {
    let mut server = Redis::start().await.unwrap();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let stamp = store.put(&key("a"), None, open("1")).await;
    server.freeze().unwrap();
    let refused = loop {
        let (answer, took) = timed(store.load(&key("a"))).await;
        assert!(took < BOUND, "{took:?}");
        if let Err(error) = answer {
            break error;
        }
    };
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
    let next = open("2");
    let (answer, took) = timed(store.swap(&key("a"), Some(stamp), Some(next.clone()))).await;
    assert!(answer.is_err() && took < BOUND, "{answer:?} after {took:?}");
    server.thaw().unwrap();
    comes_back(&store).await;
    // It may have happened; whoever asks again finds out.
    store.put(&key("a"), Some(stamp), next.clone()).await;
    assert_eq!(store.stamp(&key("a")).await, Some(next.stamp));
}

async fn a_restarted_postgres_has_all_it_acknowledged(_: Kind) {
    let mut server = Postgres::start().await.unwrap();
    let store = PostgresStore::connect(&server.database().await.unwrap()).await.unwrap();
    store.migrate().await.unwrap();
    let mut stamps = Vec::new();
    for id in 0..50 {
        stamps.push(store.put(&key(&format!("{id:02}")), None, open("1")).await);
    }
    store.remove(&key("49"), stamps.pop().unwrap()).await;
    server.kill().unwrap();
    is_away(&store).await;
    server.restart().await.unwrap();
    comes_back(&store).await;
    let listed: Vec<Stamp> =
        store.open("claim").await.unwrap().into_values().map(|found| found.stamp).collect();
    assert_eq!(listed, stamps);
    assert_eq!(store.stamp(&key("49")).await, None);
    store.migrate().await.unwrap();
}

async fn a_statement_that_waits_is_an_error_and_lands_no_more(_: Kind) {
    let url = crate::harness::database().await;
    let store = PostgresStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let stamp = store.put(&key("a"), None, record("1")).await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE x402.records IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let (answer, took) = timed(store.swap(&key("a"), Some(stamp), Some(record("2")))).await;
    assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert!(took < BOUND, "{took:?}");
    until(async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let (waiting,): (i64,) = sqlx::query_as(waiting).fetch_one(&pool).await.unwrap();
        waiting == 0
    })
    .await;
    lock.rollback().await.unwrap();
    assert_eq!(store.stamp(&key("a")).await, Some(stamp));
    store.put(&key("a"), Some(stamp), record("3")).await;
}

async fn who_cannot_be_reached_is_an_error(kind: Kind) {
    let connect = async |url: &str| -> Result<(), StoreError> {
        match kind {
            Kind::Postgres => PostgresStore::connect(url).await.map(drop),
            _ => RedisStore::connect(url).await.map(drop),
        }
    };
    // One that takes connections, and says nothing on them.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let scheme = if kind == Kind::Postgres { "postgres" } else { "redis" };
    for rest in [
        "",
        "://",
        "://user:hunter2@",
        "://user:hunter2@ /",
        "://user:hunter2@127.0.0.1:99999/0",
        "://user:hunter2@127.0.0.1:1/0",
        "://user:hunter2@nowhere.invalid/0",
        "://user:hunter2@[/0",
        &format!("://user:hunter2@{silent}/0"),
    ] {
        let (answer, took) = timed(connect(&format!("{scheme}{rest}"))).await;
        if rest == "://" && kind == Kind::Postgres {
            continue; // it stands for the default server, which may be there
        }
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{rest}: {error}");
        assert!(took < BOUND, "{rest}: {took:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{rest}: {shown}");
    }
}
