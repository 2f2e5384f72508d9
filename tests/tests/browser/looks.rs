//! What is to be seen, where, and in which colour.

use serde_json::json;
use x402_core::{
    gate::exact,
    network::{BASE, BASE_SEPOLIA},
};
use x402_tests::{
    Chain,
    browser::{Answer, Setup, Wallet},
    chain,
};

use crate::{
    harness::{Case, Stack, case},
    market::{CENT, Market, Person, cent, page, shelves},
    people::OPEN,
    till::Act,
    trouble::FORGETFUL,
};

pub const CASES: &[Case] = &[
    case!(what_is_said_is_seen_without_scrolling).once(),
    case!(what_is_said_later_is_scrolled_to).once(),
    case!(in_forced_colours_the_button_to_pay_is_another_one).once(),
    case!(on_a_phone_the_page_opens_in_a_wallets_browser).once(),
    case!(another_way_is_offered_to_who_cannot_pay).once(),
    case!(who_has_no_wallet_is_told_where_tokens_are_sold).once(),
    case!(the_button_says_what_to_do).once(),
    case!(account_and_balance_are_there_before_anything_is_asked).once(),
    case!(a_changed_price_is_compared_and_accepted).once(),
    case!(red_is_for_money_at_risk).once(),
    case!(the_promise_is_made_where_something_is_signed).once(),
    case!(the_receipt_says_who_was_paid_for_what_and_when).once(),
    case!(payee_and_time_are_in_the_details_below_the_button).once(),
    case!(the_receipts_bar_becomes_small).once(),
    case!(nobody_asks_for_an_icon).once(),
];

const WINDOWS: [(u32, u32); 3] = [(375, 553), (390, 664), (1366, 641)];

async fn what_is_said_is_seen_without_scrolling(stack: Stack) {
    type Owner = fn(Wallet) -> Wallet;
    let scenes: [(&str, Owner); 6] = [
        ("rejected", |wallet| wallet.on_sign([Answer::Reject])),
        ("signing", |wallet| wallet.on_sign([Answer::Hang])),
        ("connecting", |wallet| wallet.on_connect([Answer::Hang])),
        ("wrong-network", |wallet| wallet.elsewhere(1).on_switch([Answer::Fail(-32603, "no")])),
        ("failed", |wallet| wallet.on_sign([Answer::Fail(-32603, "Internal JSON-RPC error.")])),
        ("waiting", |wallet| wallet),
    ];
    for (width, height) in WINDOWS {
        for (state, owner) in scenes {
            let market = Market::open(stack).await;
            market.till.on_settle([Act::Unreachable]);
            let wallet = owner(market.wallet());
            let window = Some((width, height));
            let person = market.person(Setup { window, phone: width < 500, ..Setup::from(&wallet) }).await;
            person.is_hasty().await;
            person.open(&market.serving.url("/data")).await.unwrap();
            person.pays().await;
            person.sees(state).await;
            let seen = "(() => {
                const said = ['alert', 'status'].map((id) => document.getElementById(id)).filter(({ textContent }) => textContent);
                const buttons = ['pay', 'retry'].map((id) => document.getElementById(id)).filter((one) => one.checkVisibility());
                const box = (element) => element.getBoundingClientRect();
                return said.length > 0 && said.every((element) => box(element).height > 0 && box(element).top >= 0
                    && box(element).bottom <= innerHeight
                    && buttons.every((button) => box(button).top >= box(element).bottom));
            })()";
            assert_eq!(person.evaluate(seen).await.unwrap(), true, "{state} in {width} × {height}");
            person.behaved();
        }
    }
}

/// On a phone that lies on its side, whose owner has looked at the price meanwhile.
async fn what_is_said_later_is_scrolled_to(stack: Stack) {
    let later = "addEventListener('eip6963:announceProvider', ({ detail: { provider } }) => {
        const { request } = provider;
        provider.request = (call) => call.method === 'eth_signTypedData_v4'
            ? new Promise((_, no) => { window.no = () => no({ code: 4001 }); }) : request(call);
    }, { capture: true, once: true });";
    let seen = "(() => { const { top, bottom } = document.getElementById('status').getBoundingClientRect();
        return bottom > top && top >= 0 && bottom <= innerHeight; })()";
    let market = Market::open(stack).await;
    let setup = Setup { window: Some((667, 375)), phone: true, ..Setup::from(&market.wallet()) };
    let person = market.person(setup).await;
    person.before_each_page(later).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("signing").await;
    person.until("!!window.no").await.unwrap();
    person.evaluate("scrollTo(0, 0)").await.unwrap();
    assert_eq!(person.evaluate(seen).await.unwrap(), false, "it is a small screen");
    person.evaluate("no(), 1").await.unwrap();
    person.reads("rejected", "status", "You said no").await;
    assert_eq!(person.evaluate(seen).await.unwrap(), true);
    // A page that was only opened stays where it is.
    let (other, wallet) = (market.wallet_of("Rabbit", chain::stranger().address()), market.wallet());
    let wallets = vec![other, wallet];
    let person = market
        .opens("/data", Setup { wallets, window: Some((667, 375)), phone: true, ..Setup::default() })
        .await;
    person.sees("choosing").await;
    assert_eq!(person.evaluate("scrollY").await.unwrap(), 0);
    market.sold(0).await;
    person.behaved();
}

async fn in_forced_colours_the_button_to_pay_is_another_one(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_sign([Answer::Hang]);
    let setup = Setup { forced_colors: true, still: false, ..Setup::from(&wallet) };
    let person = market.opens("/data", setup).await;
    person.pays().await;
    person.sees("signing").await;
    let look = "(() => {
        const of = (id, part) => getComputedStyle(document.getElementById(id), part);
        const spinner = of('pay', '::before');
        return [of('pay').backgroundColor !== of('cancel').backgroundColor, of('pay').color !== of('pay').backgroundColor,
            spinner.borderRightColor !== spinner.borderLeftColor, of('alert').borderTopWidth,
            ...[...document.querySelectorAll('#steps li')].map((step) => getComputedStyle(step).borderTopColor === of('pay').backgroundColor)];
    })()";
    // The step it is at, and what is said, are told apart without grounds, which all look the same.
    let expected = json!([true, true, true, "1px", false, true, false]);
    assert_eq!(person.evaluate(look).await.unwrap(), expected);
    person.behaved();
}

async fn on_a_phone_the_page_opens_in_a_wallets_browser(stack: Stack) {
    let market = Market::open(stack).await;
    let links = "[...document.querySelectorAll('#no-wallet a')].filter((link) => link.checkVisibility())
        .map(({ href, rel, textContent }) => [href, rel, textContent])";
    let person = market.opens("/data?a=b%26c", Setup { phone: true, ..Setup::default() }).await;
    person.sees("no-wallet").await;
    let url = market.serving.url("/data?a=b%26c");
    let bare = url.strip_prefix("http://").unwrap();
    let coded = url.replace('%', "%25").replace(':', "%3A").replace('/', "%2F").replace('?', "%3F");
    let coded = coded.replace('=', "%3D");
    let rel = "noreferrer";
    let expected = json!([
        [format!("https://link.metamask.io/dapp/{bare}"), rel, "Open in MetaMask"],
        [format!("https://go.cb-w.com/dapp?cb_url={coded}"), rel, "Open in Coinbase Wallet"],
        [
            format!("https://link.trustwallet.com/open_url?coin_id=60&url={coded}"),
            rel,
            "Open in Trust Wallet"
        ],
    ]);
    assert_eq!(person.evaluate(links).await.unwrap(), expected);
    person.behaved();

    let person = market.opens("/data?a=b%26c", Setup::default()).await;
    person.sees("no-wallet").await;
    assert_eq!(person.evaluate(links).await.unwrap(), json!([]));
    let steps = person.text("#no-wallet ol").await.unwrap();
    assert!(steps.contains("at least 0.01 USDC on Base Sepolia"), "{steps}");
    assert_eq!(person.evaluate("document.querySelectorAll('#no-wallet li').length").await.unwrap(), 3);
    let copied = person.copies(async || person.click("#copy-link").await.unwrap()).await;
    assert_eq!(copied, url);
    market.sold(0).await;
    person.behaved();
}

async fn another_way_is_offered_to_who_cannot_pay(stack: Stack) {
    let page = page().alternative("Subscribe instead", "/subscribe?from=page").unwrap();
    let market = Market::with(stack, shelves(&cent()), page, &[]).await;
    let person = market.opens("/data", Setup { scripts: false, ..Setup::default() }).await;
    assert!(person.shows("#alternative").await, "where no scripts run");
    let person = market.opens("/data", Setup::default()).await;
    person.reads("no-wallet", "alternative", "Subscribe instead").await;
    assert_eq!(person.attribute("#alternative", "href").await, "/subscribe?from=page");
    let person = market.opens("/data", &market.wallet()).await;
    person.sees("idle").await;
    assert!(!person.shows("#alternative").await, "who can pay is not led away");
    let poor = market.wallet_of("Fox", chain::stranger().address());
    let person = market.opens("/data", &poor).await;
    person.pays().await;
    person.sees("low-balance").await;
    assert!(person.shows("#alternative").await);
    market.sold(0).await;
    person.behaved();
}

/// Where the operator says so; a session token of the on-ramp's needs an account.
async fn who_has_no_wallet_is_told_where_tokens_are_sold(stack: Stack) {
    let page = page().onramp("Get test USDC <b>", "https://faucet.test/?a=b&c").unwrap();
    let market = Market::with(stack, shelves(&cent()), page, &[]).await;
    let link = async |person: &Person<'_>| {
        assert_eq!(person.text("#onramp").await.unwrap(), "Get test USDC <b>");
        assert_eq!(person.attribute("#onramp", "href").await, "https://faucet.test/?a=b&c");
        assert_eq!(person.attribute("#onramp", "rel").await, "noreferrer");
    };
    let person = market.opens("/data", Setup::default()).await;
    person.reads("no-wallet", "onramp", "Get").await;
    link(&person).await;
    person.behaved();
    let poor = market.wallet_of("Fox", chain::stranger().address());
    let person = market.opens("/data", &poor).await;
    person.sees("idle").await;
    assert!(!person.shows("#onramp").await, "nobody knows yet that it is needed");
    person.pays().await;
    person.reads("low-balance", "onramp", "Get").await;
    link(&person).await;
    person.behaved();
    market.sold(0).await;
    // Who sets none has none.
    let market = Market::open(stack).await;
    let person = market.opens("/data", Setup::default()).await;
    person.sees("no-wallet").await;
    assert!(!person.shows("#onramp").await);
}

async fn the_button_says_what_to_do(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::Wait]);
    let wallet = market.wallet().on_connect([Answer::Wait]).on_sign([Answer::Wait]);
    let wallet = wallet.elsewhere(1).on_switch([Answer::Wait]);
    let person = market.opens("/data", &wallet).await;
    person.sees("idle").await;
    assert!(!person.shows("#steps").await);
    person.click("#pay").await.unwrap();
    for (state, button, step) in [
        ("connecting", "Connect in Fox…", "Connect"),
        ("wrong-network", "Change the network in Fox…", "Connect"),
        ("signing", "Confirm in Fox…", "Sign"),
        ("settling", "Paying…", "Done"),
    ] {
        person.reads(state, "pay", button).await;
        assert_eq!(person.text("#steps [aria-current=step]").await.unwrap(), step, "{state}");
        if state == "settling" { market.till.let_go() } else { wallet.let_go() }
    }
    person.sees("paid").await;
    market.sold(1).await;
    person.behaved();

    // Where the first button asks once more, it does not say that it pays.
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_read([Answer::Yes, Answer::Fail(-32005, "rate limited")]);
    let person = market.person(&wallet).await;
    person.before_each_page(FORGETFUL).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.reads("failed", "pay", "Pay $0.01").await;
    person.click("#pay").await.unwrap();
    person.reads("unsure", "pay", "Try again").await;
    assert_eq!(person.text("#anew").await.unwrap(), "Pay again");
    market.sold(1).await;
    person.behaved();
}

async fn account_and_balance_are_there_before_anything_is_asked(stack: Stack) {
    let market = Market::open(stack).await;
    let account = chain::payer().address().to_string();
    let shown = format!("{}…{}", &account[..6], &account[38..]);
    let wallet = market.wallet().connected();
    let person = market.opens("/data", &wallet).await;
    let row = "document.querySelector('#wallets label').innerText.replaceAll('\u{a0}', ' ')";
    person.until(&format!("{row}.includes('1.00 USDC')")).await.unwrap();
    let words = person.evaluate(row).await.unwrap();
    assert!(words.as_str().unwrap().to_lowercase().contains(&shown.to_lowercase()), "{words}");
    assert_eq!((wallet.connect_calls(), wallet.switch_calls(), wallet.sign_calls()), (0, 0, 0));

    // On another network there is no balance of this token.
    let person = market.opens("/data", &market.wallet().elsewhere(1).connected()).await;
    person.until(&format!("{row}.includes('…')")).await.unwrap();
    assert!(!person.evaluate(row).await.unwrap().as_str().unwrap().contains("USDC"));

    // Who is not connected is not asked to be.
    let wallet = market.wallet();
    let person = market.opens("/data", &wallet).await;
    person.sees("idle").await;
    wallet.asked("eth_accounts", 1).await;
    assert_eq!(person.evaluate(row).await.unwrap(), "Fox");
    assert_eq!(wallet.connect_calls(), 0);
    market.sold(0).await;
    person.behaved();
}

async fn a_changed_price_is_compared_and_accepted(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_verify([Act::No("invalid_exact_evm_payload_signature"), Act::Yes]);
    let person = market.person(Setup { phone: true, ..Setup::from(&market.wallet()) }).await;
    let dearer = FORGETFUL.replace(
        "offer.error =",
        "Object.assign(offer.accepts[0], { amount: '250000', payTo: '0x000000000000000000000000000000000000dEaD', maxTimeoutSeconds: 7200 });
         offer.error =",
    );
    person.before_each_page(&dearer).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.reads("price-changed", "pay", "Accept and pay $0.25").await;
    let table = "[...document.querySelectorAll('#facts tr')].map((row) => [...row.cells].map(({ innerText }) => innerText.replaceAll('\u{a0}', ' ')))";
    let merchant = chain::merchant().address().to_string();
    assert_eq!(
        person.evaluate(table).await.unwrap(),
        json!([
            ["", "Before", "Now"],
            ["Price", "$0.01 on Base Sepolia", "$0.25 on Base Sepolia"],
            ["Paid to", merchant, "0x000000000000000000000000000000000000dEaD"],
            ["Your signature is valid for", "5 minutes", "2 hours"],
        ])
    );
    // No word of its names is broken, however long the values are.
    let broken = "[...document.querySelectorAll('#facts th')].flatMap(({ firstChild: text }) =>
        [...(text?.data ?? '').matchAll(/\\S+/g)].filter(({ 0: { length }, index }) => {
            const range = document.createRange();
            range.setStart(text, index);
            range.setEnd(text, index + length);
            return range.getClientRects().length !== 1;
        })).length";
    assert_eq!(person.evaluate(broken).await.unwrap(), 0);
    assert!(
        !person
            .evaluate("document.getElementById('alert').matches('.risk')")
            .await
            .unwrap()
            .as_bool()
            .unwrap()
    );
    person.behaved();
}

async fn red_is_for_money_at_risk(stack: Stack) {
    type Owner = fn(Wallet) -> Wallet;
    let scenes: [(&str, bool, Owner, &[Act], &str); 6] = [
        ("wrong-network", false, |wallet| wallet.elsewhere(1).on_switch([Answer::Reject]), &[], ""),
        ("failed", false, |wallet| wallet.on_sign([Answer::Fail(-32603, "no")]), &[], ""),
        ("failed", false, |wallet| wallet, &[Act::No("insufficient_funds")], ""),
        ("price-changed", false, |wallet| wallet, &[], "offer.accepts[0].amount = '20000'; offer.error ="),
        ("failed", true, |wallet| wallet, &[], "return new Response('', { status: 500 }); offer.error ="),
        (
            "unsure",
            true,
            |wallet| wallet.on_read([Answer::Yes, Answer::Fail(-32005, "rate limited")]),
            &[],
            "offer.error =",
        ),
    ];
    for (state, risk, owner, acts, change) in scenes {
        let market = Market::open(stack).await;
        market.till.on_settle(acts.iter().copied());
        let person = market.person(&owner(market.wallet())).await;
        if !change.is_empty() {
            person.before_each_page(&FORGETFUL.replace("offer.error =", change)).await.unwrap();
        }
        person.open(&market.serving.url("/data")).await.unwrap();
        person.pays().await;
        if state == "unsure" {
            person.sees("failed").await;
            person.click("#pay").await.unwrap();
        }
        person.reads(state, "alert", " ").await;
        let colour = "getComputedStyle(document.getElementById('alert')).color";
        let colour = person.evaluate(colour).await.unwrap();
        assert_eq!(colour == "rgb(168, 32, 13)", risk, "{state}: {colour}");
        person.behaved();
    }
}

async fn the_promise_is_made_where_something_is_signed(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::Wait]);
    let wallet = market.wallet().on_sign([Answer::Reject, Answer::Wait]);
    let person = market.opens("/data", &wallet).await;
    person.sees("idle").await;
    assert!(person.shows(".promise").await);
    person.click("#pay").await.unwrap();
    person.sees("rejected").await;
    assert!(person.shows(".promise").await);
    person.click("#pay").await.unwrap();
    person.sees("signing").await;
    assert!(person.shows(".promise").await);
    wallet.let_go();
    person.sees("settling").await;
    assert!(!person.shows(".promise").await, "it is signed");
    market.till.let_go();
    person.sees("paid").await;
    let poor = market.wallet_of("Fox", chain::stranger().address());
    let person = market.opens("/note", &poor).await;
    person.pays().await;
    person.sees("low-balance").await;
    assert!(!person.shows(".promise").await, "nothing can be signed");
}

async fn the_receipt_says_who_was_paid_for_what_and_when(stack: Stack) {
    let market = Market::with(stack, shelves(&cent()), page().app_name("The Hive"), &[]).await;
    let person = market.opens("/data", &market.wallet()).await;
    person.pays().await;
    person.sees("paid").await;
    let receipt = person.text("#receipt").await.unwrap();
    let year = person.evaluate("String(new Date().getFullYear())").await.unwrap();
    let merchant = chain::merchant().address().to_string();
    let transaction = market.transaction().await;
    for words in
        ["$0.01 on Base Sepolia", "0.01 USDC", "The Hive", &merchant, &transaction, year.as_str().unwrap()]
    {
        assert!(receipt.contains(words), "{words} in {receipt}");
    }
    for (id, words) in [("receipt-payee", &merchant), ("receipt-transaction", &transaction)] {
        let button = format!("dd:has(#{id}) > button");
        let copied = person.copies(async || person.click(&button).await.unwrap()).await;
        assert_eq!(&copied, words);
        // Twice, as people do.
        person.double_click(&button).await.unwrap();
        let label = format!("document.querySelector({}).textContent === 'Copy'", json!(button));
        person.until(&label).await.unwrap();
    }
    let copied = person.copies(async || person.click("#copy-receipt").await.unwrap()).await;
    for words in ["The Hive", &merchant, &transaction, "0.01 USDC"] {
        assert!(copied.replace('\u{a0}', " ").contains(words), "{words} in {copied}");
    }
    // What was bought comes first, and is larger than what can be done with the receipt.
    let wide = "document.getElementById('copy-receipt').offsetWidth < document.getElementById('content').offsetWidth / 2";
    assert_eq!(person.evaluate(wide).await.unwrap(), true);
    let mark = "getComputedStyle(document.getElementById('done'), '::before').content";
    assert!(person.evaluate(mark).await.unwrap().as_str().unwrap().contains('✓'));
    market.sold(1).await;
    person.behaved();
}

async fn payee_and_time_are_in_the_details_below_the_button(stack: Stack) {
    let merchant = chain::merchant().address();
    let base = Chain::start_with(8453).await.unwrap();
    base.mint(chain::payer().address(), 100 * CENT).await.unwrap();
    let other = chain::stranger().address();
    let charge = exact("$0.01").on(BASE_SEPOLIA).to(merchant);
    let charge = charge.or(exact("$0.02").on(BASE).to(other).max_timeout_seconds(7200));
    let market = Market::with(stack, shelves(&charge), page(), &[(&base, BASE)]).await;
    let person = market.opens("/data", &market.wallet().with(&base)).await;
    person.sees("idle").await;
    let below = "document.getElementById('details').getBoundingClientRect().top >= document.getElementById('pay').getBoundingClientRect().bottom";
    assert_eq!(person.evaluate(below).await.unwrap(), true);
    assert!(!person.shows("#payee-full").await);
    person.click("#details summary").await.unwrap();
    assert_eq!(person.text("#payee-full").await.unwrap(), merchant.to_string());
    assert_eq!(person.text("#valid").await.unwrap(), "5 minutes");
    person.click("#options label:nth-of-type(2)").await.unwrap();
    assert_eq!(person.text("#payee-full").await.unwrap(), other.to_string());
    assert_eq!(person.text("#valid").await.unwrap(), "2 hours");
    let heavier = "(() => { const of = (name) => { const { fontSize, fontWeight } = getComputedStyle(document.querySelector(name));
        return [parseFloat(fontSize), +fontWeight] }; const [title, seller] = [of('h1'), of('header')];
        return title[0] > seller[0] && title[1] > seller[1] })()";
    assert_eq!(person.evaluate(heavier).await.unwrap(), true);
    person.behaved();
}

async fn the_receipts_bar_becomes_small(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.person(&market.wallet()).await;
    person.before_each_page(OPEN).await.unwrap();
    person.open(&market.serving.url("/article")).await.unwrap();
    person.pays().await;
    person.has_the_article().await;
    let bar = "document.getElementById('x402-receipt').shadowRoot.querySelector('aside')";
    let width = person.evaluate(&format!("{bar}.offsetWidth")).await.unwrap().as_f64().unwrap();
    assert_eq!(person.evaluate(&format!("getComputedStyle({bar}).borderTopWidth")).await.unwrap(), "1px");
    person.until(&format!("{bar}.className === 'pill'")).await.unwrap();
    let pill = person.evaluate(&format!("{bar}.offsetWidth")).await.unwrap().as_f64().unwrap();
    assert!(pill < width / 1.3 && pill >= 44.0, "{width} became {pill}");
    // It opens again.
    person.evaluate(&format!("{bar}.querySelector('summary').click(), 1")).await.unwrap();
    person.until(&format!("{bar}.className === '' && {bar}.offsetWidth > {pill}")).await.unwrap();
    let code = format!("{bar}.querySelector('code').textContent");
    assert_eq!(person.evaluate(&code).await.unwrap(), market.transaction().await);
    market.sold(1).await;
    person.behaved();
}

async fn nobody_asks_for_an_icon(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/data", &market.wallet()).await;
    person.sees("idle").await;
    let icon = person.attribute("link[rel=icon]", "href").await;
    assert!(icon.as_str().unwrap().starts_with("data:image/svg+xml,"), "{icon}");
    let drawn = "new Promise((done) => { const image = new Image(); image.onload = () => done(true); image.onerror = () => done(false);
        image.src = document.querySelector('link[rel=icon]').href; })";
    assert_eq!(person.evaluate(drawn).await.unwrap(), true);
    let colours = "[...document.querySelectorAll('meta[name=theme-color]')].map(({ content, media }) => [content, media])";
    let expected =
        json!([["#ffffff", "(prefers-color-scheme: light)"], ["#191d24", "(prefers-color-scheme: dark)"]]);
    assert_eq!(person.evaluate(colours).await.unwrap(), expected);
    assert!(!person.conduct().requests.iter().any(|url| url.contains("favicon")));
    person.behaved();
}
