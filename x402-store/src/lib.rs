//! Keeps the state of payments where all instances of a service see it, and where it outlives them.
//!
//! | | Feature | |
//! |---|---|---|
//! | [`RedisStore`] | `redis` | Redis 6 or later, Valkey |
//! | [`PostgresStore`] | `postgres` | PostgreSQL 11 or later |
//!
//! Both are a [`ClaimStore`](x402_core::store::ClaimStore). Clocks of the instances do not matter: what expires, and how
//! old a record is, is decided by the server's.
//!
//! # When the server is away
//! An operation ends within five seconds, with an error of the kind
//! [`Unavailable`](x402_core::store::StoreErrorKind::Unavailable) if the server did not answer, and the next one connects
//! again. A write may land after its error, for as long as it is still on its way.
//!
//! # What a lost record means
//! Each of the two says which settings make it keep what it acknowledged. Without them a crash of the server may lose
//! records. A spent payment whose record is lost is verified anew, and refused, since the chain knows its nonce: nobody is
//! served twice for it. But who was charged and not yet served has lost the claim to an answer.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use redis::{RedisConnection, RedisStore};

#[cfg(any(feature = "postgres", feature = "redis"))]
mod patience {
    use std::time::Duration;

    use x402_core::store::StoreError;

    /// How long an operation may take. A request waits for it, and its client for that.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

    /// The longest that a record is kept: beyond that the servers' clocks overflow.
    pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

    pub(crate) async fn within_patience<T>(
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let late = |_| Err(StoreError::unavailable(format!("no answer within {} s", PATIENCE.as_secs())));
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(late)
    }
}
