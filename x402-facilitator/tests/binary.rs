//! The binary: its arguments, its environment, what it says, and how it ends.
#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod common;

use std::{process::Stdio, time::Duration};

use common::{answer, call, payment_of, request, server};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, Command},
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

/// A node that says it serves this chain, and nothing else.
async fn node(chain: u64) -> String {
    let (url, _) = server(move |asked, _| {
        let result = (asked.body["method"] == "eth_chainId").then(|| format!("{chain:#x}"));
        let body = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": result });
        async move { answer(200, body.to_string()) }
    })
    .await;
    url
}

/// The lines of its log until one of them has these words.
async fn until_said(log: &mut BufReader<ChildStderr>, words: &str) -> String {
    let mut said = String::new();
    let found = async {
        while !said.contains(words) {
            assert!(log.read_line(&mut said).await.unwrap() > 0, "it ended without {words:?}: {said}");
        }
    };
    soon(found).await;
    said
}

/// Ends it, and returns its log.
async fn log_of(mut child: Child) -> String {
    let mut log = String::new();
    child.start_kill().unwrap();
    soon(child.stderr.take().unwrap().read_to_string(&mut log)).await.unwrap();
    log
}

#[cfg(unix)]
async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
}

#[tokio::test]
async fn what_it_is_asked_by_arguments_is_answered() {
    let version = concat!("x402-facilitator ", env!("CARGO_PKG_VERSION"));
    for (arguments, code, words) in [
        (
            vec!["--help"],
            0,
            vec!["EVM_PRIVATE_KEY [required]", "PORT [default: 8090]", "EVM_RPC_URL_<NAME>", "Exit status"],
        ),
        (vec!["-h"], 0, vec!["STORE_URL [default: memory:]", "base-sepolia"]),
        (vec!["--version"], 0, vec![version]),
        (vec!["-V"], 0, vec![version]),
        (vec!["--hepl"], 2, vec!["'--hepl'", "'--help'", "Usage: x402-facilitator"]),
        (vec!["--port", "80"], 2, vec!["'--port'", "Usage: x402-facilitator"]),
        (vec!["serve"], 2, vec!["'serve'", "Usage: x402-facilitator"]),
        (vec!["--help=yes"], 2, vec!["--help", "yes"]),
    ] {
        // With a good environment and without one: it is answered, and nothing starts.
        for key in ["", KEY] {
            let mut command = binary(&[("EVM_PRIVATE_KEY", key)]);
            let output = soon(command.args(&arguments).output()).await.unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            let (stdout, stderr) = (text(output.stdout), text(output.stderr));
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stdout}{stderr}");
            let (said, silent) = if code == 0 { (stdout, stderr) } else { (stderr, stdout) };
            assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
            assert!(silent.is_empty() && !said.contains("listening"), "{arguments:?}: {silent}{said}");
        }
    }
}

#[tokio::test]
async fn a_wrong_environment_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let key = ("EVM_PRIVATE_KEY", KEY);
    let secret = "s3cret-key";
    for (environment, code, words) in [
        (vec![], 2, vec!["EVM_PRIVATE_KEY is not set"]),
        (vec![("EVM_PRIVATE_KEY", "")], 2, vec!["EVM_PRIVATE_KEY is not set"]),
        (vec![("EVM_PRIVATE_KEY", secret)], 2, vec!["EVM_PRIVATE_KEY", "64 hex digits"]),
        (vec![key, ("PORT", "80a")], 2, vec!["PORT", "65535"]),
        (vec![key, ("PORT", "65536")], 2, vec!["PORT", "65535"]),
        (vec![key, ("EVM_NETWORKS", "nowhere,mars")], 2, vec!["\"nowhere\"", "\"mars\"", "base"]),
        (
            vec![key, ("EVM_NETWORKS", "base,bse-sepolia")],
            2,
            vec!["\"bse-sepolia\"", "did you mean base-sepolia?", "polygon"],
        ),
        (vec![key, ("EVM_NETWORKS", "eip155:31337")], 2, vec!["EVM_RPC_URL_EIP155_31337", "not set"]),
        (vec![key, ("EVM_RPC_URL_BASE", secret)], 2, vec!["EVM_RPC_URL_BASE", "URL"]),
        (
            vec![key, ("SETTLEMENT_RECEIPT_TIMEOUT_MS", "soon")],
            2,
            vec!["SETTLEMENT_RECEIPT_TIMEOUT_MS", "45000"],
        ),
        (vec![key, ("RUST_LOG", "a=b=c")], 2, vec!["RUST_LOG", "info"]),
        (vec![key, ("EVM_MIN_AMOUNT_BASE", "1000")], 2, vec!["EVM_MIN_AMOUNT_BASE", "USDC=0.0005"]),
        (vec![key, ("EVM_MAX_GAS", "lots")], 2, vec!["EVM_MAX_GAS", "500000"]),
        // All of it at once, with what is only ignored: it may be the reason.
        (
            vec![("EVM_PRIVATE_KEYS", KEY), ("PORT", "80a"), ("RUST_LOG", "a=b=c"), ("EVM_NETWORKS", "bas")],
            2,
            vec![
                "EVM_PRIVATE_KEY is not set",
                "did you mean EVM_PRIVATE_KEY?",
                "PORT",
                "RUST_LOG",
                "did you mean base?",
                "--help",
            ],
        ),
        (vec![key, ("HOST", "not a host")], 1, vec!["HOST", "listen"]),
        (vec![key, ("PORT", &taken)], 1, vec!["PORT", "listen"]),
    ] {
        let output = soon(binary(&environment).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{environment:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{environment:?}: {said}");
        assert!(!said.contains(secret) && !said.contains(&KEY[2..]), "{said}");
        assert!(output.stdout.is_empty(), "{environment:?}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn a_variable_that_is_ignored_is_told_at_the_start() {
    let (mut child, _) = running(&[
        ("EVM_RPC_URL_BASE_SEPOILA", "https://user:s3cret@node.example"),
        ("EVM_MIN_AMOUNT_BSE", "USDC=1"),
        ("EVM_NETWORK", "base"),
        ("EVM_RPC_URL_POLYGON", "http://127.0.0.1:1"),
        ("EVM_MAX_GAS", "400000"),
    ])
    .await;
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let said = until_said(&mut log, "EVM_RPC_URL_POLYGON").await;
    for words in [
        "EVM_RPC_URL_BASE_SEPOILA is unknown and ignored: did you mean EVM_RPC_URL_BASE_SEPOLIA?",
        "EVM_MIN_AMOUNT_BSE is unknown and ignored: did you mean EVM_MIN_AMOUNT_BASE?",
        "EVM_NETWORK is unknown and ignored: did you mean EVM_NETWORKS?",
        "EVM_RPC_URL_POLYGON is ignored: EVM_NETWORKS does not name eip155:137",
    ] {
        assert!(said.lines().any(|line| line.contains("WARN") && line.contains(words)), "{words}: {said}");
    }
    assert!(!said.contains("EVM_MAX_GAS") && !said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn it_serves_its_networks() {
    let (base, sepolia) = (node(8453).await, node(84532).await);
    let networks = ("EVM_NETWORKS", " Base , ,eip155:84532,");
    let nodes = [("EVM_RPC_URL_BASE", base.as_str()), ("EVM_RPC_URL_BASE_SEPOLIA", &sepolia)];
    let (child, url) = running(&[networks, nodes[0], nodes[1]]).await;
    assert_eq!(call(&url, "GET", "/health", b"").await, (200, json!({ "status": "ok" })));
    let (status, supported) = call(&url, "GET", "/supported", b"").await;
    assert_eq!(status, 200, "{supported}");
    let expected = [
        r#"1 exact "base""#,
        r#"1 exact "base-sepolia""#,
        r#"2 exact "eip155:8453""#,
        r#"2 exact "eip155:84532""#,
    ];
    assert_eq!(kinds(&supported), expected);
    let signer = json!(["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]);
    assert_eq!(supported["signers"]["eip155:*"], signer);

    let (status, about) = call(&url, "GET", "/", b"").await;
    assert_eq!((status, &about["name"]), (200, &json!("x402-facilitator")), "{about}");
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["networks"], json!(["eip155:8453", "eip155:84532"]));
    for endpoint in ["GET /supported", "POST /verify", "POST /settle", "GET /health"] {
        assert!(about["endpoints"][endpoint].is_string(), "{endpoint}: {about}");
    }

    // The node answers nothing more: an error of ours, not a refusal.
    let body = wire::encode_request(&payment_of(Version::V2, "exact", BASE)).unwrap();
    let (status, answer) = call(&url, "POST", "/verify", &body).await;
    assert_ne!((status, answer.get("isValid")), (200, Some(&json!(true))), "{answer}");
    let log = log_of(child).await;
    assert!(!log.contains("0xsecret") && !log.contains(&KEY[2..]), "{log}");
}

fn kinds(supported: &Value) -> Vec<String> {
    let kinds = supported["kinds"].as_array().unwrap().iter();
    let words = kinds.map(|kind| {
        format!("{} {} {}", kind["x402Version"], kind["scheme"].as_str().unwrap(), kind["network"])
    });
    let mut words: Vec<_> = words.collect();
    words.sort();
    words
}

/// The others are served, whatever is wrong with one; with none left it says that, and to strangers no more.
#[tokio::test]
async fn a_network_without_its_node_is_left_out() {
    let (good, wrong) = (node(8453).await, node(1).await);
    let wrong = wrong.replace("http://", "http://user:s3cret@") + "/s3cret";
    for (other, words) in
        [("http://user:s3cret@127.0.0.1:1/s3cret", "could not connect"), (&wrong, "serves eip155:1,")]
    {
        let (child, url) = running(&[("EVM_RPC_URL_BASE", &good), ("EVM_RPC_URL_BASE_SEPOLIA", other)]).await;
        let (status, supported) = call(&url, "GET", "/supported", b"").await;
        assert_eq!((status, kinds(&supported).len()), (200, 2), "{supported}");
        assert!(kinds(&supported).iter().all(|kind| !kind.contains("sepolia") && !kind.contains("84532")));
        assert_eq!(call(&url, "GET", "/", b"").await.1["networks"], json!(["eip155:8453"]));
        let log = log_of(child).await;
        let host = other.split('@').nth(1).unwrap().split('/').next().unwrap();
        for words in ["eip155:84532: ", words, host, "not offered", "EVM_RPC_URL_BASE_SEPOLIA"] {
            assert!(log.contains(words), "{words}: {log}");
        }
        assert!(!log.contains("s3cret"), "{log}");

        let (child, url) =
            running(&[("EVM_NETWORKS", "base-sepolia"), ("EVM_RPC_URL_BASE_SEPOLIA", other)]).await;
        let (status, answer) = call(&url, "GET", "/supported", b"").await;
        assert_eq!(status, 503, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("log says why"), "{answer}");
        let (status, about) = call(&url, "GET", "/", b"").await;
        assert_eq!((status, &about["networks"]), (200, &json!([])), "{about}");
        assert!(!answer.to_string().contains(host) && !about.to_string().contains(host), "{answer} {about}");
        assert!(log_of(child).await.contains(host));
    }
}

#[tokio::test]
async fn each_request_leaves_one_line() {
    let node = node(8453).await;
    let (mut child, url) = running(&[("EVM_NETWORKS", "base"), ("EVM_RPC_URL_BASE", &node)]).await;
    let mut payment = payment_of(Version::V2, "upto", BASE);
    payment.payload.payload = json!({ "signature": "0xs3cret", "authorization": { "nonce": "0xs3cret" } });
    let body = wire::encode_request(&payment).unwrap();
    let long = format!("/{}", "x".repeat(4000));
    for (method, path, body) in [
        ("GET", "/health", b"".as_slice()),
        ("GET", "/supported?key=s3cret", b""),
        ("POST", "/verify", &body),
        ("POST", "/settle", &body),
        ("POST", "/settle", br#"{"paymentPayload":"s3cret"}"#),
        ("GET", "/nowhere%0ahere", b""),
        ("DELETE", "/settle", b""),
        ("GET", &long, b""),
    ] {
        call(&url, method, path, body).await;
    }
    // One who asks and does not wait: the rest of the body never comes.
    let mut stream = TcpStream::connect(common::address(&url)).await.unwrap();
    let half = request("POST", "/verify", &body);
    stream.write_all(&half[..half.len() - 1]).await.unwrap();
    drop(stream);
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let said = until_said(&mut log, "status=405").await + &until_said(&mut log, "\"/xxxx").await;
    let said = said + &until_said(&mut log, "path=\"/verify\"").await;
    let lines: Vec<_> =
        said.lines().filter(|line| line.contains(" request") && line.contains("method=")).collect();
    let expected = [
        ("GET", "\"/health\" status=200", ""),
        ("GET", "\"/supported\" status=200", ""),
        ("POST", "\"/verify\" status=200", "network=eip155:8453 outcome=\"unsupported_scheme\""),
        ("POST", "\"/settle\" status=200", "network=eip155:8453 outcome=\"unsupported_scheme\""),
        ("POST", "\"/settle\" status=400", ""),
        ("GET", "\"/nowhere%0ahere\" status=404", ""),
        ("DELETE", "\"/settle\" status=405", ""),
        ("GET", "xxx\" status=404", ""),
        ("POST", "\"/verify\"", ""),
    ];
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, (method, path, about)) in lines.iter().zip(expected) {
        let parts = [&format!("method={method} "), path, " ms=", about, " INFO "];
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
        assert!(line.len() < 300, "{line}");
    }
    assert!(!said.contains("s3cret"), "{said}");
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
    for name in ["-TERM", "-INT", "-INT", "-INT", "-INT"] {
        let (mut child, url) = running(&[]).await;
        assert_eq!(call(&url, "GET", "/health", b"").await.0, 200);
        let mut log = BufReader::new(child.stderr.take().unwrap());
        signal(&child, name).await;
        until_said(&mut log, "stopped").await;
        // It may be gone already.
        let id = child.id().unwrap().to_string();
        let _ = Command::new("kill").args([name, &id]).stderr(Stdio::null()).status().await.unwrap();
        assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0), "{name}");
    }
}

/// A request that never ends holds the end up for ten seconds; whoever does not want to wait says so.
#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for name in ["-TERM", "-INT"] {
        let (mut child, url) = running(&[]).await;
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut stream = TcpStream::connect(common::address(&url)).await.unwrap();
        stream.write_all(b"POST /verify HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n").await.unwrap();
        // Its handler waits for the body.
        let mut go_on = [0; 12];
        soon(stream.read_exact(&mut go_on)).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100");
        signal(&child, name).await;
        until_said(&mut log, "a second signal stops it at once").await;
        signal(&child, name).await;
        let asked = std::time::Instant::now();
        until_said(&mut log, "stopped by force").await;
        assert_eq!(soon(child.wait()).await.unwrap().code(), Some(1), "{name}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{name}: {:?}", asked.elapsed());
    }
}
