//! What a browser asks before a script's request to another origin: it cannot pay for its question.

use x402_core::gate::RouteTable;
use x402_tests::{script::Script, serve::Answer};

use crate::{
    goods::{MARKER, shelves, unpriced},
    harness::{Case, Stack, Wire, case},
    shop::{Shop, Stock, cent, dollar},
    support::assert_refused,
};

pub const CASES: &[Case] = &[
    case!(a_preflight_reaches_a_cors_layer_inside_of_the_gate),
    case!(a_preflight_of_a_charged_route_is_not_charged_and_shows_nothing),
    case!(the_head_of_a_preflights_answer_is_no_goods),
    case!(other_questions_are_charged),
    case!(a_key_that_names_options_charges_them_all),
];

const PREFLIGHT: [(&str, &str); 3] = [
    ("origin", "https://app.example"),
    ("access-control-request-method", "GET"),
    ("access-control-request-headers", "payment-signature"),
];

/// By a key without a method, and by one that names another.
fn table(stack: Stack) -> RouteTable {
    let table = RouteTable::new().route(&stack.words("/cheap"), cent()).unwrap();
    let table = table.route(&stack.words("GET /dear"), dollar()).unwrap();
    table.route(&stack.words("GET /dear/{id}"), dollar()).unwrap()
}

#[track_caller]
fn assert_bare(shop: &Shop, answer: &Answer) {
    assert_ne!(answer.status, 402, "{answer:?}");
    assert!(!answer.body.contains(MARKER) && answer.body.trim().is_empty(), "{answer:?}");
    assert_eq!((shop.script.verify_calls(), shop.script.settle_calls()), (0, 0));
}

async fn a_preflight_reaches_a_cors_layer_inside_of_the_gate(stack: Stack) {
    let inside = Stock::SharedInside(unpriced(), table(stack));
    let shop = Shop::stocked(stack, Script::new(), |gate| gate, inside).await;
    for path in ["/cheap", "/dear", "/dear/7"] {
        let answer = shop.send("OPTIONS", path, &PREFLIGHT).await;
        assert_bare(&shop, &answer);
        assert!([200, 204].contains(&answer.status), "{path}: {answer:?}");
        let allowed = answer.header("access-control-allow-headers").unwrap().to_lowercase();
        assert!(allowed == "*" || allowed.contains("payment-signature"), "{path}: {answer:?}");
        assert!(answer.header("access-control-allow-origin").is_some(), "{path}: {answer:?}");
        assert_eq!(shop.get(path, &[]).await.status, 402, "{path}");
    }
    assert_eq!(shop.visits.get(), 0);
}

async fn a_preflight_of_a_charged_route_is_not_charged_and_shows_nothing(stack: Stack) {
    for stock in
        [Stock::Priced(shelves()), Stock::Listed(unpriced(), table(stack)), Stock::Whole(unpriced(), cent())]
    {
        let shop = Shop::stocked(stack, Script::new(), |gate| gate, stock).await;
        for path in ["/cheap", "/dear", "/dear/7"] {
            assert_bare(&shop, &shop.send("OPTIONS", path, &PREFLIGHT).await);
        }
    }
}

/// What a handler that takes any method says in its head may be worth its price.
async fn the_head_of_a_preflights_answer_is_no_goods(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for path in ["/moved", "/cached"] {
        let answer = shop.send("OPTIONS", path, &PREFLIGHT).await;
        assert_bare(&shop, &answer);
        assert!(!(300..400).contains(&answer.status), "{answer:?}");
        for name in ["location", "set-cookie", "x-stays", "content-type"] {
            assert_eq!(answer.count(name), 0, "{answer:?}");
        }
    }
}

async fn other_questions_are_charged(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let carrying: Vec<_> = [("content-type", "application/json"), ("upgrade", "websocket")]
        .map(|more| [&PREFLIGHT[..], &[more]].concat())
        .into();
    for (method, headers) in [
        ("OPTIONS", &carrying[0][..]),
        ("OPTIONS", &carrying[1]),
        ("OPTIONS", &PREFLIGHT[..1]),
        ("OPTIONS", &PREFLIGHT[1..]),
        ("OPTIONS", &[]),
        ("GET", &PREFLIGHT[..]),
        ("POST", &PREFLIGHT[..]),
        ("HEAD", &PREFLIGHT[..]),
    ] {
        // HTTP/2 has no upgrades, and its client sends none.
        if stack.wire == Wire::Http2 && headers.iter().any(|(name, _)| *name == "upgrade") {
            continue;
        }
        let answer = shop.send(method, "/cheap", headers).await;
        assert_eq!((answer.status, answer.body.contains(MARKER)), (402, false), "{method} {headers:?}");
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn a_key_that_names_options_charges_them_all(stack: Stack) {
    let table =
        RouteTable::new().route("OPTIONS /cheap", cent()).unwrap().route("GET /cheap", cent()).unwrap();
    let shop = Shop::listed(stack, table).await;
    let answer = shop.send("OPTIONS", "/cheap", &PREFLIGHT).await;
    assert_refused(&answer, 402, "X-PAYMENT header is required");
    assert_eq!(shop.counts(), (0, 0, 0));
}
