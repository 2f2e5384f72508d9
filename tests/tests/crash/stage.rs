//! What all trials share: the chain, the servers, and the sums.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
};

use libtest_mimic::Trial;
use tokio::{runtime::Runtime, sync::OnceCell};
use x402_tests::{
    Chain,
    stores::{Postgres, Redis},
};

use crate::{Extent, books::Sums};

pub struct Stage {
    pub extent: Extent,
    chain: OnceCell<Arc<Chain>>,
    postgres: OnceCell<Arc<Postgres>>,
    sums: Mutex<BTreeMap<&'static str, Sums>>,
}

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Redis,
    Postgres,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Redis, Self::Postgres];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// A store of a trial's own.
pub struct Store {
    pub url: String,
    _server: Option<Redis>,
}

impl Stage {
    pub fn new(extent: Extent) -> Self {
        Self { extent, chain: OnceCell::new(), postgres: OnceCell::new(), sums: Mutex::default() }
    }

    /// One for all: each trial has its own buyers, seller and facilitator on it.
    pub async fn chain(&self) -> Arc<Chain> {
        self.chain.get_or_init(async || Arc::new(Chain::start().await.unwrap())).await.clone()
    }

    pub async fn store(&self, kind: Kind) -> Store {
        match kind {
            Kind::Redis => {
                let server = Redis::start().await.unwrap();
                Store { url: server.url(), _server: Some(server) }
            }
            Kind::Postgres => {
                let server =
                    self.postgres.get_or_init(async || Arc::new(Postgres::start().await.unwrap())).await;
                Store { url: server.database().await.unwrap(), _server: None }
            }
        }
    }

    pub fn add(&self, suite: &'static str, sums: Sums) {
        self.sums.lock().unwrap().entry(suite).or_default().add(sums);
    }

    pub fn sums(&self) -> BTreeMap<&'static str, Sums> {
        self.sums.lock().unwrap().clone()
    }
}

type Run = Box<dyn FnOnce(Arc<Stage>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A trial that has yet to be set on a stage.
pub struct Scene {
    name: String,
    run: Run,
}

impl Scene {
    pub fn new<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: FnOnce(Arc<Stage>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self { name: name.into(), run: Box::new(move |stage| Box::pin(run(stage))) }
    }

    pub fn on(self, runtime: Arc<Runtime>, stage: Arc<Stage>) -> Trial {
        Trial::test(self.name, move || {
            runtime.block_on((self.run)(stage));
            Ok(())
        })
    }
}
