//! How stores behave, each against the server it is for, through the trait alone.
//!
//! A case is run on every store, unless it is about one: see `harness.rs`.

#![allow(missing_docs, clippy::unwrap_used, unreachable_pub)] // the helpers of a test fail as the test does

mod harness;

mod contract;
mod expiry;
mod hostile;
mod outages;
mod postgres_alone;
mod races;
mod redis_alone;

fn main() -> std::process::ExitCode {
    let modules = [
        contract::CASES,
        expiry::CASES,
        hostile::CASES,
        outages::CASES,
        postgres_alone::CASES,
        races::CASES,
        redis_alone::CASES,
    ];
    harness::main(modules.into_iter().flatten().copied())
}
