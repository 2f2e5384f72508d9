//! The project's commands: `cargo xtask demo` and `cargo xtask test`.
//!
//! Each installs what it needs and is not there yet, says so, and is quick when nothing is missing.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to who runs it")]

mod tools;

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use tools::Tools;

const USAGE: &str = "\
cargo xtask demo [OPTIONS]    pay for a request on a local chain, and show every step
                              --framework=axum|actix|poem|tower: to which of the examples; axum if not said
                              --remote: through the facilitator's binary instead of the embedded one
cargo xtask test [ARGS...]    install what the tests need, and run them all
                              ARGS go to `cargo test`: a filter, or `-p x402-core`
cargo xtask lint              rustfmt, clippy and docs, warnings are errors";

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    let outcome = match (command.as_deref(), rest.as_slice()) {
        (Some("demo"), rest) if rest.iter().all(|arg| is_demo_option(arg)) => demo(rest),
        (Some("test"), rest) => test(rest),
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

fn test(args: &[String]) -> Result<(), String> {
    let tools = Tools::ready()?;
    tools.servers()?;
    tools.check_contracts()?;
    let whole =
        args.is_empty() || args.iter().all(|arg| !arg.starts_with("-p") && !arg.starts_with("--package"));
    let mut command = vec!["test", "--locked", "--all-features"];
    if whole {
        command.push("--workspace");
    }
    cargo(&tools, &command, args)
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
    println!("xtask: cargo {} {}", words.join(" "), more.join(" "));
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).args(more).current_dir(root()).envs(tools.path());
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

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}
