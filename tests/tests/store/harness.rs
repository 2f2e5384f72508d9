//! The cases, and on what each of them runs.

use std::{
    pin::Pin,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};
use tokio::{
    runtime,
    sync::Mutex,
    time::{sleep, timeout},
};
use x402_core::store::{AnyClaimStore, ClaimStore, Key, MemoryStore, Record, Stamp, Stored, Swapped};
use x402_store::{PostgresStore, RedisStore};
use x402_tests::stores::{Postgres, Redis};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Redis,
    Postgres,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Memory, Self::Redis, Self::Postgres];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    /// An empty place for records, on the server that all cases share.
    pub async fn place(self) -> Place {
        static PLACES: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::Memory => Place::Memory(MemoryStore::new()),
            Self::Redis => {
                let mut server = REDIS.lock().await;
                if server.is_none() {
                    *server = Some(Redis::start().await.unwrap());
                }
                let prefix = format!("{{{}}}", PLACES.fetch_add(1, Ordering::Relaxed));
                Place::Redis { url: server.as_ref().unwrap().url(), prefix }
            }
            Self::Postgres => {
                let url = database().await;
                PostgresStore::connect(&url).await.unwrap().migrate().await.unwrap();
                Place::Postgres { url }
            }
        }
    }
}

/// An empty database on the server that all cases share.
pub async fn database() -> String {
    let mut server = POSTGRES.lock().await;
    if server.is_none() {
        *server = Some(Postgres::start().await.unwrap());
    }
    server.as_ref().unwrap().database().await.unwrap()
}

static REDIS: Mutex<Option<Redis>> = Mutex::const_new(None);
static POSTGRES: Mutex<Option<Postgres>> = Mutex::const_new(None);

/// Where records are kept.
pub enum Place {
    Memory(MemoryStore),
    Redis { url: String, prefix: String },
    Postgres { url: String },
}

impl Place {
    /// One instance's store, with connections of its own.
    pub async fn store(&self) -> AnyClaimStore {
        match self {
            Self::Memory(store) => AnyClaimStore::new(store.clone()),
            Self::Redis { url, prefix } => {
                AnyClaimStore::new(RedisStore::connect(url).await.unwrap().prefix(prefix.as_str()))
            }
            Self::Postgres { url } => AnyClaimStore::new(PostgresStore::connect(url).await.unwrap()),
        }
    }
}

pub fn key(id: &str) -> Key {
    Key::new("claim", id)
}

/// A new writing, to be kept for long.
pub fn record(state: &str) -> Record {
    Record { stamp: Stamp::new(), state: state.to_owned(), open: false, keep: Duration::from_secs(3600) }
}

pub fn open(state: &str) -> Record {
    Record { open: true, ..record(state) }
}

/// What every case does all the time.
pub trait Does: ClaimStore {
    async fn put(&self, key: &Key, seen: Option<Stamp>, next: Record) -> Stamp {
        let stamp = next.stamp;
        assert_eq!(self.swap(key, seen, Some(next)).await.unwrap(), Swapped::Done);
        stamp
    }

    async fn remove(&self, key: &Key, seen: Stamp) {
        assert_eq!(self.swap(key, Some(seen), None).await.unwrap(), Swapped::Done);
    }

    async fn stamp(&self, key: &Key) -> Option<Stamp> {
        self.load(key).await.unwrap().map(|stored| stored.stamp)
    }

    async fn ids(&self, space: &str) -> Vec<String> {
        self.open(space).await.unwrap().into_keys().collect()
    }
}

impl<S: ClaimStore> Does for S {}

/// What is there in place of what somebody expected.
#[track_caller]
pub fn lost(swapped: Swapped) -> Option<Stored> {
    match swapped {
        Swapped::Lost(found) => found,
        Swapped::Done => panic!("the swap was to be lost"),
    }
}

/// Waits until it is so.
pub async fn until<F: Future<Output = bool>>(so: impl Fn() -> F) {
    let waiting = async {
        while !so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.expect("it is so within 20 seconds");
}

/// How long an answer took, and the answer.
pub async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (work.await, start.elapsed())
}

/// How long a case may take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

type Run = fn(Kind) -> Pin<Box<dyn Future<Output = ()>>>;

/// A case, and where it runs: on every store, if nothing else is said.
#[derive(Clone, Copy)]
pub struct Case {
    module: &'static str,
    name: &'static str,
    run: Run,
    kinds: &'static [Kind],
}

impl Case {
    pub const fn new(module: &'static str, name: &'static str, run: Run) -> Self {
        Self { module, name, run, kinds: &Kind::ALL }
    }

    /// Is about these stores.
    pub const fn only(mut self, kinds: &'static [Kind]) -> Self {
        self.kinds = kinds;
        self
    }

    fn run(&self, kind: Kind) {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            timeout(PATIENCE, (self.run)(kind)).await.expect("a case ends within two minutes");
        });
    }
}

/// A case of this module.
macro_rules! case {
    ($name:ident) => {
        $crate::harness::Case::new(module_path!(), stringify!($name), |kind| Box::pin($name(kind)))
    };
}
pub(crate) use case;

/// Runs the cases that were asked for.
pub fn main(cases: impl IntoIterator<Item = Case>) -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = cases.into_iter().flat_map(|case| {
        let module = case.module.rsplit("::").next().unwrap_or(case.module);
        case.kinds.iter().map(move |kind| {
            let name = format!("{module}::{}::{}", case.name, kind.name());
            Trial::test(name, move || {
                case.run(*kind);
                Ok(())
            })
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // Statics are not dropped, and the servers' folders go with them.
    drop((REDIS.blocking_lock().take(), POSTGRES.blocking_lock().take()));
    conclusion.exit_code()
}

/// Two instances on one place.
pub async fn two(kind: Kind) -> [Arc<AnyClaimStore>; 2] {
    let place = kind.place().await;
    [Arc::new(place.store().await), Arc::new(place.store().await)]
}
