//! What the binary logs: to stderr, as RUST_LOG says, and never a payment.
//!
//! Whoever holds a payment can settle it. Our own crates log none at any level. The libraries beneath them log what
//! goes through their hands: HTTP bodies, JSON-RPC parameters, statements and what is bound to them. They say it at
//! `debug` and `trace`, so of everything that is not ours no more than `info` is logged, whatever RUST_LOG asks for.
//! There is no way around this: where their words are needed, run them in a program of your own.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::Lookup;

/// What the names of our crates begin with, and those of no library.
const OURS: &str = "x402_";

/// What RUST_LOG asks for.
pub(crate) fn filter(lookup: Lookup<'_>) -> anyhow::Result<EnvFilter> {
    let directives = lookup("RUST_LOG")?.unwrap_or_else(|| "info".to_owned());
    EnvFilter::try_new(&directives).with_context(|| {
        format!(
            "RUST_LOG is {directives:?}: expected directives like `info` or `info,x402_facilitator=debug`"
        )
    })
}

/// Begins to log.
pub(crate) fn to_stderr(filter: EnvFilter) {
    let asks_for_more = filter.max_level_hint().is_some_and(|level| level > LevelFilter::INFO);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines.with_filter(filter_fn(holds_no_payment))).with(filter).init();
    if asks_for_more {
        tracing::info!(
            "beyond `info` only the crates of x402 are logged: what libraries say there has payments in it"
        );
    }
}

fn holds_no_payment(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target().starts_with(OURS)
}
