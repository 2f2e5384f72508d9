//! A newspaper that people read in a browser and pay with their wallet, on a chain of this machine:
//! `cargo xtask newspaper`, which installs the chain where it is missing. `PORT` is the newspaper's, else 3000, and
//! `RPC_PORT` the chain's, else 8545.
#![allow(clippy::print_stdout, reason = "a program says where it listens")]

use std::{env, net::TcpListener};

use anyhow::Context;

use axum::{
    Router,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{Html, IntoResponse},
    routing::get,
};
use x402_axum::GateExt;
use x402_core::{
    amount::Amount,
    asset::Token,
    gate::{Charge, PaymentGate, TokenAmount, exact},
    network::Network,
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::LocalFacilitator;
use x402_paywall::PaywallPage;
use x402_tests::{Chain, chain};

/// The id that developers' chains have. The wallet is told of it by the page.
pub(crate) const CHAIN: u64 = 31_337;
/// In the token's smallest unit.
pub(crate) const CENT: u64 = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    x402_examples::log("info")?;
    x402_tests::install_crypto();
    // A wallet keeps a chain's RPC URL, so it is to be the same the next time.
    let port = port_in("RPC_PORT", 8545)?;
    let chain = Chain::start_at(CHAIN, port).await.with_context(|| {
        format!("no chain at port {port}; another one: RPC_PORT=8546 cargo xtask newspaper")
    })?;
    let reader = chain::payer();
    chain.mint(reader.address(), 1000 * CENT).await?;
    let port = port_in("PORT", 3000)?;
    let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| {
        format!("port {port} cannot be listened on; another one: PORT=3001 cargo xtask newspaper")
    })?;

    println!("The Example Post is at http://{}", listener.local_addr()?);
    println!("\nTo read it with a wallet like MetaMask, import the reader's account into it,");
    println!("{}, which has ten test dollars:", reader.address());
    println!("  private key {}", chain::private_key(&reader));
    println!("The key is one that every developer knows: never send it real money.");
    println!(
        "\nThe page tells the wallet of the chain: id {CHAIN}, RPC URL {}, currency ETH.",
        chain.rpc_url()
    );
    println!("If the wallet knows another chain by this id, set its RPC URL to this one.");
    serve(&chain, listener).await
}

/// The newspaper on this chain, for as long as it is asked for.
pub(crate) async fn serve(chain: &Chain, listener: TcpListener) -> anyhow::Result<()> {
    let network = Network::evm(CHAIN);
    let token = Token::eip3009(network.clone(), chain.usdc().to_string().parse()?, "USDC", 6, "USDC", "2");
    let facilitator = ExactFacilitator::connect(chain.rpc_url(), network.clone(), chain::facilitator())?
        .allow_token(chain.usdc());
    // What is asked of people instead of JSON, on every route of the gate.
    let local = x402_paywall::Chain::new("a chain of this machine").testnet().rpc(chain.rpc_url(), "ETH")?;
    let page = PaywallPage::new()
        .app_name("The Example Post")
        .accent("#8c2f1b")?
        .chain(network, local)
        .extra_text("An article, once bought, can be read again from the same browser for one hour.");
    let gate = PaymentGate::builder(format!("http://{}", listener.local_addr()?))
        .scheme(x402_evm::exact::server())
        .facilitator(LocalFacilitator::new().with(facilitator))
        .paywall(page.clone())
        .build()?;
    gate.ready().await?;

    let paper = Newspaper { gate, page, token, publisher: chain::merchant().address().to_string() };
    listener.set_nonblocking(true)?;
    axum::serve(tokio::net::TcpListener::from_std(listener)?, paper.routes()?).await?;
    paper.gate.settled().await;
    Ok(())
}

/// The port that a variable names.
fn port_in(variable: &str, otherwise: u16) -> anyhow::Result<u16> {
    match env::var(variable) {
        Ok(port) => port.parse().with_context(|| format!("{variable} is a port, not `{port}`")),
        Err(_) => Ok(otherwise),
    }
}

struct Newspaper {
    gate: PaymentGate,
    page: PaywallPage,
    token: Token,
    publisher: String,
}

impl Newspaper {
    fn routes(&self) -> anyhow::Result<Router> {
        let article =
            self.costs(10, "The night the modem sang: a report from the machine room").mime_type("text/html");
        let picture = self.costs(2, "The machine room, drawn").mime_type("image/svg+xml");
        // A page of its own for one route.
        let data = self
            .costs(5, "How warm it was in the machine room: a table")
            .mime_type("text/csv")
            .paywall(self.page.clone().extra_text("The table is saved as a file."));
        let gate = &self.gate;
        Ok(Router::new()
            .route("/", get(Html(include_str!("front.html"))))
            .route("/articles/modem", get(Html(include_str!("article.html"))).layer(gate.charge(article)?))
            .route("/pictures/machine-room.svg", get(the_picture).layer(gate.charge(picture)?))
            .route("/data/temperatures.csv", get(the_data).layer(gate.charge(data)?)))
    }

    /// On a chain that core knows, `exact("$0.10").on(BASE)` says it.
    fn costs(&self, cents: u64, what: &str) -> Charge {
        let amount = TokenAmount { token: self.token.clone(), amount: Amount::from(cents * CENT) };
        exact(amount).on(self.token.network.clone()).to(&self.publisher).describe(what).idempotent()
    }
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
