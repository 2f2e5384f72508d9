//! What the page weighs and how soon it is painted, beside the published one: `cargo xtask browser --measure`.
//!
//! Both come over the loopback interface, uncompressed, to a visitor who was never there, in turn. First paint is the
//! browser's own `first-contentful-paint`, counted from the start of the navigation.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a measurement speaks to who runs it, and ends where it fails

use std::io::Write;

use axum::{
    Router,
    http::{StatusCode, header},
    response::Html,
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use x402_axum::GateExt;
use x402_core::{
    gate::{PaymentGate, exact},
    network::BASE_SEPOLIA,
};
use x402_paywall::PaywallPage;
use x402_tests::{
    browser::{Browser, Setup},
    chain, node,
    script::Script,
    serve::Serving,
};

/// How often each page is opened.
const VISITS: usize = 21;

#[tokio::main]
async fn main() {
    // What the program is asked for by `cargo bench` and `cargo test --benches`.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    x402_tests::install_crypto();
    let gate = PaymentGate::builder("https://shop.example.com").facilitator(Script::new());
    let gate = gate.scheme(x402_evm::exact::server()).paywall(PaywallPage::new()).build().unwrap();
    gate.ready().await.expect("the scripted facilitator settles all of it");
    let charge =
        exact("$0.01").on(BASE_SEPOLIA).to(chain::merchant().address()).describe("An article on bees");
    let paid = get(async || "goods").layer(gate.charge(charge).unwrap());
    let ours = Serving::start(Router::new().route("/article", paid)).await.unwrap();

    let offer = ours.get("/article", &[]).await.unwrap().decoded("payment-required").unwrap();
    let published = node::run("reference-page.mjs", &[("OFFER", &offer.to_string())]).await.unwrap();
    let html = published["html"].as_str().expect("the published page is made").to_owned();
    let headers = [(header::CACHE_CONTROL, "no-store")];
    let page = get(async move || (StatusCode::PAYMENT_REQUIRED, headers, Html(html)));
    let theirs = Serving::start(Router::new().route("/article", page)).await.unwrap();

    let browser = Browser::start().await.unwrap();
    let pages = [("x402-paywall", ours), ("@x402/paywall", theirs)];
    let mut paints = [const { Vec::new() }; 2];
    let mut foreign = [0; 2];
    // The first one of each is not counted: the browser itself is still waking up.
    for _ in 0..=VISITS {
        for ((_, serving), (paints, foreign)) in pages.iter().zip(paints.iter_mut().zip(&mut foreign)) {
            let visitor = browser.visitor(Setup::default()).await.unwrap();
            visitor.open(&serving.url("/article")).await.unwrap();
            let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
            visitor.until(&format!("{paint} > 0")).await.unwrap();
            paints.push(visitor.evaluate(paint).await.unwrap().as_f64().unwrap());
            *foreign = visitor.conduct().foreign(&serving.url("")).len();
        }
    }
    println!(
        "{:<14} {:>10} {:>10} {:>13} {:>17}",
        "page", "bytes", "gzip", "first paint", "requests elsewhere"
    );
    for ((name, serving), (paints, foreign)) in pages.iter().zip(paints.iter_mut().zip(foreign)) {
        let html = serving.get("/article", &[("accept", "text/html")]).await.unwrap().body;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(html.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap().len();
        paints.remove(0);
        paints.sort_by(f64::total_cmp);
        println!("{name:<14} {:>10} {gzip:>10} {:>10.0} ms {foreign:>17}", html.len(), paints[VISITS / 2]);
    }
}
