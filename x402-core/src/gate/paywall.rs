//! The page that a person sees where a program reads JSON.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::{asset::Token, payment::PaymentRequired};

/// Makes the pages that a person sees who opens a paid address in a browser.
///
/// [`page`](Self::page) takes the place of the 402's body where no payment came, the method is GET or HEAD, and the request's `Accept` prefers
/// HTML to JSON. The header `PAYMENT-REQUIRED` is there as ever, so a program that asks for HTML can pay as well.
///
/// A function is a paywall, and so is a [`Page`] that is the same for everybody:
///
/// ```
/// use x402_core::{gate::{Page, Visit, exact}, network::BASE};
///
/// let charge = exact("$0.10").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C")
///     .paywall(|visit: &Visit<'_>| Page::new(format!("<!doctype html><p>{} ways to pay", visit.required.accepts.len())));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no paywall",
    note = "a paywall is a `PaywallPage`, a `Page` (`Page::new(\"<!doctype html>…\")`), or a function \
            `|visit: &Visit<'_>| -> Page`, whose argument has to be written with its type"
)]
pub trait Paywall: Send + Sync + 'static {
    /// The page for this visit.
    fn page(&self, visit: &Visit<'_>) -> Page;

    /// The page for somebody who comes while payments cannot be taken, in place of the 503's JSON, where there is one.
    /// `headers` are the request's.
    fn unavailable(&self, headers: &HeaderMap) -> Option<Page> {
        let _ = headers;
        None
    }
}

impl<F: Fn(&Visit<'_>) -> Page + Send + Sync + 'static> Paywall for F {
    fn page(&self, visit: &Visit<'_>) -> Page {
        self(visit)
    }
}

impl Paywall for Page {
    fn page(&self, _: &Visit<'_>) -> Page {
        self.clone()
    }
}

/// Somebody opens what is sold. `Debug` leaves the headers out.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Visit<'a> {
    /// What is sold, and the ways to pay in version 2.
    pub required: &'a PaymentRequired,
    /// The same, as the header `PAYMENT-REQUIRED` has it: JSON in base64.
    pub encoded: &'a str,
    /// The token of each way to pay, in the same order.
    pub tokens: &'a [Token],
    /// The URI as the client sent it.
    pub uri: &'a Uri,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

impl<'a> Visit<'a> {
    /// A visit as the gate makes it, for tests of a paywall of your own.
    pub fn new(
        required: &'a PaymentRequired,
        encoded: &'a str,
        tokens: &'a [Token],
        uri: &'a Uri,
        headers: &'a HeaderMap,
    ) -> Self {
        Self { required, encoded, tokens, uri, headers }
    }
}

impl fmt::Debug for Visit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit")
            .field("uri", &self.uri)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

/// A page of HTML, in UTF-8, and the headers it comes with.
#[derive(Debug, Clone)]
pub struct Page {
    pub(super) html: Bytes,
    pub(super) headers: HeaderMap,
}

impl Page {
    /// A page.
    pub fn new(html: impl Into<Bytes>) -> Self {
        Self { html: html.into(), headers: HeaderMap::new() }
    }

    /// Its HTML.
    pub fn html(&self) -> &Bytes {
        &self.html
    }

    /// The headers it comes with, besides those of the gate.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// With this header, like `Content-Security-Policy`. The gate's own headers take the place of those of the same name.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Whether a person reads the answer: HTML is preferred to JSON (RFC 9110, 12.5.1), and the page can ask for the same
/// again. Where both are named with the same weight, it is a program that can read either.
pub(super) fn is_for_people(method: &Method, headers: &HeaderMap) -> bool {
    if ![Method::GET, Method::HEAD].contains(method) {
        return false;
    }
    let (mut html, mut json) = (Preference::NONE, Preference::NONE);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            let Some(weight) = weight.map_or(Some(1000), thousandths) else { continue };
            let meant = |precision| Preference { precision, weight };
            match name.as_str() {
                "*/*" => {
                    html.learn(meant(1));
                    json.learn(meant(1));
                }
                "text/*" => html.learn(meant(2)),
                "application/*" => json.learn(meant(2)),
                "text/html" | "application/xhtml+xml" => html.learn(meant(3)),
                "application/json" => json.learn(meant(3)),
                _ => {}
            }
        }
    }
    html.weight > 0 && (html.weight, html.precision) > (json.weight, json.precision)
}

/// What an `Accept` says of a media type: its most precise range counts.
#[derive(Clone, Copy)]
struct Preference {
    precision: u8,
    weight: u16,
}

impl Preference {
    const NONE: Self = Self { precision: 0, weight: 0 };

    fn learn(&mut self, other: Self) {
        if (other.precision, other.weight) > (self.precision, self.weight) {
            *self = other;
        }
    }
}

/// A weight: at most 1, with up to three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let plain = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, plain) {
        ("0", true) => format!("{decimals:0<3}").parse().ok(),
        ("1", true) if decimals.bytes().all(|byte| byte == b'0') => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_prefer_html_to_json() {
        const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        const CHROMIUM: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
            application/signed-exchange;v=b3;q=0.7";
        for (accept, expected) in [
            (&[FIREFOX][..], true),
            (&[CHROMIUM], true),
            (&["text/html"], true),
            (&["TEXT/HTML; Q=1.0"], true),
            (&["text/html;level=1;q=0.3"], true),
            (&["text/*"], true),
            (&["application/xhtml+xml"], true),
            (&["text/html, */*"], true),
            (&["text/html, application/json;q=0.9"], true),
            (&["application/json;q=0.5", "text/html;q=0.501"], true),
            (&[], false),
            (&[""], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&["application/json, text/html"], false),
            (&["application/json, text/html;q=0.9"], false),
            (&["text/html;q=0"], false),
            (&["text/html;q=0, */*"], false),
            (&["text/html;q=0.0, text/*;q=0.0"], false),
            (&["text/html;q=0.5, */*"], false),
            (&["text/html;q=0.5, application/*"], false),
            (&["text/html;q=2"], false),
            (&["text/html;q=-1"], false),
            (&["text/html;q=0.1234"], false),
            (&["image/png, text/plain"], false),
            (&["\u{ff}text/html"], false),
        ] {
            let values =
                accept.iter().map(|text| HeaderValue::from_bytes(text.as_bytes()).expect("a header"));
            let headers = values.map(|value| (header::ACCEPT, value));
            let mut map = HeaderMap::new();
            headers.for_each(|(name, value)| {
                map.append(name, value);
            });
            assert_eq!(is_for_people(&Method::GET, &map), expected, "{accept:?}");
            assert_eq!(is_for_people(&Method::HEAD, &map), expected, "{accept:?}");
            assert!(!is_for_people(&Method::POST, &map), "{accept:?}");
        }
    }
}
