//! Whoever holds a payment can settle it: none is in a log or in an answer.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};
use x402_core::{facilitator::FacilitatorErrorKind as Kind, gate::RequestDecision};
use x402_tests::{
    script::{Act, Script},
    serve::encoded,
};

use crate::{
    shop::Shop,
    support::{header_of, marker},
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn payments_are_in_no_log_and_in_no_answer() {
    let log = Log::default();
    let crates = ["core", "tower", "axum", "evm", "facilitator"].map(|name| format!("x402_{name}=trace"));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .with_env_filter(EnvFilter::new(crates.join(",")))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let seen = log.clone();
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
    let shop = Shop::open_with(script, move |gate| {
        gate.on_request(move |request| {
            let mut seen = seen.clone();
            async move {
                // What an application may well write into its log.
                io::Write::write_all(&mut seen, format!("{request:?}\n").as_bytes()).unwrap();
                RequestDecision::Charge
            }
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
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("payment settled") && log.contains("/cheap"), "the log is there: {log}");
    assert!(said.contains(&marker("/cheap")));
    for secret in secrets {
        assert!(!log.contains(&secret), "the log holds {secret}: {log}");
        assert!(!said.contains(&secret), "an answer holds {secret}: {said}");
    }
}
