//! What is particular to Redis.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{AsyncTypedCommands as _, Client, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    sync::watch,
};
use x402_core::store::{ClaimStore, Record, StoreErrorKind};
use x402_store::RedisStore;
use x402_tests::stores::Redis;

use crate::harness::{Case, Does, Kind, Place, case, key, open, record, until};

pub const CASES: &[Case] = &[
    case!(prefixes_keep_stores_apart).only(&[Kind::Redis]),
    case!(nothing_is_left_of_what_expired).only(&[Kind::Redis]),
    case!(scripts_are_sent_again_when_they_are_forgotten).only(&[Kind::Redis]),
    case!(what_others_have_put_there_is_corrupt).only(&[Kind::Redis]),
    case!(a_wrong_password_is_an_error_that_does_not_tell_it).only(&[Kind::Redis]),
    case!(a_full_server_is_an_error_and_keeps_what_it_has).only(&[Kind::Redis]),
    case!(a_server_that_became_a_replica_is_left).only(&[Kind::Redis]),
    case!(a_connection_comes_back_whatever_it_broke_with).only(&[Kind::Redis]),
    case!(all_keys_lie_in_one_slot_of_a_cluster).only(&[Kind::Redis]),
];

async fn server(kind: Kind) -> (Place, MultiplexedConnection, String) {
    let place = kind.place().await;
    let Place::Redis { url, prefix } = &place else { panic!("a place in Redis") };
    let connection = Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let prefix = prefix.clone();
    (place, connection, prefix)
}

async fn prefixes_keep_stores_apart(kind: Kind) {
    let Place::Redis { url, prefix } = kind.place().await else { panic!("a place in Redis") };
    let store = RedisStore::connect(&url).await.unwrap().prefix(prefix.as_str());
    let other = store.clone().prefix(format!("{prefix}:other"));
    store.put(&key("a"), None, open("1")).await;
    assert_eq!(other.stamp(&key("a")).await, None);
    assert!(other.ids("claim").await.is_empty());
    other.put(&key("a"), None, open("2")).await;
    assert_eq!(store.load(&key("a")).await.unwrap().unwrap().state, "1");
}

async fn nothing_is_left_of_what_expired(kind: Kind) {
    let (place, mut connection, prefix) = server(kind).await;
    let store = place.store().await;
    for id in 0..10 {
        let keep = Duration::from_millis(300 + id * 50);
        store.put(&key(&id.to_string()), None, Record { keep, ..open("1") }).await;
    }
    let pattern = format!("{}*", prefix);
    until(async || connection.clone().keys(&pattern).await.unwrap().is_empty()).await;

    // An index that lives on forgets them too.
    for id in 0..10 {
        store
            .put(&key(&id.to_string()), None, Record { keep: Duration::from_millis(100), ..open("1") })
            .await;
    }
    let index = format!("{prefix}:open:claim");
    until(async || {
        let seen = store.stamp(&key("long")).await;
        store.put(&key("long"), seen, open("2")).await;
        connection.clone().zcard(&index).await.unwrap() == 1
    })
    .await;
    let stamp = store.stamp(&key("long")).await.unwrap();
    store.remove(&key("long"), stamp).await;
    assert!(connection.keys(&pattern).await.unwrap().is_empty());
}

async fn scripts_are_sent_again_when_they_are_forgotten(kind: Kind) {
    let (place, mut connection, _) = server(kind).await;
    let store = place.store().await;
    let mut seen = None;
    for round in 0..5 {
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
        seen = Some(store.put(&key("a"), seen, open(&round.to_string())).await);
        assert_eq!(store.stamp(&key("a")).await, seen);
        assert_eq!(store.ids("claim").await, ["a"]);
    }
}

async fn what_others_have_put_there_is_corrupt(kind: Kind) {
    let (place, mut connection, prefix) = server(kind).await;
    let store = place.store().await;
    let name = format!("{prefix}:record:5:claim:a");
    let stamp = store.put(&key("a"), None, open("1")).await;
    let good = stamp.to_string();
    let hashes: [&[(&str, &[u8])]; 6] = [
        &[("other", b"1")],
        &[("state", b"1"), ("at", b"1")],
        &[("stamp", b"1"), ("state", b"1"), ("at", b"1")],
        &[("stamp", b""), ("state", b"1"), ("at", b"1")],
        &[("stamp", good.as_bytes()), ("state", b"\xff"), ("at", b"1")],
        &[("stamp", good.as_bytes()), ("state", b"1"), ("at", b"yesterday")],
    ];
    for hash in hashes {
        connection.del(&name).await.unwrap();
        connection.hset_multiple(&name, hash).await.unwrap();
        let load = store.load(&key("a")).await.unwrap_err();
        let swap = store.swap(&key("a"), None, Some(record("2"))).await.unwrap_err();
        store.put(&key("readable"), store.stamp(&key("readable")).await, open("1")).await;
        assert_eq!(store.ids("claim").await, ["readable"], "it stands in nobody's way");
        for error in [load, swap] {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{hash:?}: {error}");
        }
    }
    connection.set(&name, "a string").await.unwrap();
    assert_eq!(store.load(&key("a")).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    let swap = store.swap(&key("a"), None, Some(record("2"))).await.unwrap_err();
    assert_eq!(swap.kind(), StoreErrorKind::Corrupt);
    assert_eq!(connection.get(&name).await.unwrap().as_deref(), Some("a string"), "it is left as it is");

    connection.del(&name).await.unwrap();
    store.put(&key("a"), None, record("3")).await;
}

async fn a_wrong_password_is_an_error_that_does_not_tell_it(_: Kind) {
    let server = Redis::with(&["--requirepass", "right"]).await.unwrap();
    for url in [server.url(), format!("{}?pass=hunter2", server.url())] {
        let error = RedisStore::connect(&url).await.map(drop).unwrap_err_or_used(&url).await;
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let store = RedisStore::connect(&format!("{}?pass=right", server.url())).await.unwrap();
    store.put(&key("a"), None, record("1")).await;
    assert!(!format!("{store:?}").contains("right"));
}

/// Without a password the connection is made, and then nothing may be asked on it.
trait Refused {
    async fn unwrap_err_or_used(self, url: &str) -> x402_core::store::StoreError;
}

impl Refused for Result<(), x402_core::store::StoreError> {
    async fn unwrap_err_or_used(self, url: &str) -> x402_core::store::StoreError {
        match self {
            Err(error) => error,
            Ok(()) => RedisStore::connect(url).await.unwrap().load(&key("a")).await.unwrap_err(),
        }
    }
}

async fn a_full_server_is_an_error_and_keeps_what_it_has(_: Kind) {
    let server = Redis::with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]).await.unwrap();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let state = "x".repeat(100_000);
    let mut stamps = Vec::new();
    let error = loop {
        let id = stamps.len().to_string();
        let next = open(&state);
        let stamp = next.stamp;
        match store.swap(&key(&id), None, Some(next)).await {
            Ok(_) => stamps.push(stamp),
            Err(error) => break error,
        }
        assert!(stamps.len() < 100, "it is never full");
    };
    assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
    assert_eq!(store.ids("claim").await.len(), stamps.len());
    for (id, stamp) in stamps.iter().enumerate() {
        assert_eq!(store.stamp(&key(&id.to_string())).await, Some(*stamp));
    }
}

/// While it connects anew it hears nonsense, as when an answer is cut.
async fn a_connection_comes_back_whatever_it_broke_with(_: Kind) {
    let server = Redis::start().await.unwrap();
    let (store, between) =
        (RedisStore::connect(&server.url()).await.unwrap(), Nonsense::before(&server).await);
    store.put(&key("a"), None, record("1")).await;
    let through = RedisStore::connect(&between.url).await.unwrap();
    assert!(through.load(&key("a")).await.unwrap().is_some());
    between.talk(true);
    until(async || {
        let error = through.load(&key("a")).await.err();
        error.inspect(|error| assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}")).is_some()
    })
    .await;
    // Long enough for it to have tried to connect, and heard nonsense.
    until(async || {
        let _ = through.load(&key("a")).await;
        between.answered.load(Ordering::SeqCst) > 0
    })
    .await;
    between.talk(false);
    until(async || through.load(&key("a")).await.is_ok()).await;
}

/// A relay to a server, that ends all connections and answers nonsense when it is told to.
struct Nonsense {
    url: String,
    talks: watch::Sender<bool>,
    answered: Arc<AtomicUsize>,
}

impl Nonsense {
    async fn before(server: &Redis) -> Self {
        let socket = server.url().split_once("://").unwrap().1.split('?').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/", listener.local_addr().unwrap());
        let (talks, answered) = (watch::Sender::new(false), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (talks.subscribe(), answered.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut told, count, socket) = (told.clone(), count.clone(), socket.clone());
                tokio::spawn(async move {
                    if *told.borrow_and_update() {
                        let mut asked = [0; 64];
                        let _ = client.read(&mut asked).await;
                        let _ = client.write_all(b"what?\r\n").await;
                        count.fetch_add(1, Ordering::SeqCst);
                        let _ = client.read(&mut asked).await;
                        return;
                    }
                    let mut server = UnixStream::connect(&socket).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = told.changed() => {}
                    }
                });
            }
        });
        Self { url, talks, answered }
    }

    fn talk(&self, nonsense: bool) {
        self.talks.send_replace(nonsense);
    }
}

async fn a_server_that_became_a_replica_is_left(_: Kind) {
    let server = Redis::start().await.unwrap();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let stamp = store.put(&key("a"), None, record("1")).await;
    let mut connection =
        Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let clients = async || -> HashSet<String> {
        let list: String =
            redis::cmd("CLIENT").arg("LIST").query_async(&mut connection.clone()).await.unwrap();
        list.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    };
    let before = clients().await;
    let () =
        redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).query_async(&mut connection.clone()).await.unwrap();
    let error = store.swap(&key("a"), Some(stamp), Some(record("2"))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    until(async || {
        let _ = store.swap(&key("a"), Some(stamp), Some(record("2"))).await;
        clients().await.intersection(&before).count() == 1 // ours
    })
    .await;
    let () = redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).query_async(&mut connection).await.unwrap();
    until(async || store.swap(&key("a"), Some(stamp), Some(record("3"))).await.is_ok()).await;
}

async fn all_keys_lie_in_one_slot_of_a_cluster(_: Kind) {
    let server = Redis::with(&["--cluster-enabled", "yes"]).await.unwrap();
    let mut connection =
        Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let () = redis::cmd("CLUSTER")
        .arg(&["ADDSLOTSRANGE", "0", "16383"])
        .query_async(&mut connection)
        .await
        .unwrap();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    until(async || store.load(&key("a")).await.is_ok()).await;
    for id in ["a", "b{c}", "{d}"] {
        let stamp = store.put(&key(id), None, open("1")).await;
        store.put(&key(id), Some(stamp), open("2")).await;
    }
    assert_eq!(store.ids("claim").await, ["a", "b{c}", "{d}"]);

    // It is the braces that do it.
    let scattered = store.prefix("x402");
    assert_eq!(
        scattered.swap(&key("a"), None, Some(open("1"))).await.unwrap_err().kind(),
        StoreErrorKind::Unavailable
    );
}
