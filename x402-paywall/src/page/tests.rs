use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use x402_core::{
    asset::{Token, default_token},
    payment::PaymentRequired,
};

use super::*;
use crate::Theme;

const CENT: &str = "10000";
const KB: usize = 1024;

struct Shop {
    required: PaymentRequired,
    tokens: Vec<Token>,
    headers: HeaderMap,
}

impl Shop {
    fn selling(resource: Value, networks: &[&str]) -> Self {
        let tokens: Vec<Token> =
            networks.iter().map(|id| default_token(&id.parse().unwrap()).expect("a known chain")).collect();
        let accepts: Vec<Value> = tokens
            .iter()
            .map(|token| {
                json!({
                    "scheme": "exact",
                    "network": token.network,
                    "amount": CENT,
                    "asset": token.address,
                    "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
                    "maxTimeoutSeconds": 300,
                    "extra": { "name": "USD Coin", "version": "2" },
                })
            })
            .collect();
        let required = json!({
            "x402Version": 2,
            "error": "Payment required",
            "resource": resource,
            "accepts": accepts,
            "extensions": { "payment-identifier": x402_core::extension::payment_identifier::declaration(false) },
        });
        Self {
            required: x402_core::wire::decode_payment_required_body(required.to_string().as_bytes())
                .unwrap()
                .required,
            tokens,
            headers: HeaderMap::new(),
        }
    }

    fn article(networks: &[&str]) -> Self {
        Self::selling(
            json!({ "url": "https://example.com/news/1?a=b", "description": "A long read", "mimeType": "text/html" }),
            networks,
        )
    }

    fn in_german(mut self) -> Self {
        self.headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("de-DE,de;q=0.9,en;q=0.5"));
        self
    }

    fn shows(&self, page: &PaywallPage) -> Shown {
        let encoded = x402_core::wire::encode_header(&self.required);
        let (encoded, uri) = (encoded.to_str().unwrap(), http::Uri::from_static("/"));
        let visit = Visit::new(&self.required, encoded, &self.tokens, &uri, &self.headers);
        Shown::from(&render(page, &visit, 1_800_000_000))
    }
}

/// A page as tests look at it.
struct Shown {
    html: String,
    headers: HeaderMap,
}

impl From<&Page> for Shown {
    fn from(page: &Page) -> Self {
        Self { html: String::from_utf8(page.html().to_vec()).unwrap(), headers: page.headers().clone() }
    }
}

/// The document's elements outside of scripts and styles, by a reader of its own: names and attributes as written.
fn elements(html: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), html);
    while let Some((_, tag)) = rest.split_once('<') {
        let mut quoted = None;
        let end = tag.find(|char| match (quoted, char) {
            (None, '"' | '\'') => {
                quoted = Some(char);
                false
            }
            (Some(open), _) if char == open => {
                quoted = None;
                false
            }
            (None, '>') => true,
            _ => false,
        });
        let (inside, after) = tag.split_at(end.expect("every tag is closed"));
        found.push(inside.to_owned());
        let name = inside.split_whitespace().next().unwrap_or_default();
        rest = match name {
            "script" | "style" => after.split_once(&format!("</{name}>")).expect("it is closed").1,
            _ => &after[1..],
        };
    }
    found
}

fn script_data(html: &str) -> Value {
    let (_, data) = html.split_once(r#"<script id="offer" type="application/json">"#).unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_facts_are_readable_without_a_script() {
    let shop = Shop::article(&["eip155:8453", "eip155:137"]);
    let html = shop.shows(&PaywallPage::new().app_name("The Daily")).html;
    for fact in [
        r#"<html lang="en" data-theme="auto">"#,
        "<title>Pay $0.01 – The Daily</title>",
        "<h1 dir=\"auto\">A long read</h1>",
        "example.com/news/1?a=b",
        r#"<span id="price">$0.01</span>"#,
        "0.01\u{a0}USDC on Base",
        "USDC · Polygon",
        "0x2096…287C",
        "Your signature is valid for",
        "5 minutes",
        "and JavaScript",
    ] {
        assert!(html.contains(fact), "{fact}");
    }
    assert!(!html.contains("testnet\""), "neither chain is a test network");
}

#[test]
fn it_speaks_german_to_those_who_ask_for_it() {
    let shop = Shop::article(&["eip155:84532"]).in_german();
    let Shown { html, headers } = shop.shows(&PaywallPage::new().theme(Theme::Dark));
    for fact in
        [r#"<html lang="de" data-theme="dark">"#, "0,01\u{a0}$", "auf Base Sepolia", "Testnetz", "5 Minuten"]
    {
        assert!(html.contains(fact), "{fact}");
    }
    assert_eq!(headers[header::CONTENT_LANGUAGE], "de");
}

#[test]
fn its_language_can_be_fixed() {
    let shop = Shop::article(&["eip155:84532"]).in_german();
    let Shown { html, headers } = shop.shows(&PaywallPage::new().language(Language::English));
    assert!(html.contains(r#"<html lang="en""#) && html.contains("Pay $0.01"));
    assert_eq!(headers[header::CONTENT_LANGUAGE], "en");
}

#[test]
fn without_random_numbers_nothing_runs() {
    let page = sent(String::new(), Language::English, &Nonces { script: None, style: None });
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'none'; ") && !policy.contains("nonce"), "{policy}");
}

#[test]
fn who_comes_too_early_reads_it_in_their_language() {
    let german = Shop::article(&["eip155:8453"]).in_german();
    let name = "<script>alert(1)</script>";
    let Shown { html, headers } =
        Shown::from(&unavailable(&PaywallPage::new().app_name(name), &german.headers));
    for words in [
        r#"<html lang="de""#,
        "lässt sich gerade nicht bezahlen",
        "&#60;script&#62;",
        "Noch einmal versuchen",
    ] {
        assert!(html.contains(words), "{words} in {html}");
    }
    assert_eq!(html.matches("<script").count(), 0);
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'none'; style-src 'self' https: 'nonce-"), "{policy}");
    assert!(html.len() < 10_000, "{} bytes", html.len());
    assert_eq!(html.matches(r#"<link rel="icon" href="data:"#).count(), 1, "nobody asks for another one");
}

#[test]
fn the_browsers_bar_is_of_the_pages_colour() {
    let shop = Shop::article(&["eip155:8453"]);
    for (theme, light, dark) in [(Theme::Auto, 1, 1), (Theme::Light, 1, 0), (Theme::Dark, 0, 1)] {
        let html = shop.shows(&PaywallPage::new().theme(theme).accent("#0b6e4f").unwrap()).html;
        let of = |colour| html.matches(&format!(r#"<meta name="theme-color" content="{colour}""#)).count();
        assert_eq!((of("#ffffff"), of("#191d24")), (light, dark), "{theme:?}");
        assert!(html.contains("fill='%230b6e4f'"), "the icon is of the accent's");
    }
}

#[test]
fn another_way_is_a_link() {
    let shop = Shop::article(&["eip155:8453"]);
    let page = PaywallPage::new().alternative("Subscribe <b>now</b>", "/subscribe?a=b&c=d").unwrap();
    let html = shop.shows(&page).html;
    assert!(
        html.contains(
            r#"<a id="alternative" href="/subscribe?a=b&#38;c=d" dir="auto">Subscribe &#60;b&#62;"#
        ),
        "{html}"
    );
    assert!(!shop.shows(&PaywallPage::new()).html.contains("id=\"alternative"));
}

#[test]
fn test_money_is_told_by_the_network_and_set_only_where_that_is_not_known() {
    for (networks, set, banner) in [
        (&["eip155:84532"][..], None, true),
        (&["eip155:8453"], None, false),
        (&["eip155:84532", "eip155:8453"], None, false),
        (&["eip155:84532"], Some(false), true),
        (&["eip155:8453"], Some(true), false),
        (&["eip155:84532", "eip155:8453"], Some(true), false),
        (&["eip155:999"], None, false),
        (&["eip155:999"], Some(true), true),
        (&["eip155:999"], Some(false), false),
    ] {
        let page = set.into_iter().fold(PaywallPage::new(), PaywallPage::testnet);
        let known: Vec<_> =
            networks.iter().map(|id| if *id == "eip155:999" { "eip155:8453" } else { id }).collect();
        let mut shop = Shop::article(&known);
        for (option, id) in shop.required.accepts.iter_mut().zip(networks) {
            option.network = id.parse().unwrap();
        }
        let html = shop.shows(&page).html;
        assert_eq!(html.contains(r#"<p id="testnet">"#), banner, "{networks:?} {set:?}");
    }
}

#[test]
fn what_cannot_be_paid_here_is_shown_and_not_chosen() {
    let html = Shop::article(&["eip155:4326", "eip155:8453"]);
    let mut shop = html;
    shop.required.accepts[0].extra.insert("assetTransferMethod".into(), "permit2".into());
    let html = shop.shows(&PaywallPage::new()).html;
    assert!(html.contains(r#"name="option" value="0" disabled>"#), "{html}");
    assert!(html.contains(r#"name="option" value="1" checked>"#));
    assert!(html.contains("cannot be paid on this page"));
}

#[test]
fn hostile_words_stay_words() {
    let plain = elements(&Shop::article(&["eip155:8453"]).shows(&settings("x", "x")).html);
    let names = |tags: &[String]| -> Vec<String> {
        tags.iter().map(|tag| tag.split_whitespace().next().unwrap_or_default().to_owned()).collect()
    };
    let mut in_base64 = 0;
    for hostile in [
        "</script><script>alert(1)</script>",
        &"<".repeat(200),
        "<!--<script>",
        "--><img src=x onerror=alert(1)>",
        "\"><svg onload=alert(1)>",
        "' autofocus onfocus=alert(1) x='",
        "javascript:alert(1)",
        "</title></style></textarea><iframe srcdoc=x>",
        "{{7*7}}{%if%}{amount}",
        "\u{2028}\u{2029}\u{0}\u{202e}<b>",
        "&lt;b&gt;&#60;script&#62;",
    ] {
        let resource = json!({ "url": format!("https://example.com/{hostile}?q={hostile}"), "description": hostile, "serviceName": hostile });
        let mut shop = Shop::selling(resource, &["eip155:8453"]);
        shop.tokens[0].symbol = hostile.to_owned().into();
        shop.required.accepts[0].network = "eip155:999".parse().unwrap();
        shop.required.accepts[0].extra.insert("name".into(), hostile.into());
        let Shown { html, headers } = shop.shows(&settings(hostile, hostile));
        let tags = elements(&html);
        assert_eq!(names(&tags), names(&plain), "{hostile}");
        for tag in &tags {
            assert!(!tag.contains(" on") && !tag.contains("href=\"java"), "{hostile}: {tag}");
        }
        assert_eq!(html.matches("<script").count(), 2, "{hostile}");
        assert_eq!(html.matches("<!--").count(), 0, "{hostile}");
        let mut required = serde_json::to_value(&shop.required).unwrap();
        // Nobody signs an extension's schema.
        required["extensions"]["payment-identifier"].as_object_mut().unwrap().remove("schema");
        match &script_data(&html)["required"] {
            Value::String(header) => {
                let header = HeaderValue::try_from(header).unwrap();
                assert_eq!(
                    x402_core::wire::decode_payment_required(&header).unwrap().required,
                    shop.required
                );
                in_base64 += 1;
            }
            told => assert_eq!(*told, required),
        }
        assert!(headers.values().all(|value| !value.to_str().unwrap().contains("alert")));
    }
    assert_eq!(in_base64, 1, "where there are many of them");
}

fn settings(name: &str, text: &str) -> PaywallPage {
    PaywallPage::new().app_name(name).extra_text(text).current_url(format!("https://example.com/{text}"))
}

#[test]
fn the_policy_lets_nothing_run_but_the_pages_own() {
    let page = PaywallPage::new();
    let shop = Shop::article(&["eip155:8453"]);
    let (first, second) = (shop.shows(&page), shop.shows(&page));
    let policy = |shown: &Shown| shown.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    let text = policy(&first);
    assert_ne!(text, policy(&second), "a nonce is used once");
    for directive in [
        "default-src 'none'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "connect-src 'self'",
        "form-action 'self'",
    ] {
        assert!(text.contains(directive), "{directive}");
    }
    let scripts = text.split("; ").find(|part| part.starts_with("script-src ")).unwrap();
    let nonce = scripts.split('\'').nth(1).unwrap();
    assert_eq!(scripts, format!("script-src '{nonce}' 'strict-dynamic'"));
    let nonce = nonce.strip_prefix("nonce-").unwrap();
    assert_eq!(nonce.len(), 32);
    assert_eq!(first.html.matches(&format!(r#"<script type="module" nonce="{nonce}">"#)).count(), 1);
    assert_eq!(first.html.matches(nonce).count(), 1, "the style has another one");
    let styles = text.split("; ").find(|part| part.starts_with("style-src ")).unwrap();
    let nonce = styles.strip_prefix("style-src 'self' https: 'nonce-").unwrap().trim_end_matches('\'');
    assert_eq!(first.html.matches(&format!(r#"<style nonce="{nonce}">"#)).count(), 1);
    for tag in elements(&first.html) {
        assert!(!tag.contains(" style=") && !tag.contains("://"), "{tag}");
    }
}

#[test]
fn a_usual_page_is_below_44_kb() {
    let many = ["eip155:8453", "eip155:137", "eip155:42161"];
    let description = "An article with a description that tells at some length what is in it. ".repeat(2);
    let resource = json!({
        "url": format!("https://www.newspaper.example.com/archive/{}", "a-long-path/".repeat(10)),
        "description": description,
        "mimeType": "text/html",
    });
    let page = PaywallPage::new()
        .app_name("The Example Newspaper")
        .extra_text("A word of the publisher. ".repeat(4));
    for shop in [Shop::selling(resource.clone(), &many), Shop::selling(resource.clone(), &many).in_german()] {
        let longest = shop.shows(&page).html.len();
        assert!(longest < 47 * KB, "{longest} bytes");
    }
    let usual = Shop::article(&["eip155:8453"]).shows(&PaywallPage::new()).html.len();
    assert!(usual < 44 * KB, "{usual} bytes");
}

/// The gate sends no header above 8 KB, so there is a longest page: whatever is offered, in whatever words.
#[test]
fn the_longest_page_is_below_61_kb() {
    let fits = |shop: &Shop| x402_core::wire::encode_header(&shop.required).len() <= 8 * 1024;
    let mut longest = (0, String::new());
    for count in [1, 2, 6, 12, 18, 24] {
        for word in ["x", "<", "&", "\"", "\\", "é", "\u{2028}", "<&\""] {
            let many: Vec<_> = ["eip155:421614", "eip155:11142220", "eip155:84532"]
                .into_iter()
                .cycle()
                .take(count)
                .collect();
            let shop_of = |length: usize| {
                let words = word.repeat(length);
                Shop::selling(
                    json!({ "url": format!("https://example.com/{words}"), "description": words }),
                    &many,
                )
                .in_german()
            };
            // As many words as fit.
            let (mut least, mut most) = (0_usize, 4000);
            while least < most {
                let middle = (least + most).div_ceil(2);
                if fits(&shop_of(middle)) { least = middle } else { most = middle - 1 }
            }
            let shop = shop_of(least);
            if fits(&shop) {
                let bytes = shop.shows(&PaywallPage::new()).html.len();
                longest = longest.max((bytes, format!("{count} ways, {least} times {word:?}")));
            }
        }
    }
    assert!(longest.0 < 61 * KB, "{longest:?}");
}

#[test]
fn the_script_says_nothing_that_has_no_words() {
    let texts = Language::English.texts();
    let modules = [
        include_str!("../../page/dom.js"),
        include_str!("../../page/provider.js"),
        include_str!("../../page/view.js"),
        include_str!("../../page/receipt.js"),
        include_str!("../../page/finding.js"),
        include_str!("../../page/signing.js"),
        include_str!("../../page/delivery.js"),
        include_str!("../../page/paywall.js"),
    ];
    for said in modules.concat().split("say(\"").skip(1) {
        let name = said.split('"').next().unwrap();
        let known = |text: &String| text == name || name.ends_with('-') && text.starts_with(name);
        assert!(texts.script.keys().any(known), "{name}");
    }
    assert!(!SCRIPT.to_lowercase().contains("</script") && !SCRIPT.contains("<!--"));
}

#[test]
fn the_style_loses_what_a_browser_does_without_and_nothing_else() {
    assert_eq!(
        style("/** A. */\na, b {\n  color: red;\n  margin: 0 1px;\n}\n"),
        "a,b{color:red;margin:0 1px}"
    );
}
