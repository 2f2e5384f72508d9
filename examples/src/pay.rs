//! Pays for one request, and shows what goes over the wire:
//! `PRIVATE_KEY=0x… cargo run -p x402-examples --bin pay -- http://127.0.0.1:3000/weather`.
#![allow(clippy::print_stdout, reason = "a program shows what it does")]

use std::env;

use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, bail};
use clap::{Arg, Command};
use x402_core::payment::SettleResponse;
use x402_examples::exchange::show;
use x402_reqwest::{PaymentMiddleware, ResponseExt};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = Arg::new("URL").required(true).help("What to pay for, like http://127.0.0.1:3000/weather");
    let most = Arg::new("max-price").long("max-price").value_name("PRICE").default_value("$0.10");
    let args = Command::new("pay")
        .about("Pays for one request with the account of PRIVATE_KEY, and shows what goes over the wire.")
        .arg(url)
        .arg(most.help("The most it may cost, in dollars"))
        .get_matches();
    let [url, most] =
        ["URL", "max-price"].map(|name| args.get_one::<String>(name).cloned().unwrap_or_default());
    x402_examples::log("warn")?;

    let key =
        env::var("PRIVATE_KEY").context("set PRIVATE_KEY to the private key of the account that pays")?;
    // The parser's words may repeat the key.
    let payer: PrivateKeySigner = key
        .parse()
        .ok()
        .context("PRIVATE_KEY is not a private key: expected 64 hex digits, with or without 0x")?;
    let payments =
        PaymentMiddleware::builder().scheme(x402_evm::exact::client(payer)).max_per_request(most).build()?;
    let client = payments.attach(reqwest::Client::builder())?.with(show).build();

    let response = client.get(&url).send().await?;
    match response.receipt() {
        Some(Ok(SettleResponse::Settled(receipt))) => {
            let transaction = receipt.transaction.as_ref().map(ToString::to_string).unwrap_or_default();
            println!("\npaid: settled on {} in transaction {transaction}", receipt.network);
            Ok(())
        }
        Some(Ok(other)) => bail!("not paid: {other:?}"),
        Some(Err(error)) => bail!("the receipt cannot be read, so what was paid is not known: {error}"),
        None if response.status().is_success() => {
            println!("\nnothing was asked for it, and nothing paid");
            Ok(())
        }
        None => bail!("the service answered {}, and nothing was settled", response.status()),
    }
}
