//! The newspaper, read in a real browser by somebody whose wallet has never heard of its chain.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[allow(dead_code, reason = "its `main` is not called here")]
#[path = "../src/newspaper/main.rs"]
mod newspaper;

use std::net::TcpListener;

use alloy::primitives::U256;
use x402_tests::{
    Chain,
    browser::{Browser, Setup, Visitor, Wallet},
    chain,
};

use newspaper::{CENT, CHAIN};

/// Goes to the front page, follows this link, and pays.
async fn buys(reader: &Visitor, front: &str, link: &str, price: &str) {
    reader.open(front).await.unwrap();
    reader.click(&format!("a[href='{link}']")).await.unwrap();
    reader.until("document.getElementById('paywall')?.dataset.state === 'idle'").await.unwrap();
    let offer = reader.text("main").await.unwrap().replace('\u{a0}', " ");
    for words in ["The Example Post", "Test network", price, "on a chain of this machine"] {
        assert!(offer.contains(words), "{words} in {offer}");
    }
    reader.click("#pay").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_it_can_be_bought() {
    x402_tests::install_crypto();
    let chain = Chain::start_with(CHAIN).await.unwrap();
    chain.mint(chain::payer().address(), 20 * CENT).await.unwrap();
    let wallet = Wallet::new("Fox", &chain, chain::payer().address()).elsewhere(1).without(&chain);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let front = format!("http://{}/", listener.local_addr().unwrap());
    let browser = Browser::start().await.unwrap();
    let reader = browser.visitor(Setup::from(&wallet)).await.unwrap();

    let reading = async {
        buys(&reader, &front, "/articles/modem", "0.10 USDC").await;
        reader.until("!!document.getElementById('x402-receipt')").await.unwrap();
        assert_eq!(reader.text("h1").await.unwrap(), "The night the modem sang");
        buys(&reader, &front, "/pictures/machine-room.svg", "0.02 USDC").await;
        reader.until("document.querySelector('#content img')?.naturalWidth > 0").await.unwrap();
        buys(&reader, &front, "/data/temperatures.csv", "0.05 USDC").await;
        let saved = reader.saved(1).await.unwrap();
        assert_eq!(saved[0].name, "machine room °C.csv");
    };
    tokio::select! {
        served = newspaper::serve(&chain, listener) => panic!("the newspaper ended: {served:?}"),
        () = reading => {}
    }

    assert_eq!((wallet.added().len(), wallet.sign_calls()), (1, 3));
    assert_eq!(chain.balance(chain::merchant().address()).await.unwrap(), U256::from(17 * CENT));
    let conduct = reader.conduct();
    assert_eq!((conduct.violations, conduct.errors), (vec![], vec![]));
}
