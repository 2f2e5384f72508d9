//! The example with a budget for each caller: who floods it with payments is told to wait, and nobody is asked.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[allow(dead_code, reason = "its `main` is not called here")]
#[path = "../src/services/limits.rs"]
mod limits;

use std::net::TcpListener;

use x402_core::{gate::PaymentGate, scheme::ClientScheme, wire};
use x402_tests::{
    chain,
    script::{Act, Script},
    serve::encoded,
};

#[tokio::test]
async fn who_sends_bad_payments_without_end_is_told_to_wait() {
    let refusing = Script::new().on_verify([Act::No("insufficient_funds")]);
    let me = chain::merchant().address().to_string();
    let gate = PaymentGate::builder("https://weather.example.com")
        .facilitator(refusing.clone())
        .scheme(x402_evm::exact::server())
        .build()
        .unwrap();
    gate.ready().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { limits::serve(gate, &me, listener).await.unwrap() });

    let client = x402_tests::http().unwrap();
    let url = format!("{origin}/weather");
    let offer = client.get(&url).send().await.unwrap();
    let offer = wire::decode_payment_required(&offer.headers()[wire::PAYMENT_REQUIRED]).unwrap().required;
    let option = &offer.accepts[0];
    let mut refused = 0;
    let told = loop {
        let payload = x402_evm::exact::client(chain::payer()).sign(offer.version, option).await.unwrap();
        let payment = serde_json::json!({ "x402Version": 2, "accepted": option, "payload": payload });
        let answer =
            client.get(&url).header(wire::PAYMENT_SIGNATURE, encoded(&payment)).send().await.unwrap();
        match answer.status().as_u16() {
            402 => refused += 1,
            429 => break answer,
            status => panic!("{status}"),
        }
        assert!(refused < 100, "a budget has an end");
    };
    assert!(told.headers()["retry-after"].to_str().unwrap().parse::<u64>().is_ok(), "{told:?}");
    assert_eq!(refusing.verify_calls(), refused, "nobody was asked about what is over the budget");
    assert_eq!(client.get(&origin).send().await.unwrap().status(), 200, "what is free is free");
}
