//! What is left when something breaks: whoever pays is served for it, once, whatever dies and whatever is cut.
//!
//! - `points`: the gate or the facilitator ends at each of its states, as by SIGKILL, and comes back;
//! - `kills`: it is killed at random moments while many pay;
//! - `faults`: connections break between the gate, its facilitator, the node and the stores, at each step of a payment;
//! - `restarts`: the store itself dies while many pay;
//! - `instances`: nothing breaks, and one payment comes 64 times at once to two instances.
//!
//! In all of them a payment is presented until it has come to its end, and then it is counted: how often the chain moved
//! its money, how often the handler ran, how often an answer with the goods left the gate (a *grant*), and what the stores
//! say. Grants are never more than transfers. A handler may run more often than that: it runs before its payment is
//! settled, and a gate that dies in between has given nothing away.
//!
//! `X402_NIGHTLY=1` runs all of it at length. `docs/what-breaks.md` says more.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, unreachable_pub)] // the helpers of a test fail as the test does

mod books;
mod buyer;
mod faults;
mod instances;
mod kills;
mod market;
mod points;
mod restarts;
mod stage;
mod town;

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use crate::{books::Sums, stage::Stage};

/// How much is done.
#[derive(Clone, Copy)]
pub struct Extent {
    /// How often the process ends at each point.
    pub rounds: usize,
    /// How often something is killed under load.
    pub kills: usize,
    /// How often an instance is stopped for a while, for each store.
    pub freezes: usize,
    /// How often a store is restarted under load.
    pub restarts: usize,
    /// How many payments come to two instances at once, for each store.
    pub races: usize,
    /// Whether each fault strikes once, too, and not only until it is lifted.
    pub faults_once: bool,
}

impl Extent {
    fn from_env() -> Self {
        match std::env::var_os("X402_NIGHTLY") {
            Some(_) => {
                Self { rounds: 20, kills: 200, freezes: 40, restarts: 30, races: 200, faults_once: true }
            }
            None => Self { rounds: 2, kills: 20, freezes: 4, restarts: 3, races: 20, faults_once: false },
        }
    }
}

/// Most of the time something is waited for: a lease, a time-out.
const AT_ONCE: usize = 32;

fn main() -> ExitCode {
    x402_tests::install_crypto();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let listing = arguments.list;

    let runtime = Arc::new(Runtime::new().unwrap());
    let extent = Extent::from_env();
    let stage = Arc::new(Stage::new(extent));
    let trials: Vec<Trial> =
        [points::trials(), kills::trials(), restarts::trials(), instances::trials(), faults::trials(extent)]
            .into_iter()
            .flatten()
            .map(|trial| trial.on(runtime.clone(), stage.clone()))
            .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !listing {
        print(&stage.sums());
    }
    conclusion.exit_code()
}

fn print(sums: &BTreeMap<&'static str, Sums>) {
    println!();
    for (suite, sums) in sums {
        println!("{suite}: {sums}");
    }
}
