//! The schema, step by step. sqlx's own migrator is not used: the lock it takes belongs to a connection, so that it would
//! stay with one that is given up, or that a proxy lends to somebody else.

use std::time::Duration;

use sqlx::PgPool;
use x402_core::store::StoreError;

use super::failed;

/// A step that is published is not changed any more. An older instance must be able to work with what a newer has made
/// of the schema: they run side by side while a service is rolled out.
const STEPS: [&str; 1] = [include_str!("../../migrations/0001_records.sql")];

/// Migrations that are under way elsewhere are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lock of our migrations: `x402` in ASCII.
const LOCK: i64 = 0x7834_3032;

// Asked first, since PostgreSQL wants the right to create a schema also of who would not have to.
const SCHEMA: &str = "\
DO $$ BEGIN IF to_regnamespace('x402') IS NULL THEN CREATE SCHEMA x402; END IF; END $$";

const TABLE: &str = "\
CREATE TABLE IF NOT EXISTS x402.migrations (
    version bigint PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

pub(super) async fn run(pool: &PgPool) -> Result<(), StoreError> {
    let late = |_| Err(StoreError::unavailable("the migration did not end within a minute"));
    let migrated = async { migrate(pool).await.map_err(failed) };
    tokio::time::timeout(PATIENCE, migrated).await.unwrap_or_else(late)
}

/// All in one transaction, whose end releases the lock.
async fn migrate(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    sqlx::query(SCHEMA).execute(&mut *transaction).await?;
    sqlx::query(TABLE).execute(&mut *transaction).await?;
    let there = "SELECT coalesce(max(version), 0) FROM x402.migrations";
    let (there,): (i64,) = sqlx::query_as(there).fetch_one(&mut *transaction).await?;
    for (version, step) in (1_i64..).zip(STEPS).skip_while(|(version, _)| *version <= there) {
        sqlx::raw_sql(step).execute(&mut *transaction).await?;
        let done = sqlx::query("INSERT INTO x402.migrations (version) VALUES ($1)").bind(version);
        done.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
