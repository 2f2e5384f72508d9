mod connection;

use std::{collections::BTreeMap, fmt, sync::Arc, sync::LazyLock, time::Duration};

use redis::{
    Client, ErrorKind, IntoConnectionInfo, RedisError, Script, ScriptInvocation,
    aio::{ConnectionLike, ConnectionManagerConfig},
};
use x402_core::store::{ClaimStore, Key, Record, Stamp, StoreError, Stored, Swapped};

pub use self::connection::RedisConnection;
use crate::patience::{CENTURY, PATIENCE, within_patience};

/// Keeps records in Redis.
///
/// ```no_run
/// # async fn example() -> Result<(), x402_core::store::StoreError> {
/// use x402_core::store::{ClaimStore, Key};
/// use x402_store::RedisStore;
///
/// let store = RedisStore::connect("redis://10.0.0.7/").await?.prefix("{shop}");
/// let claim = store.load(&Key::new("claim", "eip155:8453:0x…")).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Settings of the server
/// - `appendonly yes` with `appendfsync always`: with `everysec` a crash loses the last second, without the log all since
///   the last snapshot. The crate's documentation says what a lost record means.
/// - `maxmemory-policy noeviction`: any other lets go of records that are still needed when memory runs out. With it, writes
///   fail.
/// - A replica that takes over has not seen what its primary acknowledged last. Redis has no setting against that
///   (`min-replicas-to-write` narrows it, `WAIT` is not used here): where it matters, use `PostgresStore` with a synchronous
///   standby.
/// - The scripts use `EVALSHA`, `SCRIPT LOAD`, `TIME`, `HMGET`, `EXISTS`, `HSET`, `DEL`, `PEXPIRE`, `PTTL`, `ZADD`, `ZREM`,
///   `ZREMRANGEBYSCORE` and `ZSCAN`: a user with an ACL needs these, on the keys below the prefix.
///
/// # Cluster
/// All keys of a store lie in one slot if its prefix is in braces, as the default `{x402}` is. With Redis Cluster, hand a
/// cluster connection to [`RedisStore::new`] (the feature `cluster-async` of `redis`). The load is not spread.
///
/// # TLS
/// `rediss://` needs a TLS feature of `redis`, such as `tokio-rustls-comp`, in your own `Cargo.toml`.
#[derive(Clone)]
pub struct RedisStore<C = RedisConnection> {
    connection: C,
    prefix: Arc<str>,
}

impl RedisStore {
    /// Connects to a server: `redis://user:password@host:port/database`, or `redis+unix:///path`. The connection is made
    /// anew when it breaks.
    ///
    /// # Errors
    /// When the URL is none, or the server does not answer.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let server = url.into_connection_info().map_err(failed)?;
        let tcp = server.tcp_settings().clone().set_nodelay(true);
        // Without it a connection to a machine that vanished hangs until the kernel gives up, after a quarter of an hour.
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(PATIENCE);
        let client = Client::open(server.set_tcp_settings(tcp)).map_err(failed)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500));
        let connect = async { RedisConnection::open(client, config).await.map_err(failed) };
        Ok(Self::new(within_patience(connect).await?))
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// A store on a connection of yours, which all its operations share. It is to connect anew by itself when it breaks,
    /// like a [`ConnectionManager`](redis::aio::ConnectionManager).
    pub fn new(connection: C) -> Self {
        Self { connection, prefix: "{x402}".into() }
    }

    /// What the names of all its keys begin with. Stores with different prefixes know nothing of each other. The default is
    /// `{x402}`; the braces are for Redis Cluster.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Arc<str>>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    fn record(&self, key: &Key) -> String {
        self.records(&key.space) + &key.id
    }

    /// What the names of a space's records begin with. The length keeps apart what else would read the same.
    fn records(&self, space: &str) -> String {
        format!("{}:record:{}:{space}:", self.prefix, space.len())
    }

    /// The name of the index of a space's open records.
    fn index(&self, space: &str) -> String {
        format!("{}:open:{space}", self.prefix)
    }

    async fn run(&self, script: &ScriptInvocation<'_>) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut connection = self.connection.clone();
        within_patience(async {
            let answer = script.invoke_async(&mut connection).await;
            if answer.as_ref().is_err_and(|error| error.code() == Some("READONLY")) {
                // This server is a replica by now, and would stay so: the next connection is made to whoever has its name.
                let _ = redis::cmd("QUIT").exec_async(&mut connection).await; // what is told is the first error
            }
            answer.map_err(failed)
        })
        .await
    }
}

static LOAD: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("record.lua"), include_str!("load.lua"))));
static SWAP: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("record.lua"), include_str!("swap.lua"))));
static OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("record.lua"), include_str!("open.lua"))));

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ClaimStore for RedisStore<C> {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        let found = self.run(&LOAD.key(self.record(key))).await?;
        if found.is_empty() { Ok(None) } else { stored(&found).map(Some) }
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        let written = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.to_string()).unwrap_or_default();
        let mut script = SWAP.key(self.record(key));
        script
            .key(self.index(&key.space))
            .arg(written(seen))
            .arg(written(next.as_ref().map(|next| next.stamp)));
        match next {
            Some(Record { state, open, keep, .. }) => {
                script.arg(state).arg(u8::from(open)).arg(keep.min(CENTURY).as_millis().to_string())
            }
            None => script.arg("").arg(0).arg(0),
        };
        let answer = self.run(script.arg(&key.id)).await?;
        match answer.split_first() {
            Some((word, [])) if word == b"done" => Ok(Swapped::Done),
            Some((word, [])) if word == b"lost" => Ok(Swapped::Lost(None)),
            Some((word, found)) if word == b"lost" => Ok(Swapped::Lost(Some(stored(found)?))),
            _ => Err(StoreError::corrupt("what became of a swap")),
        }
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        let mut open = BTreeMap::new();
        let mut cursor = b"0".to_vec();
        loop {
            let mut script = OPEN.key(self.index(space));
            let page = self.run(script.arg(cursor).arg(self.records(space))).await?;
            let (next, found) = page.split_first().ok_or_else(|| StoreError::corrupt("a page of records"))?;
            for record in found.chunks(4) {
                let id = String::from_utf8_lossy(&record[0]);
                match stored(&record[1..]) {
                    Ok(stored) => {
                        open.insert(id.into_owned(), stored);
                    }
                    Err(error) => tracing::error!(space, %id, %error, "an open record is left out"),
                }
            }
            if next == b"0" {
                return Ok(open);
            }
            cursor = next.clone();
        }
    }
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Stamp, state and age in milliseconds, as the scripts answer them.
fn stored(found: &[Vec<u8>]) -> Result<Stored, StoreError> {
    let text = |bytes: &Vec<u8>| {
        String::from_utf8(bytes.clone()).map_err(|_| StoreError::corrupt("a record in UTF-8"))
    };
    let [stamp, state, age] = found else {
        return Err(StoreError::corrupt("a stamp, a state and an age"));
    };
    let age = text(age)?.parse().map_err(|_| StoreError::corrupt("when a record was written"))?;
    Ok(Stored { stamp: text(stamp)?.parse()?, state: text(state)?, age: Duration::from_millis(age) })
}

fn failed(error: RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::UnexpectedReturnType => StoreError::corrupt("what the scripts answer"),
        // Nothing was written: a script is refused before its first writing.
        _ if error.code() == Some("OOM") => StoreError::full("Redis has reached its `maxmemory`"),
        // Somebody else has put something else under the name of a record or of an index.
        _ if error.code() == Some("WRONGTYPE") => StoreError::corrupt("a record under the name of one"),
        _ => StoreError::unavailable(error),
    }
}
