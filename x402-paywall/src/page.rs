//! The page as it is sent: one document, and the policy that keeps it to itself.

use std::{ops::Not, sync::LazyLock};

use askama::Template;
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use serde_json::value::RawValue;
use x402_core::payment::PaymentRequired;

use crate::{
    Chain, PaywallPage,
    facts::{Facts, Visited, WayToPay, is_dollar},
    language::{PageTexts, fill},
};

static STYLE: LazyLock<String> = LazyLock::new(|| style(include_str!("../page/paywall.css")));
static BAR: LazyLock<String> = LazyLock::new(|| style(include_str!("../page/bar.css")));
/// What `npm run build` makes of `paywall.js`; `cargo xtask test` holds it against that.
const SCRIPT: &str = include_str!("../page/paywall.min.js");

#[derive(Template)]
#[template(path = "paywall.html")]
struct Document<'a> {
    facts: &'a Facts,
    texts: &'a PageTexts,
    title: &'a str,
    theme: &'a str,
    chosen: Option<&'a WayToPay>,
    chosen_index: usize,
    nonce: &'a str,
    css: &'a str,
    accent: &'a str,
    data: &'a str,
    script: &'a str,
}

/// A page and the headers of its own.
pub(crate) struct Rendered {
    pub(crate) html: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

pub(crate) fn render(page: &PaywallPage, visit: &Visited<'_>, now: u64) -> Rendered {
    let facts = Facts::of(page, visit);
    let texts = facts.language.texts();
    let chosen_index = facts.ways.iter().position(|way| way.payable).unwrap_or(0);
    let chosen = facts.ways.get(chosen_index);
    let price = chosen.map_or("", |way| &way.price);
    let nonce = nonce();
    let document = Document {
        title: &fill(&texts.page.title, &[("price", price), ("app", &facts.app_name)]),
        theme: page.theme.name(),
        nonce: nonce.as_deref().unwrap_or_default(),
        css: &STYLE,
        accent: &page.accent.style(),
        data: &in_script(&Data::of(page, &facts, visit, now)),
        script: SCRIPT,
        texts: &texts.page,
        chosen,
        chosen_index,
        facts: &facts,
    };
    let html = document.render().expect("writing to a string does not fail");
    Rendered { html, headers: headers(nonce.as_deref(), &facts) }
}

/// What the script is told. The offer is what the header says, without its base64.
#[derive(Serialize)]
struct Data<'a> {
    required: &'a PaymentRequired,
    options: Vec<Told<'a>>,
    now: u64,
    bar: &'a str,
    onramp: Option<&'a str>,
    texts: &'a RawValue,
}

/// One way to pay.
#[derive(Serialize)]
struct Told<'a> {
    network: &'a str,
    symbol: &'a str,
    decimals: u8,
    #[serde(skip_serializing_if = "Not::not")]
    dollar: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    explorer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rpc: Option<&'a str>,
}

impl<'a> Data<'a> {
    fn of(page: &'a PaywallPage, facts: &'a Facts, visit: &Visited<'a>, now: u64) -> Self {
        let tokens = facts.ways.iter().zip(&visit.required.accepts).zip(visit.tokens);
        let options = tokens.map(|((way, option), token)| {
            let chain = page.known_chain(&option.network).filter(|_| way.payable);
            let (coin, rpc) = chain.and_then(Chain::for_wallet).unzip();
            Told {
                network: &way.network,
                symbol: &way.token,
                decimals: token.decimals,
                dollar: is_dollar(token),
                explorer: way.explorer.as_deref().filter(|_| way.payable),
                coin,
                rpc,
            }
        });
        Self {
            required: visit.required,
            options: options.collect(),
            now,
            bar: &BAR,
            onramp: page.session_token_endpoint.as_deref().filter(|_| !facts.testnet),
            texts: &facts.language.texts().script_json,
        }
    }
}

/// JSON that ends no script: what HTML looks at there is `<` alone, and it is written as an escape.
fn in_script(data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("strings and numbers are JSON");
    json.replace('<', "\\u003c")
}

/// What the document may do; the reasons are in `docs/paywall.md`.
fn headers(nonce: Option<&str>, facts: &Facts) -> Vec<(HeaderName, HeaderValue)> {
    let (scripts, styles) = match nonce {
        Some(nonce) => (format!("'nonce-{nonce}' 'strict-dynamic'"), format!("'self' 'nonce-{nonce}'")),
        None => ("'none'".to_owned(), "'self'".to_owned()),
    };
    let policy = format!(
        "default-src 'none'; script-src {scripts}; style-src {styles}; \
         style-src-attr 'unsafe-inline'; img-src 'self' https: data: blob:; font-src 'self' https: data:; \
         media-src 'self' https: data: blob:; frame-src 'self' https:; connect-src 'self'; manifest-src 'self'; \
         worker-src 'self'; object-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let fixed = HeaderValue::from_static;
    vec![
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::try_from(policy).expect("it is made of visible ASCII characters"),
        ),
        (header::CONTENT_LANGUAGE, fixed(facts.language.tag())),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::X_FRAME_OPTIONS, fixed("DENY")),
        (header::REFERRER_POLICY, fixed("same-origin")),
        // Wallets that open a window of their own need it to know us.
        (HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin-allow-popups")),
    ]
}

/// A word that nobody can guess. Without randomness there is none, and the browser is told to run nothing.
fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        Err(error) => {
            tracing::error!(%error, "the system has no random numbers; the payment page goes without its script");
            None
        }
    }
}

/// The style is written for people; a browser does without its comments and indentation.
fn without_comments(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("/**") {
        code.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after.strip_prefix(' ').unwrap_or(after));
    }
    code.push_str(rest);
    let lines = code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Style sheets have no strings in which a space beside punctuation would count.
fn style(source: &str) -> String {
    let mut sheet = without_comments(source).replace('\n', "");
    for (spaced, tight) in
        [(" {", "{"), ("{ ", "{"), (" }", "}"), (": ", ":"), (", ", ","), ("; ", ";"), (";}", "}")]
    {
        sheet = sheet.replace(spaced, tight);
    }
    sheet
}

#[cfg(test)]
mod tests;
