//! The x402 facilitator: the protocol's HTTP API over the EVM schemes, set up from the environment.

mod chains;
mod config;
mod logging;
mod variables;

use std::{
    env,
    fmt::Display,
    io::{self, Write},
    net::SocketAddr,
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Command;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};
use x402_core::{
    asset::{TransferMethod, tokens_of},
    network::Network,
    scheme::FacilitatorScheme,
    store::{AnyClaimStore, MemoryStore, StoreError},
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::{LocalFacilitator, http};
use x402_store::{PostgresStore, RedisStore};

use config::{Assets, Config, EvmChain, Store, environment};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A wrong argument or variable, as clap says it, too.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    // Answers `--help`, `--version` and whatever else it is given, and ends the process.
    Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .about("An x402 facilitator: verifies payments over HTTP and settles them on EVM chains.")
        .after_help(variables::help())
        .get_matches();
    let mut faults = Vec::new();
    let filter = logging::filter(&environment).map_err(|error| faults.push(error)).ok();
    let config = Config::read(&environment, &mut faults);
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let ignored = variables::ignored(names, config.as_ref().map(|config| config.chains.as_slice()));
    let (Some(config), Some(filter)) = (config, filter) else {
        say_faults(&faults, &ignored);
        return ExitCode::from(BAD_USAGE);
    };
    logging::to_stderr(filter);
    for words in ignored {
        tracing::warn!("{words}");
    }
    let outcome = Runtime::new().context("no Tokio runtime").and_then(|runtime| {
        let outcome = runtime.block_on(run(&config));
        // Nothing of ours is left to wait for; a look-up of a host's name may take minutes.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::ByForce) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("x402-facilitator: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// All that is wrong with the environment.
fn say_faults(faults: &[anyhow::Error], ignored: &[String]) {
    say("x402-facilitator: it does not start, since its environment is wrong:");
    for error in faults {
        say(&format!("  - {error:#}"));
    }
    for words in ignored {
        say(&format!("  - {words}"));
    }
    say("`x402-facilitator --help` lists every variable.");
}

fn say(line: &str) {
    // Whoever closed stderr does not want to hear it.
    let _ = writeln!(io::stderr(), "{line}");
}

/// How it came to an end.
enum Ended {
    /// All settlements that had begun are done.
    Stopped,
    /// By a second signal.
    ByForce,
}

async fn run(config: &Config) -> anyhow::Result<Ended> {
    // Whatever speaks TLS here speaks it with ring; nobody else has installed a provider before `main`.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let store = store(&config.store).await.context("the store of STORE_URL cannot be used")?;
    let facilitator = facilitator(config, &store)?;
    let mut signals = Signals::listen()?;
    let listener = TcpListener::bind((config.host.as_str(), config.port))
        .await
        .with_context(|| format!("cannot listen on HOST {} and PORT {}", config.host, config.port))?;
    let address = listener.local_addr()?;
    warn_if_open(address);
    let mut stdout = io::stdout();
    writeln!(stdout, "x402-facilitator listening on http://{address}")?;
    stdout.flush()?;

    let (stop, stopping) = oneshot::channel::<()>();
    let stopping = async {
        let _ = stopping.await;
    };
    let mut serving = pin!(http::serve(listener, facilitator, stopping));
    tokio::select! {
        ended = &mut serving => {
            ended?;
            return Ok(Ended::Stopped);
        }
        () = signals.next() => {}
    }
    tracing::info!(
        "stopping when the settlements that have begun are done; a second signal stops it at once"
    );
    let _ = stop.send(());
    tokio::select! {
        biased;
        ended = &mut serving => {
            ended?;
            tracing::info!("stopped");
            Ok(Ended::Stopped)
        }
        () = signals.next() => {
            tracing::error!("stopped by force: settlements that had begun may be on chain all the same");
            Ok(Ended::ByForce)
        }
    }
}

/// Whether others than this machine reach it.
fn is_open(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// The API asks nobody who they are.
fn warn_if_open(address: SocketAddr) {
    if is_open(address) {
        tracing::warn!(
            %address,
            "OPEN TO OTHERS: this API has no credentials, and whoever reaches it has payments settled on the signer's gas. \
             Put a proxy with authentication and rate limits in front of it and let only that proxy reach it, or set HOST \
             to 127.0.0.1"
        );
    }
}

/// Where settlements are written down, for all networks.
async fn store(store: &Store) -> Result<AnyClaimStore, StoreError> {
    Ok(match store {
        Store::Memory => {
            tracing::warn!(
                "STORE_URL is not set: what is under way is forgotten when this process is killed"
            );
            AnyClaimStore::new(MemoryStore::new())
        }
        Store::Redis(url) => AnyClaimStore::new(RedisStore::connect(url).await?),
        Store::Postgres(url) => {
            let store = PostgresStore::connect(url).await?;
            store.migrate().await?;
            AnyClaimStore::new(store)
        }
    })
}

fn facilitator(config: &Config, store: &AnyClaimStore) -> anyhow::Result<LocalFacilitator> {
    let mut facilitator = LocalFacilitator::new();
    if config.assets == Assets::Any {
        tracing::warn!(
            "EVM_ASSETS is `any`: whoever reaches this runs contracts of their own on the signer's gas"
        );
    }
    for EvmChain { name, network, rpc_urls, minimums, variable } in &config.chains {
        let exact = ExactFacilitator::connect_all(rpc_urls, network.clone(), config.signer.clone())
            .with_context(|| format!("cannot settle on {name}"))?
            .receipt_timeout(config.receipt_timeout)
            .store(store.clone());
        let exact = config.max_gas.into_iter().fold(exact, ExactFacilitator::max_gas);
        let exact = minimums.iter().fold(exact, |exact, (token, amount)| exact.min_amount(*token, *amount));
        let exact = match &config.assets {
            Assets::Listed(tokens) => {
                if tokens.is_empty() && !has_known_token(network) {
                    tracing::warn!(%network, "no token is known there: nothing is settled until EVM_ASSETS names one");
                }
                tokens.iter().copied().fold(exact, ExactFacilitator::allow_token)
            }
            Assets::Any => exact.any_token(),
        };
        let (node, variable) = (exact.clone(), variable.clone());
        tokio::spawn(async move {
            let say = |failure: Option<&str>| match failure {
                Some(error) => {
                    tracing::warn!(
                        error,
                        "payments cannot be settled until this is right: {variable} names the endpoint"
                    );
                }
                None => tracing::info!("the endpoint of {variable} is right"),
            };
            let ready = || {
                let node = node.clone();
                async move { node.ready().await }
            };
            until_right(ready, tokio::time::sleep, say).await;
        });
        facilitator = facilitator.with(exact);
        tracing::info!(name, %network, signer = %config.signer.address(), "settling");
    }
    Ok(facilitator)
}

fn has_known_token(network: &Network) -> bool {
    tokens_of(network).any(|token| matches!(token.transfer, TransferMethod::Eip3009 { .. }))
}

/// Checks until it is right, ever less often. Says each failure when it is another than the last one, and the end.
async fn until_right<C, E, P>(
    check: impl Fn() -> C,
    sleep: impl Fn(Duration) -> P,
    say: impl Fn(Option<&str>),
) where
    C: Future<Output = Result<(), E>>,
    E: Display,
    P: Future<Output = ()>,
{
    let (mut pause, mut last) = (FIRST_PAUSE, String::new());
    while let Err(error) = check().await {
        let error = error.to_string();
        if error != last {
            say(Some(&error));
            last = error;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    say(None);
}

/// The signals that end the process.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::ready};

    use super::*;

    #[test]
    fn what_others_reach_is_open() {
        for (address, open) in [
            ("127.0.0.1:8090", false),
            ("127.8.0.1:8090", false),
            ("[::1]:8090", false),
            ("[::ffff:127.0.0.1]:8090", false),
            ("0.0.0.0:8090", true),
            ("[::]:8090", true),
            ("10.0.0.7:8090", true),
            ("[fe80::1]:8090", true),
            ("[::ffff:10.0.0.7]:8090", true),
        ] {
            assert_eq!(is_open(address.parse().unwrap()), open, "{address}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_is_checked_until_it_is_right() {
        let failures = ["down", "down", "wrong", "wrong", "wrong", "wrong", "wrong", "down"];
        let answers = RefCell::new(failures.iter());
        let (pauses, said) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        until_right(
            || ready(answers.borrow_mut().next().map_or(Ok(()), Err)),
            |pause| {
                pauses.borrow_mut().push(pause.as_secs());
                ready(())
            },
            |failure| said.borrow_mut().push(failure.unwrap_or("right").to_owned()),
        )
        .await;
        assert_eq!(*pauses.borrow(), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(*said.borrow(), ["down", "wrong", "down", "right"]);
    }
}
