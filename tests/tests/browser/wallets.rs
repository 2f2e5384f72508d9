//! The wallets that people have, and what they say in them.

use serde_json::json;
use x402_core::{gate::exact, network::BASE};
use x402_tests::{
    Chain,
    browser::{Answer, Setup},
    chain,
};

use crate::{
    goods::{Exhibit, Good, Methods, Shelf},
    harness::{Case, Stack, case},
    market::{CENT, Market, page, shelves},
};

pub const CASES: &[Case] = &[
    case!(without_a_wallet_it_says_what_to_do),
    case!(an_older_wallet_will_do),
    case!(one_of_two_wallets_is_chosen),
    case!(no_in_the_wallet_pays_nothing),
    case!(no_to_the_connection_pays_nothing),
    case!(the_wrong_network_is_left),
    case!(an_unknown_network_is_added),
    case!(who_stays_on_the_wrong_network_pays_nothing),
    case!(too_little_money_is_said_before_signing),
    case!(who_has_too_little_is_led_to_more).once(),
    case!(two_wallets_of_one_name_are_told_apart).once(),
    case!(a_wallet_without_an_account_is_told_of).once(),
    case!(one_wallet_is_no_choice_and_needs_no_picture).once(),
    case!(a_wallet_in_trouble_pays_nothing),
    case!(who_cancels_pays_nothing),
    case!(a_wallet_that_reads_nothing_is_not_waited_for).once(),
];

async fn without_a_wallet_it_says_what_to_do(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/article", Setup::default()).await;
    person.reads("no-wallet", "no-wallet", "Put at least 0.01 USDC on Base Sepolia into it").await;
    assert!(!person.shows("#pay").await);
    assert_eq!(person.text("#price").await.unwrap(), "$0.01");
    market.sold(0).await;
    person.behaved();
}

async fn an_older_wallet_will_do(stack: Stack) {
    let market = Market::open(stack).await;
    let setup = Setup { fallback: true, ..Setup::from(&market.wallet()) };
    let person = market.opens("/article", setup).await;
    person.pays().await;
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();
}

async fn one_of_two_wallets_is_chosen(stack: Stack) {
    let market = Market::open(stack).await;
    let other = market.wallet_of("Rabbit", chain::stranger().address());
    let wallet = market.wallet();
    let setup = Setup { wallets: vec![other.clone(), wallet.clone()], ..Setup::default() };
    let person = market.opens("/article", setup).await;
    person.reads("choosing", "wallets", "Rabbit").await;
    assert!(person.text("#wallets").await.unwrap().contains("Fox"));
    // The button alone asks nobody.
    person.click("#pay").await.unwrap();
    person.reads("choosing", "alert", "Choose the wallet").await;
    assert_eq!((other.connect_calls(), wallet.connect_calls()), (0, 0));
    person.click("#wallets label:nth-of-type(2)").await.unwrap();
    person.pays().await;
    person.has_the_article().await;
    assert_eq!((other.connect_calls(), other.sign_calls()), (0, 0));
    market.sold(1).await;
    person.behaved();
}

async fn no_in_the_wallet_pays_nothing(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_sign([Answer::Reject, Answer::Yes]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("rejected", "status", "You said no in your wallet. Nothing was signed.").await;
    market.sold(0).await;
    assert_eq!(market.till.settle_calls(), 0);
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    assert_eq!((wallet.sign_calls(), wallet.signed().len()), (2, 1));
    market.sold(1).await;
    person.behaved();
}

async fn no_to_the_connection_pays_nothing(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_connect([Answer::Reject, Answer::Yes]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.sees("rejected").await;
    assert_eq!(wallet.sign_calls(), 0);
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();
}

async fn the_wrong_network_is_left(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().elsewhere(1);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.has_the_article().await;
    assert_eq!((wallet.switch_calls(), wallet.network()), (1, market.chain.chain_id()));
    market.sold(1).await;
    person.behaved();
}

async fn an_unknown_network_is_added(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().elsewhere(1).without(&market.chain);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.has_the_article().await;
    let added = wallet.added();
    assert_eq!(added.len(), 1);
    assert_eq!((&added[0]["chainId"], &added[0]["chainName"]), (&"0x14a34".into(), &"Base Sepolia".into()));
    market.sold(1).await;
    person.behaved();
}

async fn who_stays_on_the_wrong_network_pays_nothing(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().elsewhere(1).on_switch([Answer::Reject, Answer::Yes]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("wrong-network", "alert", "Base Sepolia").await;
    assert_eq!((wallet.sign_calls(), wallet.network()), (0, 1));
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();
}

async fn too_little_money_is_said_before_signing(stack: Stack) {
    let market = Market::open(stack).await;
    let poor = chain::stranger().address();
    market.chain.mint(poor, CENT - 1).await.unwrap();
    let wallet = market.wallet_of("Fox", poor);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("low-balance", "alert", "0.009999 USDC").await;
    assert_eq!(wallet.sign_calls(), 0);
    market.sold(0).await;
    // To the last unit, and after looking again.
    market.chain.mint(poor, 1).await.unwrap();
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    assert_eq!(market.chain.balance(poor).await.unwrap(), alloy::primitives::U256::ZERO);
    assert_eq!(market.chain.transfers(chain::merchant().address()).await.unwrap(), 1);
    person.behaved();
}

/// Where the service has a path for session tokens of the on-ramp.
async fn who_has_too_little_is_led_to_more(stack: Stack) {
    const TOKEN: &Exhibit =
        &Exhibit { headers: &[("content-type", "application/json")], body: br#"{"token":"a b&c"}"# };
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    // None is told to buy test money.
    let base = Chain::start_with(8453).await.unwrap();
    let mut shelves = shelves(&exact("$0.01").on(BASE).to(merchant));
    shelves.push(Shelf { path: "/token", methods: Methods::Post, charge: None, good: Good::Shows(TOKEN) });
    let page = page().session_token_endpoint("/token").unwrap();
    let market = Market::with(stack, shelves, page, &[(&base, BASE)]).await;
    let wallet = market.wallet().with(&base);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("low-balance", "alert", "0.01 USDC is needed").await;
    person.until("document.getElementById('onramp').checkVisibility()").await.unwrap();
    assert_eq!(person.text("#onramp").await.unwrap(), "Buy USDC");
    let link = "https://pay.coinbase.com/buy/select-asset?sessionToken=a%20b%26c";
    assert_eq!(person.attribute("#onramp", "href").await, link);
    // Who comes back with enough pays.
    base.mint(payer, CENT).await.unwrap();
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    assert_eq!((wallet.sign_calls(), base.transfers(merchant).await.unwrap()), (1, 1));
    person.behaved();
}

async fn one_wallet_is_no_choice_and_needs_no_picture(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.sees("idle").await;
    assert_eq!(person.text("#wallets label").await.unwrap(), "Fox");
    assert_eq!((person.shows("#wallets img").await, person.shows("#wallets input").await), (true, false));
    let glyph = "getComputedStyle(document.querySelector('#wallets label'), '::before').content";
    assert_eq!(person.evaluate(glyph).await.unwrap(), "none", "who has a picture needs no letter");

    let person = market.person(Setup::default()).await;
    let announce = "for (const [name, icon] of [['Torn', 'data:image/png,torn'], ['Far', 'https://far.test/icon.png']])
        addEventListener('eip6963:requestProvider', () => dispatchEvent(new CustomEvent('eip6963:announceProvider', {
            detail: { info: { uuid: name, name, icon, rdns: name }, provider: { request: async () => null } } })));";
    person.before_each_page(announce).await.unwrap();
    person.open(&market.serving.url("/article")).await.unwrap();
    person.sees("choosing").await;
    person
        .until("[...document.querySelectorAll('#wallets img')].every(({ hidden }) => hidden)")
        .await
        .unwrap();
    // The first letter of its name stands in its place, and is not read out.
    let glyphs = "[...document.querySelectorAll('#wallets label')].map((label) => {
        const { content, display, width } = getComputedStyle(label, '::before');
        return [content, display !== 'none' && width === '24px'];
    })";
    let expected = json!([["\"T\" / \"\"", true], ["\"F\" / \"\"", true]]);
    assert_eq!(person.evaluate(glyphs).await.unwrap(), expected);
    assert!(person.shows("#wallets input").await, "two are a choice");
    market.sold(0).await;
    person.behaved();
}

/// Whoever says that they are another wallet does not take its place.
async fn two_wallets_of_one_name_are_told_apart(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    let announce = "addEventListener('eip6963:announceProvider', ({ detail: { info, provider } }) => {
        if (info.impostor) return;
        const tell = (info, provider) => dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail: { info, provider } }));
        // With a character that nobody sees.
        const name = info.name + '\u{200b}';
        tell({ ...info, name, uuid: 'another', rdns: 'test.impostor', impostor: true }, { request: async () => null });
        // The same wallet, under another id.
        tell({ ...info, uuid: 'once more', impostor: true }, provider);
    }, true);";
    person.before_each_page(announce).await.unwrap();
    person.open(&market.serving.url("/article")).await.unwrap();
    person.sees("choosing").await;
    let listed = person.text("#wallets").await.unwrap();
    assert_eq!((listed.matches("Fox").count(), listed.matches("test.").count()), (2, 2), "{listed}");
    assert!(listed.contains("test.impostor"), "{listed}");
    let right = "[...document.querySelectorAll('#wallets label')].find((label) => !label.textContent.includes('impostor')).click(), 1";
    person.evaluate(right).await.unwrap();
    person.pays().await;
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();
}

async fn a_wallet_without_an_account_is_told_of(stack: Stack) {
    let market = Market::open(stack).await;
    for answer in ["null", "[]", "[5]", "'0x'", "{}"] {
        let person = market.person(Setup::default()).await;
        let announce = format!(
            "addEventListener('eip6963:requestProvider', () =>
            dispatchEvent(new CustomEvent('eip6963:announceProvider', {{ detail: {{
                info: {{ uuid: 'x', name: 'Empty', icon: '', rdns: 'test.empty' }},
                provider: {{ request: async () => ({answer}) }} }} }})));"
        );
        person.before_each_page(&announce).await.unwrap();
        person.open(&market.serving.url("/article")).await.unwrap();
        person.pays().await;
        person.reads("failed", "alert", "The wallet shows no account.").await;
        assert!(person.shows("#pay").await, "{answer}");
        person.behaved();
    }
    market.sold(0).await;
}

async fn a_wallet_in_trouble_pays_nothing(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market
        .wallet()
        .on_sign([Answer::Fail(-32603, "Internal JSON-RPC error."), Answer::Yes])
        .on_connect([Answer::Fail(-32002, "Already processing eth_requestAccounts."), Answer::Yes]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("failed", "alert", "Your wallet is waiting for your answer").await;
    person.click("#pay").await.unwrap();
    person.until("document.getElementById('alert').textContent.includes('Internal JSON-RPC error., -32603. Nothing was paid.')").await.unwrap();
    market.sold(0).await;
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    assert_eq!((wallet.sign_calls(), wallet.signed().len()), (2, 1));
    market.sold(1).await;
    person.behaved();
}

async fn who_cancels_pays_nothing(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_connect([Answer::Hang, Answer::Yes]).on_sign([Answer::Wait, Answer::Yes]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.sees("connecting").await;
    person.click("#cancel").await.unwrap();
    person.reads("idle", "status", "Cancelled").await;
    assert!(!person.shows("#cancel").await);
    person.click("#pay").await.unwrap();
    wallet.sign_begun(1).await;
    person.sees("signing").await;
    person.click("#cancel").await.unwrap();
    person.sees("idle").await;
    // What is signed now is thrown away.
    wallet.let_go();
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    assert_eq!((wallet.signed().len(), market.till.settle_calls()), (2, 1));
    market.sold(1).await;
    person.behaved();
}

async fn a_wallet_that_reads_nothing_is_not_waited_for(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_read([Answer::Hang]);
    let person = market.person(&wallet).await;
    person.is_hasty().await;
    person.open(&market.serving.url("/article")).await.unwrap();
    person.pays().await;
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();
}
