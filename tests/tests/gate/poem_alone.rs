//! poem alone: what a middleware covers where it stands, tables over nested routes, errors, and poem's own middlewares.

use std::{fmt, panic, sync::atomic::Ordering};

use futures_util::FutureExt;
use poem::{
    Endpoint, EndpointExt, Error, IntoResponse, Middleware, Response, Route, RouteDomain, RouteScheme,
    Server,
    endpoint::{BoxEndpoint, make, make_sync},
    error::ResponseError,
    get,
    http::StatusCode,
    listener::TcpAcceptor,
    middleware::{CatchPanic, Cors, NormalizePath, Tracing, TrailingSlash},
    post,
};
use x402_core::gate::{ConfigError, PaymentGate, RouteTable, Uncharged};
use x402_poem::{ChargedRoute, GateExt};
use x402_tests::{
    script::{HASH, Script},
    serve::{Serving, encoded},
};

use crate::{
    goods::{Good, Goods, ReplyBody},
    harness::{Case, Framework, Stack, Wire, case},
    shop::{Shop, cent, dollar, gate},
    support::{
        MARKER, ORIGIN, assert_no_receipt, assert_refused, assert_sold, assert_spent, marker, sign_v2,
    },
};

const POEM: &[Framework] = &[Framework::Poem];

pub const CASES: &[Case] = &[
    case!(a_charge_covers_what_it_stands_on).only(POEM).http1(),
    case!(a_charge_on_a_whole_route_covers_all_of_it).only(POEM).http1(),
    case!(a_charge_stands_on_domains_and_schemes_too).only(POEM).http1(),
    case!(a_table_prices_routes_however_they_are_nested).only(POEM).http1(),
    case!(a_key_that_is_no_route_is_told_when_it_is_built).only(POEM).http1(),
    case!(a_key_whose_method_a_route_does_not_take_is_told_when_it_is_built).only(POEM).http1(),
    case!(a_route_that_is_there_twice_is_told_or_charged_twice).only(POEM).http1(),
    case!(routes_of_another_table_are_told_when_they_are_nested).only(POEM).http1(),
    case!(an_error_that_costs_nothing_stays_the_error_it_is).only(POEM).http1(),
    case!(middlewares_around_the_gate_open_no_way).only(POEM).http1(),
    case!(a_browser_reads_what_its_operator_lists).only(POEM).http1(),
    case!(what_a_caught_panic_kept_back_is_served_when_asked_again).only(POEM).http1(),
];

const STACK: Stack = Stack { framework: Framework::Poem, wire: Wire::Http1 };

async fn shop<E: Endpoint + 'static>(app: impl FnOnce(&PaymentGate, &Goods) -> E) -> Shop {
    let (script, goods) = (Script::new(), Goods::default());
    let gate = gate(script.clone()).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).unwrap());
    let running = server.run(app(&gate, &goods));
    let serving = Serving::running(address, tokio::spawn(running.map(drop)));
    gate.ready().await.unwrap();
    Shop::around(STACK, script, gate, goods, serving)
}

/// An endpoint that says the route's marker.
fn sells(goods: &Goods, route: &'static str) -> impl Endpoint<Output = String> + use<> {
    let visits = goods.visits.clone();
    make_sync(move |_| {
        visits.count();
        marker(route)
    })
}

fn free() -> impl Endpoint<Output = &'static str> {
    make_sync(|_| "free for all")
}

fn table(keys: &[&str]) -> RouteTable {
    keys.iter().fold(RouteTable::new(), |table, key| table.route(key, cent()).unwrap())
}

async fn a_charge_covers_what_it_stands_on(_: Stack) {
    let shop = shop(|gate, goods| {
        let charge = || gate.charge(cent()).unwrap();
        let inside = Route::new().at("/", get(sells(goods, "root"))).at("/a", get(sells(goods, "inside")));
        let each = Route::new().at("/a", get(sells(goods, "each")).with(charge())).at("/free", get(free()));
        Route::new()
            .at("/method", get(sells(goods, "method").with(charge())).post(free()))
            .at("/path", get(sells(goods, "path")).with(charge()))
            .nest("/inside", inside.with(charge()))
            .nest("/each", each)
            .at("/free", get(free()))
    })
    .await;
    let lines = "
        GET /method?x 402>method; HEAD /method 402; POST /method 200; PUT /method 405; GET /method/ 404
        GET /path 402>path; POST /path 402>405; HEAD /path 402
        GET /inside 402>root; GET /inside/ 402>root; GET /inside/a 402>inside; HEAD /inside/a 402
        PUT /inside/a 402>405; GET /inside/nowhere 402>404; GET /inside//a 402>404; GET /inside%2Fa 404
        GET /each/a 402>each; GET /each/free 200; GET /each/nowhere 404; GET /insider 404; GET /free 200";
    shop.answers(lines).await;
}

async fn a_charge_on_a_whole_route_covers_all_of_it(_: Stack) {
    let shop = shop(|gate, goods| {
        let api = Route::new().at("/a", get(sells(goods, "a")));
        let all = Route::new().nest("/api", api).at("/*rest", sells(goods, "the rest"));
        Route::new()
            .nest("/shop", all.with(gate.charge(cent()).unwrap()))
            .with(gate.charge(dollar()).unwrap())
    })
    .await;
    let lines = "
        GET / 402>404; POST /nowhere 402>404; OPTIONS * 402>404; CONNECT shop.example.com:443 402
        GET http://shop.example.com 402; GET http://shop.example.com/shop/api/a 402";
    shop.answers(lines).await;
    // A gate within a gate takes no payment that is another one's.
    assert_refused(&shop.buy("GET", "/shop/api/a").await, 500, "payment_misconfigured");
    assert_eq!((shop.visits.get(), shop.script.settle_calls()), (0, 0));
}

async fn a_charge_stands_on_domains_and_schemes_too(_: Stack) {
    let domain = |goods: &Goods, gate: &PaymentGate| {
        let paid = sells(goods, "domain").with(gate.charge(cent()).unwrap());
        RouteDomain::new().at("paid.example.com", paid).at("*", free())
    };
    let one = shop(|gate, goods| domain(goods, gate)).await;
    let all = shop(|gate, goods| domain(goods, gate).with(gate.charge(cent()).unwrap())).await;
    let scheme = shop(|gate, goods| {
        RouteScheme::new().http(sells(goods, "http").with(gate.charge(cent()).unwrap())).fallback(free())
    })
    .await;
    for (target, host, status) in [
        ("/", "paid.example.com", 402),
        ("/", "PAID.example.com", 200),
        ("/", "free.example.com", 200),
        ("http://paid.example.com/", "free.example.com", 200),
        ("http://free.example.com/", "paid.example.com", 402),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        for (shop, status) in [(&one, status), (&all, 402), (&scheme, 402)] {
            let answer = shop.serving.raw(request.as_bytes()).await.unwrap();
            assert_eq!((answer.status, answer.body.contains(MARKER)), (status, false), "{target} {host}");
        }
    }
    assert_eq!((one.visits.get(), all.visits.get()), (0, 0));
    assert_sold(&scheme.buy("GET", "/").await, "http");
}

/// What these routes are called in a table.
const KEYS: &[&str] = &[
    "/",
    "GET /paid",
    "/slashes/here",
    "/of/:id",
    r"/number/:id<\d+>",
    "/word/<[a-z]+>",
    "/rest/*rest",
    "/api/",
    "/api/x",
    "/api/v1/:a/:b",
    "/below",
];

fn routes(routes: ChargedRoute, goods: &Goods) -> ChargedRoute {
    let sells = |route| get(sells(goods, route));
    routes
        .at("paid", get(self::sells(goods, "paid")).post(free()))
        .at("//slashes///here", sells("slashes"))
        .at("/of/:id", sells("of"))
        .at(r"/number/:id<\d+>", sells("number"))
        .at("/word/<[a-z]+>", sells("word"))
        .at("/rest/*rest", sells("rest"))
        .at("/of/free", get(free()))
        .nest("api", |api| {
            let v1 = |v1: ChargedRoute| v1.at("/:a/:b", sells("v1")).at("free", get(free()));
            api.at("/", sells("api")).at("x", sells("x")).nest("//v1//", v1)
        })
        .nest("/", |all| all.at("/", sells("root")).at("/below", sells("below")))
        .nest_unlisted("/files", Route::new().at("/paid", get(free())))
}

async fn a_table_prices_routes_however_they_are_nested(_: Stack) {
    let shop = shop(|gate, goods| {
        let own = Route::new().at("/x", get(sells(goods, "own"))).with(gate.charge(cent()).unwrap());
        let routes = routes(gate.charge_routes(table(KEYS)).unwrap(), goods).nest_unlisted("/own", own);
        routes.build().unwrap().at("/later", get(free()))
    })
    .await;
    let lines = "
        GET / 402>root; GET /paid?x 402>paid; GET /slashes/here 402>slashes; GET /of/7 402>of; GET /of/%66ree 402>of
        GET /number/42 402>number; GET /word/abc 402>word; GET /rest/a/b 402>rest; GET /rest/ 402>rest
        GET /api 402>api; GET /api/ 402>api; GET /api/x 402>x; GET /api/v1/a/b 402>v1; GET /api/v1/%2e%2e/x 402>v1
        GET /below 402>below; GET /own/x 402>own; PUT /of/7 402>405; HEAD /paid 402";
    shop.answers(lines).await;
    shop.spelled_otherwise_gives_nothing(lines).await;
    let rest = "
        POST /paid 200; PUT /paid 405; GET /of/free 200; GET /api/v1/free 200; GET /files/paid 200; GET /later 200
        GET /paid/ 404; GET /number/x 404; GET /number/4x 404; GET /api//x 404; GET /api/v1 404; GET /x 404";
    shop.answers(rest).await;
    assert_eq!(shop.offer("/api/v1/a/b?c").await["resource"]["url"], format!("{ORIGIN}/api/v1/a/b?c"));
}

async fn a_key_that_is_no_route_is_told_when_it_is_built(_: Stack) {
    let gate = gate(Script::new()).build().unwrap();
    let goods = Goods::default();
    for key in KEYS {
        assert!(routes(gate.charge_routes(table(&[key])).unwrap(), &goods).build().is_ok(), "{key}");
    }
    for (key, expected) in [
        ("GET /padi", None),
        ("/paid/", None),
        ("/Paid", None),
        ("/slashes//here", None),
        ("/of/:name", Some("/of/:id")),
        ("POST /of/{id}", Some("/of/:id")),
        ("/number/:id", None),
        (r"/number/:id<\d>", None),
        ("/rest/*", None),
        ("/rest/*path", None),
        ("/api", None),
        ("/x", None),
        ("/v1/:a/:b", None),
        ("/api/v1/:b/:a", Some("/api/v1/:a/:b")),
        ("/files/paid", None),
        ("/files", None),
        ("/files/", None),
    ] {
        let built = routes(gate.charge_routes(table(&["/paid", key])).unwrap(), &goods).build();
        let Err(ConfigError::NoSuchRoute { route, nearest }) = &built else { panic!("{key} was taken") };
        assert_eq!((route.as_str(), nearest.as_deref()), (key, expected));
    }
    assert!(matches!(gate.charge_routes(RouteTable::new()), Err(ConfigError::EmptyTable)));
}

async fn a_key_whose_method_a_route_does_not_take_is_told_when_it_is_built(_: Stack) {
    let shop = shop(|gate, goods| {
        let app = |keys: &[&str]| {
            let sells = || sells(goods, "goods");
            let routes = gate.charge_routes(table(keys)).unwrap();
            let routes = routes.at("/weather/:city", get(sells())).at("/two", post(sells()).put(sells()));
            let routes = routes.nest("/api", |api| api.at("/x", get(sells()))).at("/api/x", post(sells()));
            routes.at("/any", sells()).build()
        };
        for (key, methods) in [
            ("POST /weather/:city", "GET, HEAD"),
            ("GET /two", "POST, PUT"),
            ("HEAD /two", "POST, PUT"),
            ("DELETE /api/x", "GET, HEAD, POST"),
        ] {
            let built = app(&["/any", key]);
            let Err(ConfigError::NoSuchMethod { route, methods: told }) = &built else {
                panic!("{key} was taken")
            };
            assert_eq!((route.as_str(), told.as_str()), (key, methods));
        }
        for key in [
            "GET /weather/:city",
            "HEAD /weather/:city",
            "PUT /two",
            "POST /api/x",
            "GET /api/x",
            "TRACE /any",
        ] {
            assert!(app(&[key]).is_ok(), "{key}");
        }
        app(&["GET /weather/:city"]).unwrap()
    })
    .await;
    assert_eq!(shop.visits.get(), 0, "no handler runs while a table is checked");
    assert_eq!(shop.get("/weather/rome", &[]).await.status, 402);
}

async fn a_route_that_is_there_twice_is_told_or_charged_twice(_: Stack) {
    let shop = shop(|gate, goods| {
        for twice in ["/as it should", "as it should", "//as it should"] {
            let routes = gate.charge_routes(table(&["/paid"])).unwrap().at("/as it should", free());
            let again = panic::AssertUnwindSafe(|| routes.at(twice, free()));
            assert!(panic::catch_unwind(again).is_err(), "{twice}");
        }
        // Poem lets routes of one name be in different places, and finds one of them.
        let routes = gate.charge_routes(table(&["/api/x", "/api/:id"])).unwrap();
        let routes = routes
            .nest("/api", |api| api.at("/x", get(sells(goods, "inner"))).at("/:id", get(sells(goods, "id"))));
        routes.at("/api/x", get(sells(goods, "outer"))).build().unwrap()
    })
    .await;
    shop.answers("GET /api/x 402>outer; GET /api/y 402>id; POST /api/x 402>405").await;
}

async fn routes_of_another_table_are_told_when_they_are_nested(_: Stack) {
    let gate = gate(Script::new()).build().unwrap();
    let routes = || gate.charge_routes(table(&["/api/paid"])).unwrap();
    let other = routes().at("/paid", free());
    let nested = panic::AssertUnwindSafe(|| routes().nest("/api", |_| other));
    assert!(panic::catch_unwind(nested).is_err());
}

/// An error of the shop's own.
#[derive(Debug)]
struct SoldOut(StatusCode);

impl fmt::Display for SoldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sold out")
    }
}

impl std::error::Error for SoldOut {}

impl ResponseError for SoldOut {
    fn status(&self) -> StatusCode {
        self.0
    }

    fn as_response(&self) -> Response {
        let response = Response::builder().status(self.0).header("x-stock", "0");
        response.header("cache-control", "public, max-age=60").body("sold out")
    }
}

async fn an_error_that_costs_nothing_stays_the_error_it_is(_: Stack) {
    for (first, status, uncharged, caught, receipts) in [
        (false, 404, false, true, 0),
        (false, 503, false, true, 0),
        (false, 303, false, false, 1),
        (false, 303, true, false, 0),
        (false, 404, true, true, 0),
        (true, 404, false, false, 1),
        (true, 503, false, false, 1),
        (true, 303, true, false, 1),
    ] {
        let shop = shop(|gate, goods| {
            let (charge, visits) = (cent(), goods.visits.clone());
            let fails = make_sync(move |_| {
                visits.count();
                let mut error = Error::from(SoldOut(StatusCode::from_u16(status).unwrap()));
                if uncharged {
                    error.set_data(Uncharged);
                }
                Err::<(), _>(error)
            });
            let charge = gate.charge(if first { charge.settle_first() } else { charge }).unwrap();
            Route::new()
                .at("/paid", get(fails).with(charge))
                .catch_error(async |_: SoldOut| "caught".with_header("x-caught", "yes").into_response())
        })
        .await;
        let answer = shop.buy("GET", "/paid").await;
        let expected = if caught { (200, "caught") } else { (status, "sold out") };
        assert_eq!((answer.status, answer.body.as_str()), expected, "{first} {status} {answer:?}");
        assert_eq!(answer.header("x-stock"), if caught { None } else { Some("0") });
        if !caught {
            assert_eq!(answer.header("cache-control"), Some("private, max-age=60"), "it was not for all");
        }
        assert_eq!((answer.count("payment-response"), shop.counts()), (receipts, (1, 1, receipts)));
    }
}

async fn middlewares_around_the_gate_open_no_way(_: Stack) {
    let route = |gate: &PaymentGate, goods: &Goods| {
        let routes = gate.charge_routes(table(&["/paid/:id"])).unwrap();
        routes.at("/paid/:id", get(sells(goods, "paid"))).at("/free", get(free())).build().unwrap()
    };
    let whole = |gate: &PaymentGate, goods: &Goods| {
        let route = Route::new().at("/paid/:id", get(sells(goods, "paid"))).at("/free", get(free()));
        route.with(NormalizePath::new(TrailingSlash::Trim)).with(gate.charge(cent()).unwrap())
    };
    let around = |route: BoxEndpoint<'static, Response>| {
        let normalized = NormalizePath::new(TrailingSlash::Trim).transform(route);
        normalized.with(CatchPanic::new()).with(Tracing).with(Cors::new())
    };
    let listed = shop(|gate, goods| around(route(gate, goods).boxed())).await;
    let covered = shop(|gate, goods| around(whole(gate, goods).boxed())).await;
    for shop in [listed, covered] {
        for path in ["/paid/7", "/paid/7/", "//paid//7", "///paid/7///?x", "/paid/%37/"] {
            assert_eq!(shop.ask("GET", path).await.status, 402, "{path}");
            assert_eq!(shop.offer(path).await["resource"]["url"], format!("{ORIGIN}{path}"), "as it came");
            assert_sold(&shop.buy("GET", path).await, "paid");
        }
        assert_eq!(shop.counts(), (5, 5, 5));
    }
}

async fn a_browser_reads_what_its_operator_lists(_: Stack) {
    let shop = shop(|gate, goods| {
        let headers = ["payment-required", "payment-response", "x-payment-response"];
        let cors = Cors::new().allow_origin("https://app.example").expose_headers(headers);
        Route::new().at("/paid", get(sells(goods, "paid")).with(gate.charge(cent()).unwrap())).with(cors)
    })
    .await;
    for (origin, status) in [("https://app.example", 402), ("https://evil.example", 403)] {
        let answer = shop.get("/paid", &[("origin", origin)]).await;
        assert_eq!((answer.status, answer.body.contains(MARKER)), (status, false), "{origin}");
    }
    let origin = ("origin", "https://app.example");
    let preflight = [
        origin,
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "payment-signature"),
    ];
    assert_eq!(shop.send("OPTIONS", "/paid", &preflight).await.status, 200, "a browser cannot pay for it");
    assert_eq!(shop.counts(), (0, 0, 0));
    let unpaid = shop.get("/paid", &[origin]).await;
    let payment = encoded(&sign_v2(&unpaid.decoded("payment-required").unwrap(), 0).await);
    let paid = shop.get("/paid", &[origin, ("payment-signature", &payment)]).await;
    assert_sold(&paid, "paid");
    for (answer, header) in [(unpaid, "payment-required"), (paid, "payment-response")] {
        let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
        assert!(exposed.split(", ").any(|exposed| exposed == header), "{exposed}");
    }
}

async fn what_a_caught_panic_kept_back_is_served_when_asked_again(_: Stack) {
    // (caught outside of the gate, settled first, receipts with the failure, verified in all)
    for (outside, first, receipts, verified) in
        [(true, false, 0, 2), (true, true, 0, 1), (false, false, 0, 2), (false, true, 1, 1)]
    {
        let shop = shop(|gate, goods| {
            let goods = goods.clone();
            let mended = make(move |_| {
                let goods = goods.clone();
                async move {
                    let ReplyBody::Whole(bytes) = goods.make(Good::Mended).await.unwrap().body else {
                        panic!()
                    };
                    bytes
                }
            });
            let charge = gate.charge(if first { cent().settle_first() } else { cent() }).unwrap();
            let paid = match outside {
                true => get(mended).with(charge).with(CatchPanic::new()).boxed(),
                false => get(mended).with(CatchPanic::new()).with(charge).boxed(),
            };
            Route::new().at("/paid", paid)
        })
        .await;
        let payment = shop.v2("/paid").await;
        let failed = shop.pay("/paid", &payment).await;
        assert_eq!((failed.status, failed.body.contains(MARKER)), (500, false), "{failed:?}");
        assert_eq!(failed.count("payment-response"), receipts, "{failed:?}");
        assert_eq!(shop.counts(), (1, 1, usize::from(first)));
        shop.goods.mended.store(true, Ordering::SeqCst);
        let answer = shop.pay("/paid", &payment).await;
        assert_sold(&answer, "/first-mended");
        assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
        assert_eq!(shop.counts(), (2, verified, 1));
        let spent = shop.pay("/paid", &payment).await;
        assert_spent(&spent);
        assert_no_receipt(&spent);
    }
}
