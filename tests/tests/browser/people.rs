//! Who comes: people of other languages, with other screens, without scripts, with a screen reader.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use x402_axum::GateExt;
use x402_core::{
    amount::Amount,
    asset::Token,
    facilitator::FacilitatorErrorKind,
    gate::{PaymentGate, TokenAmount, exact},
    network::{BASE, BASE_SEPOLIA},
};
use x402_tests::{
    Chain,
    browser::{Answer, Setup, Visitor},
    chain,
    nginx::strict_proxy,
    script::{self, Script},
    serve::Serving,
};

use crate::{
    harness::{Case, Stack, case},
    market::{CENT, Market, ORIGIN, Person, browser, cent, page, shelves},
    till::Act,
    trouble::FORGETFUL,
};

pub const CASES: &[Case] = &[
    case!(germans_read_german),
    case!(without_scripts_the_offer_is_there),
    case!(where_a_sites_policy_stops_the_script_it_says_so).once(),
    case!(a_price_is_never_broken_in_a_number).once(),
    case!(who_wants_no_motion_sees_none).once(),
    case!(who_comes_too_early_is_asked_to_come_again).once(),
    case!(the_page_is_small),
    case!(everybody_can_use_it_and_it_looks_right).once(),
    case!(everybody_can_use_it_on_a_phone_in_the_dark).once(),
];

async fn germans_read_german(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_sign([Answer::Reject, Answer::Yes]);
    let person =
        market.opens("/data", Setup { language: "de-AT,de;q=0.9,en;q=0.5", ..Setup::from(&wallet) }).await;
    person.sees("idle").await;
    assert_eq!(person.evaluate("document.documentElement.lang").await.unwrap(), "de");
    let price = person.text("#price").await.unwrap();
    assert!(price.contains("0,01"), "{price}");
    let offer = person.text("main").await.unwrap();
    person.pays().await;
    person.sees("rejected").await;
    let rejected = person.text("#status").await.unwrap();
    person.click("#pay").await.unwrap();
    person.sees("paid").await;
    let paid = person.text("main").await.unwrap();
    for (text, words) in [(offer, "Testnetz"), (rejected, "Nichts wurde unterschrieben"), (paid, "Beleg")] {
        assert!(text.contains(words), "{words} in {text}");
        assert!(
            !["wallet.", " you ", "Receipt", "Pay "].iter().any(|english| text.contains(english)),
            "{text}"
        );
    }
    market.sold(1).await;
    person.behaved();
}

async fn without_scripts_the_offer_is_there(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/article", Setup { scripts: false, ..Setup::default() }).await;
    person.sees("static").await;
    let page = person.text("main").await.unwrap();
    for words in ["An article on bees", "$0.01", "0.01 USDC on Base Sepolia", "Paying needs a wallet"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert!(!person.shows("button").await, "nothing to press that would do nothing");
    market.sold(0).await;
    person.behaved();
}

/// Some sites put a policy of their own on every answer.
async fn where_a_sites_policy_stops_the_script_it_says_so(stack: Stack) {
    let market = Market::open(stack).await;
    let proxy = strict_proxy(market.serving.address, "script-src 'self'").await.unwrap();
    let person = market.person(&market.wallet()).await;
    person.open(&proxy.url("/article")).await.unwrap();
    person.until("document.readyState === 'complete'").await.unwrap();
    person.reads("static", "unstarted", "The script of this page did not start").await;
    assert!(!person.shows("button").await, "nothing to press that would do nothing");
    assert_eq!(axe(&person, "document").await, Vec::<String>::new());
    let violations = person.conduct().violations;
    assert_eq!(violations.len(), 1, "{violations:?}");
    market.sold(0).await;
}

async fn a_price_is_never_broken_in_a_number(stack: Stack) {
    for (amount, decimals, symbol) in [
        (1_234_567_123_456_u64, 6, "USDC"),
        (1_234_500_000_000_000_000, 18, "HONEY"),
        (1, 18, "HONEY"),
        (12_345_678_901_234, 2, "LONGTOKENNAME"),
    ] {
        let address = "0x000000000000000000000000000000000000bEEF".parse().unwrap();
        let token = Token::eip3009(BASE_SEPOLIA, address, symbol, decimals, "Token", "2");
        let dear = exact(TokenAmount { token, amount: Amount::from(amount) }).on(BASE_SEPOLIA);
        let charge = exact("$1234567.123456").on(BASE_SEPOLIA).to(chain::merchant().address());
        let charge = charge.or(dear.to(chain::merchant().address()));
        let market = Market::selling(stack, shelves(&charge)).await;
        let setup = Setup { phone: true, ..Setup::from(&market.wallet()) };
        let person = market.opens("/data", setup).await;
        person.sees("idle").await;
        for option in [1, 2] {
            person.click(&format!("#options label:nth-of-type({option})")).await.unwrap();
            let broken = "(() => {
                document.documentElement.style.width = '320px';
                const broken = [];
                for (const element of document.querySelectorAll('#price, #pay, .row-price')) {
                    const text = element.firstChild;
                    for (const { 0: word, index } of text.data.matchAll(/[^ ]+/g)) {
                        const range = document.createRange();
                        range.setStart(text, index);
                        range.setEnd(text, index + word.length);
                        if (range.getClientRects().length !== 1) broken.push(word);
                        if (range.getBoundingClientRect().right > 300) broken.push(word + ' is cut off');
                    }
                }
                return broken;
            })()";
            assert_eq!(person.evaluate(broken).await.unwrap(), json!([]), "{amount} {symbol}");
        }
        person.behaved();
    }
}

async fn who_wants_no_motion_sees_none(stack: Stack) {
    let market = Market::open(stack).await;
    for (still, motion) in [(true, "none"), (false, "turn")] {
        let wallet = market.wallet().on_sign([Answer::Hang]);
        let person = market.opens("/data", Setup { still, ..Setup::from(&wallet) }).await;
        person.pays().await;
        person.sees("signing").await;
        let moving = "getComputedStyle(document.getElementById('pay'), '::before').animationName";
        assert_eq!(person.evaluate(moving).await.unwrap(), motion);
    }
}

/// The facilitator has not said yet what it settles.
async fn who_comes_too_early_is_asked_to_come_again(_: Stack) {
    let script =
        Script::new().on_supported([script::Act::Fail(FacilitatorErrorKind::Unreachable), script::Act::Hang]);
    let gate = PaymentGate::builder(ORIGIN).facilitator(script).scheme(x402_evm::exact::server());
    let gate = gate.paywall(page().app_name("The Hive")).build().unwrap();
    let sold = axum::routing::get(async || "sold").layer(gate.charge(cent()).unwrap());
    let serving = Serving::start(axum::Router::new().route("/data", sold)).await.unwrap();
    for (language, words) in
        [("en", "This cannot be paid for right now"), ("de", "lässt sich gerade nicht bezahlen")]
    {
        let person = browser().await.visitor(Setup { language, ..Setup::default() }).await.unwrap();
        person.open(&serving.url("/data")).await.unwrap();
        assert!(person.text("main").await.unwrap().contains(words));
        assert_eq!(axe(&person, "document").await, Vec::<String>::new());
        person.evaluate("window.before = 1").await.unwrap();
        person.click("a").await.unwrap();
        person.until("!window.before && !!document.querySelector('main')").await.unwrap();
        let conduct = person.conduct();
        assert_eq!(conduct.violations, Vec::<String>::new());
        assert_eq!(conduct.foreign(&serving.url("")), Vec::<String>::new());
    }
}

/// The page's bytes, and how many gzip leaves of them.
pub static WEIGHT: OnceLock<(usize, usize)> = OnceLock::new();

async fn the_page_is_small(stack: Stack) {
    let market = Market::open(stack).await;
    let accept = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let page = market.serving.get("/article", &[accept]).await.unwrap();
    let length: usize = page.header("content-length").expect("it is sent in one piece").parse().unwrap();
    assert_eq!(length, page.body.len());
    assert!(length < 44 * 1024, "{length} bytes");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(page.body.as_bytes()).unwrap();
    WEIGHT.get_or_init(|| (length, gzip.finish().unwrap().len()));
}

/// What the page looks like on the way, each in its own name.
const SCENES: [&str; 21] = [
    "offer",
    "options",
    "wallets",
    "no-wallet",
    "unpayable",
    "german",
    "connecting",
    "wrong-network",
    "elsewhere",
    "signing",
    "rejected",
    "low-balance",
    "settling",
    "failed",
    "price-changed",
    "unsure",
    "waiting",
    "paid",
    "used",
    "article",
    "static",
];

/// Those that are kept as pictures: scene, phone, dark.
const PICTURES: [(&str, bool, bool); 19] = [
    ("offer", false, false),
    ("offer", false, true),
    ("offer", true, false),
    ("offer", true, true),
    ("options", true, false),
    ("wallets", true, true),
    ("no-wallet", false, false),
    ("no-wallet", true, false),
    ("price-changed", false, false),
    ("unsure", true, true),
    ("german", false, false),
    ("signing", true, true),
    ("low-balance", false, false),
    ("failed", false, false),
    ("waiting", true, true),
    ("paid", false, false),
    ("paid", true, true),
    ("used", true, true),
    ("article", false, false),
];

async fn everybody_can_use_it_and_it_looks_right(stack: Stack) {
    let scenes = SCENES.iter().map(|scene| (*scene, false, false));
    look(stack, scenes.chain(PICTURES.iter().copied().filter(|(_, phone, dark)| phone != dark))).await;
}

async fn everybody_can_use_it_on_a_phone_in_the_dark(stack: Stack) {
    look(stack, SCENES.iter().map(|scene| (*scene, true, true))).await;
}

/// Looks at these scenes, and takes their pictures where they are to be kept.
async fn look(stack: Stack, scenes: impl Iterator<Item = (&'static str, bool, bool)>) {
    let folder = env::var_os("X402_SCREENSHOTS").map(PathBuf::from);
    let mut findings = Vec::new();
    for (scene, phone, dark) in scenes {
        let name = format!(
            "{scene}-{}-{}",
            if phone { "phone" } else { "desktop" },
            if dark { "dark" } else { "light" }
        );
        let setup = Setup { dark, phone, scripts: scene != "static", ..Setup::default() };
        let (market, _base) = fair(stack, scene).await;
        let person = shown(&market, scene, setup).await;
        // Not `innerWidth`, which on a phone grows with what is in it.
        let width = person.evaluate("document.documentElement.scrollWidth").await.unwrap();
        assert!(width.as_u64() <= Some(if phone { 390 } else { 1280 }), "{name} is {width} wide");
        // The article is not ours, and nothing of axe's runs where no scripts do.
        let ours = if scene == "article" { "'#x402-receipt'" } else { "document" };
        if scene != "static" {
            findings.extend(axe(&person, ours).await.into_iter().map(|finding| format!("{name}: {finding}")));
        }
        if let Some(folder) = folder.as_ref().filter(|_| PICTURES.contains(&(scene, phone, dark))) {
            person.evaluate(SAME).await.unwrap();
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(format!("{name}.png")), person.screenshot().await.unwrap()).unwrap();
        }
        person.behaved();
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// No picture is another one because of what is drawn by lot.
const SAME: &str = "for (const id of ['receipt-transaction', 'receipt-evidence', 'receipt-date']) {
    const element = document.getElementById(id);
    if (element) element.textContent = element.textContent.replace(/0x[0-9a-f]{64}/g, '0x' + '5eed'.repeat(16))
        .replace(/\\d{4}-\\S+Z/, '2026-01-01T00:00:00.000Z').replace(/^\\w+ \\d+, 20.*M$/, 'Jan 1, 2026, 12:00 AM');
}";

/// A market for this scene, and the second chain where there are two ways to pay.
async fn fair(stack: Stack, scene: &str) -> (Market, Option<Chain>) {
    if scene == "unpayable" {
        return (Market::selling(stack, shelves(&cent().max_timeout_seconds(86_401))).await, None);
    }
    if scene != "options" {
        return (Market::open(stack).await, None);
    }
    let merchant = chain::merchant().address();
    let base = Chain::start_with(8453).await.unwrap();
    let charge = exact("$0.01").on(BASE_SEPOLIA).to(merchant).or(exact("$0.02").on(BASE).to(merchant));
    let market = Market::with(stack, shelves(&charge), page(), &[(&base, BASE)]).await;
    (market, Some(base))
}

async fn shown<'a>(market: &'a Market, scene: &str, setup: Setup) -> Person<'a> {
    let wallet = market.wallet();
    let with =
        |wallet: &x402_tests::browser::Wallet| Setup { wallets: vec![wallet.clone()], ..setup.clone() };
    let state = match scene {
        "offer" | "options" | "german" => "idle",
        "wallets" => "choosing",
        other => other,
    };
    let setup = match scene {
        "no-wallet" | "static" => setup,
        "wallets" => {
            Setup { wallets: vec![wallet, market.wallet_of("Rabbit", chain::stranger().address())], ..setup }
        }
        "german" => Setup { language: "de", ..with(&wallet) },
        "connecting" => with(&wallet.on_connect([Answer::Hang])),
        "wrong-network" => with(&wallet.elsewhere(1).on_switch([Answer::Reject])),
        "unsure" => with(&wallet.on_read([Answer::Yes, Answer::Fail(-32005, "rate limited")])),
        "rejected" => with(&wallet.on_sign([Answer::Reject])),
        "signing" => with(&wallet.on_sign([Answer::Hang])),
        "low-balance" => {
            let poor = chain::stranger().address();
            market.chain.mint(poor, CENT / 2).await.unwrap();
            with(&market.wallet_of("Rabbit", poor))
        }
        _ => with(&wallet),
    };
    match scene {
        "failed" => market.till.on_settle([Act::No("insufficient_funds")]),
        "waiting" => market.till.on_settle([Act::Unreachable]),
        "settling" => market.till.on_settle([Act::Wait]),
        _ => {}
    }
    let person = market.person(setup).await;
    if scene == "waiting" {
        person.is_hasty().await;
    }
    match scene {
        "article" => person.before_each_page(OPEN).await.unwrap(),
        "unsure" => person.before_each_page(FORGETFUL).await.unwrap(),
        "price-changed" => {
            let dearer = FORGETFUL.replace("offer.error", "offer.accepts[0].amount = '20000'; offer.error");
            person.before_each_page(&dearer).await.unwrap();
        }
        _ => {}
    }
    let path = if scene == "article" { "/article" } else { "/data" };
    person.open(&market.serving.url(path)).await.unwrap();
    if scene == "elsewhere" {
        let taken = "navigator.locks.request('x402:/data', () => new Promise(() => {})), 1";
        person.evaluate(taken).await.unwrap();
    }
    if !["idle", "choosing", "no-wallet", "unpayable", "static"].contains(&state) {
        person.pays().await;
    }
    if scene == "unsure" {
        person.sees("failed").await;
        person.click("#pay").await.unwrap();
    }
    if scene == "used" {
        person.sees("paid").await;
        person.reload().await.unwrap();
    }
    if scene == "article" {
        person.has_the_article().await;
    } else {
        person.sees(state).await;
    }
    person
}

/// The receipt beside an article is in a closed shadow root, where axe does not look.
pub const OPEN: &str = "const attach = Element.prototype.attachShadow;
    Element.prototype.attachShadow = function () { return attach.call(this, { mode: 'open' }); };";

/// What axe finds there, of any weight.
pub async fn axe(person: &Visitor, place: &str) -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("js/node_modules/axe-core/axe.min.js");
    let source = fs::read_to_string(source).expect("axe-core is installed: run `cargo xtask browser`");
    person.evaluate(&format!("{source}; 1")).await.unwrap();
    let run = format!("axe.run({place}, {{ resultTypes: ['violations'] }}).then(({{ violations, passes }}) => ({{
        passes: passes.length,
        violations: violations.map(({{ id, impact, nodes }}) => id + ' (' + impact + '): ' + nodes.map(({{ html }}) => html).join(' ')) }}))");
    let Value::Object(found) = person.evaluate(&run).await.unwrap() else { panic!("axe says nothing") };
    assert!(found["passes"].as_u64() > Some(0), "axe looked at something: {found:?}");
    let words = found["violations"].as_array().unwrap().iter();
    words.map(|finding| finding.as_str().unwrap().to_owned()).collect()
}
