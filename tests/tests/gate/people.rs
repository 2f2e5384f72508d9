//! Who opens what is sold in a browser sees a page, and everybody else what they always saw.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use x402_core::gate::{GateBuilder, Page, Paywall, Visit};
use x402_tests::{
    script::{Act, Script},
    serve::Answer,
};

use crate::{
    goods::of_everything,
    harness::{Case, Stack, case},
    shop::{Shop, Stock, cent},
    support::{assert_asked, assert_refused, assert_sold},
};

pub const CASES: &[Case] = &[
    case!(people_see_a_page_and_programs_an_offer),
    case!(a_charge_has_a_page_of_its_own_or_none),
    case!(whoever_pays_is_answered_as_a_program),
    case!(a_page_cannot_displace_what_the_gate_says),
    case!(a_page_that_panics_leaves_the_offer),
    case!(who_comes_too_early_sees_a_page),
];

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
const EXTRA: HeaderName = HeaderName::from_static("x-page");

/// Says what it was told, and something else to those who come too early.
struct Pages;

impl Paywall for Pages {
    fn page(&self, visit: &Visit<'_>) -> Page {
        let price = visit.required.accepts[0].amount;
        let words = format!("<h1>{price} of {} at {}</h1>", visit.tokens[0].symbol, visit.uri.path());
        Page::new(words).with_header(EXTRA, HeaderValue::from_static("pages"))
    }

    fn unavailable(&self, headers: &HeaderMap) -> Option<Page> {
        let language = headers.get(header::ACCEPT_LANGUAGE).map_or("none", |value| value.to_str().unwrap());
        Some(Page::new(format!("<h1>too early for {language}</h1>")))
    }
}

fn with_pages(gate: GateBuilder) -> GateBuilder {
    gate.paywall(Pages)
}

#[track_caller]
fn assert_page(answer: &Answer, status: u16, words: &str) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, Some("text/html; charset=utf-8")),
        "{answer:?}"
    );
    assert_eq!(answer.body, format!("<h1>{words}</h1>"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert_varies(answer);
}

/// What programs see.
#[track_caller]
fn assert_offered(answer: &Answer) {
    assert_refused(answer, 402, "X-PAYMENT header is required");
    assert_eq!(answer.decoded("payment-required").unwrap()["error"], "Payment required", "{answer:?}");
}

/// A cache must not give one to who wants the other.
#[track_caller]
fn assert_varies(answer: &Answer) {
    let vary = answer.header("vary").unwrap_or_default().to_ascii_lowercase();
    let names: Vec<_> = vary.split(',').map(str::trim).collect();
    assert!(names.contains(&"accept") && names.contains(&"accept-language"), "{answer:?}");
}

async fn people_see_a_page_and_programs_an_offer(stack: Stack) {
    let shop = Shop::selling_with(stack, Script::new(), with_pages, cent()).await;
    let offered = shop.get("/cheap", &[]).await;
    assert_offered(&offered);
    assert_varies(&offered);
    for accept in [BROWSER.1, "text/html", "text/*;q=0.2", "application/json;q=0.8, text/html;q=0.9"] {
        let answer = shop.get("/cheap", &[("accept", accept)]).await;
        assert_page(&answer, 402, "10000 of USDC at /cheap");
        assert_eq!(answer.header("payment-required"), offered.header("payment-required"), "{accept}");
        assert_eq!(answer.header("x-page"), Some("pages"));
    }
    for accept in [
        "*/*",
        "application/json",
        "application/json, text/html",
        "text/html;q=0",
        "text/html;q=0.5, */*",
        "image/png",
    ] {
        let answer = shop.get("/cheap", &[("accept", accept)]).await;
        assert_eq!((&answer.body, answer.status), (&offered.body, 402), "{accept}");
        assert_varies(&answer);
    }
    // A form that is sent cannot be sent again by the page.
    let posted = shop.send("POST", "/cheap", &[BROWSER]).await;
    assert_eq!((posted.status, posted.header("content-type")), (402, Some("application/json")), "{posted:?}");
    let head = shop.send("HEAD", "/cheap", &[BROWSER]).await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (402, Some("text/html; charset=utf-8")),
        "{head:?}"
    );
    assert_eq!((head.header("content-length"), head.body.as_str()), (Some("32"), ""), "{head:?}");
    assert_eq!(head.header("payment-required"), offered.header("payment-required"));
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn a_charge_has_a_page_of_its_own_or_none(stack: Stack) {
    let shelf = |path, charge| crate::goods::Shelf { charge: Some(charge), ..of_everything(path) };
    let stock = Stock::Priced(vec![
        shelf("/cheap", cent()),
        shelf(
            "/twin",
            cent().paywall(|visit: &Visit<'_>| {
                Page::new(format!("<h1>{} ways</h1>", visit.required.accepts.len()))
            }),
        ),
        shelf("/dear", cent().paywall(Page::new("<h1>fixed</h1>"))),
        shelf("/free", cent().without_paywall()),
    ]);
    let shop = Shop::stocked(stack, Script::new(), with_pages, stock).await;
    for (path, words) in [("/cheap", "10000 of USDC at /cheap"), ("/twin", "1 ways"), ("/dear", "fixed")] {
        let answer = shop.get(path, &[BROWSER]).await;
        assert_page(&answer, 402, words);
        assert_eq!(
            answer.header("x-page").is_some(),
            path == "/cheap",
            "nothing of the gate's page is taken over"
        );
    }
    let none = shop.get("/free", &[BROWSER]).await;
    assert_offered(&none);
    assert_eq!(none.body, shop.get("/free", &[]).await.body);
}

async fn whoever_pays_is_answered_as_a_program(stack: Stack) {
    let shop =
        Shop::selling_with(stack, Script::new().on_verify([Act::No("invalid_payload")]), with_pages, cent())
            .await;
    let payment = shop.v2("/cheap").await;
    let pay = async |header: &str| shop.get("/cheap", &[BROWSER, ("payment-signature", header)]).await;
    let refused = pay(&x402_tests::serve::encoded(&payment)).await;
    assert_asked(&refused, "invalid_payload");
    assert_eq!(refused.header("content-type"), Some("application/json"), "{refused:?}");
    assert_eq!(pay("?").await.status, 400);
    let shop = Shop::selling_with(stack, Script::new(), with_pages, cent()).await;
    let header = x402_tests::serve::encoded(&payment);
    assert_sold(&shop.get("/cheap", &[BROWSER, ("payment-signature", &header)]).await, "/cheap");
}

async fn a_page_cannot_displace_what_the_gate_says(stack: Stack) {
    let page = Page::new("<h1>public</h1>")
        .with_header(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=600"))
        .with_header(HeaderName::from_static("payment-required"), HeaderValue::from_static("e30="))
        .with_header(header::VARY, HeaderValue::from_static("x-none"))
        .with_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let shop = Shop::selling_with(stack, Script::new(), |gate| gate, cent().paywall(page)).await;
    let answer = shop.get("/cheap", &[BROWSER]).await;
    assert_page(&answer, 402, "public");
    assert_eq!(answer.count("payment-required"), 1);
    assert_eq!(answer.header("payment-required"), shop.get("/cheap", &[]).await.header("payment-required"));
}

async fn a_page_that_panics_leaves_the_offer(stack: Stack) {
    let panics = |_: &Visit<'_>| -> Page { panic!("as it should") };
    let shop = Shop::selling_with(stack, Script::new(), |gate| gate.paywall(panics), cent()).await;
    let answer = shop.get("/cheap", &[BROWSER]).await;
    assert_offered(&answer);
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    assert_eq!(answer.body, shop.get("/cheap", &[]).await.body);
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn who_comes_too_early_sees_a_page(stack: Stack) {
    let payment = Shop::open(stack, Script::new()).await.v2("/cheap").await;
    let header = x402_tests::serve::encoded(&payment);
    let hangs = || Script::new().on_supported([Act::Hang]);
    let shop = Shop::early(stack, hangs(), with_pages, cent()).await;
    let early = shop.get("/cheap", &[BROWSER, ("accept-language", "de")]).await;
    assert_page(&early, 503, "too early for de");
    assert!(early.header("retry-after").is_some() && early.count("payment-required") == 0, "{early:?}");
    for headers in [&[][..], &[BROWSER, ("payment-signature", &header)]] {
        let answer = shop.get("/cheap", headers).await;
        assert_refused(&answer, 503, "payment_unavailable");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    }
    // A page that says nothing of it leaves it as it is.
    let shop = Shop::early(stack, hangs(), |gate| gate.paywall(Page::new("<h1>page</h1>")), cent()).await;
    assert_refused(&shop.get("/cheap", &[BROWSER]).await, 503, "payment_unavailable");
    assert_eq!(shop.counts(), (0, 0, 0));
}
