//! What is set up wrongly fails when it is set up, and says what to do.

use axum::{Router, routing::get};
use x402_axum::GateExt;
use x402_core::{
    amount::Amount,
    asset::Token,
    gate::{
        Charge, ConfigError, CustomBody, Page, PaymentGate, Paywall, RouteTable, TokenAmount, Visit, exact,
    },
    network::{BASE, BASE_SEPOLIA, Network, SOLANA},
};
use x402_tests::script::Script;

use crate::{
    harness::{Case, Stack, case},
    shop::{cent, dollar, gate},
    support::{ORIGIN, SELLER},
};

pub const CASES: &[Case] = &[
    case!(a_gate_misses_nothing_silently).once(),
    case!(a_gate_needs_a_runtime).once(),
    case!(a_charge_that_cannot_work_is_an_error_that_says_so).once(),
    case!(a_table_that_cannot_work_is_an_error_that_says_so).once(),
];

#[track_caller]
fn assert_says(error: &ConfigError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
}

async fn a_gate_misses_nothing_silently(_: Stack) {
    let scheme = x402_evm::exact::server;
    for origin in [
        "",
        "shop.example.com",
        "ftp://shop.example.com",
        "https://",
        "https://a.b/?c",
        "https://a.b/#c",
        "https://u:p@a.b",
    ] {
        let error =
            PaymentGate::builder(origin).facilitator(Script::new()).scheme(scheme()).build().unwrap_err();
        assert!(matches!(error, ConfigError::Origin(_)), "{origin}: {error}");
        assert_says(&error, &[&format!("`{origin}`"), "https://api.example.com"]);
    }
    let error = PaymentGate::builder(ORIGIN).scheme(scheme()).build().unwrap_err();
    assert!(matches!(error, ConfigError::NoFacilitator));
    assert_says(&error, &[".facilitator("]);
    let error = PaymentGate::builder(ORIGIN).facilitator(Script::new()).build().unwrap_err();
    assert!(matches!(error, ConfigError::NoScheme));
    assert_says(&error, &[".scheme(", "x402_evm::exact::server()"]);
}

async fn a_gate_needs_a_runtime(_: Stack) {
    let error = std::thread::spawn(|| gate(Script::new()).build().unwrap_err()).join().unwrap();
    assert!(matches!(error, ConfigError::NoRuntime));
    assert_says(&error, &["Tokio runtime"]);
}

fn token(network: Network, decimals: u8) -> Token {
    Token::eip3009(network, SELLER.parse().unwrap(), "MINE", decimals, "Mine", "1")
}

struct Nothing;

impl Paywall for Nothing {
    fn page(&self, _: &Visit<'_>) -> Page {
        Page::new("")
    }
}

fn body() -> CustomBody {
    CustomBody { content_type: "text/plain".to_owned(), body: bytes::Bytes::new() }
}

/// Charges that cannot work, and what the error must say.
fn wrong() -> Vec<(Charge, &'static [&'static str])> {
    let on = |price: &str| exact(price).on(BASE_SEPOLIA).to(SELLER);
    let unknown = Network::evm(999_999);
    let nothing = TokenAmount { token: token(BASE_SEPOLIA, 6), amount: Amount::ZERO };
    let elsewhere = TokenAmount { token: token(BASE, 6), amount: Amount::from(1) };
    let permit2 = exact("$1").on(Network::evm(4326)).to(SELLER);
    let many = (0..60).fold(cent(), |charge, _| charge.or(cent()));
    vec![
        (on("free"), &["free"]),
        (on(""), &["0.01"]),
        (on("$1,000"), &["$1,000"]),
        (on("-1"), &["-1"]),
        (on("1e-7"), &["1e-7"]),
        (on("NaN"), &["NaN"]),
        (on("$0"), &["zero"]),
        (on("$0.0000001"), &["0.0000001", "6"]),
        (on(&"9".repeat(80)), &["256"]),
        (on("1 DOGE"), &["DOGE", "eip155:84532"]),
        (exact("$1").on(unknown).to(SELLER), &["eip155:999999"]),
        (exact(nothing).on(BASE_SEPOLIA).to(SELLER), &["zero"]),
        (exact(elsewhere).on(BASE_SEPOLIA).to(SELLER), &["MINE", "eip155:84532"]),
        (exact("$1").on(BASE_SEPOLIA).to("my wallet"), &["`my wallet`"]),
        (exact("$1").on(BASE_SEPOLIA).to(""), &["``"]),
        (exact("$1").on(BASE_SEPOLIA).to("0x1234"), &["0x1234", "payTo", "eip155:84532"]),
        (
            exact("$1").on(BASE_SEPOLIA).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287D"),
            &["checksum", "0x209693Bc6afc0C5328bA36FaF03C514EF312287D", "eip155:84532"],
        ),
        (exact("$1").on(BASE_SEPOLIA).to("0x0000000000000000000000000000000000000000"), &["zero address"]),
        (
            exact("$1").on(BASE_SEPOLIA).to("0x036cbd53842c5426634e7929541ec2318f3dcf7e"),
            &["the token itself", "0x036CbD53842c5426634e7929541eC2318f3dCF7e"],
        ),
        (permit2, &["eip155:4326", "EIP-3009"]),
        (exact("$1").on(SOLANA).to(SELLER), &["`exact`", "solana:", ".scheme("]),
        (cent().max_timeout_seconds(0), &["second"]),
        (many, &["8192", "fewer"]),
        (cent().describe("A").or(dollar().describe("B")), &["`description`"]),
        (cent().mime_type("text/plain").or(dollar().mime_type("text/html")), &["`mime_type`"]),
        (cent().idempotent().or(dollar().require_identifier()), &["`identifiers`"]),
        (cent().without_paywall().or(dollar().paywall(Nothing)), &["`paywall`"]),
        (cent().unpaid_body(|_| body()).or(dollar().unpaid_body(|_| body())), &["`unpaid_body`"]),
        (
            cent().settlement_failed_body(|_| body()).or(dollar().settlement_failed_body(|_| body())),
            &["`settlement_failed_body`"],
        ),
        (cent().or(cent().describe("A").or(dollar().describe("B"))).or(cent()), &["`description`"]),
    ]
}

async fn a_charge_that_cannot_work_is_an_error_that_says_so(_: Stack) {
    let gate = gate(Script::new()).build().unwrap();
    for (charge, words) in wrong() {
        let shown = format!("{charge:?}");
        let Err(error) = gate.charge(charge.clone()) else {
            panic!("{} is charged", &shown[..shown.len().min(400)])
        };
        assert_says(&error, words);
        let table = RouteTable::new().route("GET /weather/{city}", charge).unwrap();
        let app = Router::new().route("/weather/{city}", get(async || ""));
        let error = gate.charge_routes(app, table).unwrap_err();
        assert!(matches!(error, ConfigError::Route { .. }));
        assert_says(&error, words);
        assert_says(&error, &["`GET /weather/{city}`"]);
    }
    assert!(gate.charge(exact("$0.000001").on(BASE_SEPOLIA).to(SELLER.to_lowercase())).is_ok());
}

async fn a_table_that_cannot_work_is_an_error_that_says_so(_: Stack) {
    let gate = gate(Script::new()).build().unwrap();
    let error = gate.charge_routes(Router::new(), RouteTable::new()).unwrap_err();
    assert!(matches!(error, ConfigError::EmptyTable));
    assert_says(&error, &["empty", "every request"]);
    for key in ["", "weather", "GET", "GET weather", "/a?b", "/a#b", "/{a", "GET /a b", "G@T /a"] {
        let error = RouteTable::new().route(key, cent()).unwrap_err();
        assert!(matches!(error, ConfigError::RouteKey(_)), "{key}");
        assert_says(&error, &[&format!("`{key}`"), "GET /weather/{city}"]);
    }
    for (earlier, later) in [("/a", "GET /a"), ("GET /a/{id}", "HEAD /a/{name}"), ("GET /a", "get /a")] {
        let table = RouteTable::new().route(earlier, cent()).unwrap();
        let error = table.route(later, cent()).unwrap_err();
        assert!(matches!(error, ConfigError::Unreachable { .. }));
        assert_says(&error, &["never match", &format!("`{earlier}`")]);
    }
}
