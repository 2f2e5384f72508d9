//! Whoever holds a payment can settle it: none is in a log or in an answer.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use tracing_subscriber::EnvFilter;
use x402_core::{facilitator::FacilitatorErrorKind as Kind, gate::RequestDecision};
use x402_tests::{
    script::{Act, Script},
    serve::encoded,
};

use crate::{
    harness::{Case, Stack, case},
    shop::Shop,
    support::{header_of, marker},
};

pub const CASES: &[Case] = &[case!(payments_are_in_no_log_and_in_no_answer)];

/// All that any case logs, on whatever thread.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on.
pub fn keep_log() {
    let crates = ["core", "tower", "axum", "actix", "poem", "evm", "facilitator"];
    let crates = crates.map(|name| format!("x402_{name}=trace"));
    let subscriber = tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false);
    subscriber.with_env_filter(EnvFilter::new(crates.join(","))).init();
}

/// All that was logged so far.
pub fn logged() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

async fn payments_are_in_no_log_and_in_no_answer(stack: Stack) {
    let script = Script::new()
        .on_verify([
            Act::No("insufficient_funds"),
            Act::Fail(Kind::NoAnswer),
            Act::Fail(Kind::Unreachable),
            Act::Yes,
        ])
        .on_settle([
            Act::No("insufficient_funds"),
            Act::Fail(Kind::NoAnswer),
            Act::Pending,
            Act::Pending,
            Act::Yes,
        ]);
    let shop = Shop::open_with(stack, script, |gate| {
        gate.on_request(async |request| {
            // What an application may well write into its log.
            writeln!(Log, "{request:?}").unwrap();
            RequestDecision::Charge
        })
    })
    .await;
    let (mut secrets, mut said, mut statuses) = (Vec::new(), String::new(), Vec::new());
    for v1 in [false, true] {
        let payment = if v1 { shop.v1("/cheap").await } else { shop.v2("/cheap").await };
        let header = encoded(&payment);
        let mut bad = payment.clone();
        bad["payload"]["authorization"]["value"] = format!("9{}", "7".repeat(30)).into();
        let mut worse = payment.clone();
        worse["payload"]["signature"] = "0xnothexnothexnothexnothex".into();
        for payment in [&bad, &worse, &payment, &payment, &payment, &payment, &payment, &payment, &payment] {
            let answer = shop.pay("/cheap", payment).await;
            statuses.push(answer.status);
            said.push_str(&format!("{answer:?}"));
            for name in ["payment-required", "payment-response", "x-payment-response"] {
                said.push_str(&answer.decoded(name).map(|json| json.to_string()).unwrap_or_default());
            }
        }
        let cut = &header[..header.len() - 1];
        let answer = shop.get("/cheap", &[(header_of(&payment), cut)]).await;
        said.push_str(&format!("{answer:?}"));
        let text = |pointer: &str| payment.pointer(pointer).unwrap().as_str().unwrap()[2..].to_owned();
        let signature = text("/payload/signature");
        secrets.extend([signature[..32].to_owned(), signature[64..96].to_owned()]);
        secrets.push(header[header.len() - 60..].to_owned());
        secrets.push(header[200..240].to_owned());
        secrets.push("nothexnothex".to_owned());
        secrets.push("7".repeat(30));
        secrets.push(text("/payload/authorization/nonce"));
    }
    assert!(statuses.contains(&200) && statuses.contains(&400) && statuses.contains(&402), "{statuses:?}");
    assert!(statuses.contains(&502) && statuses.contains(&503), "{statuses:?}");
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    assert!(log.contains("payment settled") && log.contains("/cheap"), "the log is there");
    assert!(said.contains(&marker("/cheap")));
    for secret in secrets {
        assert!(!log.contains(&secret), "the log holds {secret}");
        assert!(!said.contains(&secret), "an answer holds {secret}: {said}");
    }
}
