//! A shop and a facilitator as programs that are killed, and come back at the same port: `src/bin/crash`.
//!
//! Both keep the state of payments where [`store_at`] says. The shop writes down, in a file that outlives it, whenever its
//! handler runs and whenever an answer with the goods is about to leave.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use axum::{
    Router,
    extract::{RawQuery, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::time::{Instant, sleep, timeout};
use x402_axum::GateExt;
use x402_core::{
    failpoint::failpoint,
    gate::{ConfigError, PaymentGate, exact},
    network::BASE_SEPOLIA,
    store::{AnyClaimStore, MemoryStore},
};
use x402_store::{PostgresStore, RedisStore};

use crate::process::Process;

/// What the shop sells.
pub const GOODS: &str = "the goods";

/// How long a program may take to end, or to have its port back.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store by its URL: `redis://…`, `redis+unix://…`, `postgres://…`, or `memory:`, which does not outlive the program.
///
/// # Errors
/// When it is none of these, or does not answer.
pub async fn store_at(url: &str) -> anyhow::Result<AnyClaimStore> {
    if url.starts_with("postgres") {
        let store = PostgresStore::connect(url).await?;
        store.migrate().await?;
        return Ok(AnyClaimStore::new(store));
    }
    if url == "memory:" {
        return Ok(AnyClaimStore::new(MemoryStore::new()));
    }
    Ok(AnyClaimStore::new(RedisStore::connect(url).await?))
}

/// What the shop wrote down. A payment is named by its request: `?id=…`.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<PathBuf>);

/// What is written down about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The handler runs for it.
    Run,
    /// An answer with the goods leaves for it.
    Grant,
}

impl Deed {
    fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Grant => "grant",
        }
    }
}

impl Ledger {
    /// In this file, whether or not it is there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(path.into()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Adds a line, and returns when it will be there whatever happens. Many may do so at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&self, deed: Deed, id: &str) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path())?;
        file.write_all(format!("{} {id}\n", deed.name()).as_bytes())?;
        File::sync_data(&file)?;
        Ok(())
    }

    /// How often each was done, by payment.
    ///
    /// # Errors
    /// When there is something else in the file.
    pub fn read(&self) -> anyhow::Result<HashMap<String, Deeds>> {
        let mut deeds = HashMap::<_, Deeds>::new();
        let text = match std::fs::read_to_string(self.path()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("run", id)) => deeds.entry(id.to_owned()).or_default().runs += 1,
                Some(("grant", id)) => deeds.entry(id.to_owned()).or_default().grants += 1,
                _ => bail!("no deed: {line:?}"),
            }
        }
        Ok(deeds)
    }
}

/// How often the handler ran, and the goods left, for one payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Runs of the handler.
    pub runs: usize,
    /// Answers with the goods.
    pub grants: usize,
}

/// A shop on this gate: `/after` and `/first` cost a cent each, settled after and before the handler.
///
/// # Errors
/// When the seller is nobody.
pub fn shop(gate: &PaymentGate, seller: &str, ledger: Ledger) -> Result<Router, ConfigError> {
    let cent = || exact("$0.01").on(BASE_SEPOLIA).to(seller);
    Ok(Router::new()
        .route("/after", get(sell).layer(gate.charge(cent())?))
        .route("/first", get(sell).layer(gate.charge(cent().settle_first())?))
        // Outside of the gate: what comes by here leaves.
        .layer(middleware::from_fn_with_state(ledger.clone(), note_grants))
        .with_state(ledger))
}

async fn sell(State(ledger): State<Ledger>, RawQuery(query): RawQuery) -> Response {
    let noted = ledger.add(Deed::Run, id(query.as_deref()));
    failpoint("shop-handler");
    match noted {
        Ok(()) => GOODS.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn note_grants(State(ledger): State<Ledger>, request: Request, next: Next) -> Response {
    let query = request.uri().query().map(str::to_owned);
    let answer = next.run(request).await;
    if answer.status() == StatusCode::OK {
        if let Err(error) = ledger.add(Deed::Grant, id(query.as_deref())) {
            return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
        failpoint("shop-granted");
    }
    answer
}

fn id(query: Option<&str>) -> &str {
    query.and_then(|query| query.strip_prefix("id=")).unwrap_or("nobody's")
}

/// A program that serves HTTP and says where: it can be killed, and started again at the same port.
#[derive(Debug)]
pub struct Service {
    program: PathBuf,
    env: Vec<(String, String)>,
    address: SocketAddr,
    process: Option<Process>,
}

impl Service {
    /// Starts it with these variables in its environment.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(program: impl Into<PathBuf>, env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let program = program.into();
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (process, address) = launch(&program, &env, &[("PORT", "0")]).await?;
        Ok(Self { program, env, address, process: Some(process) })
    }

    /// Where it listens, now or when it runs again.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it by SIGKILL, if it runs.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal("KILL")?;
        timeout(PATIENCE, process.ended()).await.context("SIGKILL does not end it")
    }

    /// Makes it stand still, with its connections, from some moment on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().context("it does not run")?.signal("STOP")
    }

    /// Lets it go on where it was, as if no time had passed.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().context("it does not run")?.signal("CONT")
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it goes on for too long.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        timeout(PATIENCE, process.ended()).await.context("the program goes on")?;
        self.process = None;
        Ok(())
    }

    /// Starts it again at the same port, with these variables besides; kills it first if it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, env: &[(&str, &str)]) -> anyhow::Result<()> {
        self.kill().await?;
        let port = self.address.port().to_string();
        let env = [&[("PORT", port.as_str())], env].concat();
        let deadline = Instant::now() + PATIENCE;
        // A connection of somebody's may have been given its port for a moment.
        loop {
            match launch(&self.program, &self.env, &env).await {
                Ok((process, _)) => {
                    self.process = Some(process);
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

async fn launch(
    program: &Path,
    env: &[(String, String)],
    more: &[(&str, &str)],
) -> anyhow::Result<(Process, SocketAddr)> {
    let env = env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let env: Vec<_> = env.chain(more.iter().copied()).collect();
    let listening = |line: &str| line.split_once("listening on http://")?.1.trim().parse().ok();
    Process::start(program, &[], &env, listening).await
}
