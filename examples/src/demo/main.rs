//! A paid request from end to end, on a real chain on this machine: run it with `cargo xtask demo`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a demonstration speaks to who runs it")]

mod ledger;
mod service;
mod services;

use std::process::ExitCode;

use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, bail, ensure};
use ledger::Ledger;
use serde_json::{Value, json};
use service::Service;
use x402_core::{
    asset,
    payment::{PaymentRequired, Receipt, SettleResponse},
    wire,
};
use x402_reqwest::ResponseExt;
use x402_tests::{Chain, chain, http, node};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let remote = args.iter().any(|arg| arg == "--remote");
    let framework = args.iter().find_map(|arg| arg.strip_prefix("--framework=")).unwrap_or("axum");
    match demo(remote, framework).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(remote: bool, framework: &str) -> anyhow::Result<()> {
    x402_tests::install_crypto();
    let (payer, merchant) = (chain::payer(), chain::merchant());

    title("The chain");
    let chain = Chain::start().await?;
    chain.mint(payer.address(), 1_000_000).await?;
    println!("a local EVM node says it is {} and listens at {}", chain.network(), chain.rpc_url());
    println!("the test dollar has its code where USDC is: {}", chain.usdc());
    println!("the payer {} was given $1.00", payer.address());

    title("The facilitator and the service");
    let service = Service::start(&chain, &merchant.address().to_string(), remote, framework).await?;
    println!("{}", service.facilitator);
    println!("the {framework} example sells {} for $0.01, to {}", service.url, merchant.address());

    title("1. Without a payment");
    let answer = http()?.get(&service.url).send().await?;
    ensure!(answer.status() == 402, "expected 402 without a payment, got {}", answer.status());
    let offer = answer.headers().get(wire::PAYMENT_REQUIRED).context("no PAYMENT-REQUIRED header")?;
    show_offer(&wire::decode_payment_required(offer)?);

    let mut ledger = Ledger::open(&chain, payer.address(), merchant.address()).await?;

    title("2. Paid by our reqwest client (version 2 of the protocol)");
    pay_with_reqwest(&service, &payer).await?.show();
    ledger.expect_paid(10_000).await?;

    title("3. Paid by the published x402-fetch (version 1)");
    let (paid, _) = pay_with_npm("pay-v1.mjs", &service, &payer).await?;
    paid.show();
    ledger.expect_paid(10_000).await?;

    title("4. Paid by the published @x402/fetch (version 2)");
    let (paid, header) = pay_with_npm("pay-v2.mjs", &service, &payer).await?;
    paid.show();
    ledger.expect_paid(10_000).await?;

    title("5. The same payment once more");
    let again = http()?.get(&service.url).header(wire::PAYMENT_SIGNATURE, header).send().await?;
    let status = again.status();
    let reason: Value = serde_json::from_slice(&again.bytes().await?)?;
    ensure!(status == 402, "a payment was taken twice: {status} {reason}");
    println!("refused: {status}, {}", reason["error"]);
    ledger.expect_paid(0).await?;

    title("Done");
    println!(
        "3 requests paid, {} transfers on chain, {} moved",
        ledger.transfers(),
        ledger::dollars(ledger.moved())
    );
    Ok(())
}

/// What a payer got for its money.
struct Paid {
    body: String,
    receipt: Receipt,
}

impl Paid {
    fn show(&self) {
        println!("the answer:   {}", self.body.trim());
        let transaction = self.receipt.transaction.as_ref().map(ToString::to_string).unwrap_or_default();
        println!("the receipt:  settled on {} in transaction {transaction}", self.receipt.network);
    }
}

async fn pay_with_reqwest(service: &Service, payer: &PrivateKeySigner) -> anyhow::Result<Paid> {
    let client = x402_reqwest::Client::builder()
        .scheme(x402_evm::exact::client(payer.clone()))
        .max_per_request("$0.10")
        .build()?;
    let answer = client.get(&service.url).send().await?;
    let receipt = answer.receipt().context("no receipt")??;
    let SettleResponse::Settled(receipt) = receipt else { bail!("not settled: {receipt:?}") };
    let status = answer.status();
    let body = answer.text().await?;
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
    let receipt = wire::decode_settle(&serde_json::to_vec(&report["receipt"])?)?;
    let SettleResponse::Settled(receipt) = receipt else { bail!("not settled: {report}") };
    let body = report["body"].as_str().map_or_else(|| report["body"].to_string(), str::to_owned);
    let header = report["payment"].as_str().context("no payment was sent")?.to_owned();
    Ok((Paid { body, receipt }, header))
}

fn show_offer(offer: &PaymentRequired) {
    println!("402 Payment Required: {}", offer.error.as_deref().unwrap_or_default());
    println!("  sells     {} ({})", offer.resource.url, offer.resource.description.as_deref().unwrap_or("-"));
    for option in &offer.accepts {
        let token = asset::token_at(&option.network, &option.asset);
        let symbol = token.map_or_else(|| "token".into(), |token| token.symbol);
        println!("  asks      {} units of {symbol} ({}) on {}", option.amount, option.asset, option.network);
        println!(
            "  pays to   {} within {} s, scheme {}",
            option.pay_to, option.max_timeout_seconds, option.scheme
        );
    }
}

fn title(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.chars().count()));
}
