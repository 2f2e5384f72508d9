//! The project's commands: `cargo xtask demo`, `cargo xtask test` and parts of it at length.
//!
//! Each installs what it needs and is not there yet, says so, and is quick when nothing is missing.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to who runs it")]

mod tools;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use tools::Tools;

const USAGE: &str = "\
cargo xtask demo [OPTIONS]    pay for a request on a local chain, and show every step
                              --framework=axum|actix|poem|tower: to which of the examples; axum if not said
                              --remote: through the facilitator's binary instead of the embedded one
cargo xtask newspaper         open a newspaper on a local chain, to be read in a browser and paid with a wallet
cargo xtask test [ARGS...]    install what the tests need, and run them all
                              ARGS go to `cargo test`: a filter, or `-p x402-core`
cargo xtask browser [OPTIONS] pay through the page in a real browser, on every framework
                              --screenshots: write the pictures of docs/screenshots, too
                              --firefox: instead, at night: the cases about buying, in Firefox
                              --measure: instead, weigh the page and time its first paint, beside the published one
cargo xtask race [--nightly]    one payment 64 times at once: on each framework, and at two instances
cargo xtask crash [--nightly]   kill gate and facilitator at each state, and at random moments under load
cargo xtask faults [--nightly]  break connections at each step of a payment, and restart stores under load
                              each prints what it counted; --nightly: at length
cargo xtask lint              rustfmt, clippy and docs, warnings are errors";

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    let outcome = match (command.as_deref(), rest.as_slice()) {
        (Some("demo"), rest) if rest.iter().all(|arg| is_demo_option(arg)) => demo(rest),
        (Some("newspaper"), []) => newspaper(),
        (Some("test"), rest) => test(rest),
        (Some("browser"), []) => browser(None),
        (Some("browser"), [arg]) if arg == "--screenshots" => {
            browser(Some(("X402_SCREENSHOTS", root().join("docs/screenshots").into_os_string())))
        }
        (Some("browser"), [arg]) if arg == "--firefox" => firefox(),
        (Some("browser"), [arg]) if arg == "--measure" => measure(),
        (Some("race"), rest) if is_nightly(rest).is_some() => race(rest),
        (Some(suite @ ("crash" | "faults")), rest) if is_nightly(rest).is_some() => outlive(suite, rest),
        (Some("lint"), []) => lint(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_demo_option(arg: &str) -> bool {
    let framework = arg.strip_prefix("--framework=");
    arg == "--remote" || framework.is_some_and(|name| ["axum", "actix", "poem", "tower"].contains(&name))
}

fn demo(args: &[String]) -> Result<(), String> {
    let tools = Tools::ready()?;
    if args.iter().any(|arg| arg == "--remote") {
        cargo(&tools, &["build", "--locked", "-p", "x402-facilitator", "--features", "bin"], &[])?;
    }
    cargo(&tools, &["run", "--locked", "-p", "x402-examples", "--bin", "demo", "--"], args)
}

fn newspaper() -> Result<(), String> {
    let tools = Tools::ready()?;
    cargo(&tools, &["run", "--locked", "-p", "x402-examples", "--bin", "newspaper"], &[])
}

fn test(args: &[String]) -> Result<(), String> {
    let tools = Tools::ready()?;
    tools.servers()?;
    tools.browser()?;
    tools.check_contracts()?;
    tools.check_page()?;
    let whole =
        args.is_empty() || args.iter().all(|arg| !arg.starts_with("-p") && !arg.starts_with("--package"));
    let mut command = vec!["test", "--locked", "--all-features"];
    if whole {
        command.push("--workspace");
    }
    cargo(&tools, &command, args)
}

fn browser(pictures: Option<(&'static str, OsString)>) -> Result<(), String> {
    let tools = Tools::ready()?;
    tools.browser()?;
    let words = ["test", "--locked", "--workspace", "--all-features", "--test", "browser"];
    cargo_with(&tools, &words, &[], pictures)
}

/// The cases about buying, about what all cases rely on, and about the icon that headless Chromium never asks for. Firefox speaks WebDriver BiDi by itself, and needs no driver.
fn firefox() -> Result<(), String> {
    let tools = Tools::ready()?;
    tools.firefox()?;
    for cases in ["buying::", "rig::", "nobody_asks_for_an_icon"] {
        let words = ["test", "--locked", "--workspace", "--all-features", "--test", "browser", "--", cases];
        cargo_with(&tools, &words, &[], Some(("X402_BROWSER", "firefox".into())))?;
    }
    Ok(())
}

fn measure() -> Result<(), String> {
    let tools = Tools::ready()?;
    tools.browser()?;
    tools.reference_page()?;
    // Built as for the tests: what is measured happens in the browser.
    let words = ["bench", "--locked", "--workspace", "--all-features", "--profile", "dev", "--bench", "page"];
    cargo(&tools, &words, &[])
}

/// How `crash`, `faults` and `race` are to be run; `None` where that is no way to.
fn is_nightly(args: &[String]) -> Option<bool> {
    match args {
        [] => Some(false),
        [arg] if arg == "--nightly" => Some(true),
        _ => None,
    }
}

fn race(args: &[String]) -> Result<(), String> {
    suite("gate", "sixty_four_at_once", args)?;
    suite("crash", "race::", args)
}

fn outlive(name: &str, args: &[String]) -> Result<(), String> {
    suite("crash", &format!("{name}::"), args)
}

/// Runs those cases of a suite, built as `test` builds it.
fn suite(name: &str, filter: &str, args: &[String]) -> Result<(), String> {
    let tools = Tools::ready()?;
    tools.servers()?;
    // Cargo builds programs for the tests of their own package alone.
    let binary = ["build", "--locked", "--workspace", "--all-features", "--bin", "x402-facilitator"];
    cargo(&tools, &binary, &[])?;
    let words = ["test", "--locked", "--workspace", "--all-features", "--test", name, "--", filter];
    let nightly = (is_nightly(args) == Some(true)).then(|| ("X402_NIGHTLY", "1".into()));
    cargo_with(&tools, &words, &[], nightly)
}

fn lint() -> Result<(), String> {
    let tools = Tools::none();
    cargo(&tools, &["fmt", "--all", "--check"], &[])?;
    let clippy =
        ["clippy", "--locked", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    cargo(&tools, &clippy, &[])?;
    cargo(&tools, &["doc", "--locked", "--workspace", "--all-features", "--no-deps"], &[])
}

fn cargo(tools: &Tools, words: &[&str], more: &[String]) -> Result<(), String> {
    cargo_with(tools, words, more, None)
}

fn cargo_with(
    tools: &Tools,
    words: &[&str],
    more: &[String],
    variable: Option<(&str, OsString)>,
) -> Result<(), String> {
    println!("xtask: cargo {} {}", words.join(" "), more.join(" "));
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).args(more).current_dir(root()).envs(tools.path()).envs(variable);
    if words.first() == Some(&"doc") {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    run(&mut command)
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("`{name}` does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{name}` failed ({status})")) }
}

/// The workspace's folder: where cargo runs this now, since a build can be older than its place.
fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().expect("xtask lies in the workspace").to_owned()
}
