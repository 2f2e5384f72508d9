//! actix-web alone: what a middleware covers where it is wrapped, tables beside guards, and workers.

use std::{
    collections::HashSet,
    future::{Ready, ready},
    net::TcpListener,
    rc::Rc,
    sync::{Arc, OnceLock, mpsc},
    thread,
};

use actix_web::{
    App, Error, HttpResponse, HttpServer,
    body::{BoxBody, MessageBody},
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    error::InternalError,
    guard,
    http::StatusCode,
    middleware::{DefaultHeaders, Next, NormalizePath, from_fn},
    rt::System,
    web::{self, Bytes},
};
use futures_util::{future::join_all, stream};
use tokio::io::AsyncReadExt;
use x402_actix::GateExt;
use x402_core::{
    gate::{PaymentGate, RequestDecision, RouteTable, exact_with},
    network::BASE_SEPOLIA,
};
use x402_tests::{
    script::{Act, Script},
    serve::{Answer, Serving, encoded},
};

use crate::{
    goods::Goods,
    harness::{Case, Framework, Stack, Wire, case},
    shop::{Shop, cent, dollar, gate},
    support::{MARKER, SELLER, assert_refused, assert_sold, assert_spent, marker, sign_v2},
};

const ACTIX: &[Framework] = &[Framework::Actix];

pub const CASES: &[Case] = &[
    case!(a_charge_covers_what_it_is_wrapped_on).only(ACTIX).http1(),
    case!(where_a_guard_decides_the_price_nobody_gets_in_unpaid).only(ACTIX).http1(),
    case!(where_a_table_tells_a_wrong_price_nothing_leaves).only(ACTIX).http1(),
    case!(a_rival_that_is_free_in_this_method_is_none).only(ACTIX).http1(),
    case!(settled_first_a_guard_that_says_no_is_paid_in_every_spelling).only(ACTIX).http1(),
    case!(a_price_that_is_computed_or_hooked_is_another_one).only(ACTIX).http1(),
    case!(a_table_prices_patterns_of_every_kind_in_every_spelling).only(ACTIX).http1(),
    case!(normalized_paths_are_charged_or_reach_nobody).only(ACTIX).http1(),
    case!(default_services_answer_where_a_table_lets_them).only(ACTIX).http1(),
    case!(where_a_table_refuses_head_is_told_what_get_is).only(ACTIX).http1(),
    case!(a_table_on_a_scope_prices_the_scope).only(ACTIX).http1(),
    case!(handlers_and_bodies_need_not_be_send).only(ACTIX).http1(),
    case!(an_error_of_an_inner_middleware_is_the_answer_it_becomes).only(ACTIX).http1(),
    case!(two_workers_sell_one_answer_for_one_payment).only(ACTIX).http1(),
    case!(a_pending_payment_is_resumed_by_any_worker).only(ACTIX).http1(),
    case!(a_settlement_outlives_its_worker).only(ACTIX).http1(),
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

async fn free() -> &'static str {
    "free for all"
}

/// A table of these keys: a cent each, or what the word before it says.
fn table(keys: &[&str]) -> RouteTable {
    keys.iter().fold(RouteTable::new(), |table, key| {
        match key.split_once(' ') {
            Some(("free", "*")) => Ok(table.unrouted_is_free()),
            Some(("free", key)) => table.free(key),
            Some(("dear", key)) => table.route(key, dollar()),
            Some(("first", key)) => table.route(key, cent().settle_first()),
            _ => table.route(key, cent()),
        }
        .unwrap()
    })
}

async fn a_charge_covers_what_it_is_wrapped_on(_: Stack) {
    let parts = shop(Script::new(), 1, |gate, goods| {
        let charge = || gate.charge(cent()).unwrap();
        let charged = web::get().to(sells(goods, "route")).wrap(charge());
        App::new()
            .service(web::resource("/resource").wrap(charge()).get(sells(goods, "resource")))
            .service(web::resource("/route").route(charged).post(free))
            .service(web::scope("/scope").wrap(charge()).route("/a", web::get().to(sells(goods, "scope"))))
            .service(web::scope("/rest").wrap(charge()).default_service(web::to(sells(goods, "rest"))))
            .service(web::scope("/bare").service(web::resource("/a").wrap(charge()).to(sells(goods, "bare"))))
    });
    let lines = "
        GET /resource 402>resource; GET /reso%75rce?x 402>resource; POST /resource 402>405; GET /resource/ 404
        GET /route 402>route; POST /route 200; PUT /route 405
        GET /scope/a 402>scope; POST /scope/a 402>404; GET /scope/b 402>404; GET /scope 402>404; GET /scopes 404
        GET /rest/of/it 402>rest; POST /rest 402>rest
        PUT /bare/a 402>bare; GET /bare/b 404; GET /nowhere 404";
    parts.await.answers(lines).await;
    let whole = shop(Script::new(), 1, |gate, goods| {
        App::new()
            .route("/a", web::get().to(sells(goods, "a")))
            .service(web::scope("/scope").route("/b", web::get().to(sells(goods, "b"))))
            .default_service(web::to(sells(goods, "default")))
            .wrap(gate.charge(cent()).unwrap())
            // As actix-web has it: in an app the order of routes and middlewares is no matter.
            .route("/later", web::get().to(sells(goods, "later")))
    });
    let lines = "
        GET /a 402>a; GET /scope/b 402>b; GET /scope/c 402>default; POST /a 402>default; GET /later 402>later
        GET / 402>default; OPTIONS * 402; CONNECT shop.example.com:443 402; GET http://shop.example.com 402";
    whole.await.answers(lines).await;
}

/// `GET /users/me` is free, as with `#[get]`: other methods go on to the route behind it, which takes them all.
async fn users_by(keys: &'static [&'static str]) -> Shop {
    users(table(keys)).await
}

async fn users(table: RouteTable) -> Shop {
    shop(Script::new(), 1, move |gate, goods| {
        App::new()
            .service(web::resource("/users/me").guard(guard::Get()).to(free))
            .service(web::resource("/users/{id}").to(sells(goods, "user")))
            .wrap(gate.charge_routes(table.clone()).unwrap())
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
    });
    let posted = posted.await;
    for path in ["/users/me", "/users/m%65", "/us%65rs/%6D%65", "/users/me?/users/7", "http://x/users/me"] {
        // The route that matches first is free, but it may be another one that takes the request.
        any.answers(&format!("GET|HEAD|POST|PUT|DELETE|OPTIONS|TRACE|X {path} 500")).await;
        posted.answers(&format!("GET {path} 200; POST {path} 500; HEAD|PUT|OPTIONS|X {path} 404")).await;
    }
    for path in ["/users/7", "/users/%37", "/users/mE", "/users/me%20"] {
        any.answers(&format!("GET|POST|PUT|DELETE|OPTIONS|TRACE|X {path} 402>user; HEAD {path} 402")).await;
        posted.answers(&format!("POST {path} 402>user; GET|HEAD|PUT|OPTIONS|X {path} 404")).await;
    }
    assert_refused(&any.ask("POST", "/users/me").await, 500, "payment_misconfigured");

    let wrapped = shop(Script::new(), 1, |gate, goods| {
        let user = web::resource("/users/{id}").wrap(gate.charge(cent()).unwrap()).to(sells(goods, "user"));
        App::new().service(web::resource("/users/me").guard(guard::Get()).to(free)).service(user)
    });
    for cured in [wrapped.await, users_by(&["free GET /users/me", "/users/me", "/users/{id}"]).await] {
        cured.answers("GET /users/me 200; POST /users/me 402>user; POST /users/m%65 402>user").await;
        cured.answers("GET|POST|PUT /users/7 402>user").await;
    }
}

async fn where_a_table_tells_a_wrong_price_nothing_leaves(_: Stack) {
    // The handler ran, for the request was on its way; what it said stays here, and was not settled behind it.
    for (keys, method, counts) in [
        (&["free /users/me", "/users/{id}"][..], "POST", (2, 0, 0)),
        (&["free GET /users/me", "/users/{id}"], "HEAD", (0, 0, 0)),
        (&["dear /users/me", "/users/{id}"], "POST", (1, 1, 0)),
        (&["POST /users/me"], "POST", (1, 1, 0)),
        (&["first /users/me", "/users/{id}"], "POST", (1, 1, 1)),
    ] {
        let shop = users_by(keys).await;
        let mut payment = String::new();
        if let Ok(offer) = shop.ask(method, "/users/me").await.decoded("payment-required") {
            payment = encoded(&sign_v2(&offer, 0).await);
        }
        let headers = [("content-length", "0"), ("payment-signature", payment.as_str())];
        let answer = shop.send(method, "/users/me", &headers).await;
        assert_eq!((answer.status, answer.body.contains(MARKER)), (500, false), "{keys:?} {answer:?}");
        assert_eq!((answer.count("payment-response"), shop.counts()), (0, counts), "{keys:?}");
        // What was settled first is not settled again.
        assert_eq!(shop.send(method, "/users/me", &headers).await.status, 500, "{keys:?}");
        assert_eq!(shop.script.settle_calls(), counts.2, "{keys:?}");
    }
}

async fn a_rival_that_is_free_in_this_method_is_none(_: Stack) {
    let shop = users_by(&["free GET /users/{id}", "/users/{id}"]).await;
    shop.answers("GET /users/me 200; GET /users/m%65 200").await;
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn settled_first_a_guard_that_says_no_is_paid_in_every_spelling(_: Stack) {
    let shop = shop(Script::new(), 1, |gate, goods| {
        let paid = web::resource("/paid").guard(guard::Header("x-tier", "gold")).to(sells(goods, "paid"));
        App::new().service(paid).wrap(gate.charge_routes(table(&["first /paid"])).unwrap())
    })
    .await;
    for path in ["/paid", "/p%61id"] {
        let answer = shop.buy("GET", path).await;
        assert_eq!((answer.status, answer.count("payment-response")), (404, 1), "{path} {answer:?}");
    }
    assert_eq!(shop.counts(), (0, 2, 2));
}

/// Two prices are not the same for looking the same.
async fn a_price_that_is_computed_or_hooked_is_another_one(_: Stack) {
    let computed = |price: &'static str| exact_with(move |_| ready(Ok(price))).on(BASE_SEPOLIA).to(SELLER);
    let gift = || cent().on_request(async |_| RequestDecision::Free);
    for (me, other, status) in [(computed("$0.01"), computed("$1"), 402), (gift(), cent(), 500)] {
        let table = RouteTable::new().free("GET /users/me").unwrap();
        let table = table.route("/users/me", me).unwrap().route("/users/{id}", other).unwrap();
        let shop = users(table).await;
        let answer = shop.ask("POST", "/users/me").await;
        assert_eq!(answer.status, status, "{answer:?}");
        if let Ok(offer) = answer.decoded("payment-required") {
            let header = encoded(&sign_v2(&offer, 0).await);
            let headers = [("content-length", "0"), ("payment-signature", header.as_str())];
            assert_refused(&shop.send("POST", "/users/me", &headers).await, 500, "payment_misconfigured");
        }
        assert_eq!(shop.script.settle_calls(), 0);
    }
}

async fn a_table_prices_patterns_of_every_kind_in_every_spelling(_: Stack) {
    let shop = shop(Script::new(), 1, |gate, goods| {
        let sells = |route| web::get().to(sells(goods, route));
        let mut keys =
            vec!["/paid", "/a", r"/n/{id:\d+}", "GET /f/{x:json|csv}", "/t/{tail:.*}", "/u/{tail}*"];
        keys.extend(["/{tenant}/in/deep/{id}/x", "/{tenant}/in/deep/{id}", "/last"]);
        App::new()
            .route("/paid", sells("paid"))
            .service(web::resource(["/a", "/b/{c}"]).route(sells("ab")))
            .route(r"/n/{id:\d+}", sells("n"))
            .route("/f/{x:json|csv}", sells("f"))
            .route("/t/{tail:.*}", sells("t"))
            .route("/u/{tail}*", sells("u"))
            .service(
                web::scope("/{tenant}/in")
                    .service(web::scope("/deep/{id}").route("/x", sells("x")).route("", sells("root"))),
            )
            .service(web::scope("").route("/last", sells("last")))
            .wrap(gate.charge_routes(table(&keys)).unwrap())
    });
    let shop = shop.await;
    let lines = r"
        GET /paid 402>paid; GET /p%61id?x 402>paid; GET /a 402>ab; GET /b/7 402>ab; GET /%62/%37 402>ab
        GET /n/42 402>n; GET /n/4%32 402>n; GET /f/csv 402>f; GET /%66/js%6Fn 402>f
        GET /t/ 402>t; GET /t/a//b 402>t; GET /%74/%2e%2e/a 402>t; GET /u/a/b 402>u; GET /u/%61 402>u
        GET /paid/in/deep/7/x 402>x; GET /7/%69n/d%65ep/7/%78 402>x; GET /%37/in/deep/%37 402>root
        GET /last 402>last; GET /l%61st 402>last";
    shop.answers(lines).await;
    shop.spelled_otherwise_gives_nothing(lines).await;
    shop.answers("GET /b 404; GET /n/x 404; GET /n/ 404; GET /f/xml 404; GET / 404; GET /t 404").await;
    shop.answers("GET /7/in/deep 404; GET /7/in/deep/7/ 404; GET /in/deep/7/x 404").await;
}

async fn normalized_paths_are_charged_or_reach_nobody(_: Stack) {
    let outside = shop(Script::new(), 1, |gate, goods| {
        App::new()
            .service(web::resource("/paid/{id}").get(sells(goods, "paid")))
            .wrap(gate.charge_routes(table(&["/paid/{id}"])).unwrap())
            .wrap(NormalizePath::trim())
    });
    let lines = "
        GET /paid/7 402>paid; GET /paid/7/ 402>paid; GET //paid//7 402>paid; GET ///p%61id/7///?x 402>paid
        GET /paid//%37 402>paid; POST /paid/7/ 402>405; GET /paid/ 404; GET /paid/%2F 402>paid";
    outside.await.answers(lines).await;
    // Where what has no route is let through, the handler runs, for nobody.
    for (keys, status, visits) in [(&["/paid"][..], 404, 0), (&["/paid", "free *"], 500, 4)] {
        let inside = shop(Script::new(), 1, move |gate, goods| {
            App::new()
                .route("/paid", web::get().to(sells(goods, "paid")))
                .wrap(NormalizePath::trim())
                .wrap(gate.charge_routes(table(keys)).unwrap())
        });
        let inside = inside.await;
        for path in ["/paid/", "//paid", "///p%61id/", "/paid//?x"] {
            assert_eq!(inside.ask("GET", path).await.status, status, "{path}");
        }
        assert_eq!(inside.counts(), (visits, 0, 0));
        inside.answers("GET /paid 402>paid").await;
    }
}

async fn default_services_answer_where_a_table_lets_them(_: Stack) {
    for (unrouted, status) in [("free /free", "404"), ("free *", "200")] {
        let shop = shop(Script::new(), 1, move |gate, goods| {
            let prices = table(&["/paid", "/scope/paid", unrouted]);
            let scope = web::scope("/scope").route("/paid", web::to(sells(goods, "scope")));
            App::new()
                .service(web::resource("/paid").get(sells(goods, "paid")))
                .service(scope.default_service(web::to(free)))
                .service(web::resource("/free").to(free))
                .default_service(web::to(free))
                .wrap(gate.charge_routes(prices).unwrap())
        });
        let lines = "
            GET|POST / ?; GET /nowhere ?; GET|POST /paid/ ?; GET //paid ?; GET /scope ?; GET /scope/ ?
            GET /scope/nowhere ?; GET /scope//paid ?; OPTIONS * ?
            GET /paid 402>paid; POST /paid 402>405; GET /scope/paid 402>scope";
        shop.await.answers(&lines.replace('?', status)).await;
    }
}

async fn where_a_table_refuses_head_is_told_what_get_is(_: Stack) {
    let shop = users_by(&["/users/{id}"]).await;
    for (path, status) in [("/nowhere", 404), ("/users/me", 500)] {
        let answer = shop.ask("GET", path).await;
        assert!(answer.status == status && !answer.body.is_empty(), "{answer:?}");
        let head = shop.ask("HEAD", path).await;
        assert_eq!((head.status, head.body.as_str()), (status, ""), "{path}");
        assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()), "{path}");
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
    });
    // Outside of the scope its table has no say, whatever it lists.
    let lines = "
        GET /api/1 402>root; GET /%61pi/1 402>root; GET /api/1/x 402>x; GET /%61pi/%31/%78?y 402>x
        GET /api/1/in/7 402>in; GET /api/1/%69n/%37 402>in
        GET /api/1/free 200; GET /%61pi/1/fr%65e 200; GET /api/1/b 404; GET /api/1/ 404; GET /api/1//x 404
        GET /api/1/in 404; GET /else/x 200; GET /nowhere 200; GET /api 200";
    shop.await.answers(lines).await;
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
                HttpResponse::Ok().streaming(stream::unfold((here, 3), move |(here, left)| {
                    goods.polls.count();
                    let piece = Ok::<_, Error>(Bytes::from(here.as_bytes().to_vec()));
                    ready((left > 0).then_some((piece, (here, left - 1))))
                }))
            }
        });
        App::new().service(web::resource("/here").wrap(gate.charge(cent()).unwrap()).route(handler))
    });
    let shop = shop.await;
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
async fn two_workers(script: Script, in_each: bool) -> Shop {
    let once = Arc::new(OnceLock::new());
    shop(script, 2, move |gate, goods| {
        let charge = || gate.charge(cent()).unwrap();
        let charge = if in_each { charge() } else { once.get_or_init(charge).clone() };
        let worker = format!("{:?}", thread::current().id());
        App::new()
            .service(web::resource("/cheap").wrap(charge).to(sells(goods, "/cheap")))
            .wrap(DefaultHeaders::new().add(("x-worker", worker)))
    })
    .await
}

fn workers(answers: &[Answer]) -> usize {
    answers.iter().map(|answer| answer.header("x-worker").unwrap()).collect::<HashSet<_>>().len()
}

async fn two_workers_sell_one_answer_for_one_payment(_: Stack) {
    for in_each in [false, true] {
        let script = Script::new().on_verify([Act::Dawdle]).on_settle([Act::Dawdle]);
        let shop = two_workers(script, in_each).await;
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
    for in_each in [false, true] {
        let shop = two_workers(Script::new().on_settle([Act::Pending]), in_each).await;
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

async fn a_settlement_outlives_its_worker(_: Stack) {
    let open = |script| {
        shop(script, 1, |gate, goods| {
            let cheap = web::resource("/cheap").wrap(gate.charge(cent()).unwrap());
            App::new().service(cheap.to(sells(goods, "/cheap")))
        })
    };
    let shop = open(Script::new().on_settle([Act::Wait])).await;
    let payment = shop.v2("/cheap").await;
    let mut connection = shop.paying("/cheap", &payment).await;
    shop.script.settle_begun(1).await;
    drop(shop.serving);
    // The worker is gone when its connections are.
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    shop.script.let_go();
    shop.gate.settled().await;
    let other = open(Script::new()).await;
    assert_sold(&other.pay("/cheap", &payment).await, "/cheap");
    assert_eq!((other.script.verify_calls(), other.script.settle_calls()), (0, 0));
}
