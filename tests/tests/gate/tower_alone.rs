//! The layer over any tower service, without a framework.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use x402_core::{
    gate::{ConfigError, PaymentGate, RouteTable},
    wire::decode_payment_required,
};
use x402_tests::{
    script::{Act, Script},
    serve::{Counter, Serving, encoded},
};
use x402_tower::{Access, GateExt, PaymentService, Routing};

use crate::{
    harness::{Case, Framework, Stack, case},
    shop::{cent, gate},
    support::{MARKER, ORIGIN, assert_refused, assert_sold, marker, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(a_plain_service_is_charged_for).http1().only(&[Framework::Tower]),
    case!(a_key_whose_method_is_told_to_be_another_is_an_error).http1().only(&[Framework::Tower]),
    case!(targets_without_a_path_are_charged_too).http1().only(&[Framework::Tower]),
    case!(readiness_is_honoured_and_given_back).http1().only(&[Framework::Tower]),
    case!(a_place_is_held_until_the_money_moved).http1().only(&[Framework::Tower]),
    case!(a_layer_that_cannot_read_uploads_names_nothing).once(),
    case!(what_a_failing_service_kept_back_is_served_when_asked_again).http1().only(&[Framework::Tower]),
    case!(a_service_that_is_not_ready_makes_the_layer_wait).http1().only(&[Framework::Tower]),
];

/// A service that may be called once each time it said that it is ready, as tower has it.
struct Picky {
    ready: bool,
    closed: bool,
    visits: Counter,
}

impl Clone for Picky {
    fn clone(&self) -> Self {
        Self { ready: false, closed: self.closed, visits: self.visits.clone() }
    }
}

impl<B> Service<Request<B>> for Picky {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.closed {
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(self.ready, "called without having been ready");
        self.ready = false;
        self.visits.count();
        assert!(matches!(request.extensions().get(), Some(Access::Paid(_))));
        ready(Ok(Response::new(Full::from(marker("tower")))))
    }
}

type Limited = PaymentService<ConcurrencyLimit<Picky>>;

struct Bare {
    script: Script,
    visits: Counter,
    _gate: PaymentGate,
    service: Limited,
}

async fn bare(script: Script) -> Bare {
    let gate = gate(script.clone()).build().unwrap();
    gate.ready().await.unwrap();
    let visits = Counter::default();
    let picky = Picky { ready: false, closed: false, visits: visits.clone() };
    let service = gate.charge(cent()).unwrap().layer(ConcurrencyLimit::new(picky, 1));
    Bare { script, visits, _gate: gate, service }
}

/// Serves a tower service with hyper alone.
async fn serve(service: Limited) -> Serving {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let service = TowerToHyperService::new(service.clone());
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Serving::running(address, task)
}

async fn a_plain_service_is_charged_for(_: Stack) {
    let Bare { script, visits, service, .. } = bare(Script::new()).await;
    let serving = serve(service).await;
    for path in ["/", "/any/thing?x", "/%2e%2e"] {
        let offer = serving.get(path, &[]).await.unwrap();
        assert_eq!((offer.status, offer.body.contains(MARKER)), (402, false));
        let offer = offer.decoded("payment-required").unwrap();
        assert_eq!(offer["resource"]["url"], format!("{ORIGIN}{path}"));
        let payment = encoded(&sign_v2(&offer, 0).await);
        assert_sold(&serving.get(path, &[("payment-signature", &payment)]).await.unwrap(), "tower");
        let again = serving.get(path, &[("payment-signature", &payment)]).await.unwrap();
        assert_refused(&again, 402, "duplicate_settlement");
    }
    assert_eq!((visits.get(), script.verify_calls(), script.settle_calls()), (3, 3, 3));
}

async fn a_key_whose_method_is_told_to_be_another_is_an_error(_: Stack) {
    let gate = gate(Script::new()).build().unwrap();
    let routes = ["GET /weather/{city}", "POST /two", "PUT  /two", "/any", "GET /some", "/some"];
    let charged = |key: &str| {
        let table = RouteTable::new().route("/any", cent()).unwrap().route(key, cent()).unwrap();
        gate.charge_routes(table, routes, Routing::NONE)
    };
    for (key, methods) in [("POST /weather/{city}", "GET"), ("GET /two", "POST, PUT")] {
        let error = charged(key).unwrap_err();
        let ConfigError::NoSuchMethod { route, methods: told } = &error else { panic!("{key}: {error}") };
        assert_eq!((route.as_str(), told.as_str()), (key, methods), "{error}");
    }
    assert!(matches!(charged("GET /weather/{town}"), Err(ConfigError::NoSuchRoute { .. })));
    for key in ["GET /weather/{city}", "HEAD /weather/{city}", "/weather/{city}", "PUT /two", "POST /some"] {
        assert!(charged(key).is_ok(), "{key}");
    }
}

async fn targets_without_a_path_are_charged_too(_: Stack) {
    let Bare { script, visits, service, .. } = bare(Script::new()).await;
    let serving = serve(service).await;
    for line in [
        "GET http://evil.example/x",
        "GET http://evil.example",
        "OPTIONS *",
        "CONNECT evil.example:443",
        "GET evil.example:80",
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        let Ok(answer) = serving.raw(request.as_bytes()).await else { continue };
        assert!([400, 402].contains(&answer.status), "{line}: {answer:?}");
        if let Ok(offer) = answer.decoded("payment-required") {
            let url = offer["resource"]["url"].as_str().unwrap();
            assert!(url.starts_with(&format!("{ORIGIN}/")) && !url.contains("evil"), "{line}: {url}");
        }
    }
    assert_eq!((visits.get(), script.verify_calls()), (0, 0));
}

fn request(payment: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    if let Some(payment) = payment {
        request.headers_mut().insert("payment-signature", payment.parse().unwrap());
    }
    request
}

async fn readiness_is_honoured_and_given_back(_: Stack) {
    let Bare { visits, mut service, script, .. } = bare(Script::new()).await;
    // One after the other through one service, and through clones: a refusal keeps no place.
    let mut offer = None;
    for _ in 0..5 {
        let answer = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service)
            .await
            .unwrap()
            .call(request(None))
            .await
            .unwrap();
        assert_eq!(answer.status(), 402);
        let answer = service.clone().oneshot(request(None)).await.unwrap();
        offer = Some(answer.headers()["payment-required"].clone());
        let answer = service.clone().oneshot(request(Some("?"))).await.unwrap();
        assert_eq!(answer.status(), 400);
    }
    let offer = decode_payment_required(&offer.unwrap()).unwrap().required;
    for visit in 1..=3 {
        let payment = encoded(&sign_v2(&serde_json::to_value(&offer).unwrap(), 0).await);
        let answer = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service)
            .await
            .unwrap()
            .call(request(Some(&payment)))
            .await
            .unwrap();
        assert_eq!((answer.status().as_u16(), visits.get()), (200, visit));
    }
    assert_eq!(script.settle_calls(), 3);
}

async fn a_place_is_held_until_the_money_moved(_: Stack) {
    let Bare { visits, service, script, .. } = bare(Script::new().on_verify([Act::Wait])).await;
    let serving = serve(service.clone()).await;
    let offer = serving.get("/", &[]).await.unwrap().decoded("payment-required").unwrap();
    let payment = encoded(&sign_v2(&offer, 0).await);
    let headers = [("payment-signature", payment.as_str())];
    let (answer, ()) = tokio::join!(serving.get("/", &headers), async {
        script.verify_begun(1).await;
        let mut second = service.clone();
        let is_ready = std::future::poll_fn(|cx| {
            Poll::Ready(Service::<Request<Full<Bytes>>>::poll_ready(&mut second, cx).is_ready())
        });
        assert!(!is_ready.await, "the one place is taken");
        drop(second);
        script.let_go();
    });
    assert_sold(&answer.unwrap(), "tower");
    assert_eq!(visits.get(), 1);
}

async fn what_a_failing_service_kept_back_is_served_when_asked_again(_: Stack) {
    for (charge, verified) in [(cent(), 2), (cent().settle_first(), 1)] {
        let script = Script::new();
        let gate = gate(script.clone()).build().unwrap();
        gate.ready().await.unwrap();
        let visits = Counter::default();
        let visited = visits.clone();
        let service = gate.charge(charge).unwrap().layer(service_fn(move |_: Request<Full<Bytes>>| {
            visited.count();
            ready(match visited.get() {
                1 => Err("broken"),
                _ => Ok(Response::new(Full::<Bytes>::from(marker("late")))),
            })
        }));
        let offer = service.clone().oneshot(request(None)).await.unwrap();
        let offer = decode_payment_required(&offer.headers()["payment-required"]).unwrap().required;
        let payment = encoded(&sign_v2(&serde_json::to_value(&offer).unwrap(), 0).await);
        let pay = || service.clone().oneshot(request(Some(&payment)));
        assert_eq!(pay().await.unwrap_err(), "broken");
        assert_eq!(script.settle_calls(), 2 - verified);
        assert_eq!(pay().await.unwrap().status(), 200);
        assert_eq!(pay().await.unwrap().status(), 402);
        assert_eq!((visits.get(), script.verify_calls(), script.settle_calls()), (2, verified, 1));
    }
}

async fn a_layer_that_cannot_read_uploads_names_nothing(_: Stack) {
    let gate = gate(Script::new()).build().unwrap();
    gate.ready().await.unwrap();
    let service = || {
        service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        })
    };
    let layer = || gate.charge(cent().idempotent()).unwrap();
    let answer = layer().layer(service()).oneshot(request(None)).await.unwrap();
    assert_eq!(answer.status(), 500, "it is told with the first request");
    let others = |bytes| Full::<Bytes>::from(bytes).boxed_unsync();
    let answer = layer().uploads(others).layer(service()).oneshot(request(None)).await.unwrap();
    assert_eq!(answer.status(), 500, "of another type");
    let answer = layer().uploads(Full::<Bytes>::new).layer(service()).oneshot(request(None)).await.unwrap();
    assert_eq!(answer.status(), 402);
}

async fn a_service_that_is_not_ready_makes_the_layer_wait(_: Stack) {
    let script = Script::new();
    let gate = gate(script.clone()).build().unwrap();
    let picky = Picky { ready: false, closed: true, visits: Counter::default() };
    let mut service = gate.charge(cent()).unwrap().layer(picky);
    let is_pending = std::future::poll_fn(|cx| {
        Poll::Ready(Service::<Request<Full<Bytes>>>::poll_ready(&mut service, cx).is_pending())
    });
    assert!(is_pending.await);
}
