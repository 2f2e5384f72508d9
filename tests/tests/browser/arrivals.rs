//! How wallets come into the page: late, one after the other, broken, or not at all.

use x402_tests::{
    browser::{Setup, Wallet},
    chain,
};

use crate::{
    harness::{Case, Stack, case},
    market::{Market, Person},
    till::Act,
};

pub const CASES: &[Case] = &[
    case!(a_wallet_that_appears_late_is_found).once(),
    case!(a_wallet_that_appears_much_later_is_found_on_coming_back).once(),
    case!(who_installs_a_wallet_loads_the_page_again).once(),
    case!(a_wallet_that_comes_late_unchecks_nothing).once(),
    case!(a_wallet_that_names_itself_late_keeps_its_place).once(),
    case!(wallets_that_throw_stop_nothing).once(),
    case!(a_wallet_without_a_name_has_one_all_the_same).once(),
    case!(the_wallet_that_paid_last_is_chosen).once(),
    case!(who_claims_to_be_the_last_wallet_is_not_chosen).once(),
];

/// All states that the page was in, in their order.
pub const STATES: &str = "window.states = [];
    new MutationObserver(() => {
        const state = document.getElementById('paywall')?.dataset.state;
        if (state && states.at(-1) !== state) states.push(state);
    }).observe(document, { subtree: true, childList: true, attributes: true });";

async fn opens<'a>(market: &'a Market, setup: impl Into<Setup>, script: &str) -> Person<'a> {
    let person = market.person(setup).await;
    person.before_each_page(script).await.unwrap();
    person.open(&market.serving.url("/article")).await.unwrap();
    person
}

async fn a_wallet_that_appears_late_is_found(stack: Stack) {
    for (fallback, late) in [(true, 150), (false, 150), (true, 700), (true, 2000), (false, 2000)] {
        let market = Market::open(stack).await;
        let setup = Setup { fallback, late, ..Setup::from(&market.wallet()) };
        let person = opens(&market, setup, STATES).await;
        person.sees("idle").await;
        let states = person.evaluate("states.join()").await.unwrap();
        let expected = if late < 300 { "static,idle" } else { "static,no-wallet,idle" };
        assert_eq!(states, expected, "by event: {}, after {late} ms", !fallback);
        person.pays().await;
        person.has_the_article().await;
        market.sold(1).await;
        person.behaved();
    }
}

async fn a_wallet_that_appears_much_later_is_found_on_coming_back(stack: Stack) {
    let market = Market::open(stack).await;
    let setup = Setup { fallback: true, late: 5000, ..Setup::from(&market.wallet()) };
    let person = opens(&market, setup, "").await;
    person.until("!!window.ethereum").await.unwrap();
    person.sees("no-wallet").await;
    // From its window, where it was unlocked.
    person.evaluate("dispatchEvent(new Event('focus')), 1").await.unwrap();
    person.pays().await;
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();
}

/// An extension comes into a page with its next load.
async fn who_installs_a_wallet_loads_the_page_again(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/article", Setup::default()).await;
    person.reads("no-wallet", "no-wallet", "load this page again").await;
    assert!(!person.text("main").await.unwrap().contains("by itself"));
    person.evaluate("window.before = 1").await.unwrap();
    person.click("#reload").await.unwrap();
    person.until("!window.before").await.unwrap();
    person.sees("no-wallet").await;
    market.sold(0).await;
    person.behaved();
}

/// Wallets that announce themselves when `come(name)` is called.
const COMERS: &str = "window.come = (name, more = {}) => dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail: {
        info: { uuid: name, name, icon: '', rdns: 'test.' + name, ...more }, provider: { request: async () => null } } }));";

const PICKED: &str = "document.querySelector('input[name=wallet]:checked')?.closest('label').innerText ?? ''";

async fn a_wallet_that_comes_late_unchecks_nothing(stack: Stack) {
    let market = Market::open(stack).await;
    let (other, wallet) = (market.wallet_of("Rabbit", chain::stranger().address()), market.wallet());
    let setup = Setup { wallets: vec![wallet, other], ..Setup::default() };
    let person = opens(&market, setup, COMERS).await;
    person.sees("choosing").await;
    person.click("#wallets label:nth-of-type(1)").await.unwrap();
    person.sees("idle").await;
    person.evaluate("come('Late'), 1").await.unwrap();
    assert_eq!(person.evaluate("document.querySelectorAll('#wallets label').length").await.unwrap(), 3);
    assert_eq!(person.evaluate(PICKED).await.unwrap(), "Fox");
    person.pays().await;
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();

    // Who has chosen nothing yet is asked.
    let person = opens(&market, &market.wallet(), COMERS).await;
    person.sees("idle").await;
    person.evaluate("come('Late'), 1").await.unwrap();
    person.sees("choosing").await;
    assert_eq!(person.evaluate(PICKED).await.unwrap(), "");
}

/// It is `window.ethereum` first, and has a name when its announcement comes.
async fn a_wallet_that_names_itself_late_keeps_its_place(stack: Stack) {
    let names = "window.come = () => dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail: {
        info: { uuid: 'fox', name: 'Fox', icon: '', rdns: 'test.fox' }, provider: ethereum } }));";
    for connected in [false, true] {
        let market = Market::open(stack).await;
        let wallet = if connected { market.wallet().connected() } else { market.wallet() };
        let person = opens(&market, Setup { fallback: true, ..Setup::from(&wallet) }, names).await;
        // What is known of its account is known of it under its name, too.
        let said = if connected { "1.00 USDC" } else { "" };
        person.reads("idle", "wallets", "Browser wallet").await;
        person.reads("idle", "wallets", said).await;
        person.evaluate("come(), 1").await.unwrap();
        person.reads("idle", "wallets", "Fox").await;
        person.reads("idle", "wallets", said).await;
        assert!(!person.text("#wallets").await.unwrap().contains("Browser wallet"), "one wallet has one row");
        assert!(person.evaluate(PICKED).await.unwrap().as_str().unwrap().starts_with("Fox"));
        person.pays().await;
        person.has_the_article().await;
        market.sold(1).await;
        person.behaved();
    }
}

const THROWING: [&str; 4] = [
    "Object.defineProperty(window, 'ethereum', { get() { throw new Error('two wallets want to be it'); } });",
    "window.ethereum = { get request() { throw new Error('locked'); } };",
    "addEventListener('eip6963:announceProvider', ({ detail: { provider } }) => {
        provider.on = () => { throw new Error('no events'); };
    }, true);",
    "addEventListener('eip6963:requestProvider', () => {
        for (const detail of [null, {}, { info: null }, { info: { get uuid() { throw new Error('no id'); } }, provider: { request() {} } }])
            dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail }));
    });",
];

async fn wallets_that_throw_stop_nothing(stack: Stack) {
    for script in THROWING {
        let market = Market::open(stack).await;
        market.till.on_settle([Act::Unreachable]);
        let wallet = market.wallet();
        let person = market.person(&wallet).await;
        person.is_hasty().await;
        person.before_each_page(script).await.unwrap();
        person.open(&market.serving.url("/article")).await.unwrap();
        person.pays().await;
        person.sees("waiting").await;
        // What is stored is sent again.
        market.till.on_settle([Act::Yes]);
        person.reload().await.unwrap();
        person.has_the_article().await;
        assert_eq!(wallet.sign_calls(), 1, "{script}");
        market.sold(1).await;
        person.behaved();

        let person = opens(&market, Setup::default(), script).await;
        person.sees("no-wallet").await;
        person.behaved();
    }
}

async fn a_wallet_without_a_name_has_one_all_the_same(stack: Stack) {
    let market = Market::open(stack).await;
    for (info, name) in [
        ("{}", "Browser wallet"),
        ("{ uuid: 'x', name: '  ', icon: null }", "Browser wallet"),
        ("{ uuid: 'x', name: 5, rdns: 'test.hive' }", "test.hive"),
        ("{ uuid: 'x', name: 'Hive' }", "Hive"),
    ] {
        let announce = format!(
            "addEventListener('eip6963:requestProvider', () => dispatchEvent(new CustomEvent('eip6963:announceProvider', {{
                detail: {{ info: {info}, provider: {{ request: async () => null }} }} }})));"
        );
        let person = opens(&market, Setup::default(), &announce).await;
        person.sees("idle").await;
        assert_eq!(person.text("#wallets label > span").await.unwrap(), name, "{info}");
        person.behaved();
    }
    market.sold(0).await;
}

fn two_wallets(market: &Market) -> [Wallet; 2] {
    [market.wallet_of("Rabbit", chain::stranger().address()), market.wallet()]
}

async fn the_wallet_that_paid_last_is_chosen(stack: Stack) {
    let market = Market::open(stack).await;
    let setup = Setup { wallets: two_wallets(&market).to_vec(), ..Setup::default() };
    let person = opens(&market, setup, "").await;
    person.sees("choosing").await;
    person.click("#wallets label:nth-of-type(2)").await.unwrap();
    person.pays().await;
    person.has_the_article().await;
    person.open(&market.serving.url("/data")).await.unwrap();
    person.sees("idle").await;
    assert!(person.evaluate(PICKED).await.unwrap().as_str().unwrap().starts_with("Fox"));
    // It is still a choice.
    person.click("#wallets label:nth-of-type(1)").await.unwrap();
    assert!(person.evaluate(PICKED).await.unwrap().as_str().unwrap().starts_with("Rabbit"));
    market.sold(1).await;
    person.behaved();
}

async fn who_claims_to_be_the_last_wallet_is_not_chosen(stack: Stack) {
    let market = Market::open(stack).await;
    let person = opens(&market, &market.wallet(), COMERS).await;
    person.pays().await;
    person.has_the_article().await;
    person.open(&market.serving.url("/data")).await.unwrap();
    person.sees("idle").await;
    let last = person.evaluate("localStorage['x402:wallet']").await.unwrap();
    let same = format!("come('Impostor', {{ rdns: {last} }}), 1");
    person.evaluate(&same).await.unwrap();
    person.sees("choosing").await;
    assert_eq!(person.evaluate(PICKED).await.unwrap(), "");
    person.behaved();
}
