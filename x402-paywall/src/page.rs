//! The page as it is sent: one document, and the policy that keeps it to itself.

use std::{ops::Not, sync::LazyLock};

use askama::Template;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use x402_core::gate::{Page, Visit};

use crate::{
    Chain, PaywallPage, Theme,
    colour::Colour,
    facts::{Facts, WayToPay},
    language::{Language, PageTexts, fill},
};

static STYLE: LazyLock<String> = LazyLock::new(|| style(include_str!("../page/paywall.css")));
static BAR: LazyLock<String> = LazyLock::new(|| style(include_str!("../page/bar.css")));
/// What `npm run build` makes of the modules in `page/`; `cargo xtask test` holds it against that.
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
    amount: &'a str,
    size: &'a str,
    nonces: &'a Nonces,
    head: &'a str,
    css: &'a str,
    accent: &'a str,
    onramp: Option<(&'a str, &'a str)>,
    alternative: Option<(&'a str, &'a str)>,
    data: &'a str,
    script: &'a str,
}

#[derive(Template)]
#[template(path = "unavailable.html")]
struct Unavailable<'a> {
    language: &'a str,
    texts: &'a PageTexts,
    theme: &'a str,
    app_name: &'a str,
    nonces: &'a Nonces,
    head: &'a str,
    css: &'a str,
    accent: &'a str,
}

pub(crate) fn render(page: &PaywallPage, visit: &Visit<'_>, now: u64) -> Page {
    let facts = Facts::of(page, visit);
    let texts = facts.language.texts();
    let chosen_index = facts.ways.iter().position(|way| way.payable).unwrap_or(0);
    let chosen = facts.ways.get(chosen_index);
    let price = chosen.map_or("", |way| &way.price);
    let nonces = Nonces::new();
    let document = Document {
        title: &fill(&texts.page.title, &[("price", price), ("app", &facts.app_name)]),
        theme: page.theme.name(),
        amount: &chosen.map_or_else(String::new, |way| {
            // A price in the token is the amount, and is not told twice.
            if way.is_dollar { way.amount.clone() } else { texts.say("place", &[("network", &way.network)]) }
        }),
        size: size(price),
        nonces: &nonces,
        head: &head(page),
        css: &STYLE,
        accent: &page.accent.style(),
        onramp: page.onramp.as_ref().map(link),
        alternative: page.alternative.as_ref().map(link),
        data: &in_script(&Data::of(page, &facts, visit, now)),
        script: SCRIPT,
        texts: &texts.page,
        chosen,
        chosen_index,
        facts: &facts,
    };
    let html = document.render().expect("writing to a string does not fail");
    sent(html, facts.language, &nonces)
}

/// A link of the operator's: its words, and where it leads.
fn link((words, link): &(String, String)) -> (&str, &str) {
    (words, link)
}

pub(crate) fn unavailable(page: &PaywallPage, headers: &HeaderMap) -> Page {
    let language = page.language_for(headers);
    let nonces = Nonces { script: None, ..Nonces::new() };
    let document = Unavailable {
        language: language.tag(),
        texts: &language.texts().page,
        theme: page.theme.name(),
        app_name: page.app_name.as_deref().unwrap_or_default(),
        nonces: &nonces,
        head: &head(page),
        css: &STYLE,
        accent: &page.accent.style(),
    };
    let html = document.render().expect("writing to a string does not fail");
    sent(html, language, &nonces)
}

/// The colour of the browser's own bar, and an icon: without one, browsers ask for `/favicon.ico`.
fn head(page: &PaywallPage) -> String {
    let [light, dark] = Colour::CARDS.map(Colour::css);
    let colour =
        |colour: &str, media: &str| format!(r#"<meta name="theme-color" content="{colour}"{media}>"#);
    let colours = match page.theme {
        Theme::Light => colour(&light, ""),
        Theme::Dark => colour(&dark, ""),
        Theme::Auto => [(light, "light"), (dark, "dark")]
            .map(|(shade, scheme)| colour(&shade, &format!(r#" media="(prefers-color-scheme: {scheme})""#)))
            .concat(),
    };
    let icon = page.accent.css().replace('#', "%23");
    format!(
        "{colours}<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http:%2F%2Fwww.w3.org/2000/svg' \
         viewBox='0 0 8 8'%3E%3Ccircle cx='4' cy='4' r='4' fill='{icon}'/%3E%3C/svg%3E\">"
    )
}

/// How large a price can be written so that no number in it is broken on a phone: `page/wire.js` has the same.
fn size(price: &str) -> &'static str {
    match price.split(' ').map(|word| word.chars().count()).max().unwrap_or(0) {
        0..=11 => "",
        12..=17 => "long",
        _ => "longer",
    }
}

/// What the script is told.
#[derive(Serialize)]
struct Data<'a> {
    required: Told<'a>,
    options: Vec<ToldOption<'a>>,
    now: u64,
    bar: &'a str,
    onramp: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ignored: &'a [String],
    texts: &'a RawValue,
}

/// The offer: as JSON, or as the header has it, in base64, which has no `<` and is shorter where there are many.
#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Json(Box<RawValue>),
    Header(&'a str),
}

impl<'a> Told<'a> {
    fn of(visit: &Visit<'a>) -> Self {
        let mut required = visit.required.clone();
        // The page answers what an extension says; its schema is for programs that have not heard of it.
        for declared in required.extensions.values_mut().filter_map(Value::as_object_mut) {
            declared.remove("schema");
        }
        let json = to_raw_value(&required).expect("the model serialises");
        let escapes = json.get().matches('<').count() * (ESCAPE.len() - 1);
        if json.get().len() + escapes <= visit.encoded.len() {
            Self::Json(json)
        } else {
            Self::Header(visit.encoded)
        }
    }
}

/// One way to pay.
#[derive(Serialize)]
struct ToldOption<'a> {
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
    fn of(page: &'a PaywallPage, facts: &'a Facts, visit: &Visit<'a>, now: u64) -> Self {
        let tokens = facts.ways.iter().zip(&visit.required.accepts).zip(visit.tokens);
        let options = tokens.map(|((way, option), token)| {
            let chain = page.known_chain(&option.network).filter(|_| way.payable);
            let (coin, rpc) = chain.and_then(Chain::for_wallet).unzip();
            ToldOption {
                network: &way.network,
                symbol: &way.token,
                decimals: token.decimals,
                dollar: way.is_dollar,
                explorer: way.explorer.as_deref().filter(|_| way.payable),
                coin,
                rpc,
            }
        });
        Self {
            required: Told::of(visit),
            options: options.collect(),
            now,
            bar: &BAR,
            onramp: page.session_token_endpoint.as_deref().filter(|_| !facts.testnet),
            ignored: &page.ignored_query,
            texts: &facts.language.texts().script_json,
        }
    }
}

const ESCAPE: &str = "\\u003c";

/// JSON that ends no script: what HTML looks at there is `<` alone, and it is written as an escape.
fn in_script(data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("strings and numbers are JSON");
    json.replace('<', ESCAPE)
}

/// A page with what it may do; the reasons are in `docs/paywall.md`.
fn sent(html: String, language: Language, nonces: &Nonces) -> Page {
    let Nonces { script, style } = nonces;
    let scripts = script
        .as_deref()
        .map_or_else(|| "'none'".to_owned(), |nonce| format!("'nonce-{nonce}' 'strict-dynamic'"));
    let styles = style.as_deref().map_or_else(String::new, |nonce| format!(" 'nonce-{nonce}'"));
    let policy = format!(
        "default-src 'none'; script-src {scripts}; style-src 'self' https:{styles}; \
         style-src-attr 'unsafe-inline'; img-src 'self' https: data: blob:; font-src 'self' https: data:; \
         media-src 'self' https: data: blob:; frame-src 'self' https:; connect-src 'self'; manifest-src 'self'; \
         worker-src 'self'; object-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).expect("it is made of visible ASCII characters");
    let fixed = HeaderValue::from_static;
    // The template is written for people, too. Nothing of anybody else's begins or ends like this: it is escaped.
    Page::new(html.replace(">\n<", "><"))
        .with_header(header::CONTENT_SECURITY_POLICY, policy)
        .with_header(header::CONTENT_LANGUAGE, fixed(language.tag()))
        .with_header(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"))
        .with_header(header::X_FRAME_OPTIONS, fixed("DENY"))
        .with_header(header::REFERRER_POLICY, fixed("same-origin"))
        // Wallets that open a window of their own need it to know us.
        .with_header(HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin-allow-popups"))
}

/// One for scripts and one for styles, so that whoever comes by the second cannot run anything.
struct Nonces {
    script: Option<String>,
    style: Option<String>,
}

impl Nonces {
    fn new() -> Self {
        Self { script: nonce(), style: nonce() }
    }

    fn script(&self) -> &str {
        self.script.as_deref().unwrap_or_default()
    }

    fn style(&self) -> &str {
        self.style.as_deref().unwrap_or_default()
    }
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

/// The style is written for people; a browser does without its comments and indentation. Style sheets have no strings in
/// which a space beside punctuation would count.
fn style(source: &str) -> String {
    let mut sheet = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("/**") {
        sheet.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    sheet.push_str(rest);
    let mut sheet = sheet.lines().map(str::trim).collect::<String>();
    for (spaced, tight) in [
        ("@media (", "@media("),
        (" !", "!"),
        (" {", "{"),
        (" > ", ">"),
        (" + ", "+"),
        ("{ ", "{"),
        (" }", "}"),
        (": ", ":"),
        (", ", ","),
        ("; ", ";"),
        (";}", "}"),
    ] {
        sheet = sheet.replace(spaced, tight);
    }
    sheet
}

#[cfg(test)]
mod tests;
