//! Whatever the router sends to a paid handler is charged, in whatever spelling it came.

use x402_tests::script::Script;

use crate::{
    harness::{Case, Stack, case},
    shop::Shop,
    support::{MARKER, ORIGIN},
};

pub const CASES: &[Case] =
    &[case!(no_spelling_of_a_path_gets_in_unpaid).http1(), case!(whoever_reaches_a_route_pays_for_it)];

/// Spellings of paths that some server somewhere took for `/cheap` or `/dear/7`.
const SPELLINGS: &[&str] = &[
    "/cheap",
    "/cheap/",
    "/cheap//",
    "//cheap",
    "///cheap",
    "/./cheap",
    "/free/../cheap",
    "/free/%2e%2e/cheap",
    "/free/%2E%2E/cheap",
    "/free/..%2fcheap",
    "/%2e/cheap",
    "/%2Fcheap",
    "/cheap%2F",
    "/cheap%5C",
    "/cheap\\",
    "\\cheap",
    "/free\\..\\cheap",
    "/che%61p",
    "/%63%68%65%61%70",
    "/che%2561p",
    "/CHEAP",
    "/Cheap",
    "/cheap%0A",
    "/cheap%0D%0A",
    "/cheap%00",
    "/cheap%20",
    "/cheap+",
    "/cheap.",
    "/cheap.json",
    "/cheap%E2%80%A8",
    "/cheap%",
    "/cheap%c0",
    "/cheap%c0%af",
    "/cheap;x",
    "/cheap;x=1",
    "/cheap?x",
    "/cheap??",
    "/cheap?/free",
    "/cheap#/free",
    "/cheap&x",
    "/cheap,",
    "/cheap*",
    "/cheap\u{e9}",
    "/dear/7",
    "/dear/%37",
    "/dear/7%2F8",
    "/dear/%2F",
    "/dear/..",
    "/dear/%2e%2e",
    "/dear/../free",
    "/dear/7/",
    "/dear//7",
    "/dear/",
    "/dear/;",
    "/dear/%",
    "/dear/%ff",
    "/dear/{id}",
    "/dear/free",
    // A sibling that does not exist, for control.
    "/cheaq",
    "/dea/7",
];

/// Requests that are no plain path at all.
const TARGETS: &[&str] = &[
    "GET http://shop.example.com/cheap",
    "GET HTTP://SHOP.EXAMPLE.COM/cheap",
    "GET https://user:pass@shop.example.com:8443/cheap",
    "GET http://shop.example.com//cheap",
    "GET http://shop.example.com",
    "GET ftp://shop.example.com/cheap",
    "GET http:///cheap",
    "GET //evil.example/cheap",
    "GET shop.example.com:80",
    "GET shop.example.com/cheap",
    "GET cheap",
    "GET *",
    "GET ?cheap",
    "GET",
    "OPTIONS *",
    "OPTIONS /cheap",
    "TRACE /cheap",
    "CONNECT shop.example.com:443",
    "CONNECT /cheap",
    "POST http://shop.example.com/cheap",
    "HEAD http://shop.example.com/dear/7",
];

pub async fn no_spelling_gets_in(shop: &Shop) {
    let mut asked = 0;
    let lines = SPELLINGS
        .iter()
        .map(|path| format!("GET {path}"))
        .chain(TARGETS.iter().map(|line| (*line).to_owned()));
    for line in lines {
        for version in ["1.1", "1.0"] {
            let request = format!(
                "{line} HTTP/{version}\r\nhost: shop.example.com\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            // A server that closes the connection without a word gave nothing away either.
            let Ok(answer) = shop.serving.raw(request.as_bytes()).await else { continue };
            assert!(!answer.body.contains(MARKER), "{line}: {answer:?}");
            assert!([200, 400, 402, 404, 405].contains(&answer.status), "{line}: {answer:?}");
            assert!(answer.status != 200 || answer.body == "free for all", "{line}: {answer:?}");
            if let Ok(offer) = answer.decoded("payment-required") {
                asked += 1;
                let url = offer["resource"]["url"].as_str().unwrap();
                assert!(url.starts_with(&format!("{ORIGIN}/")), "{line}: {url}");
                assert!(!url.contains("evil") || line.contains("//evil.example/"), "{line}: {url}");
            }
        }
    }
    assert!(asked >= 20, "{asked} requests were asked to pay");
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn no_spelling_of_a_path_gets_in_unpaid(stack: Stack) {
    no_spelling_gets_in(&Shop::open(stack, Script::new()).await).await;
}

async fn whoever_reaches_a_route_pays_for_it(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    // What the router takes for the route buys the route, however it is spelled.
    for path in ["/dear/%37", "/dear/7%2F8", "/dear/;", "/dear/free?/free"] {
        let answer = shop.get(path, &[]).await;
        assert_eq!(answer.decoded("payment-required").unwrap()["resource"]["url"], format!("{ORIGIN}{path}"));
        crate::support::assert_sold(&shop.pay(path, &shop.v2(path).await).await, "/dear/{id}");
    }
}
