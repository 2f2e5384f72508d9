//! The page that a person sees who opens what x402 sells in a browser.
//!
//! It says what is sold and for how much, finds the person's wallet, has one payment signed, sends it, and shows what it
//! bought. It is one document: its style and script stand in it, it loads nothing from anywhere, and needs no build step.
//! Put it on a gate, or on a single charge:
//!
//! ```
//! use x402_core::{gate::{PaymentGate, exact}, network::{BASE, BASE_SEPOLIA}};
//! use x402_paywall::{PaywallPage, Theme};
//! # fn gate(facilitator: impl x402_core::facilitator::Facilitator) -> Result<(), Box<dyn std::error::Error>> {
//!
//! let page = PaywallPage::new()
//!     .app_name("The Daily Example")
//!     .app_logo("https://example.com/logo.svg")?
//!     .accent("#0b6e4f")?
//!     .theme(Theme::Auto);
//! let gate = PaymentGate::builder("https://example.com").facilitator(facilitator).paywall(page.clone());
//!
//! let me = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
//! let archive = exact("$0.10").on(BASE).to(me).describe("An article of 1998").idempotent()
//!     .paywall(page.extra_text("Articles of this year are free."));
//! # Ok(()) }
//! ```
//!
//! Let people's charges be `idempotent`: an answer that got lost on its way, or a reload, is given again and not lost.
//!
//! What is asked for is told in English or German, as `Accept-Language` has it. The page pays `exact` by EIP-3009 on EVM
//! chains; other ways to pay are shown, and left to programs.
//!
//! # A page of your own
//!
//! Anything that takes a visit and gives a page is a paywall: see [`Paywall`]. [`PaywallPage::facts`] has what this page
//! says, in words, for a template of your own. The script that pays is this page's alone; `page(visit)` is the whole of it,
//! for a paywall that shows it to some and something else to others.
//!
//! ```
//! use x402_core::gate::{Page, Visit};
//! use x402_paywall::PaywallPage;
//!
//! let words = PaywallPage::new().app_name("The Daily Example");
//! let paywall = move |visit: &Visit<'_>| {
//!     let facts = words.facts(visit);
//!     let prices: Vec<&str> = facts.ways.iter().map(|way| way.amount.as_str()).collect();
//!     // Plain text of numbers and names here; a template engine escapes it.
//!     Page::new(format!("<!doctype html><p>{}", prices.join(" or ")))
//! };
//! # fn is_one(_: impl x402_core::gate::Paywall) {} is_one(paywall);
//! ```
//!
//! # What can be relied on
//!
//! `docs/paywall.md` in the repository says when the page asks for a signature (once for a purchase, and again only when
//! nothing can come of the first), what its Content-Security-Policy allows, and what that means for an article in HTML,
//! which takes the page's place in the same document.

mod chains;
mod colour;
mod error;
mod facts;
mod language;
mod money;
mod page;

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use x402_core::{
    gate::{Page, Paywall, Visit},
    network::Network,
};

use crate::colour::Colour;

pub use crate::{
    chains::Chain,
    error::{Error, ErrorKind},
    facts::{Facts, WayToPay},
    language::Language,
};

/// The page, and what can be set about it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PaywallPage {
    app_name: Option<String>,
    app_logo: Option<String>,
    testnet: Option<bool>,
    chains: Vec<(Network, Chain)>,
    current_url: Option<String>,
    session_token_endpoint: Option<String>,
    onramp: Option<(String, String)>,
    alternative: Option<(String, String)>,
    ignored_query: Vec<String>,
    accent: Colour,
    theme: Theme,
    extra_text: Option<String>,
    language: Option<Language>,
}

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Theme {
    /// What the person's system is set to.
    #[default]
    Auto,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Default for PaywallPage {
    fn default() -> Self {
        Self::new()
    }
}

impl PaywallPage {
    /// The page as it is when nothing is set.
    pub fn new() -> Self {
        Self {
            app_name: None,
            app_logo: None,
            testnet: None,
            chains: Vec::new(),
            current_url: None,
            session_token_endpoint: None,
            onramp: None,
            alternative: None,
            ignored_query: Vec::new(),
            accent: Colour::DEFAULT,
            theme: Theme::Auto,
            extra_text: None,
            language: None,
        }
    }

    /// Who sells. Otherwise the service's host.
    #[must_use]
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app_name = Some(name.into());
        self
    }

    /// A logo. The browser fetches it from there, which is the only thing this page can load from elsewhere.
    ///
    /// # Errors
    /// When it is no `https` address.
    pub fn app_logo(mut self, url: impl Into<String>) -> Result<Self, Error> {
        let url = url.into();
        if !chains::is_https(&url) {
            return Err(Error::new(ErrorKind::Logo, "a logo is an https address", &url));
        }
        self.app_logo = Some(url);
        Ok(self)
    }

    /// Whether networks that the page does not know are test networks, as a local chain is. Of those it knows, it is known.
    #[must_use]
    pub fn testnet(mut self, testnet: bool) -> Self {
        self.testnet = Some(testnet);
        self
    }

    /// What to call a chain, and where to look its transactions up. The page knows those of core's tables; a chain set here
    /// counts more.
    #[must_use]
    pub fn chain(mut self, network: Network, chain: Chain) -> Self {
        self.chains.retain(|(known, _)| *known != network);
        self.chains.push((network, chain));
        self
    }

    /// The address to show for what is sold. Otherwise the resource's. What is paid for is always what the browser's
    /// address bar says.
    #[must_use]
    pub fn current_url(mut self, url: impl Into<String>) -> Self {
        self.current_url = Some(url.into());
        self
    }

    /// Where the page gets a session token of Coinbase's on-ramp, for a link to buy tokens when there are too few: a path
    /// of the same origin. It is sent `{"address": "0x…", "network": "eip155:8453"}` by POST and answers `{"token": "…"}`.
    ///
    /// # Errors
    /// When it is no path: the page speaks to its own origin only.
    pub fn session_token_endpoint(mut self, path: impl Into<String>) -> Result<Self, Error> {
        let path = path.into();
        if !is_path(&path) {
            let expected = "a session-token endpoint is a path of the same origin, like /session-token";
            return Err(Error::new(ErrorKind::SessionTokenEndpoint, expected, &path));
        }
        self.session_token_endpoint = Some(path);
        Ok(self)
    }

    /// Where people get the tokens that this is paid with: the words of a link, such as "Buy USDC", and where it leads: an
    /// exchange, or a test network's faucet. It is there for whoever has no wallet yet, or too little in it. Where a
    /// [session token](Self::session_token_endpoint) is to be had, the on-ramp's link takes its place.
    ///
    /// # Errors
    /// When it leads neither to a path of the same origin nor to an `https` address.
    pub fn onramp(mut self, words: impl Into<String>, link: impl Into<String>) -> Result<Self, Error> {
        let link = link.into();
        if !is_link(&link) {
            let expected = "an on-ramp is a path of the same origin, like /buy, or an https address";
            return Err(Error::new(ErrorKind::Onramp, expected, &link));
        }
        self.onramp = Some((words.into(), link));
        Ok(self)
    }

    /// Another way to what is sold, for whoever has no wallet, cannot pay in this page, or has too little: the words of a
    /// link, such as "Subscribe instead", and where it leads.
    ///
    /// # Errors
    /// When it leads neither to a path of the same origin nor to an `https` address.
    pub fn alternative(mut self, words: impl Into<String>, link: impl Into<String>) -> Result<Self, Error> {
        let link = link.into();
        if !is_link(&link) {
            let expected =
                "an alternative is a path of the same origin, like /subscribe, or an https address";
            return Err(Error::new(ErrorKind::Alternative, expected, &link));
        }
        self.alternative = Some((words.into(), link));
        Ok(self)
    }

    /// Query parameters that are no part of what is sold, such as a campaign's `utm_*`: who comes by an address that
    /// differs in them alone comes to the same purchase, and pays once. A `*` at the end stands for anything. The gate still
    /// sees each address as it is: the page sends a payment to the address that it was signed at.
    ///
    /// Name only what changes nothing in the answer.
    #[must_use]
    pub fn ignore_query<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.ignored_query.extend(names.into_iter().map(Into::into));
        self
    }

    /// The colour of buttons, as `#rrggbb`. Where it could not be seen, a darker or lighter one is taken; what stands on
    /// it is black or white, whichever is read better.
    ///
    /// # Errors
    /// When it is written otherwise.
    pub fn accent(mut self, colour: &str) -> Result<Self, Error> {
        self.accent = Colour::parse(colour)
            .ok_or_else(|| Error::new(ErrorKind::Accent, "an accent colour is written #rrggbb", colour))?;
        Ok(self)
    }

    /// Light, dark, or as the system is set.
    #[must_use]
    pub fn theme(mut self, theme: Theme) -> Self {
        self.theme = theme;
        self
    }

    /// A text below everything else, with its line breaks.
    #[must_use]
    pub fn extra_text(mut self, text: impl Into<String>) -> Self {
        self.extra_text = Some(text.into());
        self
    }

    /// The language, whatever `Accept-Language` asks for.
    #[must_use]
    pub fn language(mut self, language: Language) -> Self {
        self.language = Some(language);
        self
    }

    /// What this page would say to this visit, for a template of your own.
    pub fn facts(&self, visit: &Visit<'_>) -> Facts {
        Facts::of(self, visit)
    }

    fn language_for(&self, headers: &HeaderMap) -> Language {
        self.language.unwrap_or_else(|| Language::of(headers))
    }

    fn known_chain(&self, network: &Network) -> Option<&Chain> {
        let set = self.chains.iter().find(|(id, _)| id == network).map(|(_, chain)| chain);
        set.or_else(|| chains::find(network))
    }
}

/// Whether it leads to a path of the same origin, or to an `https` address.
fn is_link(link: &str) -> bool {
    is_path(link) || chains::is_https(link)
}

/// Whether it is a path of the same origin.
fn is_path(path: &str) -> bool {
    let local = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    local && path.parse::<http::uri::PathAndQuery>().is_ok()
}

impl Paywall for PaywallPage {
    fn page(&self, visit: &Visit<'_>) -> Page {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        page::render(self, visit, now)
    }

    fn unavailable(&self, headers: &HeaderMap) -> Option<Page> {
        Some(page::unavailable(self, headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logo_is_an_https_address() {
        for good in ["https://example.com/logo.svg", "HTTPS://example.com/", "https://[::1]:8443/l?a=b"] {
            assert!(PaywallPage::new().app_logo(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/logo.svg",
            "//example.com/logo.svg",
            "http://example.com/logo.svg",
            "javascript:alert(1)",
            "data:image/svg+xml,<svg/>",
            "https://",
            "https://example.com@evil.example/",
            "https://example.com/a b",
            " https://example.com/",
        ] {
            let error = PaywallPage::new().app_logo(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Logo);
        }
    }

    #[test]
    fn a_session_token_endpoint_is_a_path_of_ours() {
        for good in ["/token", "/a/b?c=d"] {
            assert!(PaywallPage::new().session_token_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "token", "https://example.com/token", "//example.com/token", "/\\example.com", "/a b"]
        {
            let error = PaywallPage::new().session_token_endpoint(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::SessionTokenEndpoint);
        }
    }

    #[test]
    fn a_link_is_a_path_of_ours_or_an_https_address() {
        for good in ["/subscribe", "/a?b=c", "https://example.com/subscribe"] {
            assert!(PaywallPage::new().alternative("Subscribe", good).is_ok(), "{good}");
            assert!(PaywallPage::new().onramp("Buy USDC", good).is_ok(), "{good}");
        }
        for bad in
            ["", "subscribe", "//example.com", "/\\example.com", "http://example.com", "javascript:alert(1)"]
        {
            let error = PaywallPage::new().alternative("Subscribe", bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Alternative);
            let error = PaywallPage::new().onramp("Buy USDC", bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Onramp);
        }
    }

    #[test]
    fn an_accent_that_is_no_colour_is_named() {
        let error = PaywallPage::new().accent("red;}</style>").expect_err("no colour");
        assert_eq!(error.kind(), ErrorKind::Accent);
        assert_eq!(error.to_string(), "an accent colour is written #rrggbb, not `red;}</style>`");
    }
}
