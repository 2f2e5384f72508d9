//! How people go about it: the way they pay, and what they press.

use alloy::primitives::U256;
use serde_json::json;
use x402_core::{
    amount::Amount,
    asset::Token,
    gate::{TokenAmount, exact},
    network::{BASE, BASE_SEPOLIA, Network},
};
use x402_tests::{Chain, chain};

use crate::{
    harness::{Case, Stack, case},
    market::{CENT, Market, page, shelves},
};

pub const CASES: &[Case] = &[
    case!(the_second_way_to_pay_is_chosen),
    case!(a_chain_of_ones_own_is_added_and_paid_on).once(),
    case!(the_keyboard_is_enough),
];

async fn the_second_way_to_pay_is_chosen(stack: Stack) {
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    let base = Chain::start_with(8453).await.unwrap();
    base.mint(payer, 100 * CENT).await.unwrap();
    let charge = exact("$0.01").on(BASE_SEPOLIA).to(merchant).or(exact("$0.02").on(BASE).to(merchant));
    let market = Market::with(stack, shelves(&charge), page(), &[(&base, BASE)]).await;
    let wallet = market.wallet().with(&base);
    let person = market.opens("/article", &wallet).await;
    person.sees("idle").await;
    let options = person.evaluate("document.querySelectorAll('input[name=option]').length").await.unwrap();
    assert_eq!((options, person.text("#price").await.unwrap().as_str()), (2.into(), "$0.01"));
    person.click("#options label:nth-of-type(2)").await.unwrap();
    assert_eq!(person.text("#price").await.unwrap(), "$0.02");
    assert!(person.text("#pay").await.unwrap().contains("$0.02"));
    person.pays().await;
    person.has_the_article().await;
    assert_eq!(base.balance(merchant).await.unwrap(), U256::from(2 * CENT));
    assert_eq!(base.balance(payer).await.unwrap(), U256::from(98 * CENT));
    assert_eq!(
        (base.transfers(merchant).await.unwrap(), wallet.sign_calls(), wallet.network()),
        (1, 1, 8453)
    );
    market.sold(0).await;
    person.behaved();
}

async fn a_chain_of_ones_own_is_added_and_paid_on(stack: Stack) {
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    let ours = Chain::start_with(31_337).await.unwrap();
    ours.mint(payer, 100 * CENT).await.unwrap();
    let network = Network::evm(31_337);
    let usdc = ours.usdc().to_string().parse().unwrap();
    let token = Token::eip3009(network.clone(), usdc, "USDC", 6, "USDC", "2");
    let cent = TokenAmount { token, amount: Amount::from(CENT) };
    let named = x402_paywall::Chain::new("Hive Chain").testnet().explorer("https://scan.test/hive").unwrap();
    let page = page().chain(network.clone(), named.rpc(ours.rpc_url(), "BEE").unwrap());
    let charge = exact(cent).on(network.clone()).to(merchant);
    let market = Market::with(stack, shelves(&charge), page, &[(&ours, network)]).await;
    let wallet = market.wallet().with(&ours).without(&ours);
    let person = market.opens("/data", &wallet).await;
    person.sees("idle").await;
    let offer = person.text("main").await.unwrap().replace('\u{a0}', " ");
    for words in ["0.01 USDC", "on Hive Chain", "Test network"] {
        assert!(offer.contains(words), "{words} in {offer}");
    }
    person.pays().await;
    person.sees("paid").await;
    let added = json!([{
        "chainId": "0x7a69",
        "chainName": "Hive Chain",
        "nativeCurrency": { "name": "BEE", "symbol": "BEE", "decimals": 18 },
        "rpcUrls": [ours.rpc_url()],
        "blockExplorerUrls": ["https://scan.test/hive"],
    }]);
    assert_eq!(json!(wallet.added()), added);
    let transfers = ours.transfer_log(merchant).await.unwrap();
    assert_eq!(transfers.len(), 1);
    let link = format!("https://scan.test/hive/tx/{}", transfers[0].transaction);
    assert_eq!(person.attribute("#receipt-link", "href").await, link);
    market.sold(0).await;
    person.behaved();
}

async fn the_keyboard_is_enough(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.opens("/data", &wallet).await;
    person.sees("idle").await;
    person.tab_to("#pay").await.unwrap();
    person.press("Enter").await.unwrap();
    person.sees("paid").await;
    // The place in the page goes on to what was bought, and does not fall back to its beginning.
    person.until("document.getElementById('bought').contains(document.activeElement)").await.unwrap();
    person.tab_to("#copy-receipt").await.unwrap();
    let copied = person.copies(async || person.press(" ").await.unwrap()).await;
    assert!(copied.contains(&market.transaction().await), "{copied}");
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}
