use std::{
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Connection, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use x402_core::store::{ClaimStore, Key, Record, Stamp, StoreError, Stored, Swapped};

use crate::patience::{CENTURY, PATIENCE, within_patience};

mod migrations;

/// Keeps records in PostgreSQL, in a schema of its own: `x402`.
///
/// ```no_run
/// # async fn example(pool: sqlx::PgPool) -> Result<(), x402_core::store::StoreError> {
/// use x402_core::store::{ClaimStore, Key};
/// use x402_store::PostgresStore;
///
/// let store = PostgresStore::new(pool); // or `PostgresStore::connect("postgres://…").await?`
/// store.migrate().await?;
/// let claim = store.load(&Key::new("claim", "eip155:8453:0x…")).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Settings of the server
/// - `synchronous_commit` as it is by default, `on`, and `fsync`: with `off` a crash loses the last moments. The crate's
///   documentation says what a lost record means. A standby that may take over is to be a synchronous one.
/// - The isolation level as it is by default, `READ COMMITTED`. With a stricter one, of two that write the same record at
///   once one gets an error.
///
/// # A pool of yours
/// The store shares it with whatever else uses it. An operation gives up after five seconds, the wait for a connection
/// included, and closes the connection it had then; the server may still be at it. Set `statement_timeout` on the pool or
/// on the role to end that too, as [`connect`](PostgresStore::connect) does.
///
/// TLS is up to the pool: choose a TLS feature of `sqlx` in your own `Cargo.toml`.
///
/// PgBouncer in transaction mode needs 1.21 or later with `max_prepared_statements` above zero, since statements are
/// prepared; and a pool of yours with
/// [`extra_float_digits(None)`](sqlx::postgres::PgConnectOptions::extra_float_digits), which it refuses otherwise.
///
/// # Housekeeping
/// Expired rows are as good as gone. They are deleted along with other writes: a thousand at most, every few hundred
/// writes.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    writes: Arc<AtomicU64>,
}

/// Writes between two purges, and how many rows one of them deletes at most: more than have come since the last.
const PURGE_EVERY: u64 = 250;

const LOAD: &str = "\
SELECT stamp, state, extract(epoch FROM clock_timestamp() - written_at)::float8
FROM x402.records WHERE key = sha256($1) AND expires_at > clock_timestamp()";

const OPEN: &str = "\
SELECT id, stamp, state, extract(epoch FROM clock_timestamp() - written_at)::float8
FROM x402.records WHERE sha256(space) = sha256($1) AND open AND expires_at > clock_timestamp()";

// Where an expired row is still there, it is as if there was none.
const CREATE: &str = "\
INSERT INTO x402.records AS kept (key, stamp, state, open, written_at, expires_at, space, id)
VALUES (sha256($1), $2, $3, $4, clock_timestamp(), clock_timestamp() + make_interval(secs => $5), $6, $7)
ON CONFLICT (key) DO UPDATE SET stamp = excluded.stamp, state = excluded.state, open = excluded.open,
    written_at = excluded.written_at, expires_at = excluded.expires_at
WHERE kept.expires_at <= clock_timestamp()";

const REPLACE: &str = "\
UPDATE x402.records SET stamp = $2, state = $3, open = $4,
    written_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $5)
WHERE key = sha256($1) AND stamp = $6 AND expires_at > clock_timestamp()";

const DELETE: &str = "\
DELETE FROM x402.records WHERE key = sha256($1) AND stamp = $2 AND expires_at > clock_timestamp()";

// Rows that somebody is writing are skipped, so that a purge waits for nobody.
const PURGE: &str = "\
WITH expired AS MATERIALIZED (
    SELECT key FROM x402.records WHERE expires_at <= statement_timestamp()
    ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED
)
DELETE FROM x402.records USING expired
WHERE records.key = expired.key AND records.expires_at <= statement_timestamp()";

impl PostgresStore {
    /// A store on a pool of yours. See [above](PostgresStore#a-pool-of-yours) for its settings.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, writes: Arc::default() }
    }

    /// A store on a pool of its own, of ten connections at most: `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// When the URL is none, or the server does not answer.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let server: PgConnectOptions = url.parse().map_err(failed)?;
        let server = server.options([("statement_timeout", PATIENCE.as_millis())]);
        let pool = PgPoolOptions::new().max_connections(10).acquire_timeout(PATIENCE);
        let connect = async {
            // A pool would try again until it is late, and not tell what went wrong.
            PgConnection::connect_with(&server).await?.close().await?;
            pool.connect_with(server).await
        };
        Ok(Self::new(within_patience(async { connect.await.map_err(failed) }).await?))
    }

    /// Brings the schema `x402` up to date, or creates it. Instances may do so at once, and an older one beside a newer.
    /// What other migrations the database has, sqlx's or others, does not matter.
    ///
    /// # Errors
    /// When the server does not answer within a minute, or does not allow it: the role needs `CREATE` on the database, or
    /// on the schema `x402` if that is there.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migrations::run(&self.pool).await
    }

    async fn lease(&self) -> Result<Lease, StoreError> {
        Ok(Lease { connection: self.pool.acquire().await.map_err(failed)?, sound: false })
    }

    async fn find(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        let mut lease = self.lease().await?;
        let row: Option<Row> =
            sqlx::query_as(LOAD).bind(name(key)).fetch_optional(&mut **lease).await.map_err(failed)?;
        lease.sound = true;
        row.map(stored).transpose()
    }

    /// Whether it happened.
    async fn write(&self, key: &Key, seen: Option<Stamp>, next: Option<&Record>) -> Result<bool, StoreError> {
        let query = match (seen, next) {
            (None, None) => return Ok(false), // there is nothing to write
            (Some(seen), None) => sqlx::query(DELETE).bind(name(key)).bind(seen.to_string()),
            (seen, Some(next)) => {
                let query = sqlx::query(if seen.is_some() { REPLACE } else { CREATE })
                    .bind(name(key))
                    .bind(next.stamp.to_string())
                    .bind(next.state.as_bytes())
                    .bind(next.open)
                    .bind(next.keep.min(CENTURY).as_secs_f64());
                match seen {
                    Some(seen) => query.bind(seen.to_string()),
                    None => query.bind(key.space.as_bytes()).bind(key.id.as_bytes()),
                }
            }
        };
        let mut lease = self.lease().await?;
        let done = query.execute(&mut **lease).await.map_err(failed)?;
        lease.sound = true;
        Ok(done.rows_affected() > 0)
    }

    async fn swap_now(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<&Record>,
    ) -> Result<Swapped, StoreError> {
        loop {
            if self.write(key, seen, next).await? {
                return Ok(Swapped::Done);
            }
            let found = self.find(key).await?;
            let stamp = found.as_ref().map(|found| found.stamp);
            let happened = match next {
                Some(next) => stamp == Some(next.stamp),
                None => stamp.is_none() && seen.is_none(),
            };
            if happened {
                return Ok(Swapped::Done);
            }
            if stamp != seen {
                return Ok(Swapped::Lost(found));
            }
            // What stood in the way has gone since.
        }
    }

    /// Beside what was asked for: nobody waits for it.
    fn purge_now_and_then(&self) {
        if !self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(PURGE_EVERY) {
            return;
        }
        let this = self.clone();
        let purge = async move {
            let mut lease = this.lease().await?;
            let done = sqlx::query(PURGE).execute(&mut **lease).await.map_err(failed)?;
            lease.sound = true;
            Ok(done.rows_affected())
        };
        tokio::spawn(async {
            match within_patience(purge).await {
                Ok(rows) => tracing::debug!(rows, "expired records deleted"),
                // Rows that stay do no harm but for their room.
                Err(error) => tracing::warn!(%error, "expired records not deleted"),
            }
        });
    }
}

impl ClaimStore for PostgresStore {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        within_patience(self.find(key)).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        let swapped = within_patience(self.swap_now(key, seen, next.as_ref())).await?;
        if swapped == Swapped::Done {
            self.purge_now_and_then();
        }
        Ok(swapped)
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        let rows: Vec<(Vec<u8>, String, Vec<u8>, f64)> = within_patience(async {
            let mut lease = self.lease().await?;
            let query = sqlx::query_as(OPEN).bind(space.as_bytes());
            let rows = query.fetch_all(&mut **lease).await.map_err(failed)?;
            lease.sound = true;
            Ok(rows)
        })
        .await?;
        let open = rows.into_iter().filter_map(|(id, stamp, state, age)| {
            let id = String::from_utf8_lossy(&id).into_owned();
            match stored((stamp, state, age)) {
                Ok(stored) => Some((id, stored)),
                Err(error) => {
                    tracing::error!(space, id, %error, "an open record is left out");
                    None
                }
            }
        });
        Ok(open.collect())
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore")
    }
}

/// A connection that goes back to the pool when it is said to be sound, and is closed otherwise. The pool would ask one
/// that was left in the middle of something whether it still works, and wait for an answer for as long as that takes.
struct Lease {
    connection: PoolConnection<Postgres>,
    sound: bool,
}

impl Deref for Lease {
    type Target = PoolConnection<Postgres>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.sound {
            self.connection.close_on_drop();
        }
    }
}

/// Stamp, state and age in seconds.
type Row = (String, Vec<u8>, f64);

fn stored((stamp, state, age): Row) -> Result<Stored, StoreError> {
    // It is below zero where the server's clock was set back.
    let age = Duration::try_from_secs_f64(age.max(0.0));
    let age = age.map_err(|_| StoreError::corrupt("when a record was written"))?;
    Ok(Stored { stamp: stamp.parse()?, state: text(state)?, age })
}

fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|_| StoreError::corrupt("a record in UTF-8"))
}

/// What a key's digest is taken of. The length keeps apart what else would read the same.
fn name(key: &Key) -> Vec<u8> {
    let space = key.space.as_bytes();
    [&(space.len() as u64).to_be_bytes(), space, key.id.as_bytes()].concat()
}

fn failed(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            StoreError::corrupt("a row of `x402.records`")
        }
        // Not the error itself: its details quote the row.
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if code == "53100" {
                return StoreError::full("PostgreSQL has no room on its disk");
            }
            let hint = match code.as_ref() {
                "3F000" | "42P01" | "42703" => ": run `PostgresStore::migrate`",
                _ => "",
            };
            StoreError::unavailable(format!("PostgreSQL says {} ({code}){hint}", error.message()))
        }
        error => StoreError::unavailable(error),
    }
}
