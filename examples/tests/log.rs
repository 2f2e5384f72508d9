//! The examples log what `RUST_LOG` asks for, and never a payment.
#![allow(clippy::unwrap_used, reason = "a test that fails")]

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::Command,
};
use x402_core::network::BASE_SEPOLIA;
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::{LocalFacilitator, http};
use x402_reqwest::ResponseExt;
use x402_tests::{Chain, chain};

const SERVICES: [(&str, &str); 4] = [
    ("axum", env!("CARGO_BIN_EXE_axum")),
    ("actix", env!("CARGO_BIN_EXE_actix")),
    ("poem", env!("CARGO_BIN_EXE_poem")),
    ("tower", env!("CARGO_BIN_EXE_tower")),
];

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
}

/// Pays a service that was started so, and returns its log and the payment's header.
async fn log_of_a_sale(program: &str, facilitator: &str, rust_log: Option<&str>) -> (String, String) {
    let mut service = Command::new(program)
        .env_clear()
        .envs([("PORT", "0"), ("FACILITATOR_URL", facilitator)])
        .env("PAY_TO", chain::merchant().address().to_string())
        .envs(rust_log.map(|directives| ("RUST_LOG", directives)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stderr = service.stderr.take().unwrap();
    // Read all the while, or the service would wait for room.
    let log = tokio::spawn(async move {
        let mut log = Vec::new();
        stderr.read_to_end(&mut log).await.map(|_| String::from_utf8_lossy(&log).into_owned())
    });
    let mut line = String::new();
    let mut stdout = BufReader::new(service.stdout.take().unwrap());
    soon(stdout.read_line(&mut line)).await.unwrap();
    let url = format!("{}/weather", line.trim().strip_prefix("listening on ").unwrap());
    let client = x402_reqwest::Client::builder()
        .scheme(x402_evm::exact::client(chain::payer()))
        .max_per_request("$0.01")
        .build()
        .unwrap();
    // Until the facilitator has told what it supports, there is nothing to pay for.
    let paid = async {
        loop {
            let response = client.get(&url).send().await.unwrap();
            match response.status().as_u16() {
                503 => tokio::task::yield_now().await,
                status => {
                    return (status, response.payment().unwrap().header().1.to_str().unwrap().to_owned());
                }
            }
        }
    };
    let (status, payment) = soon(paid).await;
    assert_eq!(status, 200, "{program}");
    service.kill().await.unwrap();
    (soon(log).await.unwrap().unwrap(), payment)
}

#[tokio::test]
async fn the_services_log_as_they_are_told_and_no_payment() {
    let chain = Chain::start().await.unwrap();
    chain.mint(chain::payer().address(), 1_000_000).await.unwrap();
    let exact = ExactFacilitator::connect(chain.rpc_url(), BASE_SEPOLIA, chain::facilitator()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let facilitator = format!("http://{}", listener.local_addr().unwrap());
    let serving = http::serve(listener, LocalFacilitator::new().with(exact), std::future::pending());
    let serving = tokio::spawn(serving);
    let told = "the facilitator told what it supports";
    for (name, program) in SERVICES {
        for by_default in [None, Some("")] {
            let (log, _) = log_of_a_sale(program, &facilitator, by_default).await;
            assert!(log.contains(told) && !log.contains("DEBUG"), "{name}: {log}");
        }
        let (log, _) = log_of_a_sale(program, &facilitator, Some("off")).await;
        assert_eq!(log, "", "{name}");
        let (log, _) = log_of_a_sale(program, &facilitator, Some("error,x402_core=info")).await;
        assert!(log.lines().all(|line| line.contains("x402_core")) && log.contains(told), "{name}: {log}");
        let all = "trace,hyper=trace,poem=trace,reqwest=trace";
        let (log, payment) = log_of_a_sale(program, &facilitator, Some(all)).await;
        assert!(log.contains("payment settled"), "{name}: {log}");
        let talks =
            |line: &str| (line.contains("DEBUG") || line.contains("TRACE")) && !line.contains(" x402_");
        assert!(!log.lines().any(talks), "{name}: a library says more than `info`: {log}");
        for (what, secret) in
            [("the payment", &payment[..80]), ("a header", "payment-signature"), ("a body", "paymentPayload")]
        {
            assert!(!log.contains(secret), "{name}: the log holds {what}: {log}");
        }
    }
    serving.abort();
}

#[tokio::test]
async fn a_rust_log_that_cannot_be_read_ends_the_start() {
    let others = [
        ("grpc", env!("CARGO_BIN_EXE_grpc")),
        ("newspaper", env!("CARGO_BIN_EXE_newspaper")),
        ("demo", env!("CARGO_BIN_EXE_demo")),
    ];
    for (name, program) in SERVICES.into_iter().chain(others) {
        let mut service = Command::new(program);
        service.env_clear().env("RUST_LOG", "a=b=c").env("PAY_TO", "0x1").env("PORT", "0").kill_on_drop(true);
        let output = soon(service.output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("RUST_LOG is \"a=b=c\": expected directives like"), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name} begins its work");
    }
}
