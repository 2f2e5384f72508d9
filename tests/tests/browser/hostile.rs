//! Words that would be markup or script if anybody let them.

use serde_json::{Value, json};
use x402_core::{
    amount::Amount,
    asset::Token,
    gate::{TokenAmount, exact},
    network::{BASE_SEPOLIA, Network},
};
use x402_paywall::PaywallPage;
use x402_tests::{browser::Setup, chain};

use crate::{
    goods::{Good, Methods, Shelf},
    harness::{Case, Stack, case},
    market::{ARTICLE, CENT, Market, Person, cent, shelves},
    till::Act,
};

pub const CASES: &[Case] = &[
    case!(words_stay_words),
    case!(a_wallets_words_stay_words),
    case!(a_reason_stays_words),
    case!(names_that_cannot_be_are_refused).once(),
];

const WORDS: [&str; 6] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>' onclick='alert(1)",
    "<!--<script>",
    "{{constructor.constructor('alert(1)')()}}${alert(1)}",
    "javascript:alert(1)//\u{2028}</title></textarea></style><base href=//elsewhere.test>\u{202e}",
];

/// The elements of the page and the names of their attributes, one after the other.
const SKELETON: &str = "[...document.querySelectorAll('*')].map(({ localName, attributes }) =>
    localName + [...attributes].map(({ name }) => ' ' + name).sort().join('')).join('\\n')";

/// A market whose operator lets these words in everywhere.
async fn market(stack: Stack, words: &str) -> Market {
    // The address is the real one, and so the page's domain of the signature is too.
    let usdc = chain::USDC.to_string().parse().unwrap();
    let token = Token::eip3009(BASE_SEPOLIA, usdc, words.to_owned(), 6, "USDC", "2");
    let amount = TokenAmount { token, amount: Amount::from(CENT) };
    let merchant = chain::merchant().address();
    let charge = exact(amount.clone())
        .on(BASE_SEPOLIA)
        .to(merchant)
        .or(exact(amount).on(BASE_SEPOLIA).to(chain::stranger().address()));
    let page =
        PaywallPage::new().app_name(words).extra_text(words).current_url(format!("https://{words}/{words}"));
    let mut shelves = shelves(&cent());
    shelves.push(Shelf {
        path: "/hostile/{id}",
        methods: Methods::Get,
        charge: Some(charge.describe(words)),
        good: Good::Shows(ARTICLE),
    });
    Market::with(stack, shelves, page, &[]).await
}

async fn skeleton(person: &Person<'_>) -> Value {
    person.sees("idle").await;
    person.evaluate(SKELETON).await.unwrap()
}

async fn words_stay_words(stack: Stack) {
    let harmless = market(stack, "harmless").await;
    let person = harmless.opens("/hostile/harmless?q=harmless", &harmless.wallet()).await;
    let honest = skeleton(&person).await;
    for words in WORDS {
        let market = market(stack, words).await;
        let wallet = market.wallet();
        let person = market.person(&wallet).await;
        let link = format!(
            "Object.assign(new URL({}), {{ search: '?q=' + {words} + '&' + encodeURIComponent({words}), hash: {words} }}).href",
            json!(market.serving.url("/")),
            words = json!(words),
        );
        let path = format!(
            "{link}.replace('/?', '/hostile/' + encodeURIComponent({}).replaceAll('%2F', 'x') + '?')",
            json!(words)
        );
        let url = person.evaluate(&path).await.unwrap();
        person.open(url.as_str().unwrap()).await.unwrap();
        assert_eq!(skeleton(&person).await, honest, "{words}");
        assert!(
            person.text("main").await.unwrap().contains("alert(1)") || words == "<!--<script>",
            "{words}"
        );
        person.behaved();

        person.pays().await;
        person.has_the_article().await;
        person.behaved();
        assert_eq!(market.chain.transfers(chain::merchant().address()).await.unwrap(), 1);
    }
}

async fn a_wallets_words_stay_words(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.person(Setup::default()).await;
    let announce = format!(
        "const announce = () => {}.forEach((words, index) => window.dispatchEvent(new CustomEvent('eip6963:announceProvider', {{
            detail: {{ info: {{ uuid: words, name: words, icon: index ? words : 'data:image/svg+xml,<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"top.alert(1)\"/>', rdns: words }},
                       provider: {{ request: async () => {{ throw {{ code: words, message: words }} }} }} }} }})));
        addEventListener('eip6963:requestProvider', announce);",
        json!(WORDS)
    );
    person.before_each_page(&announce).await.unwrap();
    person.open(&market.serving.url("/article")).await.unwrap();
    person.sees("choosing").await;
    let inside =
        "[...document.querySelectorAll('#wallets label *')].map(({ localName }) => localName).join()";
    assert_eq!(person.evaluate(inside).await.unwrap(), vec!["input,img,span,small"; WORDS.len()].join(","));
    for number in 1..=WORDS.len() {
        person.click(&format!("#wallets label:nth-of-type({number})")).await.unwrap();
        person.click("#pay").await.unwrap();
        person.sees("failed").await;
    }
    assert_eq!(person.evaluate(inside).await.unwrap(), vec!["input,img,span,small"; WORDS.len()].join(","));
    person.behaved();
}

async fn a_reason_stays_words(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    market.till.on_verify([Act::No("harmless")]);
    person.pays().await;
    person.reads("failed", "alert", "(harmless)").await;
    let honest = person.evaluate(SKELETON).await.unwrap();
    for (number, words) in WORDS.into_iter().enumerate() {
        market.till.on_verify([Act::No(words)]);
        person.click("#pay").await.unwrap();
        let begin: String = words.chars().take(4).collect();
        let condition = format!("document.getElementById('alert').textContent.includes({})", json!(begin));
        person.until(&condition).await.unwrap();
        person.sees("failed").await;
        assert_eq!(person.evaluate(SKELETON).await.unwrap(), honest, "{words}");
        assert_eq!(wallet.sign_calls(), number + 2);
    }
    market.sold(0).await;
    person.behaved();
}

async fn names_that_cannot_be_are_refused(_: Stack) {
    for words in WORDS {
        assert!(format!("eip155:{words}").parse::<Network>().is_err(), "{words}");
        assert!(PaywallPage::new().app_logo(words).is_err(), "{words}");
        assert!(PaywallPage::new().accent(words).is_err(), "{words}");
    }
    assert!(PaywallPage::new().app_logo("javascript:alert(1)").is_err());
    assert!(PaywallPage::new().app_logo("http://logo.test/a.svg").is_err());
    assert!(PaywallPage::new().app_logo("data:image/svg+xml,<svg onload=alert(1)>").is_err());
}
