//! Prices by route, in each framework's own words, and what stands around the routes.

use x402_core::gate::{ConfigError, RouteTable};
use x402_tests::script::Script;

use crate::{
    goods::{Shelf, of_everything, shelves, unpriced},
    harness::{Case, Framework, Stack, case},
    routing::no_spelling_gets_in,
    secrets::logged,
    shop::{Shop, Stock, cent, dollar},
    support::{MARKER, ORIGIN, assert_refused, assert_sold, assert_spent, marker},
};

pub const CASES: &[Case] = &[
    case!(a_table_prices_its_routes),
    case!(no_spelling_of_a_path_gets_past_a_table).http1(),
    case!(a_table_prices_nested_routes_by_their_whole_pattern),
    case!(a_route_can_be_free_in_one_method_and_charged_in_the_others),
    case!(a_key_that_is_no_route_is_an_error),
    case!(a_key_whose_method_its_route_does_not_take_is_an_error_or_warned_of).http1(),
    case!(nested_routes_are_sold_under_their_whole_address),
    case!(a_price_on_everything_spares_nothing),
    case!(no_spelling_gets_past_a_price_on_everything).http1(),
    case!(no_spelling_gets_into_a_nested_route).http1(),
    case!(every_paid_route_of_the_shop_asks),
];

/// A table, its keys written as axum does, for any framework.
pub fn table(stack: Stack, keys: &[(&str, Option<u8>)]) -> RouteTable {
    keys.iter().fold(RouteTable::new(), |table, (key, dollars)| {
        let key = stack.words(key);
        match dollars {
            None => table.free(&key),
            Some(0) => table.route(&key, cent()),
            Some(_) => table.route(&key, dollar()),
        }
        .unwrap()
    })
}

const PRICES: &[(&str, Option<u8>)] =
    &[("/cheap", Some(0)), ("GET /dear", Some(1)), ("GET /dear/{id}", Some(1))];

async fn a_table_prices_its_routes(stack: Stack) {
    let shop = Shop::listed(stack, table(stack, PRICES)).await;
    assert_eq!(shop.offer("/dear/7?x").await["resource"]["url"], format!("{ORIGIN}/dear/7?x"));
    assert_eq!(shop.get("/free", &[]).await.body, "free for all");
    assert_eq!(shop.get("/nowhere", &[]).await.status, 404);
    for method in ["HEAD", "GET", "POST", "OPTIONS", "TRACE", "X"] {
        let status = shop.send(method, "/cheap", &[("content-length", "0")]).await.status;
        assert_eq!(status, 402, "{method}");
        let status = shop.send(method, "/dear/7", &[("content-length", "0")]).await.status;
        assert_eq!(status, if ["HEAD", "GET"].contains(&method) { 402 } else { 405 }, "{method}");
    }
    assert_eq!(shop.counts(), (0, 0, 0));
    for (path, route) in [("/cheap", "/cheap"), ("/dear", "/dear"), ("/dear/7", "/dear/{id}")] {
        let payment = shop.v2(path).await;
        assert_sold(&shop.pay(path, &payment).await, route);
        assert_spent(&shop.pay(path, &payment).await);
        assert_eq!(shop.pay("/dear/8", &payment).await.status, 402, "it buys no other one either");
    }
    assert_eq!(shop.counts(), (3, 3, 3));
}

async fn no_spelling_of_a_path_gets_past_a_table(stack: Stack) {
    no_spelling_gets_in(&Shop::listed(stack, table(stack, PRICES)).await).await;
}

async fn a_table_prices_nested_routes_by_their_whole_pattern(stack: Stack) {
    let keys = [("/api/cheap", Some(0)), ("GET /api/dear/{id}", Some(1))];
    let stock = Stock::NestedListed(unpriced(), table(stack, &keys));
    let shop = Shop::stocked(stack, Script::new(), |gate| gate, stock).await;
    for (path, route) in [("/api/cheap?x", "/cheap"), ("/api/dear/7", "/dear/{id}")] {
        assert_eq!(shop.offer(path).await["resource"]["url"], format!("{ORIGIN}{path}"));
        assert_sold(&shop.pay(path, &shop.v2(path).await).await, route);
    }
    assert_eq!(shop.get("/api/free", &[]).await.body, "free for all");
    for path in ["/cheap", "/dear/7", "/api", "/api/"] {
        assert_eq!(shop.get(path, &[]).await.status, 404, "{path}");
    }
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn a_route_can_be_free_in_one_method_and_charged_in_the_others(stack: Stack) {
    let keys = [("POST /cheap", None), ("/cheap", Some(0)), ("GET /dear", None), ("/dear/{id}", Some(1))];
    let shop = Shop::listed(stack, table(stack, &keys)).await;
    let post = shop.send("POST", "/cheap", &[("content-length", "0")]).await;
    assert_eq!((post.status, post.body.as_str()), (200, marker("/cheap").as_str()));
    assert_eq!(shop.get("/dear", &[]).await.status, 200);
    assert_eq!(shop.counts(), (2, 0, 0));
    for (method, path) in [("GET", "/cheap"), ("HEAD", "/cheap"), ("PUT", "/cheap"), ("GET", "/dear/7")] {
        assert_eq!(shop.send(method, path, &[]).await.status, 402, "{method} {path}");
    }
}

async fn a_key_that_is_no_route_is_an_error(stack: Stack) {
    for (key, nearest) in [
        ("GET /chaep", None),
        ("/cheap/", None),
        ("/Cheap", None),
        ("GET /dear/{name}", Some("/dear/{id}")),
        ("/dear/{id}/more", None),
        ("GET /weather/{city}", None),
    ] {
        let stock = Stock::Listed(unpriced(), table(stack, &[("/cheap", Some(0)), (key, Some(1))]));
        let opened = Shop::build(stack, Script::new(), |gate| gate, stock).await;
        if stack.framework == Framework::Actix {
            // actix-web shows its routes to the first request: that one, and all that follow, are refused.
            let shop = opened.unwrap();
            shop.gate.ready().await.unwrap();
            for path in ["/cheap", "/free", "/dear/7", "/nowhere"] {
                assert_refused(&shop.get(path, &[]).await, 500, "payment_misconfigured");
            }
            assert_eq!(shop.counts(), (0, 0, 0));
            continue;
        }
        let error = opened.err().unwrap();
        let ConfigError::NoSuchRoute { route, nearest: told } = &error else { panic!("{key}: {error}") };
        let nearest = nearest.map(|nearest| stack.words(nearest));
        assert_eq!((route.as_str(), told), (stack.words(key).as_str(), &nearest), "{error}");
    }
}

/// `POST /dear/{id}` where there is only GET: the goods would be free, and nobody would notice.
async fn a_key_whose_method_its_route_does_not_take_is_an_error_or_warned_of(stack: Stack) {
    let keys = [("/cheap", Some(0)), ("POST /dear/{id}", Some(1))];
    let open = |table| Shop::build(stack, Script::new(), |gate| gate, Stock::Listed(unpriced(), table));
    let opened = open(table(stack, &keys)).await;
    let key = stack.words("POST /dear/{id}");
    if stack.framework == Framework::Axum {
        let error = opened.err().unwrap();
        let ConfigError::NoSuchMethod { route, methods } = &error else { panic!("{error}") };
        assert_eq!((route.as_str(), methods.as_str()), (key.as_str(), "GET, HEAD"), "{error}");
        return;
    }
    opened.unwrap();
    let warned = |key: &str| {
        let of = format!("route={key}");
        logged()
            .lines()
            .any(|line| line.contains("WARN") && line.ends_with(&of) && line.contains("is not told here"))
    };
    assert!(warned(&key), "{}", logged());
    // Who says that the others are free knows it.
    let keys = [("/cheap", Some(0)), ("TRACE /dear/{id}", Some(1)), ("/dear/{id}", None)];
    open(table(stack, &keys)).await.unwrap();
    assert!(!warned(&stack.words("TRACE /dear/{id}")), "{}", logged());
}

async fn nested_routes_are_sold_under_their_whole_address(stack: Stack) {
    let shop = Shop::stocked(stack, Script::new(), |gate| gate, Stock::Nested(shelves())).await;
    for (path, route) in [("/api/cheap?in=may", "/cheap"), ("/api/dear/%37", "/dear/{id}")] {
        assert_eq!(shop.offer(path).await["resource"]["url"], format!("{ORIGIN}{path}"));
        assert_sold(&shop.pay(path, &shop.v2(path).await).await, route);
    }
    let long = shop.offer(&format!("/api/dear/{}", "a".repeat(5_000))).await;
    let pattern = stack.words("/api/dear/{id}");
    assert_eq!(long["resource"]["url"], format!("{ORIGIN}{pattern}"), "its pattern, where it is too long");
    assert_eq!(shop.get("/cheap", &[]).await.status, 404);
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn everything_for_a_cent(stack: Stack) -> Shop {
    let stock = Stock::Whole(unpriced(), cent());
    Shop::stocked(stack, Script::new(), |gate| gate, stock).await
}

async fn a_price_on_everything_spares_nothing(stack: Stack) {
    let shop = everything_for_a_cent(stack).await;
    for path in ["/cheap", "/dear", "/dear/7", "/free", "/nowhere", "/", "/free/", "/%66ree"] {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let answer = shop.send(method, path, &[("content-length", "0")]).await;
            assert_eq!((answer.status, answer.count("payment-required")), (402, 1), "{method} {path}");
        }
    }
    let payment = shop.v2("/nowhere").await;
    let missed = shop.pay("/nowhere", &payment).await;
    assert_eq!(
        (missed.status, missed.count("payment-response")),
        (404, 0),
        "what is not there is not charged"
    );
    assert_eq!(shop.counts(), (0, 1, 0));
    let free = shop.pay("/free", &payment).await;
    assert_eq!((free.status, free.count("payment-response"), free.body.as_str()), (200, 1, "free for all"));
}

async fn no_spelling_gets_past_a_price_on_everything(stack: Stack) {
    let shop = everything_for_a_cent(stack).await;
    no_spelling_gets_in(&shop).await;
}

async fn no_spelling_gets_into_a_nested_route(stack: Stack) {
    let stock = Stock::Nested(vec![of_everything("/cheap"), of_everything("/dear/{id}")]);
    let shop = Shop::stocked(stack, Script::new(), |gate| gate, stock).await;
    for path in [
        "/api//cheap",
        "//api/cheap",
        "/api/./cheap",
        "/api/%2e/cheap",
        "/api%2Fcheap",
        "/api/%63heap",
        "/%61pi/cheap",
        "/api/x/../cheap",
        "/api/cheap/",
        "/api/cheap%00",
        "/API/cheap",
        "/api;x/cheap",
        "/api/dear/%2e%2e",
        "/api/dear/..%2fcheap",
        "/api/dear/7%2f..",
        "http://shop.example.com/api/cheap",
        "http://api/cheap",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let Ok(answer) = shop.serving.raw(request.as_bytes()).await else { continue };
        assert!([400, 402, 404].contains(&answer.status), "{path}: {answer:?}");
        assert!(!answer.body.contains(MARKER), "{path}: {answer:?}");
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn every_paid_route_of_the_shop_asks(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for Shelf { path, charge, .. } in shelves() {
        let path = path.replace("{id}", "7");
        for method in ["GET", "POST", "DELETE"] {
            let answer = shop.send(method, &path, &[("content-length", "0")]).await;
            assert!(!answer.body.contains(MARKER), "{method} {path}");
            if charge.is_some() {
                assert_eq!((answer.status, answer.count("payment-required")), (402, 1), "{method} {path}");
            }
        }
    }
    assert_eq!((shop.script.verify_calls(), shop.script.settle_calls()), (0, 0));
}
