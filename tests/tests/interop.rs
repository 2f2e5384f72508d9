//! Published clients pay our server, our client pays published servers, through our facilitator, on a real chain.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use alloy::{
    network::TransactionBuilder, primitives::U256, providers::Provider, rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use axum::{Router, routing::get};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use x402_axum::{GateExt, Paid};
use x402_core::{
    gate::{PaymentGate, exact},
    hooks::{PaymentHooks, Proceed},
    network::BASE_SEPOLIA,
    payment::{Payment, PaymentPayload, SettleResponse, Version},
    scheme::ClientScheme,
    store::MemoryStore,
    wire,
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::{LocalFacilitator, RemoteFacilitator};
use x402_reqwest::ResponseExt;
use x402_tests::{Chain, chain, node, process::FacilitatorBinary, serve::Serving, token::Token};

const CENT: u64 = 10_000;

/// A chain, a service of ours on it that sells `/paid` for a cent, and what the parties had at first.
struct Market {
    chain: Chain,
    service: Serving,
    _binary: Option<FacilitatorBinary>,
}

impl Market {
    async fn open(remote: bool) -> Self {
        let chain = funded_chain().await;
        let (binary, builder) = if remote {
            let binary = facilitator_binary(&chain).await;
            let facilitator = RemoteFacilitator::new(&binary.url).unwrap();
            (Some(binary), PaymentGate::builder("http://shop.test").facilitator(facilitator))
        } else {
            let exact =
                ExactFacilitator::connect(chain.rpc_url(), BASE_SEPOLIA, chain::facilitator()).unwrap();
            let facilitator = LocalFacilitator::new().with(exact);
            (None, PaymentGate::builder("http://shop.test").facilitator(facilitator))
        };
        let gate = builder.scheme(x402_evm::exact::server()).build().unwrap();
        gate.ready().await.unwrap();
        let price = exact("$0.01").on(BASE_SEPOLIA).to(chain::merchant().address()).describe("A secret");
        let paid = async |Paid(payment): Paid| format!("secret for {}", payment.payer());
        let named = price.clone().require_identifier();
        let app = Router::new()
            .route("/paid", get(paid).post(paid).layer(gate.charge(price).unwrap()))
            .route("/named", get(paid).post(paid).layer(gate.charge(named).unwrap()));
        Self { chain, service: Serving::start(app).await.unwrap(), _binary: binary }
    }
}

async fn funded_chain() -> Chain {
    x402_tests::install_crypto();
    let chain = Chain::start().await.unwrap();
    chain.mint(chain::payer().address(), 100 * CENT).await.unwrap();
    chain
}

async fn facilitator_binary(chain: &Chain) -> FacilitatorBinary {
    let key = chain::private_key(&chain::facilitator());
    FacilitatorBinary::start(chain.rpc_url().as_str(), &key).await.unwrap()
}

/// The merchant has this many cents, each moved by a transfer of the payer's.
async fn assert_cents(chain: &Chain, cents: u64) {
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    assert_eq!(chain.balance(merchant).await.unwrap(), U256::from(cents * CENT));
    assert_eq!(chain.balance(payer).await.unwrap(), U256::from((100 - cents) * CENT));
    let transfers = chain.transfer_log(merchant).await.unwrap();
    assert_eq!(transfers.len() as u64, cents);
    assert!(transfers.iter().all(|transfer| transfer.from == payer && transfer.value == U256::from(CENT)));
}

/// The hash of the last transfer to the merchant.
async fn last_hash(chain: &Chain) -> String {
    let transfers = chain.transfer_log(chain::merchant().address()).await.unwrap();
    transfers.last().unwrap().transaction.to_string()
}

async fn pay_with_npm(program: &str, url: &str, more: &[(&str, &str)]) -> Value {
    let key = chain::private_key(&chain::payer());
    let env = [&[("URL", url), ("PRIVATE_KEY", key.as_str())], more].concat();
    node::run(program, &env).await.unwrap()
}

async fn published_clients_pay(remote: bool) {
    let market = Market::open(remote).await;
    let url = market.service.url("/paid");
    let secret = json!(format!("secret for {}", chain::payer().address()));
    for (cents, program, header, network) in [
        (1, "pay-v2.mjs", "payment-response", "eip155:84532"),
        (2, "pay-v1.mjs", "x-payment-response", "base-sepolia"),
    ] {
        let report = pay_with_npm(program, &url, &[]).await;
        assert_eq!(report["status"], 200, "{program}: {report}");
        assert_eq!(report["body"], secret, "{program}");
        let steps = json!([{ "status": 402, "paid": false }, { "status": 200, "paid": true }]);
        assert_eq!(report["exchanges"], steps, "{program}");
        assert!(report["headers"][header].is_string(), "{program}: {report}");
        let receipt = &report["receipt"];
        assert_eq!(receipt["success"], true, "{program}");
        assert_eq!(receipt["network"], network, "{program}");
        assert_eq!(receipt["transaction"], json!(last_hash(&market.chain).await), "{program}");
        assert_cents(&market.chain, cents).await;
    }
}

#[tokio::test]
async fn published_clients_pay_our_server_with_an_embedded_facilitator() {
    published_clients_pay(false).await;
}

#[tokio::test]
async fn published_clients_pay_our_server_with_the_facilitator_binary() {
    published_clients_pay(true).await;
}

#[tokio::test]
async fn a_published_client_posts_and_its_body_arrives() {
    let market = Market::open(false).await;
    let more = [("METHOD", "POST"), ("REQUEST_BODY", r#"{"a":1}"#)];
    let report = pay_with_npm("pay-v2.mjs", &market.service.url("/paid"), &more).await;
    assert_eq!(report["status"], 200, "{report}");
    assert_cents(&market.chain, 1).await;
}

#[tokio::test]
async fn a_published_clients_payment_buys_one_answer() {
    let market = Market::open(false).await;
    let report = pay_with_npm("pay-v2.mjs", &market.service.url("/paid"), &[]).await;
    let payment = report["payment"].as_str().unwrap();
    let again = market.service.get("/paid", &[("payment-signature", payment)]).await.unwrap();
    assert_eq!(again.status, 402);
    assert_eq!(again.json().unwrap()["error"], "duplicate_settlement");
    assert_cents(&market.chain, 1).await;
}

#[tokio::test]
async fn a_published_client_names_what_it_pays_for_and_is_charged_once() {
    let market = Market::open(false).await;
    let more = [("ID", "pay_0123456789abcdef"), ("METHOD", "POST"), ("REQUEST_BODY", r#"{"a":1}"#)];
    let report = pay_with_npm("identify.mjs", &market.service.url("/named"), &more).await;
    let valid = json!({ "valid": true });
    assert_eq!((&report["isDeclaration"], &report["declaration"]), (&json!(true), &valid), "{report}");
    assert_eq!((&report["answered"], &report["id"]), (&valid, &json!("pay_0123456789abcdef")), "{report}");
    let (first, again) = (&report["answers"][0], &report["answers"][1]);
    assert_eq!((&first["status"], &first["replayed"]), (&json!(200), &Value::Null), "{report}");
    assert_eq!((&again["status"], &again["replayed"]), (&json!(200), &json!("true")), "{report}");
    assert_eq!((&again["body"], &again["receipt"]), (&first["body"], &first["receipt"]), "{report}");
    assert_cents(&market.chain, 1).await;
    let other = pay_with_npm("identify.mjs", &market.service.url("/named"), &more).await;
    assert_eq!(other["answers"][0]["status"], 409, "{other}");
    assert_eq!(other["answers"][0]["body"]["error"], "payment_identifier_conflict", "{other}");
    assert_cents(&market.chain, 1).await;
}

#[tokio::test]
async fn a_payer_without_money_is_refused() {
    let market = Market::open(false).await;
    let key = chain::private_key(&chain::stranger());
    let url = market.service.url("/paid");
    let report = node::run("pay-v2.mjs", &[("URL", &url), ("PRIVATE_KEY", &key)]).await.unwrap();
    assert_eq!(report["status"], 402, "{report}");
    assert_eq!(report["body"]["error"], "invalid_exact_evm_insufficient_balance", "{report}");
    assert_cents(&market.chain, 0).await;
}

async fn our_client_pays(program: &str) {
    let chain = funded_chain().await;
    let binary = facilitator_binary(&chain).await;
    let payee = chain::merchant().address().to_string();
    let env = [("FACILITATOR_URL", binary.url.as_str()), ("PAY_TO", &payee)];
    let server = node::Server::start(program, &env).await.unwrap();
    let client = x402_reqwest::Client::builder()
        .scheme(x402_evm::exact::client(chain::payer()))
        .networks([BASE_SEPOLIA])
        .max_per_request("$0.01")
        .build()
        .unwrap();
    let answer = client.get(server.url("/paid")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", server.log());
    let Some(Ok(SettleResponse::Settled(receipt))) = answer.receipt() else {
        panic!("no receipt: {answer:?}")
    };
    assert_eq!(receipt.network, BASE_SEPOLIA);
    assert_eq!(receipt.transaction.unwrap().as_str(), last_hash(&chain).await);
    assert_eq!(answer.text().await.unwrap(), r#"{"secret":"forty-two"}"#);
    assert_eq!(server.handled().await.unwrap(), 1);
    assert_cents(&chain, 1).await;
}

#[tokio::test]
async fn our_client_pays_a_published_v2_server_with_our_facilitator_binary() {
    our_client_pays("server-v2.mjs").await;
}

#[tokio::test]
async fn our_client_pays_a_published_v1_server_with_our_facilitator_binary() {
    our_client_pays("server-v1.mjs").await;
}

#[tokio::test]
async fn published_clients_pay_published_servers_with_our_facilitator_binary() {
    let chain = funded_chain().await;
    let binary = facilitator_binary(&chain).await;
    let payee = chain::merchant().address().to_string();
    let env = [("FACILITATOR_URL", binary.url.as_str()), ("PAY_TO", &payee)];
    for (cents, server, client) in [(1, "server-v2.mjs", "pay-v2.mjs"), (2, "server-v1.mjs", "pay-v1.mjs")] {
        let server = node::Server::start(server, &env).await.unwrap();
        let report = pay_with_npm(client, &server.url("/paid"), &[]).await;
        assert_eq!(report["status"], 200, "{client}: {report} {}", server.log());
        assert_cents(&chain, cents).await;
    }
}

#[tokio::test]
async fn our_client_pays_our_server() {
    let market = Market::open(true).await;
    let client = x402_reqwest::Client::builder()
        .scheme(x402_evm::exact::client(chain::payer()))
        .max_per_request("$0.10")
        .build()
        .unwrap();
    for cents in 1..=3 {
        let answer = client.get(market.service.url("/paid")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(matches!(answer.receipt(), Some(Ok(SettleResponse::Settled(_)))));
        assert_cents(&market.chain, cents).await;
    }
}

/// With the published facilitators it is one, too: what a server like these is told is paid, it serves.
#[tokio::test]
async fn a_published_server_sells_a_payment_once_though_it_comes_ten_times_at_once() {
    let chain = funded_chain().await;
    let binary = facilitator_binary(&chain).await;
    let payee = chain::merchant().address().to_string();
    let env = [("FACILITATOR_URL", binary.url.as_str()), ("PAY_TO", &payee)];
    for (cents, program, version) in [(1, "server-v2.mjs", Version::V2), (2, "server-v1.mjs", Version::V1)] {
        let server = node::Server::start(program, &env).await.unwrap();
        let url = server.url("/paid");
        let (name, header) = sign_offer(&url, version).await;
        let client = reqwest::Client::new();
        let ask = || client.get(&url).header(name.clone(), header.clone()).send();
        let answers = futures_util::future::join_all((0..10).map(|_| ask())).await;
        let statuses: Vec<u16> =
            answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
        let sold = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(sold, 1, "{program}: {statuses:?} {}", server.log());
        // Later it is no better.
        assert_eq!(ask().await.unwrap().status(), 402, "{program}");
        assert_cents(&chain, cents).await;
    }
}

/// The header that pays what is asked for at this URL.
async fn sign_offer(url: &str, version: Version) -> (HeaderName, HeaderValue) {
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 402);
    let required = match version {
        Version::V2 => wire::decode_payment_required(&answer.headers()["payment-required"]).unwrap().required,
        Version::V1 => wire::decode_payment_required_body(&answer.bytes().await.unwrap()).unwrap().required,
    };
    let accepted = required.accepts.into_iter().next().unwrap();
    let payload = x402_evm::exact::client(chain::payer()).sign(version, &accepted).await.unwrap();
    let payment = PaymentPayload {
        version,
        resource: Some(required.resource),
        accepted,
        payload,
        extensions: Default::default(),
    };
    wire::encode_payment_header(&payment).unwrap()
}

/// Broadcasts a payment, as its payer may, when the gate has found it good.
struct Broadcasts(Chain);

impl PaymentHooks for Broadcasts {
    async fn after_verify(&self, payment: &Payment) -> Proceed {
        let signed = &payment.payload.payload;
        let field = |name: &str| signed["authorization"][name].as_str().unwrap().to_owned();
        let number = |name: &str| field(name).parse::<U256>().unwrap();
        let call = Token::transferWithAuthorization_1Call {
            from: field("from").parse().unwrap(),
            to: field("to").parse().unwrap(),
            value: number("value"),
            validAfter: number("validAfter"),
            validBefore: number("validBefore"),
            nonce: field("nonce").parse().unwrap(),
            signature: signed["signature"].as_str().unwrap().parse().unwrap(),
        };
        let request = TransactionRequest::default()
            .with_to(self.0.usdc())
            .with_input(call.abi_encode())
            .with_gas_limit(300_000);
        let provider = self.0.provider_of(chain::stranger()).unwrap();
        provider.send_transaction(request).await.unwrap().watch().await.unwrap();
        Proceed::Continue
    }
}

/// Two shops with one payee, each with a facilitator and records of its own.
#[tokio::test]
async fn what_was_paid_and_served_elsewhere_buys_nothing_here() {
    let chain = funded_chain().await;
    let keys = [chain::facilitator(), chain::second_facilitator()].map(|signer| chain::private_key(&signer));
    let mut shops = Vec::new();
    for key in &keys {
        let binary = FacilitatorBinary::start(chain.rpc_url().as_str(), key).await.unwrap();
        let gate = PaymentGate::builder("http://shop.test")
            .facilitator(RemoteFacilitator::new(&binary.url).unwrap())
            .scheme(x402_evm::exact::server())
            .store(MemoryStore::new())
            .build()
            .unwrap();
        gate.ready().await.unwrap();
        let price = exact("$0.01").on(BASE_SEPOLIA).to(chain::merchant().address());
        let app = Router::new().route("/paid", get(async || "secret").layer(gate.charge(price).unwrap()));
        shops.push((Serving::start(app).await.unwrap(), gate, binary));
    }
    let (name, header) = sign_offer(&shops[0].0.url("/paid"), Version::V2).await;
    let payment = [(name.as_str(), header.to_str().unwrap())];
    assert_eq!(shops[0].0.get("/paid", &payment).await.unwrap().status, 200);
    for _ in 0..2 {
        let answer = shops[1].0.get("/paid", &payment).await.unwrap();
        assert_eq!(answer.status, 402, "{answer:?}");
        assert_eq!(answer.count("payment-required"), 0, "{answer:?}");
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }
    assert_cents(&chain, 1).await;
}

#[tokio::test]
async fn a_payment_that_its_payer_broadcasts_after_it_came_is_served_once() {
    for first in [false, true] {
        let chain = funded_chain().await;
        let binary = facilitator_binary(&chain).await;
        let rpc_url = chain.rpc_url();
        let gate = PaymentGate::builder("http://shop.test")
            .facilitator(RemoteFacilitator::new(&binary.url).unwrap())
            .scheme(x402_evm::exact::server())
            .hooks(Broadcasts(chain))
            .build()
            .unwrap();
        gate.ready().await.unwrap();
        let price = exact("$0.01").on(BASE_SEPOLIA).to(chain::merchant().address());
        let price = if first { price.settle_first() } else { price };
        let app = Router::new().route("/paid", get(async || "secret").layer(gate.charge(price).unwrap()));
        let shop = Serving::start(app).await.unwrap();
        let (name, header) = sign_offer(&shop.url("/paid"), Version::V2).await;
        let payment = [(name.as_str(), header.to_str().unwrap())];
        let answer = shop.get("/paid", &payment).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "secret"), "{rpc_url}: {answer:?}");
        let receipt = answer.decoded("payment-response").unwrap();
        assert_eq!((&receipt["success"], receipt["transaction"].as_str().unwrap().len()), (&json!(true), 66));
        let again = shop.get("/paid", &payment).await.unwrap();
        assert_eq!((again.status, again.count("payment-required")), (402, 0), "{again:?}");
    }
}
