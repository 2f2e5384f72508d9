//! The demo as a newcomer starts it.
#![allow(clippy::unwrap_used, reason = "a test that fails")]

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpStream, process::Command};
use x402_tests::process::Process;

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("in time")
}

/// A demo that goes on serving, and all that it has printed.
async fn serving(arguments: &[&str]) -> (Process, String) {
    let lines = Arc::new(Mutex::new(String::new()));
    let printed = lines.clone();
    let ready = move |line: &str| {
        let mut printed = printed.lock().unwrap();
        *printed += &format!("{line}\n");
        line.starts_with("the chain answers JSON-RPC at ").then_some(())
    };
    let (demo, ()) = Process::start(Path::new(DEMO), arguments, &[], ready).await.unwrap();
    let printed = lines.lock().unwrap().clone();
    (demo, printed)
}

/// The address after these words.
fn address_after(printed: &str, words: &str) -> String {
    let after = printed.split(words).nth(1).unwrap_or_else(|| panic!("no {words:?}: {printed}"));
    let url = after.split_whitespace().next().unwrap();
    url.trim_start_matches("http://").split('/').next().unwrap().to_owned()
}

async fn is_gone(address: &str) {
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(gone).await;
}

#[tokio::test]
async fn it_shows_the_exchange_and_what_to_do_next() {
    let mut demo = Command::new(DEMO);
    demo.args(["--framework", "poem"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = soon(demo.output()).await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let mut rest = printed.as_str();
    for words in [
        "the poem service asks $0.01",
        "> GET /weather HTTP/1.1",
        "< HTTP/1.1 402 Payment Required",
        "< content-type: application/json",
        "< payment-required: ",
        "characters)",
        "< {\"",
        "2. Paid by our client",
        "> payment-signature: ",
        "< HTTP/1.1 200 OK",
        "< payment-response: ",
        "< sunny, 0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "receipt: settled on eip155:84532",
        "5. The payment of step 4 once more",
        "< HTTP/1.1 402 Payment Required",
        "refused: duplicate_settlement",
        "3 requests paid, 3 transfers on chain, $0.030000 moved",
        "What to do next",
        "cargo xtask demo --framework poem --serve",
        "examples/src/services/poem.rs",
    ] {
        rest = rest.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {rest}")).1;
    }
    let widest = printed.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest < 250, "a line of {widest} characters: {printed}");
    assert!(rest.lines().count() < 5, "few lines: {rest}");
    for other in ["merchant", "answer:", "test dollar"] {
        assert!(!printed.contains(other), "{other:?} is another word for something: {printed}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn it_leaves_everything_running_until_it_is_ended() {
    for (arguments, ending) in [(vec!["--serve", "--framework=actix"], "INT"), (vec!["--serve"], "KILL")] {
        let (mut demo, printed) = serving(&arguments).await;
        let (chain, service) =
            (address_after(&printed, "JSON-RPC at "), address_after(&printed, "see the offer:  curl -i "));
        // The line for another terminal; what cargo builds and runs there is this program.
        let line = printed.lines().find_map(|line| line.trim().strip_prefix("pay by hand:")).unwrap().trim();
        let (key, rest) = line.split_once(' ').unwrap();
        let key = key.strip_prefix("PRIVATE_KEY=").unwrap();
        let url = rest.strip_prefix("cargo run --quiet -p x402-examples --bin pay -- ").unwrap();
        for _ in 0..2 {
            let mut pay = Command::new(env!("CARGO_BIN_EXE_pay"));
            pay.arg(url).env("PRIVATE_KEY", key).kill_on_drop(true);
            let output = soon(pay.output()).await.unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(0), "{said}");
            for words in
                ["< HTTP/1.1 402", "> payment-signature", "< HTTP/1.1 200 OK", "< sunny", "paid: settled on"]
            {
                assert!(said.contains(words), "{words}: {said}");
            }
        }
        demo.signal(ending).unwrap();
        soon(demo.ended()).await;
        is_gone(&service).await;
        is_gone(&chain).await;
    }
}

#[tokio::test]
async fn what_it_does_not_know_is_answered_with_its_usage() {
    for (arguments, words) in [
        (vec!["--framework", "rocket"], vec!["'rocket'", "axum, actix, poem, tower"]),
        (vec!["--framework"], vec!["--framework"]),
        (vec!["--server"], vec!["'--server'", "'--serve'", "Usage: demo"]),
        (vec!["axum"], vec!["'axum'", "Usage: demo"]),
    ] {
        let mut demo = Command::new(DEMO);
        let output = soon(demo.args(&arguments).kill_on_drop(true).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}: it starts");
    }
}

#[tokio::test]
async fn what_cannot_be_paid_is_said_without_the_key() {
    let url = "http://127.0.0.1:1/weather";
    for (key, arguments, code, words) in [
        ("", vec![url], 1, "PRIVATE_KEY"),
        ("0xs3cret", vec![url], 1, "64 hex digits"),
        ("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d", vec![url], 1, "127.0.0.1:1"),
        ("", vec![], 2, "Usage: pay"),
    ] {
        let mut pay = Command::new(env!("CARGO_BIN_EXE_pay"));
        let output =
            soon(pay.args(&arguments).env("PRIVATE_KEY", key).kill_on_drop(true).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && !said.contains("s3cret") && !said.contains("59c6995e"), "{said}");
    }
}
