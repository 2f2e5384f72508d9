//! The page that takes a payment, in a real browser: on every framework, with a wallet, on a real chain.
//!
//! A case asserts what the person in front of the page sees, and what moved on the chain: never more than one payment for
//! one purchase. `market.rs` says what is sold and to whom; the shop in each framework is the gate suite's.
//!
//! `cargo xtask browser` runs it, `cargo xtask browser --screenshots` also takes the pictures of `docs/screenshots`.

#![allow(missing_docs, clippy::unwrap_used, unreachable_pub)] // the helpers of a test fail as the test does

#[allow(dead_code, reason = "the gate suite sells more")]
#[path = "../gate/goods.rs"]
mod goods;
#[allow(dead_code, reason = "the gate suite asks for more")]
#[path = "../gate/harness.rs"]
mod harness;
#[path = "../gate/stacks/mod.rs"]
mod stacks;

mod market;
mod till;

mod answers;
mod arrivals;
mod articles;
mod buying;
mod caching;
mod choices;
mod endings;
mod hostile;
mod looks;
mod people;
mod rig;
mod rules;
mod signed;
mod trouble;
mod wallets;

#[allow(clippy::print_stdout)] // like the matrix
fn main() -> std::process::ExitCode {
    let modules = [
        answers::CASES,
        arrivals::CASES,
        articles::CASES,
        buying::CASES,
        caching::CASES,
        choices::CASES,
        endings::CASES,
        hostile::CASES,
        looks::CASES,
        people::CASES,
        rig::CASES,
        rules::CASES,
        signed::CASES,
        trouble::CASES,
        wallets::CASES,
    ];
    let code = harness::main(modules.into_iter().flatten().map(|case| case.http1()));
    market::close_the_browser();
    if let Some((bytes, gzipped)) = people::WEIGHT.get() {
        println!("the page: {bytes} bytes, {gzipped} with gzip");
    }
    code
}
