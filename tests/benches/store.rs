//! What a store costs a payment: its record created, replaced and deleted, one after the other.
//! `cargo bench -p x402-tests --bench store`.
//!
//! The servers are on this machine, spoken to over a socket. Those that are called durable wait for the disk with every
//! writing (`appendonly yes` and `appendfsync always`, `fsync=on`), the others do not (`appendonly no`, `fsync=off`).

use std::{
    any::Any,
    collections::HashMap,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use divan::{Bencher, counter::ItemsCount};
use tokio::{runtime::Runtime, task::JoinSet};
use x402_core::store::{AnyClaimStore, ClaimStore, Key, MemoryStore, Record, Stamp, Swapped};
use x402_store::{PostgresStore, RedisStore};
use x402_tests::stores::{Postgres, Redis};

const STORES: [&str; 5] = ["memory", "redis", "redis, durable", "postgres", "postgres, durable"];

fn main() {
    divan::main();
    // Statics are not dropped, and the servers' folders go with them.
    SERVERS.lock().expect("no bench panicked").clear();
}

#[divan::bench(args = STORES)]
fn one_payment(bencher: Bencher<'_, '_>, name: &str) {
    let store = store(name);
    bencher.bench_local(|| RUNTIME.block_on(payment(&store)));
}

#[divan::bench(args = STORES)]
fn sixteen_payments_at_once(bencher: Bencher<'_, '_>, name: &str) {
    let store = store(name);
    bencher.counter(ItemsCount::new(16_usize)).bench_local(|| {
        RUNTIME.block_on(async {
            let mut payments = JoinSet::new();
            for _ in 0..16 {
                let store = store.clone();
                payments.spawn(async move { payment(&store).await });
            }
            payments.join_all().await
        })
    });
}

async fn payment(store: &AnyClaimStore) {
    static PAYMENTS: AtomicU64 = AtomicU64::new(0);
    let key = Key::new("claim", PAYMENTS.fetch_add(1, Ordering::Relaxed).to_string());
    let record =
        |open| Record { stamp: Stamp::new(), state: "x".repeat(1000), open, keep: Duration::from_secs(3600) };
    let mut seen = None;
    for next in [Some(record(false)), Some(record(true)), None] {
        let stamp = next.as_ref().map(|next| next.stamp);
        assert_eq!(store.swap(&key, seen, next).await.expect("the server runs"), Swapped::Done);
        seen = stamp;
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

static SERVERS: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

fn store(name: &str) -> AnyClaimStore {
    static STORES: LazyLock<Mutex<HashMap<String, AnyClaimStore>>> = LazyLock::new(Mutex::default);
    let mut stores = STORES.lock().expect("no bench panicked");
    let store = stores.entry(name.to_owned());
    store.or_insert_with(|| RUNTIME.block_on(start(name)).expect("a server")).clone()
}

async fn start(name: &str) -> anyhow::Result<AnyClaimStore> {
    let (server, store) = match name {
        "redis" | "redis, durable" => {
            let server = if name == "redis" { Redis::start().await? } else { Redis::durable().await? };
            let store = RedisStore::connect(&server.url()).await?;
            (Box::new(server) as Box<dyn Any + Send>, AnyClaimStore::new(store))
        }
        "postgres" | "postgres, durable" => {
            let server =
                if name == "postgres" { Postgres::start().await? } else { Postgres::durable().await? };
            let store = PostgresStore::connect(&server.database().await?).await?;
            store.migrate().await?;
            (Box::new(server) as Box<dyn Any + Send>, AnyClaimStore::new(store))
        }
        _ => return Ok(AnyClaimStore::new(MemoryStore::new())),
    };
    SERVERS.lock().expect("no bench panicked").push(server);
    Ok(store)
}
