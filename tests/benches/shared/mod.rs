//! The stores that are held against one another.
//!
//! Their servers are on this machine, spoken to over a socket. Those that are called durable wait for the disk with every
//! writing (`appendonly yes` and `appendfsync always`, `fsync=on`), the others do not (`appendonly no`, `fsync=off`).

use std::{
    any::Any,
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use tokio::runtime::Runtime;
use x402_core::store::{AnyClaimStore, MemoryStore};
use x402_store::{PostgresStore, RedisStore};
use x402_tests::stores::{Postgres, Redis};

pub(crate) const STORES: [&str; 5] = ["memory", "redis", "redis, durable", "postgres", "postgres, durable"];

pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

static SERVERS: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

/// Statics are not dropped, and the servers' folders go with them.
pub(crate) fn stop() {
    SERVERS.lock().expect("no bench panicked").clear();
}

/// The store of this name, on its server, which is started where it is not running.
pub(crate) fn store(name: &str) -> AnyClaimStore {
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
