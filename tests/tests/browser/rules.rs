//! The rules of `docs/paywall.md`, "One signature for a purchase", where the usual way of things does not meet them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::primitives::{U256, address};
use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
};
use serde_json::{Value, json};
use x402_core::{
    amount::Amount,
    asset::Token,
    gate::{TokenAmount, exact, exact_with},
    network::{BASE, BASE_SEPOLIA, Network},
};
use x402_tests::{
    Chain,
    browser::{Answer, Setup, Wallet},
    chain,
    serve::Serving,
};

use crate::{
    harness::{Case, Stack, case},
    market::{CENT, Market, Person, cent, page, shelves},
    till::Act,
    trouble::{FORGETFUL, STORED},
};

pub const CASES: &[Case] = &[
    case!(a_payment_is_not_sent_to_another_origin).once(),
    case!(a_payment_that_nobody_saw_is_sent_again).once(),
    case!(a_wrong_clock_pays_all_the_same).once(),
    case!(two_tabs_without_locks_pay_once).once(),
    case!(another_token_is_not_asked_after_a_refusal).once(),
    case!(another_chain_is_not_asked_after_a_refusal).once(),
    case!(what_was_paid_is_not_refused_afterwards).once(),
    case!(a_log_in_page_ends_nothing).once(),
    case!(what_was_paid_is_forgotten_after_a_day).once(),
    case!(a_failed_payment_is_paid_anew_when_its_time_is_over).once(),
    case!(nothing_else_is_chosen_while_a_payment_stands).once(),
    case!(without_room_the_browser_asks_before_it_leaves).once(),
    case!(who_cancelled_is_asked_for_nothing_more).once(),
    case!(what_is_paid_next_answers_the_new_offer).once(),
    case!(another_account_is_not_shown_while_a_payment_stands).once(),
    case!(a_hardware_wallets_signature_pays).once(),
    case!(cookies_go_along_with_the_payment).once(),
];

/// Time that passes in the page: `ahead`, in milliseconds, also after a reload.
pub const LATER: &str = "window.ahead = Number(sessionStorage.ahead ?? 0);
    for (const clock of [Date, performance]) {
        const now = clock.now.bind(clock);
        clock.now = () => now() + ahead;
    }";

/// The wallet as the page has it, and all that it was asked.
const WATCHED: &str = "addEventListener('eip6963:announceProvider', ({ detail: { provider } }) => {
        if (window.wallet) return;
        Object.assign(window, { wallet: provider, calls: [] });
        const { request, on } = provider;
        provider.request = async (call) => {
            const noted = { method: call.method };
            calls.push(noted);
            try {
                return await (window.answer?.(call, request) ?? request(call));
            } finally {
                noted.answered = true;
            }
        };
        provider.on = (event, tell) => {
            if (event === 'accountsChanged') window.changeAccount = tell;
            return on.call(provider, event, tell);
        };
    }, true);";

/// Somebody opens this, where these scripts have come before the page's own.
async fn opens<'a>(market: &'a Market, path: &str, setup: impl Into<Setup>, scripts: &[&str]) -> Person<'a> {
    let person = market.person(setup).await;
    for script in scripts {
        person.before_each_page(&format!("{{ {script} }}")).await.unwrap();
    }
    person.open(&market.serving.url(path)).await.unwrap();
    person
}

/// A server that sends payments on to another one, which takes whatever comes from wherever. Its answers have lost the
/// page's policy, so that nothing else holds the payment back.
async fn a_payment_is_not_sent_to_another_origin(stack: Stack) {
    let market = Market::open(stack).await;
    let offer = market.serving.get("/data", &[("accept", "text/html")]).await.unwrap().body;
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let takes = taken.clone();
    let elsewhere = Router::new().fallback(move |request: Request| {
        takes.lock().unwrap().push(format!("{} {:?}", request.method(), request.headers()));
        let anybody = |name| (name, "*");
        let allowed = [
            anybody(header::ACCESS_CONTROL_ALLOW_ORIGIN),
            anybody(header::ACCESS_CONTROL_ALLOW_HEADERS),
            anybody(header::ACCESS_CONTROL_EXPOSE_HEADERS),
        ];
        async move { (allowed, "taken") }
    });
    let elsewhere = Serving::start(elsewhere).await.unwrap();
    let target = elsewhere.url("/data");
    let server = Router::new().fallback(move |request: Request| {
        let (offer, target) = (offer.clone(), target.clone());
        async move {
            if request.headers().contains_key("payment-signature") {
                return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response();
            }
            (StatusCode::PAYMENT_REQUIRED, Html(offer)).into_response()
        }
    });
    let server = Serving::start(server).await.unwrap();
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    person.is_hasty().await;
    person.open(&server.url("/data")).await.unwrap();
    person.pays().await;
    let over = "!['idle', 'connecting', 'signing', 'settling'].includes(document.getElementById('paywall').dataset.state)";
    person.until(over).await.unwrap();
    assert_eq!(*taken.lock().unwrap(), Vec::<String>::new(), "what came to the other origin");
    person.reads("waiting", "status", "What became of your payment is not known yet").await;
    person.reads("waiting", "alert", "to another address").await;
    assert_eq!((wallet.sign_calls(), market.till.settle_calls()), (1, 0));
    market.sold(0).await;
    let conduct = person.conduct();
    assert_eq!((conduct.violations, conduct.errors), (vec![], vec![]));
}

async fn a_payment_that_nobody_saw_is_sent_again(stack: Stack) {
    // As the page is asked for, and as scripts ask.
    for accept in ["text/html", "application/json"] {
        let market = Market::open(stack).await;
        let wallet = market.wallet();
        let forgets = "const { fetch: ask } = window; let times = 0;
            window.fetch = (url, how) => !how?.headers?.['payment-signature'] || times++
                ? ask(url, how) : ask(url, { ...how, headers: { accept: 'ACCEPT' } });";
        let person = opens(&market, "/data", &wallet, &[&forgets.replace("ACCEPT", accept)]).await;
        person.pays().await;
        person.reads("failed", "alert", "Checking again sends the same").await;
        assert!(person.shows("#retry").await, "{accept}");
        assert!(!person.shows("#pay").await && !person.shows("#anew").await, "{accept}");
        market.sold(0).await;
        person.click("#retry").await.unwrap();
        person.sees("paid").await;
        assert_eq!((wallet.sign_calls(), market.till.settle_calls()), (1, 1), "{accept}");
        market.sold(1).await;
        person.behaved();
    }
}

async fn a_wrong_clock_pays_all_the_same(stack: Stack) {
    for hours in [-5, 5] {
        let market = Market::open(stack).await;
        let wallet = market.wallet();
        let wrong = format!("const {{ now }} = Date; Date.now = () => now() + {hours} * 3600000;");
        let person = opens(&market, "/data", &wallet, &[&wrong]).await;
        person.pays().await;
        person.sees("paid").await;
        let message = wallet.signed()[0]["message"].clone();
        let time = |name: &str| message[name].as_str().unwrap().parse::<i64>().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let left = time("validBefore") - now;
        assert!((200..=305).contains(&left), "{hours} hours off, five minutes are {left} s");
        assert!(time("validAfter") <= now);
        assert_eq!(wallet.sign_calls(), 1);
        market.sold(1).await;
        person.behaved();
    }
}

async fn two_tabs_without_locks_pay_once(stack: Stack) {
    let market = Market::selling(stack, shelves(&cent().idempotent())).await;
    let wallet = market.wallet().on_sign([Answer::Wait]);
    let none = ["Object.defineProperty(navigator, 'locks', { value: undefined });"];
    let person = opens(&market, "/data", &wallet, &none).await;
    let tab = person.another_tab(&wallet).await;
    tab.before_each_page(none[0]).await.unwrap();
    tab.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    wallet.sign_begun(1).await;
    tab.pays().await;
    wallet.sign_begun(2).await;
    wallet.let_go();
    person.sees("paid").await;
    // What is signed second goes nowhere: the tab asks with what the other one paid.
    wallet.let_go();
    tab.sees("paid").await;
    assert_eq!((wallet.signed().len(), market.till.settle_calls()), (2, 1));
    market.sold(1).await;
    person.behaved();
    tab.behaved();
}

/// Of two tokens on one chain, the second knows nothing of what was signed for the first.
async fn another_token_is_not_asked_after_a_refusal(stack: Stack) {
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    let other = address!("000000000000000000000000000000000000bEEF");
    let token = Token::eip3009(BASE_SEPOLIA, other.to_string().parse().unwrap(), "HONEY", 6, "USDC", "2");
    let honey = exact(TokenAmount { token, amount: Amount::from(CENT) }).on(BASE_SEPOLIA).to(merchant);
    let market = Market::selling(stack, shelves(&cent().or(honey))).await;
    market.chain.install("TestUSDC", other).await.unwrap();
    market.chain.mint_of(other, payer, 100 * CENT).await.unwrap();
    market.till.on_verify([Act::No("invalid_exact_evm_payload_signature"), Act::Yes]);
    let wallet = market.wallet();
    let person = market.opens("/data", &wallet).await;
    person.pays().await;
    person.reads("failed", "alert", "the signature was not accepted").await;
    person.click("#options label:nth-of-type(2)").await.unwrap();
    person.pays().await;
    person.reads("unsure", "alert", "could not be found out whether your earlier payment").await;
    assert_eq!(wallet.sign_calls(), 1);
    // With the same token it is no question.
    person.click("#options label:nth-of-type(1)").await.unwrap();
    person.click("#pay").await.unwrap();
    person.sees("paid").await;
    assert_eq!(wallet.sign_calls(), 2);
    assert_eq!(market.chain.balance_of(other, payer).await.unwrap(), U256::from(100 * CENT));
    market.sold(1).await;
    person.behaved();
}

/// Another chain does not know what was spent on the first, even where its token has the same address.
async fn another_chain_is_not_asked_after_a_refusal(stack: Stack) {
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    let ours = Chain::start_with(31_337).await.unwrap();
    assert_eq!(ours.usdc(), chain::USDC);
    ours.mint(payer, 100 * CENT).await.unwrap();
    let network = Network::evm(31_337);
    let usdc = ours.usdc().to_string().parse().unwrap();
    let token = Token::eip3009(network.clone(), usdc, "USDC", 6, "USDC", "2");
    let there = exact(TokenAmount { token, amount: Amount::from(CENT) }).on(network.clone()).to(merchant);
    let page = page().chain(network.clone(), x402_paywall::Chain::new("Hive Chain").testnet());
    let market = Market::with(stack, shelves(&cent().or(there)), page, &[(&ours, network)]).await;
    let wallet = market.wallet().with(&ours);
    let person = opens(&market, "/data", &wallet, &[FORGETFUL, LATER]).await;
    person.pays().await;
    person.sees("failed").await;
    market.sold(1).await;
    person.click("#options label:nth-of-type(2)").await.unwrap();
    person.pays().await;
    person.reads("unsure", "alert", "could not be found out whether your earlier payment").await;
    assert_eq!((wallet.sign_calls(), wallet.network()), (1, 31_337));
    // That its time is over does not tell that it was not spent in time.
    person.evaluate("window.ahead = 3600000, 1").await.unwrap();
    person.click("#pay").await.unwrap();
    wallet.connect_begun(3).await;
    person.reads("unsure", "alert", "could not be found out whether your earlier payment").await;
    assert_eq!(wallet.sign_calls(), 1);
    person.click("#options label:nth-of-type(1)").await.unwrap();
    person.click("#pay").await.unwrap();
    person.reads("used", "status", "The network says that this payment has been made").await;
    assert_eq!((wallet.sign_calls(), ours.transfers(merchant).await.unwrap()), (1, 0));
    market.sold(1).await;
    person.behaved();
}

async fn what_was_paid_is_not_refused_afterwards(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.opens("/data", &wallet).await;
    person.pays().await;
    person.sees("paid").await;
    let transaction = market.transaction().await;
    // From now on the server says that the payment came too late.
    person.before_each_page(FORGETFUL).await.unwrap();
    person.reload().await.unwrap();
    person.reads("used", "status", "this payment has been used").await;
    assert_eq!(person.text("#receipt-transaction").await.unwrap(), transaction);
    assert!(person.shows("#anew").await && !person.shows("#pay").await);
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

/// A hotel's network answers for everybody until one has logged in.
async fn a_log_in_page_ends_nothing(stack: Stack) {
    for (mime, body) in [("text/plain", "Please log in"), ("application/json", r#"["Please log in"]"#)] {
        for refused in [false, true] {
            let market = Market::open(stack).await;
            let wallet = market.wallet();
            let hotel = format!(
                "const {{ fetch: ask }} = window;
                window.fetch = async (url, how) => {{
                    if (!how?.headers?.['payment-signature'] || sessionStorage.loggedIn) return ask(url, how);
                    sessionStorage.loggedIn = 'yes';
                    const response = new Response({body:?}, {{ headers: {{ 'content-type': {mime:?} }} }});
                    return Object.defineProperty(response, 'url', {{ value: url }});
                }};"
            );
            let person = opens(&market, "/data", &wallet, &[&hotel, LATER]).await;
            person.pays().await;
            person.until("document.getElementById('content').innerText.includes('log in')").await.unwrap();
            let said = person.text("main").await.unwrap();
            assert!(!said.contains("Paid.") && !person.shows("#receipt").await, "{said}");
            market.sold(0).await;
            if refused {
                // What was never paid can be refused, and is then signed anew.
                market.till.on_verify([Act::No("invalid_exact_evm_payload_signature"), Act::Yes]);
                person.reload().await.unwrap();
                person.reads("failed", "alert", "the signature was not accepted").await;
                person.click("#pay").await.unwrap();
            } else {
                // However late its owner comes back, it is the same payment.
                person.evaluate("sessionStorage.ahead = 25 * 3600000").await.unwrap();
                person.reload().await.unwrap();
            }
            person.sees("paid").await;
            assert!(person.text("#content").await.unwrap().contains("hives"), "{mime}");
            assert_eq!(person.text("#receipt-transaction").await.unwrap(), market.transaction().await);
            let nonces: Vec<_> =
                wallet.signed().iter().map(|typed| typed["message"]["nonce"].clone()).collect();
            assert_eq!(nonces.len(), if refused { 2 } else { 1 }, "{mime}");
            assert!(nonces.iter().all(|nonce| *nonce == nonces[0]), "{nonces:?}");
            market.sold(1).await;
            person.behaved();
        }
    }
}

async fn what_was_paid_is_forgotten_after_a_day(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = opens(&market, "/data", &wallet, &[LATER]).await;
    person.pays().await;
    person.sees("paid").await;
    for (hours, state, stored) in [(23, "used", 1), (25, "idle", 0)] {
        person.evaluate(&format!("sessionStorage.ahead = {hours} * 3600000")).await.unwrap();
        person.reload().await.unwrap();
        person.sees(state).await;
        assert_eq!(person.evaluate(STORED).await.unwrap(), stored, "after {hours} hours");
    }
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn a_failed_payment_is_paid_anew_when_its_time_is_over(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::No("insufficient_funds"), Act::No("insufficient_funds"), Act::Yes]);
    let wallet = market.wallet();
    let person = opens(&market, "/data", &wallet, &[LATER]).await;
    person.pays().await;
    person.reads("failed", "alert", "Nothing was paid.").await;
    assert!(person.shows("#retry").await && !person.shows("#anew").await);
    person.evaluate("window.ahead = 3600000, 1").await.unwrap();
    person.click("#retry").await.unwrap();
    market.till.settle_begun(2).await;
    person.reads("failed", "alert", "Nothing was paid.").await;
    assert!(person.shows("#retry").await && person.shows("#anew").await && !person.shows("#pay").await);
    assert_eq!(wallet.sign_calls(), 1);
    person.click("#anew").await.unwrap();
    person.sees("idle").await;
    assert_eq!(wallet.sign_calls(), 1, "the button to pay is still to be pressed");
    person.evaluate("window.ahead = 0, 1").await.unwrap();
    person.click("#pay").await.unwrap();
    person.sees("paid").await;
    assert_eq!(wallet.sign_calls(), 2);
    market.sold(1).await;
    person.behaved();
}

async fn nothing_else_is_chosen_while_a_payment_stands(stack: Stack) {
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    let base = Chain::start_with(8453).await.unwrap();
    base.mint(payer, 100 * CENT).await.unwrap();
    let charge = cent().or(exact("$0.02").on(BASE).to(merchant));
    let market = Market::with(stack, shelves(&charge), page(), &[(&base, BASE)]).await;
    market.till.on_settle([Act::No("insufficient_funds"), Act::Wait]);
    let (wallet, other) =
        (market.wallet().with(&base), market.wallet_of("Rabbit", chain::stranger().address()));
    let setup = Setup { wallets: vec![wallet.clone(), other.clone()], ..Setup::default() };
    let person = market.opens("/data", setup).await;
    person.sees("choosing").await;
    person.click("#wallets label:nth-of-type(1)").await.unwrap();
    person.click("#options label:nth-of-type(2)").await.unwrap();
    person.pays().await;
    person.reads("failed", "alert", "Nothing was paid.").await;
    let closed = "document.querySelectorAll('#options input:enabled').length === 0
        && document.querySelector('#options input:checked').value === '1'";
    let shown = async || {
        let texts = ["#price", "#amount", "#account"].map(|id| person.text(id));
        let [price, amount, account] = texts;
        [price.await.unwrap(), amount.await.unwrap(), account.await.unwrap()]
    };
    let signed = shown().await;
    assert_eq!((&*signed[0], &*signed[1]), ("$0.02", "0.02 USDC on Base"));
    assert_eq!(person.evaluate(closed).await.unwrap(), true);
    // Another wallet is no reason to sign again, either.
    person.click("#wallets label:nth-of-type(2)").await.unwrap();
    person.click("#options label:nth-of-type(1)").await.unwrap();
    assert_eq!((shown().await, person.evaluate(closed).await.unwrap()), (signed.clone(), true.into()));
    person.sees("failed").await;
    assert!(person.shows("#retry").await && !person.shows("#pay").await);
    person.click("#retry").await.unwrap();
    market.till.settle_begun(2).await;
    person.sees("settling").await;
    assert_eq!((shown().await, person.evaluate(closed).await.unwrap()), (signed, true.into()));
    market.till.let_go();
    person.sees("paid").await;
    assert_eq!((wallet.sign_calls(), other.connect_calls(), other.sign_calls()), (1, 0, 0));
    assert_eq!(base.balance(merchant).await.unwrap(), U256::from(2 * CENT));
    assert_eq!(base.transfers(merchant).await.unwrap(), 1);
    market.sold(0).await;
    person.behaved();
}

async fn without_room_the_browser_asks_before_it_leaves(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::No("insufficient_funds"), Act::Yes]);
    let wallet = market.wallet();
    let full = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') };";
    let person = opens(&market, "/data", &wallet, &[full]).await;
    // Nothing is lost before.
    person.sees("idle").await;
    person.click("h1").await.unwrap();
    person.reload().await.unwrap();
    person.pays().await;
    person.reads("failed", "alert", "Nothing was paid.").await;
    person.evaluate("window.here = true, location.reload(), 1").await.unwrap();
    while person.conduct().errors.is_empty()
        && person.evaluate("window.here").await.is_ok_and(|here| here == true)
    {}
    assert_eq!(person.conduct().errors.len(), 1, "the browser asks, and the person stays");
    assert_eq!(person.evaluate("window.here").await.unwrap(), true);
    person.click("#retry").await.unwrap();
    person.sees("paid").await;
    // What was bought may be left.
    person.reload().await.unwrap();
    person.sees("idle").await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    let conduct = person.conduct();
    assert_eq!((conduct.errors.len(), conduct.violations), (1, vec![]), "{:?}", conduct.errors);
}

async fn who_cancelled_is_asked_for_nothing_more(stack: Stack) {
    const CONNECT: &str = "eth_requestAccounts";
    const SWITCH: &str = "wallet_switchEthereumChain";
    type Prepare = fn(Wallet, &Chain) -> Wallet;
    let late: [(&str, Prepare); 4] = [
        (CONNECT, |wallet, _| wallet.elsewhere(1).on_connect([Answer::Wait])),
        (SWITCH, |wallet, _| wallet.elsewhere(1).on_switch([Answer::Wait])),
        // It says then that it does not know this network.
        (SWITCH, |wallet, chain| wallet.elsewhere(1).without(chain).on_switch([Answer::Wait, Answer::Yes])),
        ("eth_call", |wallet, _| wallet.on_read([Answer::Wait])),
    ];
    for (method, prepare) in late {
        let market = Market::open(stack).await;
        let wallet = prepare(market.wallet(), &market.chain);
        let person = opens(&market, "/data", &wallet, &[WATCHED]).await;
        person.pays().await;
        let asked = format!("calls.some(({{ method }}) => method === '{method}')");
        person.until(&asked).await.unwrap();
        person.click("#cancel").await.unwrap();
        person.reads("idle", "status", "Cancelled").await;
        person.evaluate("window.until = calls.length, 1").await.unwrap();
        wallet.let_go();
        let answered = format!("calls.some(({{ method, answered }}) => method === '{method}' && answered)");
        person.until(&answered).await.unwrap();
        // Whatever is asked because of that is asked by then.
        let turns = "(async () => { for (let turn = 0; turn < 9; turn++) await wallet.request({ method: 'net_version' }) })()";
        person.evaluate(turns).await.unwrap();
        let more = "calls.slice(window.until).map(({ method }) => method)
            .filter((method) => /^wallet_|sign|^eth_requestAccounts$/.test(method))";
        assert_eq!(person.evaluate(more).await.unwrap(), json!([]), "after {method}");
        person.sees("idle").await;
        assert_eq!(person.attribute("#pay", "aria-disabled").await, "false");
        market.sold(0).await;
        person.behaved();
    }
}

async fn what_is_paid_next_answers_the_new_offer(stack: Stack) {
    let raised = Arc::new(AtomicBool::new(false));
    let now = raised.clone();
    let charge = exact_with(move |_| {
        let price = if now.load(Ordering::SeqCst) { "$0.01" } else { "$0.005" };
        async move { Ok(price) }
    });
    let market =
        Market::selling(stack, shelves(&charge.on(BASE_SEPOLIA).to(chain::merchant().address()))).await;
    let wallet = market.wallet();
    let edition = "const { fetch: ask } = window; window.sent = [];
        window.fetch = async (url, how) => {
            const payment = how?.headers?.['payment-signature'];
            if (payment) sent.push(JSON.parse(atob(payment)));
            const response = await ask(url, how);
            const required = response.headers.get('payment-required');
            if (!payment || !required) return response;
            const offer = JSON.parse(atob(required));
            offer.resource.description = 'The second edition';
            offer.extensions = { ...offer.extensions, edition: { info: { number: 2 }, schema: {} } };
            const headers = new Headers(response.headers);
            headers.set('payment-required', btoa(JSON.stringify(offer)));
            return new Response(await response.blob(), { status: response.status, headers });
        };";
    let person = opens(&market, "/data", &wallet, &[edition]).await;
    person.sees("idle").await;
    raised.store(true, Ordering::SeqCst);
    person.pays().await;
    person.reads("price-changed", "facts", "$0.005 on Base Sepolia\t$0.01").await;
    market.sold(0).await;
    person.click("#pay").await.unwrap();
    person.sees("paid").await;
    let sent = "sent.map(({ accepted, resource, extensions }) =>
        [accepted.amount, resource.description, extensions?.edition?.info.number ?? 1])";
    let expected = json!([["5000", "All about our hives", 1], ["10000", "The second edition", 2]]);
    assert_eq!(person.evaluate(sent).await.unwrap(), expected);
    market.sold(1).await;
    person.behaved();
}

async fn another_account_is_not_shown_while_a_payment_stands(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::No("insufficient_funds"), Act::Yes]);
    let wallet = market.wallet();
    let person = opens(&market, "/data", &wallet, &[WATCHED]).await;
    person.pays().await;
    person.reads("failed", "alert", "Nothing was paid.").await;
    let account = async || person.attribute("#account", "title").await;
    let payer = chain::payer().address().to_string().to_lowercase();
    let signer = |title: Value| title.as_str().unwrap_or_default().to_lowercase() == payer;
    assert!(signer(account().await));
    person.evaluate("changeAccount(['0x1111111111111111111111111111111111111111']), 1").await.unwrap();
    assert!(signer(account().await), "{}", account().await);
    person.sees("failed").await;
    person.click("#retry").await.unwrap();
    person.sees("paid").await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

/// Some write the recovery bit at a signature's end as it is, 0 or 1, and not 27 or 28.
async fn a_hardware_wallets_signature_pays(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let bare = "window.answer = (call, request) => call.method === 'eth_signTypedData_v4'
        ? request(call).then((signature) => (window.signature = signature.replace(/1b$/, '00').replace(/1c$/, '01')))
        : undefined;";
    let person = opens(&market, "/data", &wallet, &[WATCHED, bare]).await;
    person.pays().await;
    person.sees("paid").await;
    let signature = person.evaluate("window.signature").await.unwrap();
    assert!(["00", "01"].iter().any(|end| signature.as_str().unwrap().ends_with(end)), "{signature}");
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

/// Members pay less. The server knows them by a cookie, with the payment as without.
async fn cookies_go_along_with_the_payment(stack: Stack) {
    let charge = exact_with(|request| {
        let member = request.headers.get("cookie").is_some_and(|cookie| cookie == "member=7");
        async move { Ok(if member { "$0.01" } else { "$0.02" }) }
    });
    let market =
        Market::selling(stack, shelves(&charge.on(BASE_SEPOLIA).to(chain::merchant().address()))).await;
    let wallet = market.wallet();
    let person = market.opens("/site.css", &wallet).await;
    person.evaluate("document.cookie = 'member=7; path=/'").await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.sees("idle").await;
    assert_eq!(person.text("#price").await.unwrap(), "$0.01");
    person.pays().await;
    person.sees("paid").await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}
