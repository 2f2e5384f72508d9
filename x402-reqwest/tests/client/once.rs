//! A request is paid once, and only where it was asked to go.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::support::{Server, Wallet, a_cent, answer, demand, hang_up, offer, ok, option, redirect};
use http::{Extensions, Method};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientWithMiddleware, Middleware, Next};
use x402_core::{
    network::BASE_SEPOLIA,
    payment::{PendingSettlement, SettleResponse, Version},
    wire,
};
use x402_reqwest::{Error, ErrorKind, PaymentMiddleware, ResponseExt, SignedPayment};

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn payments(wallet: &Wallet) -> PaymentMiddleware {
    PaymentMiddleware::builder().scheme(wallet.clone()).max_per_request("$0.10").build().unwrap()
}

fn client(wallet: &Wallet) -> ClientWithMiddleware {
    payments(wallet).attach(reqwest::Client::builder()).unwrap().build()
}

fn typed<F>(handle: F) -> F
where
    F: for<'a> Fn(
        Request,
        &'a mut Extensions,
        Next<'a>,
    ) -> BoxFuture<'a, reqwest_middleware::Result<Response>>,
{
    handle
}

/// Tries again, up to three times in all, on errors and 5xx.
fn retry() -> Arc<dyn Middleware> {
    Arc::new(typed(|request, extensions, next| {
        Box::pin(async move {
            for _ in 0..2 {
                match next.clone().run(request.try_clone().expect("bytes"), extensions).await {
                    Ok(response) if !response.status().is_server_error() => return Ok(response),
                    _ => {}
                }
            }
            next.run(request, extensions).await
        })
    }))
}

/// Answers paid requests in turn, the last answer for ever.
async fn selling(answers: Vec<fn() -> axum::response::Response>) -> Server {
    let paid = AtomicUsize::new(0);
    Server::start(move |seen| {
        if !seen.is_paid() {
            return demand(&a_cent());
        }
        answers[paid.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)]()
    })
    .await
}

#[tokio::test]
async fn endless_402s_cost_one_payment() {
    for version in [Version::V1, Version::V2] {
        let server = Server::start(move |_| demand(&offer(version, vec![option(1)]))).await;
        let wallet = Wallet::default();
        let response = client(&wallet).get(server.url("/")).send().await.unwrap();
        assert_eq!(response.status(), 402);
        assert_eq!((wallet.signatures(), server.payments().len(), server.seen().len()), (1, 1, 2));
    }
}

#[tokio::test]
async fn a_lost_reply_gives_the_payment_back() {
    let server = selling(vec![hang_up, || ok("paid")]).await;
    let wallet = Wallet::default();
    let client = client(&wallet);

    let error = client.get(server.url("/thing")).send().await.unwrap_err();
    let error = Error::within(&error).unwrap();
    assert_eq!(error.kind(), ErrorKind::PaymentSent);
    assert!(error.to_string().contains("may be settled"));
    assert!(std::error::Error::source(error).is_some());
    let payment = error.payment().unwrap();
    assert_eq!(payment.requirements().amount.to_string(), "10000");
    let signed = payment.header().1.to_str().unwrap();
    assert!(!format!("{payment:?} {error:?} {error}").contains(signed));

    let response = client.get(server.url("/thing")).with_extension(payment.clone()).send().await.unwrap();

    assert_eq!(response.status(), 200);
    let payments = server.payments();
    assert_eq!((payments.len(), wallet.signatures()), (2, 1));
    assert_eq!(payments[0], payments[1]);
}

#[tokio::test]
async fn a_retry_above_repeats_the_payment() {
    let server = selling(vec![hang_up, || answer(503, ""), || ok("paid")]).await;
    let wallet = Wallet::default();
    let client = payments(&wallet).attach_under([retry()], reqwest::Client::builder()).unwrap().build();
    let response = client.post(server.url("/")).body("order").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let sent = server.payments();
    assert_eq!((sent.len(), wallet.signatures()), (3, 1));
    assert!(sent.iter().all(|payment| *payment == sent[0]));
    assert!(server.seen().iter().all(|seen| seen.body == "order"));
}

#[tokio::test]
async fn a_retry_below_repeats_the_payment() {
    let server = selling(vec![hang_up, hang_up, || ok("paid")]).await;
    let wallet = Wallet::default();
    let builder = payments(&wallet).attach(reqwest::Client::builder()).unwrap();
    let response = builder.with_arc(retry()).build().get(server.url("/")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let sent = server.payments();
    assert_eq!((sent.len(), wallet.signatures()), (3, 1));
    assert!(sent.iter().all(|payment| *payment == sent[0]));
}

fn wait(mut response: axum::response::Response, seconds: &'static str) -> axum::response::Response {
    response.headers_mut().insert("retry-after", seconds.parse().unwrap());
    response
}

/// What the gate answers while a transaction is on its way.
fn pending() -> axum::response::Response {
    let pending = SettleResponse::Pending(PendingSettlement {
        transaction: "0xabc".parse().ok(),
        network: BASE_SEPOLIA,
        payer: None,
    });
    let (name, value) = wire::settle_response_header(Version::V2, &pending);
    let mut response = wait(answer(503, "<html>"), "0");
    response.headers_mut().insert(name, value);
    response
}

fn in_progress() -> axum::response::Response {
    wait(answer(409, r#"{"error":"payment_in_progress"}"#), "0")
}

fn unknown() -> axum::response::Response {
    wait(answer(502, r#"{"error":"settlement_pending","message":"send the same payment again"}"#), "0")
}

#[tokio::test]
async fn a_pending_payment_is_sent_again_by_itself() {
    for says in [pending, in_progress, unknown] {
        let server = selling(vec![says, || ok("paid")]).await;
        let wallet = Wallet::default();
        let response = client(&wallet).post(server.url("/")).body("order").send().await.unwrap();
        assert_eq!(response.status(), 200);
        let sent = server.payments();
        assert_eq!((sent.len(), wallet.signatures()), (2, 1));
        assert_eq!(sent[0], sent[1]);
        assert_eq!(response.payment().unwrap().header().1, sent[0]);
        assert!(server.seen().iter().all(|seen| seen.body == "order"));
    }
}

#[tokio::test]
async fn a_payment_that_stays_pending_is_given_back() {
    for (says, status, body) in [
        (pending as fn() -> _, 503, "<html>"),
        (in_progress, 409, r#"{"error":"payment_in_progress"}"#),
        (unknown, 502, r#"{"error":"settlement_pending","message":"send the same payment again"}"#),
    ] {
        let server = selling(vec![says, says, says, says, || ok("paid")]).await;
        let wallet = Wallet::default();
        let client = client(&wallet);
        let response = client.get(server.url("/")).send().await.unwrap();
        assert_eq!((response.status().as_u16(), server.payments().len()), (status, 4));
        let payment = response.payment().unwrap().clone();
        assert_eq!(response.text().await.unwrap(), body, "the body is whole");

        let response = client.get(server.url("/")).with_extension(payment).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.payment().is_some()), (200, true));
        let sent = server.payments();
        assert_eq!((sent.len(), wallet.signatures()), (5, 1));
        assert!(sent.iter().all(|payment| *payment == sent[0]));
    }
}

#[tokio::test]
async fn a_pending_payment_is_not_sent_before_its_time() {
    let server = selling(vec![|| wait(pending(), "1"), || ok("paid")]).await;
    let begun = std::time::Instant::now();
    client(&Wallet::default()).get(server.url("/")).send().await.unwrap();
    assert!(begun.elapsed().as_secs() >= 1);
}

#[tokio::test]
async fn a_reply_lost_after_a_pending_one_gives_the_payment_back() {
    let server = selling(vec![pending, hang_up]).await;
    let wallet = Wallet::default();
    let error = client(&wallet).get(server.url("/")).send().await.unwrap_err();
    let error = Error::within(&error).unwrap();
    assert_eq!((error.kind(), wallet.signatures()), (ErrorKind::PaymentSent, 1));
    assert_eq!(error.payment().unwrap().header().1, server.payments()[0]);
}

#[tokio::test]
async fn other_answers_are_returned_at_once_with_the_payment() {
    for (status, body) in [
        (200, r#"{"error":"settlement_pending"}"#),
        (402, r#"{"error":"settlement_pending"}"#),
        (409, r#"{"error":"the order exists"}"#),
        (409, ""),
        (500, r#"{"error":"settlement_pending"}"#),
        (502, "<html>settlement_pending</html>"),
        (503, r#"{"error":"payment_unavailable"}"#),
    ] {
        let server =
            Server::start(move |seen| if seen.is_paid() { answer(status, body) } else { demand(&a_cent()) })
                .await;
        let wallet = Wallet::default();
        let response = client(&wallet).get(server.url("/")).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), server.payments().len(), wallet.signatures()),
            (status, 1, 1)
        );
        assert!(response.payment().is_some());
        assert_eq!(response.text().await.unwrap(), body);
    }
    let free = Server::start(|_| in_progress()).await;
    let response = client(&Wallet::default()).get(free.url("/")).send().await.unwrap();
    assert_eq!((free.seen().len(), response.payment().is_none()), (1, true), "nothing was paid");
}

#[tokio::test]
async fn an_offer_that_changes_after_a_lost_reply_is_not_signed() {
    let price = AtomicUsize::new(1);
    let server = Server::start(move |seen| {
        let price = price.fetch_add(1, Ordering::SeqCst) as u64;
        if seen.is_paid() { hang_up() } else { demand(&offer(Version::V2, vec![option(price)])) }
    })
    .await;
    let wallet = Wallet::default();
    let client = payments(&wallet).attach_under([retry()], reqwest::Client::builder()).unwrap().build();
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert_eq!(Error::within(&error).unwrap().kind(), ErrorKind::PaymentSent);
    assert_eq!((server.seen().len(), server.payments().len(), wallet.signatures()), (4, 3, 1));
}

#[tokio::test]
async fn a_payment_goes_with_no_other_request() {
    let server = selling(vec![|| ok("paid")]).await;
    let wallet = Wallet::default();
    let client = client(&wallet);
    let mut extensions = Extensions::new();
    let get = |path| Request::new(Method::GET, server.url(path).parse().unwrap());

    client.execute_with_extensions(get("/a"), &mut extensions).await.unwrap();
    assert!(extensions.get::<SignedPayment>().is_some());
    let error = client.execute_with_extensions(get("/b"), &mut extensions).await.unwrap_err();

    assert_eq!(Error::within(&error).unwrap().kind(), ErrorKind::AlreadyPaid);
    assert_eq!((server.payments().len(), wallet.signatures()), (1, 1));
}

#[tokio::test]
async fn no_payment_is_made_beyond_a_redirect_to_another_origin() {
    let thief = Server::selling(a_cent()).await;
    let target = thief.url("/");
    let server = Server::start(move |_| redirect(307, &target)).await;
    let wallet = Wallet::default();
    let response = client(&wallet).get(server.url("/")).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["location"].to_str().unwrap()),
        (307, &*thief.url("/"))
    );
    assert_eq!((thief.seen().len(), wallet.signatures()), (0, 0));
}

#[tokio::test]
async fn no_payment_follows_a_redirect_to_another_origin() {
    for status in [301, 302, 303, 307, 308] {
        let thief = Server::selling(a_cent()).await;
        let target = thief.url("/");
        let server =
            Server::start(
                move |seen| if seen.is_paid() { redirect(status, &target) } else { demand(&a_cent()) },
            )
            .await;
        let client = client(&Wallet::default());
        let response = client.post(server.url("/")).body("order").send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!((server.payments().len(), thief.seen().len()), (1, 0));
    }
}

#[tokio::test]
async fn no_payment_leaves_by_way_of_its_own_origin() {
    let thief = Server::selling(a_cent()).await;
    let target = thief.url("/");
    let server = Server::start(move |seen| match (seen.path.as_str(), seen.is_paid()) {
        ("/here", true) => redirect(307, "/there"),
        ("/there", _) => redirect(307, &target),
        _ => demand(&a_cent()),
    })
    .await;
    let response = client(&Wallet::default()).get(server.url("/here")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), thief.seen().len()), (307, 0));
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_and_paid() {
    let server = Server::start(|seen| match (seen.path.as_str(), seen.is_paid()) {
        ("/old", _) => redirect(307, "/new"),
        (_, false) => demand(&a_cent()),
        (_, true) => ok("paid"),
    })
    .await;
    let wallet = Wallet::default();
    let response = client(&wallet).post(server.url("/old")).body("order").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.url().path()), (200, "/new"));
    let last = server.seen().pop().unwrap();
    assert_eq!((last.method, last.body.as_ref()), (Method::POST, &b"order"[..]));
    assert_eq!(wallet.signatures(), 1);
}

#[tokio::test]
async fn an_answer_from_elsewhere_is_not_paid() {
    let thief = Server::selling(a_cent()).await;
    let target: reqwest::Url = thief.url("/").parse().unwrap();
    let rewrite = typed(move |mut request, extensions, next| {
        *request.url_mut() = target.clone();
        next.run(request, extensions)
    });
    let wallet = Wallet::default();
    let client = payments(&wallet).attach(reqwest::Client::builder()).unwrap().with(rewrite).build();
    let error = client.get("http://127.0.0.1:9/").send().await.unwrap_err();
    assert_eq!(Error::within(&error).unwrap().kind(), ErrorKind::Origin);
    assert_eq!((thief.payments().len(), wallet.signatures()), (0, 0));
}
