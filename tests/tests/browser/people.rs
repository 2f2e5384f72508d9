//! Who comes: people of other languages, with other screens, without scripts, with a screen reader.

use std::{env, fs, path::Path};

use serde_json::Value;
use x402_core::{
    gate::exact,
    network::{BASE, BASE_SEPOLIA},
};
use x402_tests::{
    Chain,
    browser::{Answer, Setup},
    chain,
};

use crate::{
    harness::{Case, Stack, case},
    market::{CENT, Market, Person, page, shelves},
    till::Act,
};

pub const CASES: &[Case] = &[
    case!(germans_read_german),
    case!(without_scripts_the_offer_is_there),
    case!(everybody_can_use_it_and_it_looks_right).once(),
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
    for (text, words) in [(offer, "Testnetz"), (rejected, "Nichts wurde bezahlt"), (paid, "Beleg")] {
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
    for words in ["An article on bees", "$0.01", "0.01 USDC on Base Sepolia", "needs JavaScript"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert!(!person.shows("button").await, "nothing to press that would do nothing");
    market.sold(0).await;
    person.behaved();
}

/// What the page looks like on the way, each in its own name.
const SCENES: [&str; 14] = [
    "offer",
    "options",
    "wallets",
    "no-wallet",
    "german",
    "signing",
    "rejected",
    "low-balance",
    "settling",
    "failed",
    "waiting",
    "paid",
    "used",
    "static",
];

async fn everybody_can_use_it_and_it_looks_right(stack: Stack) {
    let folder = env::var_os("X402_SCREENSHOTS").map(|folder| Path::new(&folder).to_owned());
    let mut findings = Vec::new();
    for (dark, phone) in [(false, false), (true, true), (true, false), (false, true)] {
        for scene in SCENES {
            // Phones are as wide in any light: where nothing but the words differs, two of the four will do.
            if dark != phone && !["offer", "paid", "options"].contains(&scene) {
                continue;
            }
            let name = format!(
                "{scene}-{}-{}",
                if phone { "phone" } else { "desktop" },
                if dark { "dark" } else { "light" }
            );
            let setup = Setup { dark, phone, scripts: scene != "static", ..Setup::default() };
            let (market, _base) = fair(stack, scene).await;
            let person = shown(&market, scene, setup).await;
            let wide = "document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(person.evaluate(wide).await.unwrap(), true, "{name} is wider than its screen");
            if scene != "static" {
                findings.extend(axe(&person).await.into_iter().map(|finding| format!("{name}: {finding}")));
            }
            if let Some(folder) = &folder {
                fs::create_dir_all(folder).unwrap();
                fs::write(folder.join(format!("{name}.png")), person.screenshot().await.unwrap()).unwrap();
            }
            person.behaved();
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// A market for this scene, and the second chain where there are two ways to pay.
async fn fair(stack: Stack, scene: &str) -> (Market, Option<Chain>) {
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
    person.open(&market.serving.url("/data")).await.unwrap();
    if !["idle", "choosing", "no-wallet", "static"].contains(&state) {
        person.pays().await;
    }
    if scene == "used" {
        person.sees("paid").await;
        person.reload().await.unwrap();
    }
    person.sees(state).await;
    person
}

/// What axe finds, of any weight.
async fn axe(person: &Person<'_>) -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("js/node_modules/axe-core/axe.min.js");
    let source = fs::read_to_string(source).expect("axe-core is installed: run `cargo xtask browser`");
    person.evaluate(&format!("{source}; 1")).await.unwrap();
    let run = "axe.run({ resultTypes: ['violations'] }).then(({ violations, passes }) => ({
        passes: passes.length,
        violations: violations.map(({ id, impact, nodes }) => id + ' (' + impact + '): ' + nodes.map(({ html }) => html).join(' ')) }))";
    let Value::Object(found) = person.evaluate(run).await.unwrap() else { panic!("axe says nothing") };
    assert!(found["passes"].as_u64() > Some(10), "axe looked at something: {found:?}");
    let words = found["violations"].as_array().unwrap().iter();
    words.map(|finding| finding.as_str().unwrap().to_owned()).collect()
}
