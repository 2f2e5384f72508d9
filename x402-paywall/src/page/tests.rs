use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use x402_core::{
    asset::{Token, default_token},
    payment::PaymentRequired,
};

use super::*;
use crate::Theme;

const CENT: &str = "10000";

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
        Self { required: serde_json::from_value(required).unwrap(), tokens, headers: HeaderMap::new() }
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

    fn shows(&self, page: &PaywallPage) -> Rendered {
        let visit = Visited { required: &self.required, tokens: &self.tokens, headers: &self.headers };
        render(page, &visit, 1_800_000_000)
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
        "<h1>A long read</h1>",
        "example.com/news/1?a=b",
        r#"<span id="price">$0.01</span>"#,
        "0.01\u{a0}USDC on Base",
        "USDC · Polygon",
        "0x2096…287C",
        "Your signature is valid for",
        "5 minutes",
        "needs JavaScript",
    ] {
        assert!(html.contains(fact), "{fact}");
    }
    assert!(!html.contains("testnet\""), "neither chain is a test network");
}

#[test]
fn it_speaks_german_to_those_who_ask_for_it() {
    let shop = Shop::article(&["eip155:84532"]).in_german();
    let Rendered { html, headers } = shop.shows(&PaywallPage::new().theme(Theme::Dark));
    for fact in
        [r#"<html lang="de" data-theme="dark">"#, "0,01\u{a0}$", "auf Base Sepolia", "Testnetz", "5 Minuten"]
    {
        assert!(html.contains(fact), "{fact}");
    }
    assert!(headers.contains(&(header::CONTENT_LANGUAGE, HeaderValue::from_static("de"))));
}

#[test]
fn its_language_can_be_fixed() {
    let shop = Shop::article(&["eip155:84532"]).in_german();
    let Rendered { html, headers } = shop.shows(&PaywallPage::new().language(crate::Language::English));
    assert!(html.contains(r#"<html lang="en""#) && html.contains("Pay $0.01"));
    assert!(headers.contains(&(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"))));
}

#[test]
fn without_random_numbers_nothing_runs() {
    let facts = PaywallPage::new();
    let shop = Shop::article(&["eip155:8453"]);
    let visit = Visited { required: &shop.required, tokens: &shop.tokens, headers: &shop.headers };
    let (_, policy) = headers(None, &Facts::of(&facts, &visit)).swap_remove(0);
    let policy = policy.to_str().unwrap();
    assert!(policy.contains("script-src 'none'; ") && !policy.contains("nonce"), "{policy}");
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
    assert!(html.contains("not payable in this page"));
}

#[test]
fn hostile_words_stay_words() {
    let plain = elements(&Shop::article(&["eip155:8453"]).shows(&settings("x", "x")).html);
    let names = |tags: &[String]| -> Vec<String> {
        tags.iter().map(|tag| tag.split_whitespace().next().unwrap_or_default().to_owned()).collect()
    };
    for hostile in [
        "</script><script>alert(1)</script>",
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
        let Rendered { html, headers } = shop.shows(&settings(hostile, hostile));
        let tags = elements(&html);
        assert_eq!(names(&tags), names(&plain), "{hostile}");
        for tag in &tags {
            assert!(!tag.contains(" on") && !tag.contains("href=\"java"), "{hostile}: {tag}");
        }
        assert_eq!(html.matches("<script").count(), 2, "{hostile}");
        assert_eq!(html.matches("<!--").count(), 0, "{hostile}");
        assert_eq!(script_data(&html)["required"], serde_json::to_value(&shop.required).unwrap());
        assert!(headers.iter().all(|(_, value)| !value.to_str().unwrap().contains("alert")));
    }
}

fn settings(name: &str, text: &str) -> PaywallPage {
    PaywallPage::new().app_name(name).extra_text(text).current_url(format!("https://example.com/{text}"))
}

#[test]
fn the_policy_lets_nothing_run_but_the_pages_own() {
    let page = PaywallPage::new();
    let shop = Shop::article(&["eip155:8453"]);
    let (first, second) = (shop.shows(&page), shop.shows(&page));
    let policy = |rendered: &Rendered| -> String {
        let value = rendered.headers.iter().find(|(name, _)| *name == header::CONTENT_SECURITY_POLICY);
        value.unwrap().1.to_str().unwrap().to_owned()
    };
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
    assert_eq!(first.html.matches(&format!(r#"nonce="{nonce}""#)).count(), 2, "one style, one script");
    for tag in elements(&first.html) {
        assert!(!tag.contains(" style=") && !tag.contains("://"), "{tag}");
    }
}

#[test]
fn the_longest_page_is_below_40_kb() {
    let many = ["eip155:8453", "eip155:84532", "eip155:1", "eip155:137", "eip155:42161", "eip155:43114"];
    let description = "An article with a description that tells at some length what is in it. ".repeat(4);
    let resource = json!({
        "url": format!("https://www.newspaper.example.com/archive/{}", "a-long-path/".repeat(10)),
        "description": description,
        "mimeType": "text/html",
        "serviceName": "The Example Newspaper",
        "tags": ["news", "archive", "long reads"],
    });
    let page = settings("The Example Newspaper", &"A word of the publisher. ".repeat(12));
    for shop in [Shop::selling(resource.clone(), &many), Shop::selling(resource.clone(), &many).in_german()] {
        let longest = shop.shows(&page).html.len();
        assert!(longest < 40_000, "{longest} bytes");
    }
    let usual = Shop::article(&["eip155:8453"]).shows(&PaywallPage::new()).html.len();
    assert!(usual < 34_000, "{usual} bytes");
}

/// The gate sends no header above 8 KB, so there is a worst case: all of it characters that HTML wants escaped.
#[test]
fn the_worst_page_is_below_56_kb() {
    let many = ["eip155:8453", "eip155:84532", "eip155:137"].repeat(6);
    let shop_of = |length: usize| {
        let words = "<&\"".repeat(length);
        Shop::selling(json!({ "url": format!("https://example.com/{words}"), "description": words }), &many)
            .in_german()
    };
    let fits = |shop: &Shop| x402_core::wire::encode_header(&shop.required).len() <= 8 * 1024;
    let shop = (0..1000).rev().map(shop_of).find(fits).expect("18 ways to pay fit");
    let worst = shop.shows(&PaywallPage::new()).html.len();
    assert!(worst < 56_000, "{worst} bytes");
}

#[test]
fn the_script_says_nothing_that_has_no_words() {
    let (script, texts) = (include_str!("../../page/paywall.js"), crate::Language::English.texts());
    for said in script.split("say(\"").skip(1) {
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
