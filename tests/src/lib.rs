//! The test rig: a real chain, published peers, scripted facilitators.
//!
//! - [`Chain`] is a local EVM node with a dollar at the address where clients look for USDC;
//! - [`browser`] is a real one, its visitors have wallets on that chain;
//! - [`token`] speaks to that dollar and signs what it understands;
//! - [`script`] is a facilitator that does as it is told, [`serve`] puts services on sockets;
//! - [`crash`] is a shop and a facilitator that are killed and come back, [`proxy`] breaks the connections between them;
//! - [`nginx`] is a caching proxy in front of a service;
//! - [`stores`] are servers of Redis and PostgreSQL, to be killed and started again;
//! - [`process`] runs programs that never outlive a test, the facilitator's binary among them;
//! - [`node`] runs the published packages: [`node::run`] a client, [`node::Server`] a server.
//!
//! The node and the packages come from npm, the servers from Debian. `cargo xtask test` fetches them; a test that lacks
//! them says so.

pub mod browser;
pub mod chain;
pub mod crash;
pub mod nginx;
pub mod node;
pub mod process;
pub mod proxy;
pub mod script;
pub mod serve;
pub mod stores;
pub mod token;

pub use chain::Chain;

use std::path::{Path, PathBuf};
use std::sync::Once;

/// Makes `ring` the process's TLS provider. Every HTTP client wants one to be there when it is built, also a client
/// that speaks to the loopback interface only. Further calls do nothing.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a provider was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// An HTTP client for servers on this machine, whatever proxy the environment asks for.
pub fn http() -> anyhow::Result<reqwest::Client> {
    install_crypto();
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

/// A path below this crate's folder.
fn at(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The README's code, compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
