//! The binary: its environment, and how it ends.
#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod common;

use std::{process::Stdio, time::Duration};

use common::{call, payment_of};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use x402_core::{network::BASE, payment::Version, wire};

const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

fn binary(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_x402-facilitator"));
    command
        .env_clear()
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("EVM_RPC_URL_BASE", "http://127.0.0.1:1")
        .env("EVM_RPC_URL_BASE_SEPOLIA", "http://127.0.0.1:1")
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
}

/// A running facilitator and its URL.
async fn running(environment: &[(&str, &str)]) -> (Child, String) {
    let mut child = binary(environment).env("EVM_PRIVATE_KEY", KEY).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    soon(stdout.read_line(&mut line)).await.unwrap();
    let url =
        line.trim_end().strip_prefix("x402-facilitator listening on ").unwrap_or_else(|| panic!("{line}"));
    (child, url.to_owned())
}

#[cfg(unix)]
async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
}

#[tokio::test]
async fn a_wrong_environment_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let key = ("EVM_PRIVATE_KEY", KEY);
    let secret = "s3cret-key";
    for (environment, variable, word) in [
        (vec![], "EVM_PRIVATE_KEY", "is not set"),
        (vec![("EVM_PRIVATE_KEY", "")], "EVM_PRIVATE_KEY", "is not set"),
        (vec![("EVM_PRIVATE_KEY", secret)], "EVM_PRIVATE_KEY", "64 hex digits"),
        (vec![key, ("PORT", "80a")], "PORT", "65535"),
        (vec![key, ("PORT", "65536")], "PORT", "65535"),
        (vec![key, ("EVM_NETWORKS", "nowhere,mars")], "EVM_NETWORKS", "base"),
        (vec![key, ("EVM_NETWORKS", "eip155:31337")], "EVM_RPC_URL_EIP155_31337", "not set"),
        (vec![key, ("EVM_RPC_URL_BASE", secret)], "EVM_RPC_URL_BASE", "URL"),
        (vec![key, ("SETTLEMENT_RECEIPT_TIMEOUT_MS", "soon")], "SETTLEMENT_RECEIPT_TIMEOUT_MS", "45000"),
        (vec![key, ("RUST_LOG", "a=b=c")], "RUST_LOG", "info"),
        (vec![key, ("EVM_MIN_AMOUNT_BASE", "1000")], "EVM_MIN_AMOUNT_BASE", "USDC=0.0005"),
        (vec![key, ("EVM_MAX_GAS", "lots")], "EVM_MAX_GAS", "500000"),
        (vec![key, ("HOST", "not a host")], "HOST", "listen"),
        (vec![key, ("PORT", &taken)], "PORT", "listen"),
    ] {
        let output = soon(binary(&environment).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{environment:?}: {said}");
        assert!(said.contains(variable) && said.contains(word), "{environment:?}: {said}");
        assert!(!said.contains(secret) && !said.contains(&KEY[2..]), "{said}");
        assert!(output.stdout.is_empty(), "{environment:?}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn it_serves_its_networks_and_skips_unknown_ones() {
    let networks = ("EVM_NETWORKS", " Base , nowhere,eip155:84532,");
    let (mut child, url) = running(&[networks]).await;
    assert_eq!(call(&url, "GET", "/health", b"").await, (200, json!({ "status": "ok" })));
    let (status, supported) = call(&url, "GET", "/supported", b"").await;
    assert_eq!(status, 200);
    let mut kinds: Vec<_> = supported["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| {
            format!("{} {} {}", kind["x402Version"], kind["scheme"].as_str().unwrap(), kind["network"])
        })
        .collect();
    kinds.sort();
    let expected = [
        r#"1 exact "base""#,
        r#"1 exact "base-sepolia""#,
        r#"2 exact "eip155:8453""#,
        r#"2 exact "eip155:84532""#,
    ];
    assert_eq!(kinds, expected);
    let signer = json!(["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]);
    assert_eq!(supported["signers"]["eip155:*"], signer);

    // The node is not there: an error of ours, not a refusal.
    let body = wire::encode_request(&payment_of(Version::V2, "exact", BASE)).unwrap();
    let (status, answer) = call(&url, "POST", "/verify", &body).await;
    assert_eq!((status, answer.get("isValid")), (500, None), "{answer}");

    child.start_kill().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    assert!(log.contains("nowhere") && log.contains("unknown network"), "{log}");
    assert!(!log.contains("0xsecret") && !log.contains(&KEY[2..]), "{log}");
}

/// Whoever reaches it has payments settled on its gas.
#[tokio::test]
async fn it_listens_to_this_machine_unless_it_is_told_otherwise() {
    let (mut child, url) = running(&[("HOST", "")]).await;
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(call(&url, "GET", "/health", b"").await.0, 200);
    child.start_kill().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    assert!(!log.contains("OPEN TO OTHERS"), "{log}");
}

#[cfg(unix)]
#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    for name in ["-TERM", "-INT"] {
        let (mut child, url) = running(&[]).await;
        assert_eq!(call(&url, "GET", "/health", b"").await.0, 200);
        signal(&child, name).await;
        assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0), "{name}");
    }
}
