//! axum alone: where a layer or a table may stand in a router, and what it covers there.

use std::future::{Ready, ready};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, Uri},
    middleware::{Next, from_fn},
    routing::{any, get, post},
};
use tower::{Layer, ServiceExt};
use x402_axum::GateExt;
use x402_core::gate::{ConfigError, GateBuilder, PaymentGate, RouteTable};
use x402_tests::{script::Script, serve::Serving};
use x402_tower::{PaymentLayer, Routing};

use crate::{
    goods::Goods,
    harness::{Case, Framework, Stack, Wire, case},
    routing::no_spelling_gets_in,
    shop::{Shop, cent, dollar, gate},
    support::{MARKER, ORIGIN, assert_refused, assert_sold, marker},
};

pub const CASES: &[Case] = &[
    case!(a_table_on_a_router_prices_its_routes).only(&[Framework::Axum]).http1(),
    case!(a_method_that_is_not_listed_is_free_and_a_line_without_one_lists_all)
        .only(&[Framework::Axum])
        .http1(),
    case!(the_fallback_of_a_charged_router_is_free).only(&[Framework::Axum]).http1(),
    case!(a_table_that_sees_no_routes_lets_nothing_pass_unless_told_to).only(&[Framework::Axum]).http1(),
    case!(a_key_that_is_no_route_of_the_router_is_an_error).only(&[Framework::Axum]).http1(),
    case!(a_key_whose_method_axum_does_not_route_is_an_error).only(&[Framework::Axum]).http1(),
    case!(nested_routes_are_listed_as_the_layered_router_has_them).only(&[Framework::Axum]).http1(),
    case!(a_charged_router_gives_nothing_away_wherever_it_stands).only(&[Framework::Axum]).http1(),
    case!(a_layer_on_a_router_covers_all_that_was_there_before_it).only(&[Framework::Axum]).http1(),
    case!(a_fallback_can_be_charged_by_itself).only(&[Framework::Axum]).http1(),
    case!(a_layer_on_a_method_router_asks_for_other_methods_too_and_does_not_charge_a_405)
        .only(&[Framework::Axum])
        .http1(),
    case!(trailing_slash_layers_do_not_open_a_way).only(&[Framework::Axum]).http1(),
    case!(a_path_rewritten_behind_the_routes_is_refused).only(&[Framework::Axum]).http1(),
    case!(braces_in_a_path_are_no_parameter).only(&[Framework::Axum]).http1(),
    case!(a_path_is_of_the_route_that_axum_took_whatever_its_segments_are).only(&[Framework::Axum]).http1(),
];

const STACK: Stack = Stack { framework: Framework::Axum, wire: Wire::Http1 };

async fn shop(router: impl FnOnce(&PaymentGate, &Goods) -> Router) -> Shop {
    shop_with(|gate| gate, router).await
}

async fn shop_with(
    set_up: impl FnOnce(GateBuilder) -> GateBuilder,
    router: impl FnOnce(&PaymentGate, &Goods) -> Router,
) -> Shop {
    let (script, goods) = (Script::new(), Goods::default());
    let gate = set_up(gate(script.clone())).build().unwrap();
    let serving = Serving::start(router(&gate, &goods)).await.unwrap();
    gate.ready().await.unwrap();
    Shop::around(STACK, script, gate, goods, serving)
}

/// A handler that says the route's marker.
fn sells(goods: &Goods, route: &'static str) -> impl Fn() -> Ready<String> + Clone + use<> {
    let visits = goods.visits.clone();
    move || {
        visits.count();
        ready(marker(route))
    }
}

fn prices(keys: &[&str]) -> RouteTable {
    keys.iter().fold(RouteTable::new(), |table, key| table.route(key, cent()).unwrap())
}

fn shelves(goods: &Goods) -> Router {
    Router::new()
        .route("/cheap", any(sells(goods, "/cheap")))
        .route("/dear", get(sells(goods, "/dear")))
        .route("/dear/{id}", get(sells(goods, "/dear/{id}")))
        .route("/free", get(async || "free for all"))
}

fn table() -> RouteTable {
    prices(&["/cheap"]).route("GET /dear", dollar()).unwrap().route("GET /dear/{id}", dollar()).unwrap()
}

async fn a_table_on_a_router_prices_its_routes(_: Stack) {
    let shop = shop(|gate, goods| gate.charge_routes(shelves(goods), table()).unwrap()).await;
    no_spelling_gets_in(&shop).await;
    assert_eq!(shop.offer("/dear/7?x").await["resource"]["url"], format!("{ORIGIN}/dear/7?x"));
    assert_eq!(shop.get("/free", &[]).await.body, "free for all");
    assert_eq!(shop.get("/nowhere", &[]).await.status, 404);
    for (method, status) in [("HEAD", 402), ("GET", 402), ("POST", 405), ("OPTIONS", 405), ("TRACE", 405)] {
        assert_eq!(shop.send(method, "/dear/7", &[("content-length", "0")]).await.status, status, "{method}");
    }
    for method in ["HEAD", "GET", "POST", "OPTIONS", "TRACE"] {
        assert_eq!(shop.send(method, "/cheap", &[("content-length", "0")]).await.status, 402, "{method}");
    }
    assert_eq!(shop.counts(), (0, 0, 0));
    for (path, route) in [("/cheap", "/cheap"), ("/dear", "/dear"), ("/dear/7", "/dear/{id}")] {
        assert_sold(&shop.pay(path, &shop.v2(path).await).await, route);
    }
}

async fn a_method_that_is_not_listed_is_free_and_a_line_without_one_lists_all(_: Stack) {
    let shop = shop(|gate, goods| {
        let routes =
            Router::new().route("/any", any(sells(goods, "/any"))).route("/get", any(sells(goods, "/get")));
        gate.charge_routes(routes, prices(&["/any", "GET /get"])).unwrap()
    })
    .await;
    for method in ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "X"] {
        assert_eq!(shop.send(method, "/any", &[("content-length", "0")]).await.status, 402, "{method}");
        let status = if ["GET", "HEAD"].contains(&method) { 402 } else { 200 };
        assert_eq!(shop.send(method, "/get", &[("content-length", "0")]).await.status, status, "{method}");
    }
}

async fn the_fallback_of_a_charged_router_is_free(_: Stack) {
    let fallback = |goods: &Goods| shelves(goods).fallback(sells(goods, "the fallback"));
    let shop = shop(|gate, goods| gate.charge_routes(fallback(goods), table()).unwrap()).await;
    assert_eq!(shop.visits.get(), 0, "no handler runs while the table is checked");
    for path in ["/nowhere", "/cheap/", "/dear/7/8"] {
        assert_eq!(shop.get(path, &[]).await.body, marker("the fallback"));
    }
    assert_eq!((shop.get("/cheap", &[]).await.status, shop.get("/dear/7", &[]).await.status), (402, 402));
    assert_eq!(shop.visits.get(), 3);
}

async fn a_table_that_sees_no_routes_lets_nothing_pass_unless_told_to(_: Stack) {
    let outside = |gate: &PaymentGate, goods: &Goods, table: RouteTable| {
        let layer = PaymentLayer::new(gate.toll_by_route(table).unwrap(), Routing::NONE);
        Router::new().fallback_service(layer.layer(shelves(goods)))
    };
    let strict = shop(|gate, goods| outside(gate, goods, table())).await;
    for path in ["/cheap", "/dear/7", "/free", "/nowhere"] {
        let answer = strict.get(path, &[]).await;
        assert_refused(&answer, 500, "payment_misconfigured");
        let head = strict.send("HEAD", path, &[]).await;
        assert_eq!((head.status, head.body.as_str()), (500, ""));
        assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()));
    }
    assert_eq!(strict.counts(), (0, 0, 0));
    let lenient = shop(|gate, goods| outside(gate, goods, table().unrouted_is_free())).await;
    assert_eq!(lenient.get("/free", &[]).await.body, "free for all");
}

async fn a_key_that_is_no_route_of_the_router_is_an_error(_: Stack) {
    let wrong: &[(&str, Option<&str>)] = &[
        ("GET /chaep", None),
        ("GET /cheap/", None),
        ("/Cheap", None),
        ("GET /dear/:id", Some("/dear/{id}")),
        ("GET /dear/{name}", Some("/dear/{id}")),
        ("/dear/*", Some("/dear/{id}")),
        ("/dear/{*rest}", None),
        ("GET /weather/{city}", None),
        ("GET /api/weather", None),
        ("/files/{*rest}", None),
        ("/files", None),
    ];
    let shop = shop(|gate, goods| {
        let inner = Router::new().route("/weather/{city}", get(sells(goods, "weather")));
        let app = || {
            let shelves = shelves(goods).nest("/api", inner.clone());
            shelves.nest_service("/files", any(sells(goods, "files"))).fallback(sells(goods, "the fallback"))
        };
        for (key, expected) in wrong {
            let error = gate.charge_routes(app(), prices(&[key])).unwrap_err();
            let ConfigError::NoSuchRoute { route, nearest } = &error else { panic!("{key}: {error}") };
            assert_eq!((route.as_str(), nearest.as_deref()), (*key, *expected), "{error}");
        }
        assert!(gate.charge_routes(Router::new(), prices(&["/cheap"])).is_err());
        for key in ["HEAD /api/weather/{city}", "/cheap", "GET /dear/{id}"] {
            assert!(gate.charge_routes(app(), prices(&[key])).is_ok(), "{key}");
        }
        app()
    })
    .await;
    assert_eq!(shop.visits.get(), 0, "no handler runs while a table is checked");
}

async fn a_key_whose_method_axum_does_not_route_is_an_error(_: Stack) {
    let shop = shop(|gate, goods| {
        let sells = || sells(goods, "goods");
        let app = || {
            let inner = Router::new().route("/weather/{city}", get(sells()));
            Router::new()
                .nest("/api", inner)
                .route("/two", get(sells()).put(sells()))
                .route("/merged", get(sells()))
                .merge(Router::new().route("/merged", post(sells())))
                .route("/fallback", get(sells()).fallback(sells()))
                .route(
                    "/layered",
                    get(sells()).layer(from_fn(async |request, next: Next| next.run(request).await)),
                )
                .route("/any", any(sells()))
                .route_service("/service", any(sells()))
                .method_not_allowed_fallback(sells())
                .layer(from_fn(async |request, next: Next| next.run(request).await))
        };
        for (key, methods) in [
            ("POST /api/weather/{city}", "GET, HEAD"),
            ("CONNECT /api/weather/{city}", "GET, HEAD"),
            ("POST /two", "GET, HEAD, PUT"),
            ("DELETE /merged", "GET, HEAD, POST"),
            ("POST /fallback", "GET, HEAD"),
            ("POST /layered", "GET, HEAD"),
        ] {
            let error = gate.charge_routes(app(), prices(&["/any", key])).unwrap_err();
            let ConfigError::NoSuchMethod { route, methods: told } = &error else { panic!("{key}: {error}") };
            assert_eq!((route.as_str(), told.as_str()), (key, methods), "{error}");
        }
        for key in
            ["GET /two", "HEAD /two", "PUT /two", "POST /merged", "/fallback", "TRACE /any", "POST /service"]
        {
            assert!(gate.charge_routes(app(), prices(&[key])).is_ok(), "{key}");
        }
        let table = prices(&["GET /two"]).free("POST /two").unwrap();
        gate.charge_routes(app(), table).unwrap()
    })
    .await;
    assert_eq!(shop.visits.get(), 0, "no handler runs while a table is checked");
    assert_eq!(shop.get("/two", &[]).await.status, 402);
}

async fn nested_routes_are_listed_as_the_layered_router_has_them(_: Stack) {
    let outer = |gate: &PaymentGate, goods: &Goods| {
        let inner = Router::new().route("/weather/{city}", get(sells(goods, "weather")));
        let table = prices(&["GET /api/weather/{city}"]);
        gate.charge_routes(Router::new().nest("/api", inner), table).unwrap()
    };
    let inner = |gate: &PaymentGate, goods: &Goods| {
        let table = prices(&["GET /weather/{city}"]);
        let inner = Router::new().route("/weather/{city}", get(sells(goods, "weather")));
        Router::new().nest("/api", gate.charge_routes(inner, table).unwrap())
    };
    let service = |gate: &PaymentGate, goods: &Goods| {
        let table = prices(&["GET /weather/{city}"]);
        let inner = Router::new().route("/weather/{city}", get(sells(goods, "weather")));
        Router::new().nest_service("/api", gate.charge_routes(inner, table).unwrap())
    };
    let deep = |gate: &PaymentGate, goods: &Goods| {
        let table = prices(&["GET /api/weather/{city}"]);
        let inner = Router::new().route("/{city}", get(sells(goods, "weather")));
        let inner = Router::new().nest("/weather", inner);
        gate.charge_routes(Router::new().nest("/api", inner), table).unwrap()
    };
    let middle = |gate: &PaymentGate, goods: &Goods| {
        let table = prices(&["GET /weather/{city}"]);
        let inner = Router::new().route("/{city}", get(sells(goods, "weather")));
        let inner = gate.charge_routes(Router::new().nest("/weather", inner), table).unwrap();
        Router::new().nest("/api", inner)
    };
    let root = |gate: &PaymentGate, goods: &Goods| {
        let inner = Router::new().route("/", get(sells(goods, "weather")));
        let inner = gate.charge_routes(inner, prices(&["GET /"])).unwrap();
        Router::new().nest("/api/weather/{city}", inner)
    };
    let each = |gate: &PaymentGate, goods: &Goods| {
        let weather = get(sells(goods, "weather")).layer(gate.charge(cent()).unwrap());
        Router::new().nest("/api", Router::new().route("/weather/{city}", weather))
    };
    for shop in [
        shop(outer).await,
        shop(inner).await,
        shop(service).await,
        shop(deep).await,
        shop(middle).await,
        shop(root).await,
        shop(each).await,
    ] {
        let offer = shop.offer("/api/weather/rome?in=may").await;
        assert_eq!(offer["resource"]["url"], format!("{ORIGIN}/api/weather/rome?in=may"));
        assert_eq!(shop.get("/weather/rome", &[]).await.status, 404);
        assert_sold(&shop.pay("/api/weather/rome", &shop.v2("/api/weather/rome").await).await, "weather");
        assert_eq!(shop.counts(), (1, 1, 1));
    }
}

async fn a_charged_router_gives_nothing_away_wherever_it_stands(_: Stack) {
    let app = |gate: &PaymentGate, goods: &Goods| {
        let app =
            Router::new().route("/", get(sells(goods, "root"))).route("/{city}", get(sells(goods, "city")));
        let app = app.route("/files/{*rest}", get(sells(goods, "files")));
        gate.charge_routes(app, prices(&["GET /", "GET /{city}", "GET /files/{*rest}"])).unwrap()
    };
    let service = shop(|gate, goods| Router::new().nest_service("/v1", app(gate, goods))).await;
    let slash = shop(|gate, goods| Router::new().nest_service("/v1/", app(gate, goods))).await;
    let nested = shop(|gate, goods| Router::new().nest("/{tenant}", app(gate, goods))).await;
    let dispatched = shop(|gate, goods| {
        let app = app(gate, goods);
        let dispatch = any(async move |request: Request<Body>| app.oneshot(request).await.unwrap());
        Router::new().route("/", dispatch.clone()).route("/{*path}", dispatch)
    })
    .await;
    let prefixed = ["/v1", "/v1/", "/v1/rome", "/v1/files/a/b", "/v1/files/v1"];
    let bare = ["/", "/rome", "/files/a/b", "/files/files/a"];
    for (shop, paths) in
        [(&service, &prefixed[..]), (&slash, &prefixed), (&nested, &prefixed), (&dispatched, &bare)]
    {
        for path in paths {
            let answer = shop.get(path, &[]).await;
            assert!(answer.status != 200 && !answer.body.contains(MARKER), "{path}: {answer:?}");
        }
        let city = paths.iter().find(|path| path.ends_with("rome")).unwrap();
        assert_sold(&shop.pay(city, &shop.v2(city).await).await, "city");
        let file = paths.iter().find(|path| path.ends_with("/a/b")).unwrap();
        assert_sold(&shop.pay(file, &shop.v2(file).await).await, "files");
        assert_eq!(shop.counts(), (2, 2, 2));
    }
}

async fn a_layer_on_a_router_covers_all_that_was_there_before_it(_: Stack) {
    let shop = shop(|gate, goods| {
        let shop = shelves(goods).fallback(sells(goods, "the fallback")).layer(gate.charge(cent()).unwrap());
        // As axum has it: what is added behind a layer is not under it.
        shop.route("/later", get(async || "added later, and free"))
    })
    .await;
    for path in ["/cheap", "/dear", "/dear/7", "/free", "/nowhere", "/"] {
        let answer = shop.get(path, &[]).await;
        assert_eq!((answer.status, answer.count("payment-required")), (402, 1), "{path}");
    }
    assert_eq!(shop.get("/later", &[]).await.body, "added later, and free");
    assert_eq!(shop.counts(), (0, 0, 0));
    assert_sold(&shop.pay("/nowhere", &shop.v2("/nowhere").await).await, "the fallback");
}

async fn a_fallback_can_be_charged_by_itself(_: Stack) {
    let shop = shop(|gate, goods| {
        shelves(goods).fallback_service(any(sells(goods, "the fallback")).layer(gate.charge(cent()).unwrap()))
    })
    .await;
    assert_eq!(shop.get("/nowhere/at/all", &[]).await.status, 402);
    assert_eq!(shop.get("/free", &[]).await.status, 200);
    assert_sold(&shop.pay("/x", &shop.v2("/x").await).await, "the fallback");
}

async fn a_layer_on_a_method_router_asks_for_other_methods_too_and_does_not_charge_a_405(_: Stack) {
    let shop = shop(|gate, goods| {
        Router::new()
            .route("/layer", get(sells(goods, "layer")).layer(gate.charge(cent()).unwrap()))
            .route("/route_layer", get(sells(goods, "route_layer")).route_layer(gate.charge(cent()).unwrap()))
    })
    .await;
    let post = [("content-length", "0")];
    assert_eq!(shop.send("POST", "/layer", &post).await.status, 402);
    assert_eq!(shop.send("POST", "/route_layer", &post).await.status, 405);
    let payment = shop.v2("/layer").await;
    let header = x402_tests::serve::encoded(&payment);
    let refused = shop.send("POST", "/layer", &[post[0], ("payment-signature", &header)]).await;
    assert_eq!((refused.status, refused.count("payment-response")), (405, 0));
    assert_eq!(shop.counts(), (0, 1, 0));
    assert_sold(&shop.pay("/layer", &payment).await, "layer");
}

async fn trailing_slash_layers_do_not_open_a_way(_: Stack) {
    // What normalises paths before the router sees them leads to the router's own paid routes.
    let rewriting = async |mut request: Request<Body>, next: Next| {
        let path = request.uri().path().trim_end_matches('/').to_lowercase();
        *request.uri_mut() = path.parse().unwrap_or_default();
        next.run(request).await
    };
    let shop = shop(|gate, goods| {
        let inner = gate.charge_routes(shelves(goods), table()).unwrap();
        let rewritten = from_fn(rewriting).layer(inner);
        Router::new().fallback_service(rewritten.map_response(|response: axum::response::Response| response))
    })
    .await;
    for path in ["/cheap/", "/CHEAP", "/Dear/7/", "/dear//"] {
        let answer = shop.get(path, &[]).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{path} {answer:?}");
        assert!(!answer.body.contains(MARKER));
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn a_path_rewritten_behind_the_routes_is_refused(_: Stack) {
    let rewriting = async |mut request: Request<Body>, next: Next| {
        *request.uri_mut() = Uri::from_static("/some/where/else");
        next.run(request).await
    };
    let shop = shop(|gate, goods| {
        gate.charge_routes(shelves(goods), table()).unwrap().route_layer(from_fn(rewriting))
    })
    .await;
    for path in ["/cheap", "/dear/7"] {
        assert_refused(&shop.get(path, &[]).await, 500, "payment_misconfigured");
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn braces_in_a_path_are_no_parameter(_: Stack) {
    let shop = shop(|gate, goods| {
        let routes = shelves(goods).route("/{{x}}", get(async || "free for all"));
        let routes = routes.route("/{{x}}/{id}", get(sells(goods, "braces")));
        gate.charge_routes(routes, table().route("/{{x}}/{id}", cent()).unwrap()).unwrap()
    })
    .await;
    shop.answers("GET /{x} 200; GET /{x}/7 402>braces; GET /x 404; GET /cheap 402>/cheap").await;
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn a_path_is_of_the_route_that_axum_took_whatever_its_segments_are(_: Stack) {
    let shop = shop(|gate, goods| {
        let routes = shelves(goods).route("/a/{x}/{*rest}", get(sells(goods, "rest")));
        let routes = routes.route("/v{version}", get(sells(goods, "version")));
        let table = table().route("/a/{x}/{*rest}", cent()).unwrap().route("/v{version}", cent()).unwrap();
        gate.charge_routes(routes, table).unwrap()
    })
    .await;
    shop.answers(
        "GET /a/b/c 402>rest; GET /a//x//..y/./ 402>rest; GET /a//x 402>rest; GET /v7 402>version; GET /v 404",
    )
    .await;
}
