//! A cache that everybody shares keeps neither the page nor what was bought (nginx, told to keep whatever it may).

use x402_tests::{
    browser::{Setup, Wallet},
    nginx::{caching_proxy, plain_proxy},
    serve::Serving,
};

use crate::{
    goods::{Exhibit, Good, Methods, Shelf},
    harness::{Case, Stack, case},
    market::{Market, browser, cent, shelves},
};

pub const CASES: &[Case] = &[
    case!(neither_page_nor_offer_is_kept),
    case!(what_was_bought_is_not_given_to_others),
    case!(a_long_offer_passes_as_it_is_delivered),
];

/// What its author lets any cache keep.
const PUBLIC: &Exhibit = &Exhibit {
    headers: &[("content-type", "text/plain"), ("cache-control", "public, max-age=600")],
    body: b"for everybody's cache, says its author",
};

async fn open(stack: Stack) -> (Market, Serving) {
    let public = |path, charge| Shelf { path, methods: Methods::Get, charge, good: Good::Shows(PUBLIC) };
    let mut shelves = shelves(&cent());
    shelves.extend([public("/public", Some(cent())), public("/free", None)]);
    let market = Market::selling(stack, shelves).await;
    let proxy = caching_proxy(market.serving.address).await.unwrap();
    // It does keep what it may.
    let kept = |answer: x402_tests::serve::Answer| answer.header("x-cache-status").unwrap().to_owned();
    for path in ["/free", "/site.css"] {
        assert_eq!(kept(proxy.get(path, &[]).await.unwrap()), "MISS", "{path}");
        assert_eq!(kept(proxy.get(path, &[]).await.unwrap()), "HIT", "{path}");
    }
    (market, proxy)
}

const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

async fn neither_page_nor_offer_is_kept(stack: Stack) {
    let (market, proxy) = open(stack).await;
    for _ in 0..2 {
        for (accept, language, begins, says) in [
            (HTML, "en", "<!doctype html>", "lang=\"en\""),
            (HTML, "de", "<!doctype html>", "lang=\"de\""),
            ("application/json", "de", "{", "x402Version"),
            ("*/*", "en", "{", "x402Version"),
        ] {
            let headers = [("accept", accept), ("accept-language", language)];
            let answer = proxy.get("/article", &headers).await.unwrap();
            assert_eq!((answer.status, answer.header("x-cache-status")), (402, Some("MISS")), "{answer:?}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
            let varies = answer.header("vary").unwrap_or_default().to_ascii_lowercase();
            assert!(varies.split(", ").any(|name| name == "accept"), "{answer:?}");
            assert!(answer.body.trim_start().starts_with(begins) && answer.body.contains(says), "{answer:?}");
        }
    }
    drop(market);
}

async fn what_was_bought_is_not_given_to_others(stack: Stack) {
    let (market, proxy) = open(stack).await;
    let pay = async |path: &str, wallet: &Wallet| {
        let person = browser().await.visitor(wallet.into()).await.unwrap();
        person.open(&proxy.url(path)).await.unwrap();
        person.until("document.getElementById('paywall').dataset.state === 'idle'").await.unwrap();
        person.click("#pay").await.unwrap();
        person
    };
    let buyer = pay("/public", &market.wallet()).await;
    buyer.until("document.getElementById('paywall').dataset.state === 'paid'").await.unwrap();
    assert!(buyer.text("#content").await.unwrap().contains("everybody's cache"));
    let reader = pay("/article", &market.wallet()).await;
    reader.until("document.title === 'On bees'").await.unwrap();
    market.sold(2).await;
    for path in ["/public", "/article"] {
        for accept in [HTML, "*/*"] {
            let answer = proxy.get(path, &[("accept", accept)]).await.unwrap();
            assert_eq!((answer.status, answer.header("x-cache-status")), (402, Some("MISS")), "{answer:?}");
        }
        let other = browser().await.visitor(Setup::default()).await.unwrap();
        other.open(&proxy.url(path)).await.unwrap();
        other.until("document.getElementById('paywall').dataset.state === 'no-wallet'").await.unwrap();
    }
    for person in [buyer, reader] {
        let conduct = person.conduct();
        assert_eq!(conduct.foreign(&proxy.url("")), Vec::<String>::new());
        assert_eq!(conduct.violations, Vec::<String>::new());
    }
}

/// It answers 502 in place of an answer whose head is longer than 4 KiB.
async fn a_long_offer_passes_as_it_is_delivered(stack: Stack) {
    let many = (0..6).fold(cent(), |charge, _| charge.or(cent())).describe("One of many words. ".repeat(200));
    let long = Shelf { path: "/long", methods: Methods::Get, charge: Some(many), good: Good::Shows(PUBLIC) };
    let market = Market::selling(stack, vec![long]).await;
    let proxy = plain_proxy(market.serving.address).await.unwrap();
    for path in ["/long".to_owned(), format!("/long?q={}", "x".repeat(900))] {
        for accept in ["application/json", HTML] {
            let answer = proxy.get(&path, &[("accept", accept)]).await.unwrap();
            assert_eq!(
                (answer.status, answer.count("payment-required")),
                (402, 1),
                "{} {accept}",
                &path[..5]
            );
            assert!(answer.body.contains("One of many words"), "{} {accept}", &path[..5]);
        }
    }
    drop(market);
}
