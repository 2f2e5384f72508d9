//! The project's commands: `cargo xtask demo`, `cargo xtask test` and parts of it at length.
//!
//! Each installs what it needs and is not there yet, says so, and is quick when nothing is missing.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to who runs it")]

mod tools;

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Arg, ArgAction, ArgMatches, Command as Cli};
use tools::Tools;

fn main() -> ExitCode {
    let args = cli().get_matches();
    let outcome = match args.subcommand() {
        Some(("demo", args)) => demo(args),
        Some(("newspaper", _)) => newspaper(),
        Some(("test", args)) => test(&words(args)),
        Some(("browser", args)) if args.get_flag("screenshots") => {
            browser(Some(("X402_SCREENSHOTS", root().join("docs/screenshots").into_os_string())))
        }
        Some(("browser", args)) if args.get_flag("firefox") => firefox(),
        Some(("browser", args)) if args.get_flag("measure") => measure(),
        Some(("browser", _)) => browser(None),
        Some(("race", args)) => race(args.get_flag("nightly")),
        Some((suite, args)) if ["crash", "faults"].contains(&suite) => {
            outlive(suite, args.get_flag("nightly"))
        }
        _ => lint(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The commands and their options. What is none of them is answered with how it is used.
fn cli() -> Cli {
    let flag = |name| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let command = |name, about: &'static str| Cli::new(name).about(about);
    let at_length = || flag("nightly").help("At length, as at night");
    let framework = Arg::new("framework").long("framework").value_name("FRAMEWORK").default_value("axum");
    let rest = Arg::new("ARGS").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
    let one_of = ["firefox", "measure"];
    Cli::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("The project's commands. Each installs what it needs and is not there yet, and says so.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(
            command("demo", "Pay for a request on a local chain, and show every step")
                .arg(
                    framework
                        .value_parser(["axum", "actix", "poem", "tower"])
                        .help("Whose example service is paid"),
                )
                .arg(
                    flag("remote")
                        .help("Settle through the facilitator's binary instead of an embedded facilitator"),
                )
                .arg(
                    flag("serve")
                        .help("Leave chain, facilitator and service running until Ctrl-C, to pay by hand"),
                ),
        )
        .subcommand(command(
            "newspaper",
            "Open a newspaper on a local chain, to be read in a browser and paid with a wallet",
        ))
        .subcommand(
            command("test", "Install what the tests need, and run them all")
                .arg(rest.help("What goes to `cargo test`: a filter, or `-p x402-core`")),
        )
        .subcommand(
            command("browser", "Pay through the page in a real browser, on every framework")
                .arg(
                    flag("screenshots")
                        .conflicts_with_all(one_of)
                        .help("Write the pictures of docs/screenshots, too"),
                )
                .arg(
                    flag("firefox")
                        .conflicts_with("measure")
                        .help("Instead, at night: the cases about buying, in Firefox"),
                )
                .arg(
                    flag("measure")
                        .help("Instead, weigh the page and time its first paint, beside the published one"),
                ),
        )
        .subcommand(
            command("race", "One payment 64 times at once: on each framework, and at two instances")
                .arg(at_length()),
        )
        .subcommand(
            command("crash", "Kill gate and facilitator at each state, and at random moments under load")
                .arg(at_length()),
        )
        .subcommand(
            command("faults", "Break connections at each step of a payment, and restart stores under load")
                .arg(at_length()),
        )
        .subcommand(command("lint", "rustfmt, clippy and docs, warnings are errors"))
}

fn words(args: &ArgMatches) -> Vec<String> {
    args.get_many::<String>("ARGS").unwrap_or_default().cloned().collect()
}

fn demo(args: &ArgMatches) -> Result<(), String> {
    let tools = Tools::ready()?;
    let mut options =
        vec![format!("--framework={}", args.get_one::<String>("framework").map_or("axum", String::as_str))];
    if args.get_flag("remote") {
        cargo(&tools, &["build", "--locked", "-p", "x402-facilitator", "--features", "bin"], &[])?;
        options.push("--remote".to_owned());
    }
    if args.get_flag("serve") {
        // The line that it prints for another terminal is to work at once.
        cargo(&tools, &["build", "--locked", "-p", "x402-examples", "--bin", "pay"], &[])?;
        options.push("--serve".to_owned());
    }
    become_cargo(&tools, &["run", "--locked", "-p", "x402-examples", "--bin", "demo", "--"], &options)
}

fn newspaper() -> Result<(), String> {
    let tools = Tools::ready()?;
    become_cargo(&tools, &["run", "--locked", "-p", "x402-examples", "--bin", "newspaper"], &[])
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

fn race(nightly: bool) -> Result<(), String> {
    suite("gate", "sixty_four_at_once", nightly)?;
    suite("crash", "race::", nightly)
}

fn outlive(name: &str, nightly: bool) -> Result<(), String> {
    suite("crash", &format!("{name}::"), nightly)
}

/// Runs those cases of a suite, built as `test` builds it.
fn suite(name: &str, filter: &str, nightly: bool) -> Result<(), String> {
    let tools = Tools::ready()?;
    tools.servers()?;
    // Cargo builds programs for the tests of their own package alone.
    let binary = ["build", "--locked", "--workspace", "--all-features", "--bin", "x402-facilitator"];
    cargo(&tools, &binary, &[])?;
    let words = ["test", "--locked", "--workspace", "--all-features", "--test", name, "--", filter];
    let nightly = nightly.then(|| ("X402_NIGHTLY", "1".into()));
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
    run(&mut command(tools, words, more, variable))
}

/// The last thing that is done. Nothing of ours stays in between, so who ends this command ends the program.
fn become_cargo(tools: &Tools, words: &[&str], more: &[String]) -> Result<(), String> {
    replace(command(tools, words, more, None)).map(|never| match never {})
}

#[cfg(unix)]
fn replace(mut command: Command) -> Result<Infallible, String> {
    Err(format!("cargo does not start: {}", std::os::unix::process::CommandExt::exec(&mut command)))
}

#[cfg(not(unix))]
fn replace(mut command: Command) -> Result<Infallible, String> {
    run(&mut command)?;
    std::process::exit(0)
}

fn command(tools: &Tools, words: &[&str], more: &[String], variable: Option<(&str, OsString)>) -> Command {
    println!("xtask: cargo {} {}", words.join(" "), more.join(" "));
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).args(more).current_dir(root()).envs(tools.path()).envs(variable);
    if words.first() == Some(&"doc") {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    command
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

#[cfg(test)]
mod tests {
    use super::cli;

    fn read(words: &str) -> Result<clap::ArgMatches, clap::Error> {
        cli().try_get_matches_from(["cargo xtask"].into_iter().chain(words.split_whitespace()))
    }

    #[test]
    fn an_options_value_may_stand_beside_it() {
        cli().debug_assert();
        for words in ["demo --framework actix --serve", "demo --serve --framework=actix"] {
            let args = read(words).expect(words);
            let demo = args.subcommand_matches("demo").expect(words);
            assert_eq!(demo.get_one::<String>("framework").map(String::as_str), Some("actix"), "{words}");
            assert!(demo.get_flag("serve") && !demo.get_flag("remote"), "{words}");
        }
        let args = read("test -p x402-core --test gate -- --nocapture").expect("arguments of cargo's");
        let words = super::words(args.subcommand_matches("test").expect("the command"));
        assert_eq!(words, ["-p", "x402-core", "--test", "gate", "--", "--nocapture"]);
        for words in ["test", "race --nightly", "faults", "browser --firefox", "browser", "lint", "newspaper"]
        {
            assert!(read(words).is_ok(), "{words}");
        }
    }
}
