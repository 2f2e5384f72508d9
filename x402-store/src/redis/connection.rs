//! A connection that comes back, whatever it broke with.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt;
use redis::{
    Client, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
};

/// What [`RedisStore::connect`](super::RedisStore::connect) makes: a [`ConnectionManager`], replaced by another one where it
/// would not connect anew. It does after errors of input and output alone, and keeps telling of any other error that it
/// met while it connected, such as half an answer.
#[derive(Clone)]
pub struct RedisConnection(Arc<Inner>);

struct Inner {
    client: Client,
    config: ConnectionManagerConfig,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    manager: ConnectionManager,
    number: u64,
}

impl RedisConnection {
    pub(super) async fn open(client: Client, config: ConnectionManagerConfig) -> RedisResult<Self> {
        let manager = ConnectionManager::new_with_config(client.clone(), config.clone()).await?;
        let current = Mutex::new(Current { manager, number: 0 });
        Ok(Self(Arc::new(Inner { client, config, current })))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes another one in the place of this, unless somebody did.
    fn replace(&self, number: u64) {
        let mut current = self.current();
        if current.number != number {
            return;
        }
        // It connects when it is first used.
        if let Ok(manager) =
            ConnectionManager::new_lazy_with_config(self.0.client.clone(), self.0.config.clone())
        {
            *current = Current { manager, number: number + 1 };
        }
    }

    fn judge<T>(&self, number: u64, answer: RedisResult<T>) -> RedisResult<T> {
        let is_stuck = |error: &RedisError| !error.is_io_error() && error.code().is_none();
        answer.inspect_err(|error| {
            if is_stuck(error) {
                self.replace(number);
            }
        })
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let Current { mut manager, number } = self.current().clone();
        async move { self.judge(number, manager.req_packed_command(command).await) }.boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let Current { mut manager, number } = self.current().clone();
        async move { self.judge(number, manager.req_packed_commands(pipeline, offset, count).await) }.boxed()
    }

    fn get_db(&self) -> i64 {
        self.current().manager.get_db()
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisConnection")
    }
}
