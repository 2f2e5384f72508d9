//! What goes wrong between the signature and the goods: the right words, and never two payments.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use alloy::primitives::U256;
use serde_json::{Value, json};
use x402_core::{
    gate::exact_with,
    network::{BASE, BASE_SEPOLIA},
};
use x402_tests::{
    Chain,
    browser::{Answer, Setup},
    chain,
};

use crate::{
    harness::{Case, Stack, case},
    market::{CENT, Market, Person, cent, page, shelves},
    till::Act,
};

pub const CASES: &[Case] = &[
    case!(a_payment_that_is_not_valid_is_paid_anew),
    case!(what_was_made_all_the_same_is_not_paid_again),
    case!(what_the_chain_does_not_tell_is_not_paid_unasked),
    case!(another_account_is_not_asked_after_a_refusal).once(),
    case!(a_risk_is_taken_for_one_payment).once(),
    case!(a_settlement_that_fails_is_asked_for_again),
    case!(a_slow_settlement_is_waited_for),
    case!(a_pending_settlement_is_asked_for_again),
    case!(a_lost_answer_is_asked_for_again),
    case!(what_nobody_knows_is_kept_and_sent_again),
    case!(a_double_click_pays_once),
    case!(a_reload_while_signing_pays_once),
    case!(a_reload_while_settling_pays_once),
    case!(who_leaves_and_comes_back_has_paid_once),
    case!(two_tabs_pay_once),
    case!(another_price_is_shown_before_it_is_paid),
    case!(an_answer_that_went_elsewhere_is_not_called_offline),
    case!(an_answer_that_never_ends_is_given_up).once(),
    case!(without_room_this_tab_remembers).once(),
    case!(what_is_stored_by_others_is_dropped).once(),
    case!(every_change_of_the_offer_is_said).once(),
    case!(a_reload_shows_what_was_signed).once(),
    case!(another_account_meanwhile_is_not_shown).once(),
];

async fn a_payment_that_is_not_valid_is_paid_anew(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_verify([Act::No("invalid_exact_evm_payload_signature"), Act::Yes]);
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("failed", "alert", "the signature was not accepted").await;
    market.sold(0).await;
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    let nonces: Vec<_> = wallet.signed().iter().map(|typed| typed["message"]["nonce"].clone()).collect();
    assert!(
        nonces.len() == 2 && nonces[0] == nonces[1],
        "the token takes one of the two at most: {nonces:?}"
    );
    market.sold(1).await;
    person.behaved();
}

/// The first payment is answered, and the page is told that it came too late: a server that forgot what it had done.
pub const FORGETFUL: &str = "const { fetch: ask } = window; let times = 0;
    window.fetch = async (url, how) => {
        const response = await ask(url, how);
        if (!how?.headers?.['payment-signature'] || times++) return response;
        const stranger = await ask(url, { headers: { accept: 'application/json' } });
        const offer = JSON.parse(atob(stranger.headers.get('payment-required')));
        offer.error = 'invalid_exact_evm_payload_authorization_valid_before';
        const headers = { 'content-type': 'application/json', 'payment-required': btoa(JSON.stringify(offer)) };
        return new Response('{}', { status: 402, headers });
    };";

async fn what_was_made_all_the_same_is_not_paid_again(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    person.before_each_page(FORGETFUL).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.reads("failed", "alert", "did not accept the payment").await;
    assert!(!person.text("main").await.unwrap().contains("Nothing was paid"), "it was");
    market.sold(1).await;
    person.click("#pay").await.unwrap();
    person.reads("used", "status", "The network says that this payment has been made").await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn what_the_chain_does_not_tell_is_not_paid_unasked(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_read([Answer::Yes, Answer::Fail(-32005, "rate limited")]);
    let person = market.person(&wallet).await;
    person.before_each_page(FORGETFUL).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("failed").await;
    for _ in 0..2 {
        person.click("#pay").await.unwrap();
        person.reads("unsure", "alert", "could not be found out whether your earlier payment").await;
    }
    assert_eq!(wallet.sign_calls(), 1);
    // Who pays anew does so knowingly, and where it is the same account the token still forbids it.
    person.click("#anew").await.unwrap();
    person.pays().await;
    person.sees("used").await;
    assert_eq!(wallet.sign_calls(), 2);
    market.sold(1).await;
    person.behaved();
}

/// Who takes the risk of one payment does not take that of another, which a tab beside this one may have made meanwhile.
async fn a_risk_is_taken_for_one_payment(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_read([Answer::Yes, Answer::Fail(-32005, "rate limited")]);
    let person = market.person(&wallet).await;
    person.before_each_page(FORGETFUL).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("failed").await;
    person.click("#pay").await.unwrap();
    person.sees("unsure").await;
    person.click("#anew").await.unwrap();
    person.sees("idle").await;
    let other = "{ const payment = JSON.parse(localStorage['x402:/data']);
        localStorage['x402:/data'] = JSON.stringify({ ...payment, nonce: '0x' + '5e'.repeat(32), refused: true }); }";
    person.evaluate(other).await.unwrap();
    person.click("#pay").await.unwrap();
    person.sees("unsure").await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn another_account_is_not_asked_after_a_refusal(stack: Stack) {
    let market = Market::open(stack).await;
    let stranger = chain::stranger().address();
    market.chain.mint(stranger, 10_000).await.unwrap();
    market.till.on_verify([Act::No("invalid_exact_evm_payload_signature"), Act::Yes]);
    let (wallet, other) = (market.wallet(), market.wallet_of("Rabbit", stranger));
    let setup = Setup { wallets: vec![wallet.clone(), other.clone()], ..Setup::default() };
    let person = market.opens("/data", setup).await;
    person.sees("choosing").await;
    person.click("#wallets label:nth-of-type(1)").await.unwrap();
    person.pays().await;
    person.sees("failed").await;
    person.click("#wallets label:nth-of-type(2)").await.unwrap();
    person.click("#pay").await.unwrap();
    person.sees("unsure").await;
    assert_eq!((wallet.sign_calls(), other.sign_calls()), (1, 0));
    person.click("#anew").await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    let nonces = [wallet.signed(), other.signed()].map(|signed| signed[0]["message"]["nonce"].clone());
    assert_ne!(nonces[0], nonces[1]);
    assert_eq!(market.chain.transfers(chain::merchant().address()).await.unwrap(), 1);
    person.behaved();
}

async fn a_settlement_that_fails_is_asked_for_again(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::No("insufficient_funds"), Act::Yes]);
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("failed", "alert", "Nothing was paid.").await;
    market.sold(0).await;
    // What was signed is as good as before, so there is nothing to sign again.
    assert!(!person.shows("#pay").await);
    person.click("#retry").await.unwrap();
    person.has_the_article().await;
    assert_eq!((wallet.sign_calls(), market.till.settle_calls()), (1, 2));
    market.sold(1).await;
    person.behaved();
}

/// The page asks for no second signature, and its button does nothing meanwhile.
async fn waits(person: &Person<'_>) {
    person.sees("settling").await;
    assert_eq!(person.attribute("#pay", "aria-disabled").await, "true");
    assert!(!person.shows("#retry").await && !person.shows("#anew").await);
    person.click("#pay").await.unwrap();
    person.sees("settling").await;
}

async fn a_slow_settlement_is_waited_for(stack: Stack) {
    let market = Market::open(stack).await;
    market.chain.set_automine(false).await.unwrap();
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    market.chain.wait_for_pending(1).await.unwrap();
    waits(&person).await;
    market.chain.mine().await.unwrap();
    person.has_the_article().await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn a_pending_settlement_is_asked_for_again(stack: Stack) {
    let market = Market::open(stack).await;
    // The gate asks twice before it says so itself.
    market.till.on_settle([Act::Pending, Act::Pending, Act::Wait]);
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    market.till.settle_begun(3).await;
    person.reads("settling", "status", "It is not made twice").await;
    waits(&person).await;
    market.till.let_go();
    person.has_the_article().await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn a_lost_answer_is_asked_for_again(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::Lost, Act::Yes]);
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.has_the_article().await;
    assert_eq!((wallet.sign_calls(), market.till.settle_calls()), (1, 2));
    assert_eq!(person.attribute("#x402-receipt", "data-transaction").await, market.transaction().await);
    market.sold(1).await;
    person.behaved();
}

async fn what_nobody_knows_is_kept_and_sent_again(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::Unreachable]);
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    person.is_hasty().await;
    person.open(&market.serving.url("/article")).await.unwrap();
    person.pays().await;
    person.reads("waiting", "status", "never a second one").await;
    assert!(market.till.settle_calls() > 2, "it was sent again");
    assert!(!person.shows("#pay").await && !person.shows("#anew").await);
    market.sold(0).await;
    market.till.on_settle([Act::Yes]);
    person.click("#retry").await.unwrap();
    person.has_the_article().await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn a_double_click_pays_once(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::Wait]);
    let wallet = market.wallet().on_sign([Answer::Wait]);
    let person = market.opens("/article", &wallet).await;
    person.sees("idle").await;
    person.double_click("#pay").await.unwrap();
    wallet.sign_begun(1).await;
    person.sees("signing").await;
    person.double_click("#pay").await.unwrap();
    wallet.let_go();
    market.till.settle_begun(1).await;
    person.double_click("#pay").await.unwrap();
    market.till.let_go();
    person.has_the_article().await;
    assert_eq!((wallet.connect_calls(), wallet.sign_calls(), market.till.settle_calls()), (1, 1, 1));
    market.sold(1).await;
    person.behaved();
}

async fn a_reload_while_signing_pays_once(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_sign([Answer::Wait, Answer::Yes]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    wallet.sign_begun(1).await;
    person.reload().await.unwrap();
    // The wallet's window is still open: what is signed in it now goes nowhere.
    wallet.let_go();
    person.pays().await;
    person.has_the_article().await;
    assert_eq!((wallet.signed().len(), market.till.settle_calls()), (2, 1));
    market.sold(1).await;
    person.behaved();
}

async fn a_reload_while_settling_pays_once(stack: Stack) {
    let market = Market::selling(stack, shelves(&cent().idempotent())).await;
    market.chain.set_automine(false).await.unwrap();
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    market.chain.wait_for_pending(1).await.unwrap();
    person.reload().await.unwrap();
    waits(&person).await;
    market.chain.mine().await.unwrap();
    person.has_the_article().await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn who_leaves_and_comes_back_has_paid_once(stack: Stack) {
    for keeps in [true, false] {
        let charge = if keeps { cent().idempotent() } else { cent() };
        let market = Market::selling(stack, shelves(&charge)).await;
        market.till.on_settle([Act::Wait]);
        let wallet = market.wallet();
        let person = market.opens("/article", &wallet).await;
        person.pays().await;
        market.till.settle_begun(1).await;
        person.open("about:blank").await.unwrap();
        market.till.let_go();
        while market.chain.transfers(chain::merchant().address()).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        person.open(&market.serving.url("/article")).await.unwrap();
        if keeps || stack.drops_who_hangs_up() {
            person.has_the_article().await;
        } else {
            // The answer was made and sent to nobody. Where the charge is not `idempotent`, none is kept.
            person.reads("used", "status", "this payment has been used").await;
            assert_eq!(person.text("#receipt-transaction").await.ok().as_deref(), Some(""));
        }
        assert_eq!((wallet.sign_calls(), market.till.settle_calls()), (1, 1));
        market.sold(1).await;
        person.behaved();
    }
}

async fn two_tabs_pay_once(stack: Stack) {
    let market = Market::selling(stack, shelves(&cent().idempotent())).await;
    let wallet = market.wallet().on_sign([Answer::Wait]);
    let person = market.opens("/article", &wallet).await;
    let tab = person.another_tab(&wallet).await;
    tab.open(&market.serving.url("/article")).await.unwrap();
    person.pays().await;
    wallet.sign_begun(1).await;
    tab.pays().await;
    tab.reads("elsewhere", "status", "Another tab").await;
    wallet.let_go();
    person.has_the_article().await;
    tab.has_the_article().await;
    assert_eq!((wallet.sign_calls(), market.till.settle_calls()), (1, 1));
    market.sold(1).await;
    person.behaved();
    tab.behaved();
}

async fn another_price_is_shown_before_it_is_paid(stack: Stack) {
    let raised = Arc::new(AtomicBool::new(false));
    let now = raised.clone();
    let charge = exact_with(move |_| {
        let price = if now.load(Ordering::SeqCst) { "$0.01" } else { "$0.005" };
        async move { Ok(price) }
    });
    let charge = charge.on(BASE_SEPOLIA).to(chain::merchant().address());
    let market = Market::selling(stack, shelves(&charge)).await;
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.sees("idle").await;
    raised.store(true, Ordering::SeqCst);
    person.pays().await;
    person.reads("price-changed", "facts", "$0.005 on Base Sepolia\t$0.01").await;
    assert_eq!((wallet.sign_calls(), person.text("#price").await.unwrap().as_str()), (1, "$0.01"));
    market.sold(0).await;
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();
}

async fn every_change_of_the_offer_is_said(stack: Stack) {
    for (change, state, words, signatures) in [
        (
            "payTo = '0x000000000000000000000000000000000000dEaD'",
            "price-changed",
            "\t0x000000000000000000000000000000000000dEaD",
            1,
        ),
        ("maxTimeoutSeconds = 7200", "price-changed", "5 minutes\t2 hours", 1),
        ("maxTimeoutSeconds = 60", "failed", "did not accept the payment", 1),
        ("extra = { assetTransferMethod: 'permit2' }", "failed", "not offered in this way any more", 1),
        ("scheme = 'upto'", "failed", "not offered in this way any more", 1),
        ("maxTimeoutSeconds = 5400", "price-changed", "5 minutes\t1 hour 30 minutes", 1),
        ("maxTimeoutSeconds = 86401", "failed", "not offered in this way any more", 1),
    ] {
        let market = Market::open(stack).await;
        let wallet = market.wallet();
        let person = market.person(&wallet).await;
        let changed =
            FORGETFUL.replace("offer.error =", &format!("offer.accepts[0].{change}; offer.error ="));
        person
            .before_each_page(
                &changed.replace("times++) return response", "times++) return response; how = {}"),
            )
            .await
            .unwrap();
        person.open(&market.serving.url("/data")).await.unwrap();
        person.pays().await;
        person.reads(state, if state == "price-changed" { "facts" } else { "alert" }, words).await;
        if change.contains("7200") {
            let folded = "document.getElementById('valid').textContent";
            assert_eq!(person.evaluate(folded).await.unwrap(), "2 hours");
        }
        assert_eq!(wallet.sign_calls(), signatures, "{change}");
        market.sold(1).await;
        person.behaved();
    }
}

async fn a_reload_shows_what_was_signed(stack: Stack) {
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    let base = Chain::start_with(8453).await.unwrap();
    base.mint(payer, 1_000_000).await.unwrap();
    let charge = exact_with(|_| async { Ok("$0.01") }).on(BASE_SEPOLIA).to(merchant);
    let charge = charge.or(exact_with(|_| async { Ok("$0.02") }).on(BASE).to(merchant));
    let market = Market::with(stack, shelves(&charge), page(), &[(&base, BASE)]).await;
    market.till.on_settle([Act::Wait]);
    let wallet = market.wallet().with(&base);
    let person = market.opens("/data", &wallet).await;
    person.sees("idle").await;
    person.click("#options label:nth-of-type(2)").await.unwrap();
    person.pays().await;
    market.till.settle_begun(1).await;
    person.reload().await.unwrap();
    person.sees("settling").await;
    assert_eq!(person.text("#price").await.unwrap(), "$0.02");
    assert!(person.text("#amount").await.unwrap().ends_with("on Base"));
    let picked = "document.querySelector('input[name=option]:checked').value";
    assert_eq!(person.evaluate(picked).await.unwrap(), "1");
    assert!(person.text("#account").await.unwrap().contains("Account"));
    market.till.let_go();
    person.sees("paid").await;
    assert_eq!(base.balance(merchant).await.unwrap(), U256::from(2 * CENT));
    assert_eq!((base.transfers(merchant).await.unwrap(), wallet.sign_calls()), (1, 1));
    market.sold(0).await;
    person.behaved();
}

async fn another_account_meanwhile_is_not_shown(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_sign([Answer::Hang]);
    let person = market.person(&wallet).await;
    let listen = "addEventListener('eip6963:announceProvider', ({ detail: { provider } }) => {
        const { on } = provider;
        provider.on = (event, tell) => { if (event === 'accountsChanged') window.change = tell; on?.call(provider, event, tell) };
    }, true)";
    person.before_each_page(listen).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    wallet.sign_begun(1).await;
    person.sees("signing").await;
    let shown = person.text("#account").await.unwrap();
    person.evaluate("change(['0x1111111111111111111111111111111111111111']), 1").await.unwrap();
    assert_eq!(person.text("#account").await.unwrap(), shown);
    market.sold(0).await;
    person.behaved();
}

async fn an_answer_that_went_elsewhere_is_not_called_offline(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    // So a redirect to another origin looks to the page.
    let gone = "const { fetch: ask } = window; let times = 0;
        window.fetch = async (url, how) => {
            const response = await ask(url, how);
            if (how?.headers?.['payment-signature'] && !times++) throw new TypeError('Failed to fetch');
            return response;
        };";
    person.before_each_page(gone).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.reads("used", "status", "this payment has been used").await;
    person.reads("used", "alert", "to another address").await;
    let receipt = person.text("#receipt").await.unwrap();
    let account = chain::payer().address().to_string();
    let nonce = wallet.signed()[0]["message"]["nonce"].as_str().unwrap().to_owned();
    assert!(
        receipt.to_lowercase().contains(&account.to_lowercase()) && receipt.contains(&nonce),
        "{receipt}"
    );
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn an_answer_that_never_ends_is_given_up(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    let endless = "const { fetch: ask, setTimeout: later } = window;
        window.setTimeout = (task, time) => later(task, time === 300000 ? 100 : time);
        window.fetch = async (url, how) => {
            const response = await ask(url, how);
            if (!how?.headers?.['payment-signature']) return response;
            const stop = (stream) => how.signal.addEventListener('abort', () => stream.error(how.signal.reason));
            return new Response(new ReadableStream({ start: stop }), response);
        };";
    person.before_each_page(endless).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.reads("failed", "alert", "its answer broke off").await;
    assert!(person.shows("#retry").await && person.shows("#receipt").await);
    assert_eq!(person.text("#receipt-transaction").await.unwrap(), market.transaction().await);
    market.sold(1).await;
    person.behaved();
}

/// How many purchases are stored.
pub const STORED: &str = "Object.keys(localStorage).filter((key) => key.startsWith('x402:/')).length";

async fn without_room_this_tab_remembers(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_verify([Act::No("invalid_exact_evm_payload_signature"), Act::Yes]);
    market.till.on_settle([Act::No("insufficient_funds"), Act::No("insufficient_funds"), Act::Yes]);
    let wallet = market.wallet();
    let person = market.opens("/data", &wallet).await;
    person.pays().await;
    person.sees("failed").await;
    let full =
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }, 1";
    person.evaluate(full).await.unwrap();
    person.click("#pay").await.unwrap();
    person.reads("failed", "alert", "Nothing was paid.").await;
    assert_eq!(person.evaluate(STORED).await.unwrap(), 0, "nothing older is left");
    person.click("#retry").await.unwrap();
    market.till.settle_begun(2).await;
    person.reads("failed", "alert", "Nothing was paid.").await;
    assert!(!person.shows("#pay").await);
    person.click("#retry").await.unwrap();
    person.sees("paid").await;
    assert_eq!(wallet.sign_calls(), 2);
    market.sold(1).await;
    person.behaved();
}

async fn what_is_stored_by_others_is_dropped(stack: Stack) {
    let market = Market::open(stack).await;
    let whole = |change: &str| {
        let payment = json!({
            "v": 1, "header": "e30=", "from": chain::payer().address(), "nonce": format!("0x{:064x}", 1),
            "validBefore": 1, "signedAt": 1, "price": "$1",
            "option": {
                "scheme": "exact", "network": "eip155:84532", "amount": "1", "asset": chain::USDC,
                "payTo": chain::payer().address(), "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" },
            },
        });
        let mut payment: serde_json::Map<String, Value> = serde_json::from_value(payment).unwrap();
        payment.extend(serde_json::from_str::<serde_json::Map<_, _>>(change).unwrap());
        Value::from(payment).to_string()
    };
    let wrong = [
        r#"{"explorer":5,"receipt":{"transaction":"0x1","success":true},"paid":1}"#,
        r#"{"until":"0"}"#,
        r#"{"option":5}"#,
        r#"{"signedAt":9e15}"#,
    ];
    let wrong = wrong.map(whole);
    let rubbish = ["{}", "5", "null", "{", "{\"v\":1,\"header\":\"e30=\"}"];
    for rubbish in rubbish.into_iter().chain(wrong.iter().map(String::as_str)) {
        let person = market.person(&market.wallet()).await;
        let store = format!("localStorage['x402:/data'] ??= {rubbish:?}");
        person.before_each_page(&store).await.unwrap();
        person.open(&market.serving.url("/data")).await.unwrap();
        person.sees("idle").await;
        assert_eq!(person.evaluate("localStorage.length").await.unwrap(), 0, "{rubbish}");
        person.behaved();
    }
    market.sold(0).await;
}
