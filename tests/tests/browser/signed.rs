//! What is signed is what is shown, and nothing is signed twice: whatever prices, clocks, wallets and answers do meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use alloy::primitives::U256;
use serde_json::json;
use x402_core::{
    gate::{Charge, exact, exact_with},
    network::{BASE, BASE_SEPOLIA},
};
use x402_tests::{
    Chain,
    browser::{Answer, Setup, Wallet},
    chain,
    nginx::strict_proxy,
};

use crate::{
    harness::{Case, Stack, case},
    market::{ARTICLE, CENT, Market, Person, cent, page, shelves},
    till::Act,
    trouble::FORGETFUL,
};

pub const CASES: &[Case] = &[
    case!(paying_anew_costs_what_is_shown).once(),
    case!(after_running_out_it_costs_what_is_shown).once(),
    case!(paying_anew_pays_whom_is_shown).once(),
    case!(a_change_at_the_last_moment_is_shown).once(),
    case!(who_comes_back_pays_what_the_button_says).once(),
    case!(a_servers_clock_does_not_lengthen_a_signature).once(),
    case!(a_clock_set_right_does_not_lengthen_a_signature).once(),
    case!(the_longest_authorization_counts).once(),
    case!(a_wallet_that_says_nothing_is_no_answer).once(),
    case!(what_was_not_used_after_all_is_paid_once).once(),
    case!(two_tabs_without_room_pay_once).once(),
    case!(a_second_tab_sends_what_the_first_signed).once(),
    case!(an_answer_without_a_receipt_is_not_called_paid).once(),
    case!(an_offer_that_is_none_is_not_the_wallets_fault).once(),
    case!(accounts_that_are_none_are_no_error).once(),
    case!(what_was_cancelled_asks_for_nothing).once(),
    case!(what_others_store_stays).once(),
    case!(what_is_pending_is_not_called_paid).once(),
    case!(a_risk_is_taken_for_one_try).once(),
    case!(where_a_site_forbids_it_bought_html_is_saved).once(),
];

/// The page's clock goes `window.ahead` milliseconds ahead.
const LATER: &str = "window.ahead = Number(sessionStorage.ahead ?? 0); const { now } = Date;
    Date.now = () => now() + window.ahead;";

/// On all of the page's clocks, `window.ahead` milliseconds more have passed.
const PASSING: &str = "window.ahead = 0;
    for (const clock of [Date, performance]) { const now = clock.now.bind(clock); clock.now = () => now() + window.ahead }";

/// The server's clock, as the page is told of it, so many seconds ahead.
fn server_ahead(seconds: &str) -> String {
    format!(
        "const {{ parse }} = JSON; JSON.parse = (text, ...more) => {{
            const data = parse(text, ...more);
            if (data?.required && data.now) data.now += {seconds};
            return data;
        }};"
    )
}

/// Payments are kept in `window.sent`, and while `window.lie` refused with an offer that is changed so. The server hears of
/// them if `heard`.
fn refusing(change: &str, heard: bool) -> String {
    format!(
        "const {{ fetch: ask }} = window; let times = 0; window.sent = []; window.lie = true;
        window.fetch = async (url, how) => {{
            const payment = how?.headers?.['payment-signature'];
            if (payment) sent.push(payment);
            if (!payment || !window.lie) return ask(url, how);
            if (times++ === 0 && {heard}) await ask(url, how);
            const stranger = await ask(url, {{ headers: {{ accept: 'application/json' }} }});
            const offer = JSON.parse(atob(stranger.headers.get('payment-required')));
            offer.error = 'invalid_exact_evm_payload_signature';
            {change}
            const headers = {{ 'content-type': 'application/json', 'payment-required': btoa(JSON.stringify(offer)) }};
            return new Response('{{}}', {{ status: 402, headers }});
        }};"
    )
}

/// Half a cent, and half a dollar from when it is raised.
fn raised() -> (Charge, Arc<AtomicBool>) {
    let raised = Arc::new(AtomicBool::new(false));
    let now = raised.clone();
    let charge = exact_with(move |_| {
        let price = if now.load(SeqCst) { "$0.50" } else { "$0.005" };
        async move { Ok(price) }
    });
    (charge.on(BASE_SEPOLIA).to(chain::merchant().address()), raised)
}

/// What it sells costs $0.01, or $0.02 on another chain.
async fn two_ways(stack: Stack) -> (Market, Chain) {
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    let base = Chain::start_with(8453).await.unwrap();
    base.mint(payer, 100 * CENT).await.unwrap();
    let charge = exact("$0.01").on(BASE_SEPOLIA).to(merchant).or(exact("$0.02").on(BASE).to(merchant));
    (Market::with(stack, shelves(&charge), page(), &[(&base, BASE)]).await, base)
}

/// A wallet that can pay, and another one with another account that can.
async fn two_wallets(market: &Market) -> [Wallet; 2] {
    let stranger = chain::stranger().address();
    market.chain.mint(stranger, CENT).await.unwrap();
    [market.wallet(), market.wallet_of("Rabbit", stranger)]
}

/// Waits until the page has come to an end of what it was asked to do.
async fn ends(person: &Person<'_>) {
    let ends =
        "['unsure', 'paid', 'failed', 'used'].includes(document.getElementById('paywall').dataset.state)
        && document.getElementById('pay').ariaDisabled !== 'true'";
    person.until(ends).await.unwrap();
}

async fn earned(chain: &Chain) -> U256 {
    chain.balance(chain::merchant().address()).await.unwrap()
}

/// Between the two, the offer changes.
async fn buys_and_wants_it_again(person: &Person<'_>, change: impl FnOnce()) {
    person.pays().await;
    person.sees("paid").await;
    change();
    person.reload().await.unwrap();
    person.sees("used").await;
    person.click("#anew").await.unwrap();
    person.sees("idle").await;
}

async fn paying_anew_costs_what_is_shown(stack: Stack) {
    let (charge, raised) = raised();
    let market = Market::selling(stack, shelves(&charge)).await;
    let wallet = market.wallet();
    let person = market.opens("/data", &wallet).await;
    buys_and_wants_it_again(&person, || raised.store(true, SeqCst)).await;
    assert_eq!(person.text("#pay").await.unwrap(), "Pay $0.50");
    person.pays().await;
    person.sees("paid").await;
    assert_eq!(wallet.signed()[1]["message"]["value"], "500000");
    assert_eq!(earned(&market.chain).await, U256::from(505_000));
    person.behaved();
}

async fn after_running_out_it_costs_what_is_shown(stack: Stack) {
    let (charge, raised) = raised();
    let market = Market::selling(stack, shelves(&charge)).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    let broken = "const { fetch: ask } = window;
        window.fetch = async (url, how) => how?.headers?.['payment-signature'] && !sessionStorage.works
            ? new Response('{}', { status: 500, headers: { 'content-type': 'application/json' } }) : ask(url, how);";
    for script in [LATER, &server_ahead("window.ahead / 1000"), broken] {
        person.before_each_page(script).await.unwrap();
    }
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("failed").await;
    raised.store(true, SeqCst);
    person.evaluate("sessionStorage.ahead = 600000, 1").await.unwrap();
    person.reload().await.unwrap();
    person.sees("failed").await;
    person.click("#anew").await.unwrap();
    person.sees("idle").await;
    assert_eq!(person.text("#pay").await.unwrap(), "Pay $0.50");
    person.evaluate("sessionStorage.works = 1, window.ahead = 0, 1").await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    assert_eq!(wallet.signed()[1]["message"]["value"], "500000");
    assert_eq!(earned(&market.chain).await, U256::from(500_000));
    person.behaved();
}

async fn paying_anew_pays_whom_is_shown(stack: Stack) {
    let other = chain::signer(8).address();
    let moved = Arc::new(AtomicBool::new(false));
    let now = moved.clone();
    let charge = exact("$0.01").on(BASE_SEPOLIA).to_with(move |_| {
        let payee = if now.load(SeqCst) { other } else { chain::merchant().address() };
        async move { Ok(payee.to_string().parse::<x402_core::address::Address>().unwrap()) }
    });
    let market = Market::selling(stack, shelves(&charge)).await;
    let wallet = market.wallet();
    let person = market.opens("/data", &wallet).await;
    buys_and_wants_it_again(&person, || moved.store(true, SeqCst)).await;
    let shown = person.evaluate("document.getElementById('payee-full').textContent").await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    assert_eq!(shown, wallet.signed()[1]["message"]["to"]);
    assert_eq!(market.chain.balance(other).await.unwrap(), U256::from(CENT));
    assert_eq!(earned(&market.chain).await, U256::from(CENT));
    person.behaved();
}

/// Between the press and the first answer another way to pay is chosen.
async fn a_change_at_the_last_moment_is_shown(stack: Stack) {
    let (market, base) = two_ways(stack).await;
    let wallet = market.wallet().with(&base).on_sign([Answer::Wait]);
    let person = market.opens("/data", &wallet).await;
    person.sees("idle").await;
    let change =
        "document.getElementById('pay').click(), document.querySelector('input[value=\"1\"]').click(), 1";
    person.evaluate(change).await.unwrap();
    wallet.sign_begun(1).await;
    let shown = person.text("#price").await.unwrap();
    wallet.let_go();
    person.sees("paid").await;
    let signed = wallet.signed()[0]["message"]["value"].clone();
    assert!(
        [("$0.01", "10000"), ("$0.02", "20000")]
            .iter()
            .any(|both| *both == (&shown, signed.as_str().unwrap())),
        "{shown} is shown, {signed} is signed"
    );
    let moved = earned(&market.chain).await + earned(&base).await;
    assert_eq!(json!(moved.to_string()), signed);
    person.behaved();
}

async fn who_comes_back_pays_what_the_button_says(stack: Stack) {
    let (market, base) = two_ways(stack).await;
    let wallet = market.wallet().with(&base);
    let person = market.opens("/data", &wallet).await;
    let look = "[document.querySelector('input[name=option]:checked').value,
        document.getElementById('price').textContent, document.getElementById('pay').textContent].join()";
    let mut seen = Default::default();
    for way in ["reload", "back"] {
        person.sees("idle").await;
        person.click("#options label:nth-of-type(2)").await.unwrap();
        person.until("document.getElementById('pay').textContent === 'Pay $0.02'").await.unwrap();
        if way == "reload" {
            person.reload().await.unwrap();
        } else {
            person.open(&market.serving.url("/site.css")).await.unwrap();
            person.evaluate("history.back(), 1").await.unwrap();
        }
        person.sees("idle").await;
        seen = person.evaluate(look).await.unwrap();
        assert!(seen == "0,$0.01,Pay $0.01" || seen == "1,$0.02,Pay $0.02", "{way}: {seen}");
    }
    person.pays().await;
    person.sees("paid").await;
    let cents = if seen == "0,$0.01,Pay $0.01" { [1, 0] } else { [0, 2] };
    let moved = [earned(&market.chain).await, earned(&base).await];
    assert_eq!(moved, cents.map(|cents| U256::from(cents * CENT)), "{seen}");
    person.behaved();
}

/// For how many seconds it signed.
async fn signed_for(market: &Market, wallet: &Wallet) -> u64 {
    let signed = wallet.signed()[0]["message"]["validBefore"].as_str().unwrap().parse::<u64>().unwrap();
    signed - market.chain.latest_timestamp().await.unwrap()
}

async fn a_servers_clock_does_not_lengthen_a_signature(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    person.before_each_page(&server_ahead("31536000")).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    let seconds = signed_for(&market, &wallet).await;
    assert!(seconds < 86_400 + 60, "for {seconds} s");
    market.sold(1).await;
    person.behaved();
}

/// It was three days behind when the page came.
async fn a_clock_set_right_does_not_lengthen_a_signature(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    person.before_each_page(LATER).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.sees("idle").await;
    person.evaluate("window.ahead = 3 * 86400000, 1").await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    let seconds = signed_for(&market, &wallet).await;
    assert!(seconds < 360, "for {seconds} s");
    market.sold(1).await;
    person.behaved();
}

/// Nothing is signed with another nonce while an earlier authorization could still be spent.
async fn the_longest_authorization_counts(stack: Stack) {
    let market = Market::selling(stack, shelves(&cent().max_timeout_seconds(7200))).await;
    let [wallet, other] = two_wallets(&market).await;
    let person = market.person(Setup { wallets: vec![wallet, other.clone()], ..Setup::default() }).await;
    let shorter = refusing("if (times === 1) offer.accepts[0].maxTimeoutSeconds = 10;", false);
    for script in [PASSING, &shorter] {
        person.before_each_page(script).await.unwrap();
    }
    person.open(&market.serving.url("/data")).await.unwrap();
    person.sees("choosing").await;
    person.click("#wallets label:nth-of-type(1)").await.unwrap();
    // Two hours, refused; then ten seconds, with the same nonce, refused.
    person.pays().await;
    person.sees("failed").await;
    person.click("#pay").await.unwrap();
    person.until("sent.length === 2").await.unwrap();
    person.sees("price-changed").await;
    // Two minutes later.
    person.evaluate("window.ahead = 120000, window.lie = false, 1").await.unwrap();
    person.click("#wallets label:nth-of-type(2)").await.unwrap();
    person.click("#pay").await.unwrap();
    ends(&person).await;
    assert_eq!(other.sign_calls(), 0);
    let first = person.evaluate("sent[0]").await.unwrap();
    let paid = market.serving.get("/data", &[("payment-signature", first.as_str().unwrap())]).await.unwrap();
    assert_eq!(paid.status, 200, "it could still be spent: {paid:?}");
    market.sold(1).await;
    person.behaved();
}

/// The first payment was made, and its wallet's node says `""` of it.
async fn a_wallet_that_says_nothing_is_no_answer(stack: Stack) {
    let market = Market::open(stack).await;
    let [wallet, other] = two_wallets(&market).await;
    let person = market.person(Setup { wallets: vec![wallet, other.clone()], ..Setup::default() }).await;
    let mute = "addEventListener('eip6963:announceProvider', ({ detail: { provider } }) => {
        const { request } = provider;
        provider.request = (call) => call.method === 'eth_call' && call.params[0].data.startsWith('0xe94a0102')
            ? Promise.resolve('') : request.call(provider, call);
    }, true)";
    for script in [PASSING, &refusing("", true), mute] {
        person.before_each_page(script).await.unwrap();
    }
    person.open(&market.serving.url("/data")).await.unwrap();
    person.sees("choosing").await;
    person.click("#wallets label:nth-of-type(1)").await.unwrap();
    person.pays().await;
    person.sees("failed").await;
    market.sold(1).await;
    person.evaluate("window.ahead = 600000, window.lie = false, 1").await.unwrap();
    person.click("#wallets label:nth-of-type(2)").await.unwrap();
    person.click("#pay").await.unwrap();
    ends(&person).await;
    assert_eq!(other.sign_calls(), 0, "`\"\"` does not say that it was not spent");
    market.sold(1).await;
    person.behaved();
}

/// The facilitator took it for used once. Of what is signed now and what was signed then, the token takes one at most.
async fn what_was_not_used_after_all_is_paid_once(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_verify([Act::No("invalid_exact_evm_nonce_already_used"), Act::Yes]);
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    person.before_each_page(&refusing("", false)).await.unwrap();
    person.before_each_page("window.lie = false").await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("used").await;
    person.click("#anew").await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    let first = person.evaluate("sent[0]").await.unwrap();
    market.serving.get("/data", &[("payment-signature", first.as_str().unwrap())]).await.unwrap();
    assert_eq!(wallet.sign_calls(), 2);
    market.sold(1).await;
    person.behaved();
}

async fn two_tabs_without_room_pay_once(stack: Stack) {
    let market = Market::selling(stack, shelves(&cent().idempotent())).await;
    let wallet = market.wallet().on_sign([Answer::Wait, Answer::Yes]);
    let full = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }";
    let person = market.person(&wallet).await;
    let tab = person.another_tab(&wallet).await;
    for tab in [&person, &tab] {
        tab.before_each_page(full).await.unwrap();
        tab.open(&market.serving.url("/data")).await.unwrap();
    }
    person.pays().await;
    wallet.sign_begun(1).await;
    tab.pays().await;
    tab.sees("elsewhere").await;
    wallet.let_go();
    person.sees("paid").await;
    tab.reads("idle", "status", "Look there before you pay here").await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
    tab.behaved();
}

async fn a_second_tab_sends_what_the_first_signed(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::Unreachable]);
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    let tab = person.another_tab(&wallet).await;
    for tab in [&person, &tab] {
        tab.is_hasty().await;
        tab.open(&market.serving.url("/data")).await.unwrap();
        tab.sees("idle").await;
    }
    person.pays().await;
    person.sees("waiting").await;
    let before = market.till.settle_calls();
    tab.pays().await;
    tab.sees("waiting").await;
    assert!(market.till.settle_calls() > before, "it was sent again");
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(0).await;
    person.behaved();
    tab.behaved();
}

/// A hotel's network answers 200 to anything.
async fn an_answer_without_a_receipt_is_not_called_paid(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.person(&market.wallet()).await;
    let hotel = "const { fetch: ask } = window;
        const page = () => new Response('{\"please\":\"log in\"}', { status: 200, headers: { 'content-type': 'application/json' } });
        window.fetch = async (url, how) => how?.headers?.['payment-signature']
            ? Object.defineProperty(page(), 'url', { value: location.href }) : ask(url, how);";
    person.before_each_page(hotel).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.until("!document.getElementById('bought').hidden").await.unwrap();
    let said = person.text("main").await.unwrap();
    assert!(said.contains("log in") && !said.contains("Paid. Thank you."), "{said}");
    market.sold(0).await;
    person.behaved();
}

async fn an_offer_that_is_none_is_not_the_wallets_fault(stack: Stack) {
    let market = Market::open(stack).await;
    for accepts in ["undefined", "[null]", "{}", "[]"] {
        let person = market.person(&market.wallet()).await;
        let none = refusing(&format!("offer.accepts = {accepts};"), false);
        person.before_each_page(&none).await.unwrap();
        person.open(&market.serving.url("/data")).await.unwrap();
        person.pays().await;
        person.sees("failed").await;
        let alert = person.text("#alert").await.unwrap();
        assert!(!alert.is_empty() && !alert.contains("wallet reported"), "{accepts}: {alert}");
        person.behaved();
    }
    market.sold(0).await;
}

async fn accounts_that_are_none_are_no_error(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.person(&market.wallet()).await;
    let listen = "addEventListener('eip6963:announceProvider', ({ detail: { provider } }) => {
        const { on } = provider;
        provider.on = (event, tell) => {
            if (event === 'accountsChanged') window.change = tell;
            on?.call(provider, event, tell);
        };
    }, true)";
    person.before_each_page(listen).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.sees("idle").await;
    for accounts in ["[5]", "[{}]", "[null]", "null", "'x'", "[['0x']]"] {
        person.evaluate(&format!("change({accounts}), 1")).await.unwrap();
    }
    person.pays().await;
    person.sees("paid").await;
    market.sold(1).await;
    person.behaved();
}

async fn what_was_cancelled_asks_for_nothing(stack: Stack) {
    let market = Market::open(stack).await;
    let switches = [Answer::Wait, Answer::Reject];
    let wallet = market.wallet().elsewhere(1).without(&market.chain).on_switch(switches);
    let person = market.opens("/data", &wallet).await;
    person.pays().await;
    person.sees("wrong-network").await;
    person.click("#cancel").await.unwrap();
    person.sees("idle").await;
    // Now it learns that the wallet does not have the network, and would tell it.
    wallet.let_go();
    person.pays().await;
    let refused = "document.getElementById('paywall').dataset.state === 'wrong-network'
        && document.getElementById('pay').ariaDisabled !== 'true'";
    person.until(refused).await.unwrap();
    assert_eq!((wallet.switch_calls(), wallet.added().len(), wallet.sign_calls()), (2, 0, 0));
    market.sold(0).await;
    person.behaved();
}

async fn what_others_store_stays(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.person(&market.wallet()).await;
    person.before_each_page("localStorage['x402:theme'] = 'dark'").await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.sees("idle").await;
    assert_eq!(person.evaluate("localStorage['x402:theme']").await.unwrap(), "dark");
    market.sold(0).await;
    person.behaved();
}

/// A transaction that is on its way, and then a hotel's log-in page.
async fn what_is_pending_is_not_called_paid(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    person.is_hasty().await;
    let answers = "const { fetch: ask } = window; let times = 0;
        const pending = { success: false, errorReason: 'settlement_pending', transaction: '0x' + 'ab'.repeat(32) };
        window.fetch = async (url, how) => {
            if (!how?.headers?.['payment-signature'] || ++times > 2) return ask(url, how);
            if (times > 1) return Object.defineProperty(new Response('log in', { headers: { 'content-type': 'text/plain' } }), 'url', { value: location.href });
            return new Response('{}', { status: 503, headers: { 'payment-response': btoa(JSON.stringify(pending)) } });
        };";
    person.before_each_page(answers).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.reads("paid", "status", "without a receipt").await;
    assert!(person.shows("#retry").await && !person.shows("#done").await && !person.shows("#receipt").await);
    market.sold(0).await;
    person.click("#retry").await.unwrap();
    person.until("document.getElementById('done').checkVisibility()").await.unwrap();
    assert_eq!(person.evaluate("document.querySelectorAll('#content pre').length").await.unwrap(), 1);
    assert_eq!(person.text("#receipt-transaction").await.unwrap(), market.transaction().await);
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn a_risk_is_taken_for_one_try(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_read([Answer::Yes, Answer::Fail(-32005, "rate limited")]).on_sign([
        Answer::Yes,
        Answer::Reject,
        Answer::Yes,
    ]);
    let person = market.person(&wallet).await;
    person.before_each_page(FORGETFUL).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("failed").await;
    person.click("#pay").await.unwrap();
    person.sees("unsure").await;
    person.click("#anew").await.unwrap();
    person.pays().await;
    person.sees("rejected").await;
    person.click("#pay").await.unwrap();
    person.sees("unsure").await;
    assert_eq!(wallet.sign_calls(), 2);
    market.sold(1).await;
    person.behaved();
}

async fn where_a_site_forbids_it_bought_html_is_saved(stack: Stack) {
    let market = Market::open(stack).await;
    let policy = "require-trusted-types-for 'script'; trusted-types dompurify";
    let proxy = strict_proxy(market.serving.address, policy).await.unwrap();
    let person = market.person(&market.wallet()).await;
    person.open(&proxy.url("/article")).await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    let saved = person.saved(1).await.unwrap();
    assert_eq!(
        (saved[0].name.as_str(), std::fs::read(&saved[0].path).unwrap()),
        ("article.html", ARTICLE.body.to_vec())
    );
    assert!(person.shows("#receipt").await);
    market.sold(1).await;
}
