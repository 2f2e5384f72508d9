//! A paid request from end to end, on a real chain on this machine: run it with `cargo xtask demo`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a demonstration speaks to who runs it")]

mod ledger;
mod service;
mod services;

use std::process::ExitCode;

use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, bail, ensure};
use clap::{Arg, ArgAction, Command};
use ledger::Ledger;
use reqwest_middleware::ClientBuilder;
use serde_json::{Value, json};
use service::Service;
use x402_core::{
    asset,
    payment::{PaymentRequired, Receipt, SettleResponse},
    wire,
};
use x402_examples::exchange::show;
use x402_reqwest::{PaymentMiddleware, ResponseExt};
use x402_tests::{Chain, chain, http, node};

/// What it is asked to do.
struct Options {
    framework: String,
    remote: bool,
    serve: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let framework = Arg::new("framework").long("framework").value_name("FRAMEWORK").default_value("axum");
    let flag = |name| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let args = Command::new("demo")
        .about("Pays for a request on a local chain, and shows every step.")
        .arg(framework.value_parser(["axum", "actix", "poem", "tower"]).help("Whose example service is paid"))
        .arg(
            flag("remote")
                .help("Settles through the facilitator's binary instead of an embedded facilitator"),
        )
        .arg(flag("serve").help("Leaves chain, facilitator and service running until Ctrl-C, to pay by hand"))
        .get_matches();
    let options = Options {
        framework: args.get_one::<String>("framework").cloned().unwrap_or_default(),
        remote: args.get_flag("remote"),
        serve: args.get_flag("serve"),
    };
    match demo(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(options: &Options) -> anyhow::Result<()> {
    x402_examples::log("warn")?;
    x402_tests::install_crypto();
    let (payer, payee) = (chain::payer(), chain::merchant());
    let Options { framework, remote, serve } = options;

    title("The chain");
    let chain = Chain::start().await?;
    chain.mint(payer.address(), 1_000_000).await?;
    println!("a local EVM node says it is {} and listens at {}", chain.network(), chain.rpc_url());
    println!("a token of the tests stands for USDC, at its address {}", chain.usdc());
    println!("the payer {} was given $1.00 of it", payer.address());

    title("The facilitator and the service");
    let service = Service::start(&chain, &payee.address().to_string(), *remote, framework).await?;
    println!("{}", service.facilitator);
    println!(
        "the {framework} service asks $0.01 for {}, to be paid to the payee {}",
        service.url,
        payee.address()
    );

    title("1. A request without a payment");
    let client = ClientBuilder::new(http()?).with(show).build();
    let response = client.get(&service.url).send().await?;
    ensure!(response.status() == 402, "expected 402 without a payment, got {}", response.status());
    let offer = response.headers().get(wire::PAYMENT_REQUIRED).context("no PAYMENT-REQUIRED header")?;
    show_offer(&wire::decode_payment_required(offer)?.required);

    let mut ledger = Ledger::open(&chain, payer.address(), payee.address()).await?;

    title("2. Paid by our client for reqwest (version 2 of the protocol)");
    pay_with_reqwest(&service, &payer).await?.show_receipt();
    ledger.expect_paid(10_000).await?;

    title("3. Paid by the published client x402-fetch (version 1)");
    let (paid, _) = pay_with_npm("pay-v1.mjs", &service, &payer).await?;
    paid.show();
    ledger.expect_paid(10_000).await?;

    title("4. Paid by the published client @x402/fetch (version 2)");
    let (paid, header) = pay_with_npm("pay-v2.mjs", &service, &payer).await?;
    paid.show();
    ledger.expect_paid(10_000).await?;

    title("5. The payment of step 4 once more");
    let again = client.get(&service.url).header(wire::PAYMENT_SIGNATURE, header).send().await?;
    let status = again.status();
    let reason: Value = serde_json::from_slice(&again.bytes().await?)?;
    ensure!(status == 402, "a payment was taken twice: {status} {reason}");
    println!("refused: {}", reason["error"].as_str().unwrap_or_default());
    ledger.expect_paid(0).await?;

    title("Done");
    println!(
        "3 requests paid, {} transfers on chain, {} moved",
        ledger.transfers(),
        ledger::dollars(ledger.moved())
    );

    title("What to do next");
    if *serve {
        serve_on(&service, &chain, &payer).await?
    } else {
        say_what_is_next(framework)
    }
    Ok(())
}

fn say_what_is_next(framework: &str) {
    println!("pay by hand:             cargo xtask demo --framework {framework} --serve");
    let another = if framework == "actix" { "axum" } else { "actix" };
    println!("another framework:       cargo xtask demo --framework {another}");
    println!("pay in a browser:        cargo xtask newspaper");
    println!("this service's code:     examples/src/services/{framework}.rs");
    println!("a service of your own:   README.md");
}

/// Leaves everything running until Ctrl-C.
async fn serve_on(service: &Service, chain: &Chain, payer: &PrivateKeySigner) -> anyhow::Result<()> {
    println!("the chain, the facilitator and the service go on until Ctrl-C. In another terminal:");
    println!("  see the offer:  curl -i {}", service.url);
    println!(
        "  pay by hand:    PRIVATE_KEY={} cargo run --quiet -p x402-examples --bin pay -- {}",
        chain::private_key(payer),
        service.url
    );
    println!("the private key is one that every developer knows: never send its account real money.");
    println!("the chain answers JSON-RPC at {}", chain.rpc_url());
    tokio::signal::ctrl_c().await?;
    println!("\nstopped: the chain and all that was on it are gone");
    Ok(())
}

/// What a payer got for its money.
struct Paid {
    body: String,
    receipt: Receipt,
}

impl Paid {
    fn show(&self) {
        println!("the client was answered 200 OK: {}", self.body.trim());
        self.show_receipt();
    }

    fn show_receipt(&self) {
        let transaction = self.receipt.transaction.as_ref().map(ToString::to_string).unwrap_or_default();
        println!("receipt: settled on {} in transaction {transaction}", self.receipt.network);
    }
}

async fn pay_with_reqwest(service: &Service, payer: &PrivateKeySigner) -> anyhow::Result<Paid> {
    let payments = PaymentMiddleware::builder()
        .scheme(x402_evm::exact::client(payer.clone()))
        .max_per_request("$0.10")
        .build()?;
    let client = payments.attach(reqwest::Client::builder().no_proxy())?.with(show).build();
    let response = client.get(&service.url).send().await?;
    let receipt = response.receipt().context("no receipt")??;
    let SettleResponse::Settled(receipt) = receipt else { bail!("not settled: {receipt:?}") };
    let status = response.status();
    let body = response.text().await?;
    ensure!(status == 200, "expected 200 for a payment, got {status}: {body}");
    Ok(Paid { body, receipt })
}

/// Pays with a published client; also the payment it sent.
async fn pay_with_npm(
    program: &str,
    service: &Service,
    payer: &PrivateKeySigner,
) -> anyhow::Result<(Paid, String)> {
    let key = chain::private_key(payer);
    let report = node::run(program, &[("URL", &service.url), ("PRIVATE_KEY", &key)]).await?;
    ensure!(report["status"] == json!(200), "expected 200 for a payment, got {report}");
    let receipt = wire::decode_settle(&serde_json::to_vec(&report["receipt"])?, None)?;
    let SettleResponse::Settled(receipt) = receipt else { bail!("not settled: {report}") };
    let body = report["body"].as_str().map_or_else(|| report["body"].to_string(), str::to_owned);
    let header = report["payment"].as_str().context("no payment was sent")?.to_owned();
    Ok((Paid { body, receipt }, header))
}

fn show_offer(offer: &PaymentRequired) {
    println!("the offer in payment-required:");
    println!("  for       {} ({})", offer.resource.url, offer.resource.description.as_deref().unwrap_or("-"));
    for option in &offer.accepts {
        let token = asset::token_at(&option.network, &option.asset);
        let symbol = token.map_or_else(|| "token".into(), |token| token.symbol);
        println!(
            "  asks      {} atomic units of {symbol} ({}) on {}",
            option.amount, option.asset, option.network
        );
        println!(
            "  pays to   {} within {} s, scheme {}",
            option.pay_to, option.max_timeout_seconds, option.scheme
        );
    }
}

fn title(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.chars().count()));
}
