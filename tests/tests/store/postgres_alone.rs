//! What is particular to PostgreSQL.

use std::time::Duration;

use sqlx::{
    PgPool, SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};
use tokio::task::JoinSet;
use x402_core::store::{ClaimStore, Record, StoreErrorKind};
use x402_store::PostgresStore;

use crate::harness::{Case, Does, Kind, case, database, key, open, record, until};

pub const CASES: &[Case] = &[
    case!(a_database_without_the_schema_says_what_to_do).only(&[Kind::Postgres]),
    case!(migrations_may_run_often_and_at_once).only(&[Kind::Postgres]),
    case!(it_lives_beside_migrations_of_the_user_s).only(&[Kind::Postgres]),
    case!(an_older_instance_starts_beside_a_newer_schema).only(&[Kind::Postgres]),
    case!(a_role_may_have_no_right_to_create_schemas).only(&[Kind::Postgres]),
    case!(expired_rows_are_deleted_sooner_or_later).only(&[Kind::Postgres]),
    case!(what_others_have_put_there_is_corrupt).only(&[Kind::Postgres]),
    case!(it_needs_no_statement_cache_and_one_connection).only(&[Kind::Postgres]),
    case!(a_request_that_is_given_up_leaves_the_pool_sound).only(&[Kind::Postgres]),
    case!(an_error_does_not_quote_the_row).only(&[Kind::Postgres]),
];

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    let (count,): (i64,) = sqlx::query_as(sql).fetch_one(pool).await.unwrap();
    count
}

async fn migrated() -> (PostgresStore, PgPool) {
    let pool = PgPool::connect(&database().await).await.unwrap();
    let store = PostgresStore::new(pool.clone());
    store.migrate().await.unwrap();
    (store, pool)
}

async fn a_database_without_the_schema_says_what_to_do(_: Kind) {
    let store = PostgresStore::connect(&database().await).await.unwrap();
    let error = store.load(&key("a")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("PostgresStore::migrate"), "{error}");
}

async fn migrations_may_run_often_and_at_once(_: Kind) {
    let url = database().await;
    let mut tasks = JoinSet::new();
    for _ in 0..12 {
        let store = PostgresStore::connect(&url).await.unwrap();
        tasks.spawn(async move {
            store.migrate().await.unwrap();
            store.migrate().await.unwrap();
            store
        });
    }
    let stores = tasks.join_all().await;
    let stamp = stores[0].put(&key("a"), None, open("1")).await;
    stores[1].migrate().await.unwrap();
    assert_eq!(stores[2].stamp(&key("a")).await, Some(stamp));
}

async fn it_lives_beside_migrations_of_the_user_s(_: Kind) {
    // The same numbers as ours, in the table that everybody has, and a table of the same name.
    let theirs = |sql: &'static str| {
        Migrator::with_migrations(vec![Migration::new(
            1,
            "records".into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )])
    };
    let first = theirs("CREATE TABLE records (id int PRIMARY KEY); INSERT INTO records VALUES (7)");
    for store_first in [true, false] {
        let pool = PgPool::connect(&database().await).await.unwrap();
        let store = PostgresStore::new(pool.clone());
        for ours in [store_first, !store_first, store_first, !store_first] {
            if ours {
                store.migrate().await.unwrap();
            } else {
                first.run(&pool).await.unwrap();
            }
        }
        store.put(&key("a"), None, record("1")).await;
        assert_eq!(count(&pool, "SELECT count(*) FROM records").await, 1);
        assert_eq!(count(&pool, "SELECT count(*) FROM _sqlx_migrations").await, 1);
        assert_eq!(count(&pool, "SELECT count(*) FROM x402.records").await, 1);
    }
}

async fn an_older_instance_starts_beside_a_newer_schema(_: Kind) {
    let (store, pool) = migrated().await;
    let newer = "INSERT INTO x402.migrations VALUES (9999)";
    sqlx::query(newer).execute(&pool).await.unwrap();
    store.migrate().await.unwrap();
    store.put(&key("a"), None, record("1")).await;
}

async fn a_role_may_have_no_right_to_create_schemas(_: Kind) {
    let url = database().await;
    let pool = PgPool::connect(&url).await.unwrap();
    for sql in ["DROP ROLE IF EXISTS shop", "CREATE ROLE shop LOGIN"] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    let theirs = url.replace("postgres@", "shop@");
    let store = PostgresStore::connect(&theirs).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    sqlx::query("CREATE SCHEMA x402 AUTHORIZATION shop").execute(&pool).await.unwrap();
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    store.put(&key("a"), None, record("1")).await;
}

async fn expired_rows_are_deleted_sooner_or_later(_: Kind) {
    let (store, pool) = migrated().await;
    let keep = Duration::from_millis(1);
    for id in 0..50 {
        store.put(&key(&id.to_string()), None, Record { keep, ..open("1") }).await;
    }
    let held = store.put(&key("held"), None, open("1")).await;
    // Somebody else is writing one of them, and is not waited for.
    let mut busy = pool.begin().await.unwrap();
    let locked = "SELECT 1 FROM x402.records WHERE id = '7'::bytea FOR UPDATE";
    // One of the writings above may have deleted it already.
    while sqlx::query(locked).fetch_optional(&mut *busy).await.unwrap().is_none() {
        store.put(&key("7"), None, Record { keep, ..open("1") }).await;
    }
    let mut seen = None;
    for _ in 0..300 {
        seen = Some(store.put(&key("written"), seen, record("1")).await);
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM x402.records").await, 3);
    busy.rollback().await.unwrap();
    assert_eq!(store.stamp(&key("held")).await, Some(held));
    until(async || {
        let stamp = store.stamp(&key("written")).await;
        store.put(&key("written"), stamp, record("1")).await;
        count(&pool, "SELECT count(*) FROM x402.records").await == 2
    })
    .await;
}

async fn what_others_have_put_there_is_corrupt(_: Kind) {
    let (store, pool) = migrated().await;
    let stamp = store.put(&key("a"), None, open("1")).await;
    for (spoil, mend) in [
        ("UPDATE x402.records SET stamp = 'x'", format!("UPDATE x402.records SET stamp = '{stamp}'")),
        ("UPDATE x402.records SET state = '\\xff'", "UPDATE x402.records SET state = '1'".to_owned()),
        (
            "ALTER TABLE x402.records ALTER stamp TYPE bytea USING stamp::bytea",
            "ALTER TABLE x402.records ALTER stamp TYPE text USING convert_from(stamp, 'UTF8')".to_owned(),
        ),
    ] {
        sqlx::query(spoil).execute(&pool).await.unwrap();
        // Statements that were prepared for the table as it was fail once.
        until(async || {
            let load = store.load(&key("a")).await.unwrap_err();
            let stands_in_the_way = match store.open("claim").await {
                Ok(open) => !open.is_empty(),
                // The whole table is not what it was.
                Err(error) => !spoil.starts_with("ALTER") || error.kind() != StoreErrorKind::Corrupt,
            };
            load.kind() == StoreErrorKind::Corrupt && !stands_in_the_way
        })
        .await;
        sqlx::query(sqlx::AssertSqlSafe(mend)).execute(&pool).await.unwrap();
        until(async || store.load(&key("a")).await.is_ok()).await;
        assert_eq!(store.stamp(&key("a")).await, Some(stamp));
    }
}

async fn it_needs_no_statement_cache_and_one_connection(_: Kind) {
    let options: sqlx::postgres::PgConnectOptions = database().await.parse().unwrap();
    let options = options.statement_cache_capacity(0).extra_float_digits(None);
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let store = PostgresStore::new(pool);
    store.migrate().await.unwrap();
    let first = store.put(&key("a"), None, open("1")).await;
    store.put(&key("a"), Some(first), open("2")).await;
    assert_eq!(store.ids("claim").await, ["a"]);
}

async fn a_request_that_is_given_up_leaves_the_pool_sound(_: Kind) {
    let url = database().await;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
    let store = PostgresStore::new(pool);
    store.migrate().await.unwrap();
    let mut seen = None;
    for round in 0..200 {
        let next = record(&round.to_string());
        let stamp = next.stamp;
        let patience = Duration::from_micros(round * 20);
        let given_up = tokio::time::timeout(patience, store.swap(&key("a"), seen, Some(next.clone()))).await;
        if given_up.is_err() {
            store.put(&key("a"), seen, next).await;
        }
        assert_eq!(store.stamp(&key("a")).await, Some(stamp), "in round {round}");
        seen = Some(stamp);
    }
}

async fn an_error_does_not_quote_the_row(_: Kind) {
    let (store, pool) = migrated().await;
    sqlx::query("ALTER TABLE x402.records ADD CHECK (length(state) < 3)").execute(&pool).await.unwrap();
    let error = store.swap(&key("a"), None, Some(record("5ec4e7"))).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("5ec4e7") && !shown.contains("356563346537"), "{shown}");
}
