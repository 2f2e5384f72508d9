//! actix-web alone: what a middleware covers where it is wrapped, tables beside guards, and workers.

use std::{
    future::{Ready, ready},
    net::TcpListener,
    rc::Rc,
    sync::mpsc,
    thread,
};

use actix_web::{
    App, Error, HttpResponse, HttpServer,
    body::{BoxBody, MessageBody},
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    error::InternalError,
    guard,
    http::StatusCode,
    middleware::{DefaultHeaders, Next, NormalizePath, TrailingSlash, from_fn},
    rt::System,
    web::{self, Bytes, ServiceConfig},
};
use futures_util::{future::join_all, stream};
use x402_actix::GateExt;
use x402_core::gate::{PaymentGate, RouteTable};
use x402_tests::{
    script::{Act, Script},
    serve::{Answer, Serving, encoded},
};

use crate::{
    goods::Goods,
    harness::{Case, Framework, Stack, Wire, case},
    shop::{Shop, cent, dollar, gate},
    support::{MARKER, assert_no_receipt, assert_refused, assert_sold, assert_spent, marker, sign_v2},
};

const ACTIX: &[Framework] = &[Framework::Actix];

pub const CASES: &[Case] = &[
    case!(a_charge_covers_what_it_is_wrapped_on).only(ACTIX).http1(),
    case!(a_charge_on_an_app_covers_all_of_it).only(ACTIX).http1(),
    case!(where_a_guard_decides_the_price_nobody_gets_in_unpaid).only(ACTIX).http1(),
    case!(what_a_guard_leaves_open_the_table_or_the_resource_can_say).only(ACTIX).http1(),
    case!(where_a_table_says_it_wrongly_nothing_leaves).only(ACTIX).http1(),
    case!(a_table_prices_patterns_of_every_kind_in_every_spelling).only(ACTIX).http1(),
    case!(paths_normalized_outside_of_a_table_are_charged).only(ACTIX).http1(),
    case!(paths_normalized_inside_of_a_table_open_no_way).only(ACTIX).http1(),
    case!(default_services_answer_where_a_table_lets_them).only(ACTIX).http1(),
    case!(a_table_on_a_scope_prices_the_scope).only(ACTIX).http1(),
    case!(handlers_and_bodies_need_not_be_send).only(ACTIX).http1(),
    case!(an_error_of_an_inner_middleware_is_the_answer_it_becomes).only(ACTIX).http1(),
    case!(two_workers_sell_one_answer_for_one_payment).only(ACTIX).http1(),
    case!(a_pending_payment_is_resumed_by_any_worker).only(ACTIX).http1(),
];

const STACK: Stack = Stack { framework: Framework::Actix, wire: Wire::Http1 };

/// A shop with an app like this in each worker.
async fn shop<T, B>(
    script: Script,
    workers: usize,
    app: impl Fn(&PaymentGate, &Goods) -> App<T> + Clone + Send + 'static,
) -> Shop
where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let (gate, goods) = (gate(script.clone()).build().unwrap(), Goods::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, handle) = mpsc::channel();
    let factory = {
        let (gate, goods) = (gate.clone(), goods.clone());
        move || app(&gate, &goods)
    };
    thread::spawn(move || {
        System::new().block_on(async move {
            let server = HttpServer::new(factory).workers(workers).disable_signals();
            let server = server.listen(listener).unwrap().run();
            send.send(server.handle()).unwrap();
            server.await
        })
    });
    let handle = handle.recv().unwrap();
    let serving = Serving::ended_by(address, move || drop(handle.stop(false)));
    gate.ready().await;
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

async fn free() -> &'static str {
    "free for all"
}

/// A table of these keys: a cent each, or what the word before it says.
fn table(keys: &[&str]) -> RouteTable {
    keys.iter().fold(RouteTable::new(), |table, key| {
        match key.split_once(' ') {
            Some(("free", key)) => table.free(key),
            Some(("dear", key)) => table.route(key, dollar()),
            Some(("first", key)) => table.route(key, cent().settle_first()),
            _ => table.route(key, cent()),
        }
        .unwrap()
    })
}

impl Shop {
    async fn ask(&self, method: &str, path: &str) -> Answer {
        let before = self.counts();
        let answer = self.send(method, path, &[("content-length", "0")]).await;
        assert!(!answer.body.contains(MARKER), "{method} {path} {answer:?}");
        assert_eq!((self.script.verify_calls(), self.script.settle_calls()), (before.1, before.2));
        answer
    }

    /// Asks without a payment, which lets nobody in, and then with what is asked for.
    async fn buy(&self, method: &str, path: &str) -> Answer {
        let before = self.counts();
        let unpaid = self.ask(method, path).await;
        assert_eq!((unpaid.status, self.counts()), (402, before), "{method} {path} {unpaid:?}");
        let payment = encoded(&sign_v2(&unpaid.decoded("payment-required").unwrap(), 0).await);
        self.send(method, path, &[("content-length", "0"), ("payment-signature", &payment)]).await
    }
}

async fn a_charge_covers_what_it_is_wrapped_on(_: Stack) {
    let shop = shop(Script::new(), 1, |gate, goods| {
        let charge = || gate.charge(cent()).unwrap();
        let charged = web::get().to(sells(goods, "route")).wrap(charge());
        App::new()
            .service(web::resource("/resource").wrap(charge()).get(sells(goods, "resource")))
            .service(web::resource("/route").route(charged).post(free))
            .service(web::scope("/scope").wrap(charge()).route("/a", web::get().to(sells(goods, "scope"))))
            .service(web::scope("/rest").wrap(charge()).default_service(web::to(sells(goods, "rest"))))
            .service(web::scope("/bare").service(web::resource("/a").wrap(charge()).to(sells(goods, "bare"))))
    })
    .await;
    for (method, path, sold) in [
        ("GET", "/resource", Ok("resource")),
        ("GET", "/reso%75rce?x", Ok("resource")),
        ("POST", "/resource", Err(405)),
        ("GET", "/route", Ok("route")),
        ("GET", "/scope/a", Ok("scope")),
        ("POST", "/scope/a", Err(404)),
        ("GET", "/scope/nowhere", Err(404)),
        ("GET", "/scope", Err(404)),
        ("GET", "/rest/whatever", Ok("rest")),
        ("POST", "/rest", Ok("rest")),
        ("PUT", "/bare/a", Ok("bare")),
    ] {
        let settled = shop.script.settle_calls();
        let answer = shop.buy(method, path).await;
        match sold {
            Ok(route) => assert_sold(&answer, route),
            Err(status) => {
                assert_eq!((answer.status, answer.count("payment-response")), (status, 0), "{path}");
                assert_eq!(shop.script.settle_calls(), settled, "{method} {path}");
            }
        }
    }
    let visits = shop.visits.get();
    for (method, path, status) in [
        ("POST", "/route", 200),
        ("PUT", "/route", 405),
        ("GET", "/resource/", 404),
        ("GET", "/scopes", 404),
        ("GET", "/bare/nowhere", 404),
        ("GET", "/nowhere", 404),
    ] {
        assert_eq!(shop.ask(method, path).await.status, status, "{method} {path} is not what is charged");
    }
    assert_eq!(shop.visits.get(), visits);
}

async fn a_charge_on_an_app_covers_all_of_it(_: Stack) {
    let shop = shop(Script::new(), 1, |gate, goods| {
        App::new()
            .route("/a", web::get().to(sells(goods, "a")))
            .service(web::scope("/scope").route("/b", web::get().to(sells(goods, "b"))))
            .default_service(web::to(sells(goods, "the default")))
            .wrap(gate.charge(cent()).unwrap())
            .route("/later", web::get().to(sells(goods, "later")))
    })
    .await;
    for (path, route) in
        [("/a", "a"), ("/scope/b", "b"), ("/nowhere", "the default"), ("/scope/c", "the default")]
    {
        assert_sold(&shop.buy("GET", path).await, route);
    }
    // As actix-web has it: in an app the order of routes and middlewares is no matter.
    assert_sold(&shop.buy("GET", "/later").await, "later");
    for line in ["OPTIONS *", "CONNECT shop.example.com:443", "GET http://shop.example.com"] {
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = shop.serving.raw(request.as_bytes()).await.unwrap();
        assert_eq!((answer.status, answer.body.contains(MARKER)), (402, false), "{line} {answer:?}");
    }
    assert_eq!(shop.counts(), (5, 5, 5));
}

/// As with `#[get("/users/me")]`: other methods go on to the route behind it.
fn users(goods: &Goods) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let user = sells(goods, "user");
    move |config| {
        config.service(web::resource("/users/me").guard(guard::Get()).to(free));
        config.service(web::resource("/users/{id}").to(user));
    }
}

async fn users_by(keys: &'static [&'static str]) -> Shop {
    shop(Script::new(), 1, move |gate, goods| {
        App::new().configure(users(goods)).wrap(gate.charge_routes(table(keys)).unwrap())
    })
    .await
}

async fn where_a_guard_decides_the_price_nobody_gets_in_unpaid(_: Stack) {
    let any = users_by(&["/users/{id}"]).await;
    let posted = shop(Script::new(), 1, |gate, goods| {
        App::new()
            .service(web::resource("/users/me").guard(guard::Get()).to(free))
            .service(web::resource("/users/{id}").guard(guard::Post()).to(sells(goods, "user")))
            .wrap(gate.charge_routes(table(&["POST /users/{id}"])).unwrap())
    })
    .await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"] {
        for path in
            ["/users/me", "/users/m%65", "/us%65rs/%6D%65", "/users/me?/users/7", "/users/7", "/users/%37"]
        {
            let me = !path.contains('7') || path.contains('?');
            // The first that matches is free, or it may be one that is charged.
            assert_eq!(any.ask(method, path).await.status, if me { 500 } else { 402 }, "{method} {path}");
            let status = match (method, me) {
                ("POST", true) => 500,
                ("POST", false) => 402,
                ("GET", true) => 200,
                _ => 404,
            };
            assert_eq!(posted.ask(method, path).await.status, status, "{method} {path}");
        }
    }
    for shop in [any, posted] {
        assert_refused(&shop.ask("POST", "/users/me").await, 500, "payment_misconfigured");
        assert_eq!(shop.counts(), (0, 0, 0));
        assert_sold(&shop.buy("POST", "/users/7").await, "user");
    }
}

async fn what_a_guard_leaves_open_the_table_or_the_resource_can_say(_: Stack) {
    let wrapped = shop(Script::new(), 1, |gate, goods| {
        let user = web::resource("/users/{id}").wrap(gate.charge(cent()).unwrap()).to(sells(goods, "user"));
        App::new().service(web::resource("/users/me").guard(guard::Get()).to(free)).service(user)
    })
    .await;
    let listed = users_by(&["free GET /users/me", "/users/me", "/users/{id}"]).await;
    for shop in [wrapped, listed] {
        assert_eq!(shop.get("/users/me", &[]).await.body, "free for all");
        for path in ["/users/me", "/users/m%65", "/users/7"] {
            assert_sold(&shop.buy("POST", path).await, "user");
        }
        assert_eq!(shop.counts(), (3, 3, 3));
    }
}

async fn where_a_table_says_it_wrongly_nothing_leaves(_: Stack) {
    // The handler ran, for it was on its way; what it said stays here, and was not settled.
    for (keys, method, pays) in [
        (&["free /users/me", "/users/{id}"][..], "POST", false),
        (&["free GET /users/me", "/users/{id}"], "HEAD", false),
        (&["dear /users/me", "/users/{id}"], "POST", true),
        (&["POST /users/me"], "POST", true),
    ] {
        let shop = users_by(keys).await;
        for visits in 1..=2 {
            let answer = match pays {
                true => shop.buy(method, "/users/me").await,
                false => shop.ask(method, "/users/me").await,
            };
            assert_eq!((answer.status, answer.body.contains(MARKER)), (500, false), "{keys:?} {answer:?}");
            assert_no_receipt(&answer);
            assert_eq!(shop.counts(), (visits, if pays { visits } else { 0 }, 0), "{keys:?}");
        }
    }
    // What was settled first is not settled again.
    let shop = users_by(&["free GET /users/me", "first /users/me", "/users/{id}"]).await;
    let offer = shop.ask("POST", "/users/me").await.decoded("payment-required").unwrap();
    let payment = encoded(&sign_v2(&offer, 0).await);
    for visits in 1..=2 {
        let headers = [("content-length", "0"), ("payment-signature", payment.as_str())];
        assert_refused(&shop.send("POST", "/users/me", &headers).await, 500, "payment_misconfigured");
        assert_eq!(shop.counts(), (visits, 1, 1));
    }
}

async fn a_table_prices_patterns_of_every_kind_in_every_spelling(_: Stack) {
    let shop = shop(Script::new(), 1, |gate, goods| {
        let sells = |route| web::get().to(sells(goods, route));
        let deep = web::scope("/deep/{id}").route("/x", sells("x")).route("", sells("root"));
        let keys = [
            "/paid",
            "/a",
            r"/n/{id:\d+}",
            "GET /f/{x:json|csv}",
            "/t/{tail:.*}",
            "/u/{tail}*",
            "/{tenant}/in/deep/{id}/x",
            "/{tenant}/in/deep/{id}",
            "/last",
        ];
        App::new()
            .route("/paid", sells("paid"))
            .service(web::resource(["/a", "/b/{c}"]).route(sells("ab")))
            .route(r"/n/{id:\d+}", sells("n"))
            .route("/f/{x:json|csv}", sells("f"))
            .route("/t/{tail:.*}", sells("t"))
            .route("/u/{tail}*", sells("u"))
            .service(web::scope("/{tenant}/in").service(deep))
            .service(web::scope("").route("/last", sells("last")))
            .wrap(gate.charge_routes(table(&keys)).unwrap())
    })
    .await;
    let paths = [
        ("/paid", "paid"),
        ("/p%61id?x", "paid"),
        ("/a", "ab"),
        ("/b/7", "ab"),
        ("/%62/%37", "ab"),
        ("/n/42", "n"),
        ("/n/4%32", "n"),
        ("/f/csv", "f"),
        ("/%66/js%6Fn", "f"),
        ("/t/", "t"),
        ("/t/a//b", "t"),
        ("/%74/%2e%2e/a", "t"),
        ("/u/a/b", "u"),
        ("/u/%61", "u"),
        ("/paid/in/deep/7/x", "x"),
        ("/7/%69n/d%65ep/7/%78", "x"),
        ("/%37/in/deep/%37", "root"),
        ("/last", "last"),
        ("/l%61st", "last"),
    ];
    for (path, route) in paths {
        assert_sold(&shop.buy("GET", path).await, route);
    }
    let counts = shop.counts();
    let mut asked = 0;
    for (path, _) in paths {
        for (at, byte) in path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte != b'%') {
            for written in [format!("%{byte:02X}"), format!("%25{byte:02x}"), format!("/{}", byte as char)] {
                let spelled = format!("{}{written}{}", &path[..at], &path[at + 1..]);
                let status = shop.ask("GET", &spelled).await.status;
                assert!([402, 404].contains(&status), "{spelled} {status}");
                asked += usize::from(status == 402);
            }
        }
    }
    assert!(asked > 100, "{asked} spellings were asked to pay");
    for path in ["/b", "/n/x", "/n/", "/f/xml", "/7/in/deep", "/7/in/deep/7/", "/in/deep/7/x", "/"] {
        assert_eq!(shop.ask("GET", path).await.status, 404, "{path}");
    }
    assert_eq!(shop.counts(), counts);
}

async fn paths_normalized_outside_of_a_table_are_charged(_: Stack) {
    for style in [TrailingSlash::Trim, TrailingSlash::MergeOnly, TrailingSlash::Always] {
        let shop = shop(Script::new(), 1, move |gate, goods| {
            App::new()
                .route("/paid/{id}", web::get().to(sells(goods, "paid")))
                .route("/paid/{id}/", web::get().to(sells(goods, "paid")))
                .wrap(gate.charge_routes(table(&["/paid/{id}", "/paid/{id}/"])).unwrap())
                .wrap(NormalizePath::new(style))
        })
        .await;
        for path in ["/paid/7", "/paid/7/", "//paid//7", "///p%61id/7///?x", "/paid//%37"] {
            assert_sold(&shop.buy("GET", path).await, "paid");
        }
        assert_eq!(shop.ask("GET", "/paid/").await.status, 404);
    }
}

async fn paths_normalized_inside_of_a_table_open_no_way(_: Stack) {
    for lenient in [false, true] {
        let shop = shop(Script::new(), 1, move |gate, goods| {
            let prices = table(&["/paid"]);
            let prices = if lenient { prices.unrouted_is_free() } else { prices };
            App::new()
                .route("/paid", web::get().to(sells(goods, "paid")))
                .wrap(NormalizePath::trim())
                .wrap(gate.charge_routes(prices).unwrap())
        })
        .await;
        assert_sold(&shop.buy("GET", "/paid").await, "paid");
        for path in ["/paid/", "//paid", "///p%61id/", "/paid//?x"] {
            let answer = shop.ask("GET", path).await;
            assert_eq!(answer.status, if lenient { 500 } else { 404 }, "{path} {answer:?}");
        }
        // Where it is let through it runs, for nobody.
        assert_eq!(shop.counts(), (if lenient { 5 } else { 1 }, 1, 1));
    }
}

async fn default_services_answer_where_a_table_lets_them(_: Stack) {
    for lenient in [false, true] {
        let shop = shop(Script::new(), 1, move |gate, goods| {
            let prices = table(&["/paid", "GET /scope/paid"]);
            let prices = if lenient { prices.unrouted_is_free() } else { prices };
            let scope = web::scope("/scope").route("/paid", web::to(sells(goods, "scope")));
            App::new()
                .service(web::resource("/paid").get(sells(goods, "paid")))
                .service(scope.default_service(web::to(free)))
                .default_service(web::to(free))
                .wrap(gate.charge_routes(prices).unwrap())
        })
        .await;
        for path in
            ["/", "/nowhere", "/paid/", "//paid", "/scope", "/scope/", "/scope/nowhere", "/scope//paid"]
        {
            let answer = shop.ask("GET", path).await;
            match lenient {
                true => assert_eq!((answer.status, answer.body.as_str()), (200, "free for all"), "{path}"),
                false => assert_refused(&answer, 404, "not_found"),
            }
        }
        // A route that is found and lacks the method is no default service's matter.
        assert_eq!(shop.ask("POST", "/paid").await.status, 402);
        assert_eq!((shop.buy("POST", "/paid").await.status, shop.counts()), (405, (0, 1, 0)));
        assert_sold(&shop.buy("GET", "/scope/paid").await, "scope");
    }
}

async fn a_table_on_a_scope_prices_the_scope(_: Stack) {
    let shop = shop(Script::new(), 1, |gate, goods| {
        let sells = |route| web::get().to(sells(goods, route));
        let keys = ["/api/{v}", "/api/{v}/x", "GET /api/{v}/in/{id}", "/else/x"];
        let scope = web::scope("/api/{v}")
            .route("", sells("root"))
            .route("/x", sells("x"))
            .service(web::scope("/in").route("/{id}", sells("in")))
            .route("/free", web::get().to(free))
            .wrap(gate.charge_routes(table(&keys)).unwrap());
        App::new().service(scope).route("/else/x", web::get().to(free)).default_service(web::to(free))
    })
    .await;
    for (path, route) in [
        ("/api/1", "root"),
        ("/%61pi/1", "root"),
        ("/api/1/x", "x"),
        ("/%61pi/%31/%78?y", "x"),
        ("/api/1/in/7", "in"),
        ("/api/1/%69n/%37", "in"),
    ] {
        assert_sold(&shop.buy("GET", path).await, route);
    }
    let counts = shop.counts();
    for (path, status) in [
        ("/api/1/free", 200),
        ("/%61pi/1/fr%65e", 200),
        ("/api/1/nowhere", 404),
        ("/api/1/", 404),
        ("/api/1//x", 404),
        ("/api/1/in", 404),
        // Outside of the scope its table has no say, whatever it lists.
        ("/else/x", 200),
        ("/nowhere", 200),
        ("/api", 200),
    ] {
        assert_eq!(shop.ask("GET", path).await.status, status, "{path}");
    }
    assert_eq!(shop.counts(), counts);
}

async fn handlers_and_bodies_need_not_be_send(_: Stack) {
    let script = Script::new().on_settle([Act::No("insufficient_funds"), Act::Yes]);
    let shop = shop(script, 1, |gate, goods| {
        let goods = goods.clone();
        let handler = web::get().to(move || {
            let (goods, here) = (goods.clone(), Rc::new(marker("here")));
            async move {
                goods.visits.count();
                tokio::task::yield_now().await;
                let pieces = stream::unfold((here, 3), move |(here, left)| {
                    goods.polls.count();
                    let piece = Bytes::from(here.as_bytes().to_vec());
                    ready((left > 0).then_some((Ok::<_, Error>(piece), (here, left - 1))))
                });
                HttpResponse::Ok().streaming(pieces)
            }
        });
        App::new().service(web::resource("/here").wrap(gate.charge(cent()).unwrap()).route(handler))
    })
    .await;
    assert_refused(&shop.buy("GET", "/here").await, 402, "insufficient_funds");
    assert_eq!((shop.counts(), shop.polls.get()), ((1, 1, 1), 0), "no byte was made");
    let answer = shop.buy("GET", "/here").await;
    assert_sold(&answer, "here");
    assert_eq!((answer.body.matches(MARKER).count(), shop.polls.get()), (3, 4));
}

async fn an_error_of_an_inner_middleware_is_the_answer_it_becomes(_: Stack) {
    for (first, status, receipts) in
        [(false, 404, 0), (false, 503, 0), (false, 303, 1), (true, 404, 1), (true, 503, 1)]
    {
        let shop = shop(Script::new(), 1, move |gate, goods| {
            let fails = from_fn(move |request: ServiceRequest, next: Next<BoxBody>| async move {
                next.call(request).await?;
                let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap());
                let response = response.append_header(("set-cookie", "a=1")).body("it failed");
                Err::<ServiceResponse, Error>(InternalError::from_response("late", response).into())
            });
            let charge = if first { cent().settle_first() } else { cent() };
            let resource = web::resource("/paid").wrap(fails).wrap(gate.charge(charge).unwrap());
            App::new().service(resource.to(sells(goods, "paid")))
        })
        .await;
        let answer = shop.buy("GET", "/paid").await;
        assert_eq!((answer.status, answer.body.as_str()), (status, "it failed"), "{answer:?}");
        assert_eq!((answer.count("payment-response"), answer.count("set-cookie")), (receipts, 1));
        assert_eq!(shop.counts(), (1, 1, receipts), "{status} {first}");
    }
}

/// Two workers that sell `/cheap`, and say which of them answers; the charge is made in each of them, or once for both.
async fn two_workers(script: Script, in_factory: bool) -> Shop {
    let early = gate(script.clone()).build().unwrap();
    let made = early.charge(cent()).unwrap();
    shop(script, 2, move |gate, goods| {
        let charge = if in_factory { gate.charge(cent()).unwrap() } else { made.clone() };
        let worker = format!("{:?}", thread::current().id());
        App::new()
            .service(web::resource("/cheap").wrap(charge).to(sells(goods, "/cheap")))
            .wrap(DefaultHeaders::new().add(("x-worker", worker)))
    })
    .await
}

fn workers(answers: &[Answer]) -> usize {
    let mut workers: Vec<_> = answers.iter().map(|answer| answer.header("x-worker").unwrap()).collect();
    workers.sort_unstable();
    workers.dedup();
    workers.len()
}

async fn two_workers_sell_one_answer_for_one_payment(_: Stack) {
    for in_factory in [false, true] {
        let script = Script::new().on_verify([Act::Dawdle]).on_settle([Act::Dawdle]);
        let shop = two_workers(script, in_factory).await;
        for round in 1..=4 {
            let payment = shop.v2("/cheap").await;
            let answers = join_all((0..64).map(|_| shop.pay("/cheap", &payment))).await;
            let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
            assert_eq!((count(200), count(409) + count(402), workers(&answers)), (1, 63, 2));
            assert_eq!(answers.iter().filter(|answer| answer.body.contains(MARKER)).count(), 1);
            assert_eq!(shop.counts(), (round, round, round));
        }
    }
}

async fn a_pending_payment_is_resumed_by_any_worker(_: Stack) {
    for in_factory in [false, true] {
        let shop = two_workers(Script::new().on_settle([Act::Pending]), in_factory).await;
        let payment = shop.v2("/cheap").await;
        let mut answers = Vec::new();
        while answers.len() < 64 && workers(&answers) < 2 {
            let answer = shop.pay("/cheap", &payment).await;
            assert_refused(&answer, 503, "settlement_pending");
            answers.push(answer);
        }
        assert_eq!((workers(&answers), shop.script.verify_calls()), (2, 1));
        let _ = shop.script.clone().on_settle([Act::Yes]);
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        for _ in 0..4 {
            assert_spent(&shop.pay("/cheap", &payment).await);
        }
        assert_eq!((shop.visits.get(), shop.script.verify_calls()), (2, 1));
    }
}
