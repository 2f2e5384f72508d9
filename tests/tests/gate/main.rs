//! How the gate behaves: over real sockets, through the public API, in every framework.
//!
//! A case asserts what a client or an operator would notice: status, headers, how often handlers ran and how often
//! the facilitator was asked. `shop.rs` says what is sold, `stacks/` sells it in each framework.

#![allow(missing_docs, clippy::unwrap_used, unreachable_pub)] // the helpers of a test fail as the test does

mod far;
mod goods;
mod harness;
mod shop;
mod stacks;
mod support;

mod actix_alone;
mod availability;
mod axum_alone;
mod claims;
mod config;
mod corners;
mod debts;
mod deliveries;
mod doubt;
mod fields;
mod foreign;
mod grpc;
mod hooks;
mod hostile;
mod identifiers;
mod mutations;
mod offers;
mod on_chain;
mod once;
mod options;
mod outcomes;
mod payments;
mod peers;
mod people;
mod poem_alone;
mod preflights;
mod pressure;
mod remote;
mod routing;
mod secrets;
mod settlement;
mod tables;
mod timing;
mod tower_alone;

fn main() -> std::process::ExitCode {
    secrets::keep_log();
    let modules = [
        actix_alone::CASES,
        availability::CASES,
        axum_alone::CASES,
        claims::CASES,
        config::CASES,
        corners::CASES,
        debts::CASES,
        deliveries::CASES,
        doubt::CASES,
        fields::CASES,
        foreign::CASES,
        grpc::CASES,
        hooks::CASES,
        hostile::CASES,
        identifiers::CASES,
        identifiers::instances::CASES,
        identifiers::uploads::CASES,
        mutations::CASES,
        offers::CASES,
        on_chain::CASES,
        once::CASES,
        options::CASES,
        outcomes::CASES,
        payments::CASES,
        people::CASES,
        poem_alone::CASES,
        peers::CASES,
        preflights::CASES,
        pressure::CASES,
        remote::CASES,
        routing::CASES,
        secrets::CASES,
        settlement::CASES,
        tables::CASES,
        timing::CASES,
        tower_alone::CASES,
    ];
    harness::main(modules.into_iter().flatten().copied())
}
