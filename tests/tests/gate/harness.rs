//! The table of cases, and on what each of them runs.
//!
//! A case is an `async fn` of the stack it is to run on. The program runs every case on every stack it is for, as any
//! test runner would, and prints the matrix of both at the end.

use std::{
    collections::BTreeMap,
    panic,
    pin::Pin,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use libtest_mimic::{Arguments, Trial};
use tokio::{runtime, time::timeout};

/// A framework, and what it is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    pub framework: Framework,
    pub wire: Wire,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Framework {
    Axum,
    Actix,
    Poem,
    /// The layer alone, served by hyper.
    Tower,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    Http1,
    Http2,
}

impl Framework {
    const ALL: [Self; 4] = [Self::Axum, Self::Actix, Self::Poem, Self::Tower];

    pub fn name(self) -> &'static str {
        match self {
            Self::Axum => "axum",
            Self::Actix => "actix-web",
            Self::Poem => "poem",
            Self::Tower => "tower",
        }
    }
}

impl Stack {
    /// A pattern, or a key of a table, in the framework's own words; it is given in axum's.
    pub fn words(self, pattern: &str) -> String {
        match self.framework {
            Framework::Poem => pattern.replace('{', ":").replace('}', ""),
            _ => pattern.to_owned(),
        }
    }

    /// Whether a request ends with its client. In actix-web and poem it goes on to its end, and nobody hears of it.
    pub fn drops_who_hangs_up(self) -> bool {
        matches!(self.framework, Framework::Axum | Framework::Tower)
    }
}

/// How long a case may take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

type Run = fn(Stack) -> Pin<Box<dyn Future<Output = ()>>>;

/// A case, and where it runs: on every framework, in HTTP/1.1 and HTTP/2, if nothing else is said.
#[derive(Clone, Copy)]
pub struct Case {
    module: &'static str,
    name: &'static str,
    run: Run,
    frameworks: &'static [Framework],
    wires: &'static [Wire],
    clock: Clock,
}

#[derive(Clone, Copy)]
enum Clock {
    Real,
    /// Stands still while there is something to do, and leaps where there is not.
    Paused,
    /// Real, and several threads.
    Threads,
}

impl Case {
    pub const fn new(module: &'static str, name: &'static str, run: Run) -> Self {
        Self {
            module,
            name,
            run,
            frameworks: &Framework::ALL,
            wires: &[Wire::Http1, Wire::Http2],
            clock: Clock::Real,
        }
    }

    /// Sends bytes that HTTP/2 has no way to say, or asks about the connection.
    pub const fn http1(mut self) -> Self {
        self.wires = &[Wire::Http1];
        self
    }

    /// Is about these frameworks.
    pub const fn only(mut self, frameworks: &'static [Framework]) -> Self {
        self.frameworks = frameworks;
        self
    }

    /// Is about no framework at all.
    pub const fn once(mut self) -> Self {
        self.frameworks = &[];
        self
    }

    pub const fn paused(mut self) -> Self {
        self.clock = Clock::Paused;
        self
    }

    pub const fn threads(mut self) -> Self {
        self.clock = Clock::Threads;
        self
    }

    fn stacks(&self) -> Vec<Stack> {
        let on = |framework: &Framework| {
            self.wires.iter().map(|wire| Stack { framework: *framework, wire: *wire }).collect::<Vec<_>>()
        };
        self.frameworks.iter().flat_map(on).collect()
    }

    fn run(&self, stack: Stack) {
        let runtime = match self.clock {
            Clock::Real => runtime::Builder::new_current_thread().enable_all().build(),
            Clock::Paused => runtime::Builder::new_current_thread().enable_all().start_paused(true).build(),
            Clock::Threads => runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build(),
        };
        let runtime = runtime.unwrap();
        match self.clock {
            // Its time leaps.
            Clock::Paused => runtime.block_on((self.run)(stack)),
            _ => runtime.block_on(async {
                timeout(PATIENCE, (self.run)(stack)).await.expect("a case ends within two minutes");
            }),
        }
    }
}

/// A case of this module.
macro_rules! case {
    ($name:ident) => {
        $crate::harness::Case::new(module_path!(), stringify!($name), |stack| Box::pin($name(stack)))
    };
}
pub(crate) use case;

/// Passed or failed, by case, framework and wire.
type Results = BTreeMap<(String, Option<Framework>), BTreeMap<Wire, bool>>;

/// Runs the cases that were asked for.
pub fn main(cases: impl IntoIterator<Item = Case>) -> ExitCode {
    let arguments = Arguments::from_args();
    let listing = arguments.list;
    silence_panics_that_should_be();
    let results = Arc::new(Mutex::new(Results::new()));
    let mut trials = Vec::new();
    for case in cases {
        let module = case.module.rsplit("::").next().unwrap_or(case.module);
        let name = format!("{module}::{}", case.name);
        let trial = |stack: Stack, framework: Option<Framework>| {
            let on = framework.map_or("once".to_owned(), |framework| {
                format!("{}::{}", framework.name(), if stack.wire == Wire::Http1 { "h1" } else { "h2" })
            });
            let (results, key) = (results.clone(), (name.clone(), framework));
            Trial::test(format!("{name}::{on}"), move || {
                let outcome = panic::catch_unwind(|| case.run(stack));
                let mut results = results.lock().unwrap();
                results.entry(key).or_default().insert(stack.wire, outcome.is_ok());
                drop(results);
                outcome.map_err(|panic| panic::resume_unwind(panic))
            })
        };
        let stacks = case.stacks();
        if stacks.is_empty() {
            trials.push(trial(Stack { framework: Framework::Axum, wire: Wire::Http1 }, None));
        }
        trials.extend(stacks.into_iter().map(|stack| trial(stack, Some(stack.framework))));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !listing {
        print_matrix(&results.lock().unwrap());
    }
    conclusion.exit_code()
}

/// What handlers do on purpose is no news.
fn silence_panics_that_should_be() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if !["as it should", "not those of another table"].iter().any(|expected| message.contains(expected)) {
            usual(panic);
        }
    }));
}

#[allow(clippy::print_stdout)]
fn print_matrix(results: &Results) {
    let mut rows: Vec<&str> = results.keys().map(|(name, _)| name.as_str()).collect();
    rows.dedup();
    let width = rows.iter().map(|name| name.len()).max().unwrap_or_default();
    let one_wire = results.values().flat_map(|cell| cell.keys()).all(|wire| *wire == Wire::Http1);
    let legend = if one_wire { "" } else { "1: HTTP/1.1, 2: HTTP/2, " };
    println!("cases x frameworks ({legend}-: not about this framework)\n");
    let columns = Framework::ALL.map(Some).into_iter().chain([None]);
    let name = |column: Option<Framework>| column.map_or("once", Framework::name);
    let heads: Vec<String> = columns.clone().map(|column| format!("{:<10}", name(column))).collect();
    println!("{:width$}  {}", "", heads.concat().trim_end());
    let mut passed = BTreeMap::<Option<Framework>, usize>::new();
    for row in rows {
        let cells: Vec<String> = columns
            .clone()
            .map(|column| {
                let Some(cell) = results.get(&(row.to_owned(), column)) else {
                    return "-".to_owned();
                };
                *passed.entry(column).or_default() += cell.values().filter(|passed| **passed).count();
                if cell.values().any(|passed| !passed) {
                    return "FAILED".to_owned();
                }
                if one_wire {
                    return "passed".to_owned();
                }
                let wires = cell.keys().map(|wire| if *wire == Wire::Http1 { "1" } else { "2" });
                wires.collect::<Vec<_>>().join(" ")
            })
            .map(|cell| format!("{cell:<10}"))
            .collect();
        println!("{row:width$}  {}", cells.concat().trim_end());
    }
    let sums: Vec<String> =
        columns.map(|column| format!("{:<10}", passed.get(&column).unwrap_or(&0))).collect();
    println!("{:width$}  {}\n", "passed", sums.concat().trim_end());
}
