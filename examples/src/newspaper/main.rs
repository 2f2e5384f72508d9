//! A newspaper that people read in a browser and pay with their wallet, on a chain of this machine:
//! `cargo xtask newspaper`, which installs the chain where it is missing. `RPC_PORT` is the chain's port, else any.
#![allow(clippy::print_stdout, reason = "a program says where it listens")]

use std::net::TcpListener;

use axum::{
    Router,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{Html, IntoResponse},
    routing::get,
};
use x402_axum::GateExt;
use x402_core::{
    gate::{Charge, PaymentGate, exact},
    network::BASE_SEPOLIA,
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::LocalFacilitator;
use x402_paywall::PaywallPage;
use x402_tests::{Chain, chain};

const TEN_DOLLARS: u64 = 10_000_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    x402_tests::install_crypto();
    let (reader, publisher) = (chain::payer(), chain::merchant());
    // A wallet keeps a chain's RPC URL, so it is to be the same the next time.
    let port = std::env::var("RPC_PORT").map_or(Ok(0), |port| port.parse())?;
    let chain = Chain::start_at(84_532, port).await?;
    chain.mint(reader.address(), TEN_DOLLARS).await?;

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let origin = format!("http://{}", listener.local_addr()?);
    let facilitator = ExactFacilitator::connect(chain.rpc_url(), BASE_SEPOLIA, chain::facilitator())?;
    let gate = PaymentGate::builder(&origin)
        .scheme(x402_evm::exact::server())
        .facilitator(LocalFacilitator::new().with(facilitator))
        .paywall(page()?)
        .build()?;
    gate.ready().await;

    println!("The Example Post is at {origin}");
    println!("\nTo read it with a wallet like MetaMask, add a network to it:");
    println!(
        "  name Example Post (test), RPC URL {}, chain id {}, currency ETH",
        chain.rpc_url(),
        chain.chain_id()
    );
    println!("  (where the wallet knows chain {} already, set its RPC URL to this one)", chain.chain_id());
    println!("and import the reader's account, {}, which has 10 test dollars:", reader.address());
    println!("  private key {}", chain::private_key(&reader));
    println!("The key is one that every developer knows: never send it real money.");

    listener.set_nonblocking(true)?;
    let app = newspaper(&gate, &publisher.address().to_string())?;
    axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await?;
    gate.settled().await;
    Ok(())
}

/// What is asked of people instead of JSON, on every route of the gate.
fn page() -> anyhow::Result<PaywallPage> {
    Ok(PaywallPage::new()
        .app_name("The Example Post")
        .accent("#8c2f1b")?
        .extra_text("An article, once bought, can be read again from the same browser for one hour."))
}

fn newspaper(gate: &PaymentGate, publisher: &str) -> anyhow::Result<Router> {
    let costs = |price: &'static str, what: &str| -> Charge {
        exact(price).on(BASE_SEPOLIA).to(publisher).describe(what).idempotent()
    };
    let article =
        costs("$0.10", "The night the modem sang: a report from the machine room").mime_type("text/html");
    let picture = costs("$0.02", "The machine room, drawn").mime_type("image/svg+xml");
    // A page of its own for one route.
    let data = costs("$0.05", "How warm it was in the machine room: a table")
        .mime_type("text/csv")
        .paywall(page()?.extra_text("The table is saved as a file."));
    Ok(Router::new()
        .route("/", get(Html(include_str!("front.html"))))
        .route("/articles/modem", get(Html(include_str!("article.html"))).layer(gate.charge(article)?))
        .route("/pictures/machine-room.svg", get(the_picture).layer(gate.charge(picture)?))
        .route("/data/temperatures.csv", get(the_data).layer(gate.charge(data)?)))
}

async fn the_picture() -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/svg+xml")], include_str!("machine-room.svg"))
}

async fn the_data() -> impl IntoResponse {
    let name = "attachment; filename=\"temperatures.csv\"; filename*=UTF-8''machine%20room%20%C2%B0C.csv";
    (
        [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, name)],
        include_str!("temperatures.csv"),
    )
}
