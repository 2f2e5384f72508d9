//! What a client that pays does, against real servers.

use crate::support::{PAYEE, Server, Wallet, a_cent, answer, demand, offer, ok, option};
use http::{HeaderMap, Method};
use serde_json::json;
use x402_core::{
    network::{BASE, BASE_SEPOLIA},
    payment::{JsonMap, Receipt, SettleResponse, Version},
    wire::{self, PAYMENT_SIGNATURE, Presented, X_PAYMENT},
};
use x402_reqwest::{Client, ResponseExt};

fn client(wallet: &Wallet) -> reqwest_middleware::ClientWithMiddleware {
    Client::builder().scheme(wallet.clone()).max_per_request("$0.10").build().unwrap()
}

#[tokio::test]
async fn a_version_2_offer_is_paid_and_echoed() {
    let mut asked = a_cent();
    asked.extensions.insert("bazaar".to_owned(), json!({ "info": { "input": { "type": "http" } } }));
    asked.accepts[0].extra.insert("feePayer".to_owned(), json!([1, { "deep": null }]));
    let server = Server::selling(asked.clone()).await;
    let wallet = Wallet::default();

    let response = client(&wallet).get(server.url("/thing")).send().await.unwrap();

    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "paid");
    let [unpaid, paid] = &server.seen()[..] else { panic!("two requests") };
    assert!(!unpaid.is_paid());
    assert!(paid.headers.contains_key(PAYMENT_SIGNATURE) && !paid.headers.contains_key(X_PAYMENT));
    let payload = paid.payload();
    assert_eq!(payload.version, Version::V2);
    assert_eq!(payload.accepted, asked.accepts[0]);
    assert_eq!(payload.resource, Some(asked.resource));
    assert_eq!(payload.extensions, asked.extensions);
    assert_eq!(payload.payload, json!({ "signed": true, "number": 1, "version": 2, "to": PAYEE }));
}

#[tokio::test]
async fn a_version_1_offer_is_paid() {
    let server = Server::selling(offer(Version::V1, vec![option(10_000)])).await;
    let wallet = Wallet::default();

    let response = client(&wallet).get(server.url("/thing")).send().await.unwrap();

    assert_eq!(response.status(), 200);
    let paid = &server.seen()[1].headers;
    assert!(paid.contains_key(X_PAYMENT) && !paid.contains_key(PAYMENT_SIGNATURE));
    let Some(Presented::V1 { scheme, network, payload }) = wire::read_payment(paid, &[]).unwrap() else {
        panic!("a version 1 payment");
    };
    assert_eq!((scheme.as_str(), network.as_str()), ("exact", "base-sepolia"));
    assert_eq!(payload["version"], 1);
}

#[tokio::test]
async fn version_2_is_preferred() {
    let server = Server::start(|seen| {
        let (v1, v2) = (offer(Version::V1, vec![option(20_000)]), a_cent());
        if seen.is_paid() {
            return ok("paid");
        }
        let mut response = demand(&v1);
        response.headers_mut().extend(demand(&v2).headers().clone());
        response
    })
    .await;
    client(&Wallet::default()).get(server.url("/")).send().await.unwrap();
    assert_eq!(server.seen()[1].payload().accepted.amount.to_string(), "10000");
}

#[tokio::test]
async fn a_body_arrives_whole_both_times() {
    let server = Server::selling(a_cent()).await;
    let body: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    let request = client(&Wallet::default()).post(server.url("/thing")).header("x-mine", "kept");
    let response = request.body(body.clone()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(server.seen().len(), 2);
    for seen in server.seen() {
        assert_eq!((seen.method, &seen.headers["x-mine"]), (Method::POST, &"kept".parse().unwrap()));
        assert!(seen.body == body);
    }
}

#[tokio::test]
async fn the_first_option_that_may_be_paid_is_taken() {
    let mut elsewhere = option(1);
    elsewhere.network = BASE;
    let mut unknown = option(2);
    unknown.scheme = "promise".to_owned();
    let accepts = vec![elsewhere, unknown, option(90_000), option(3)];
    let server = Server::selling(offer(Version::V2, accepts)).await;
    let build =
        || Client::builder().scheme(Wallet::default()).networks([BASE_SEPOLIA]).max_per_request("$0.10");

    build().build().unwrap().get(server.url("/")).send().await.unwrap();
    assert_eq!(server.seen()[1].payload().accepted.amount.to_string(), "90000");

    let cheapest = build().selector(|options| (0..options.len()).min_by_key(|index| options[*index].amount));
    cheapest.build().unwrap().get(server.url("/")).send().await.unwrap();
    assert_eq!(server.seen()[3].payload().accepted.amount.to_string(), "3");
}

#[tokio::test]
async fn the_receipt_is_read_in_either_version() {
    let receipt = SettleResponse::Settled(Receipt {
        transaction: Some("0xabc".parse().unwrap()),
        network: BASE_SEPOLIA,
        payer: None,
        amount: None,
        extensions: JsonMap::new(),
    });
    for version in [Version::V1, Version::V2] {
        let (name, value) = wire::settle_response_header(version, &receipt);
        let server = Server::start(move |seen| {
            let mut response = if seen.is_paid() { ok("paid") } else { demand(&a_cent()) };
            if seen.is_paid() {
                response.headers_mut().insert(name.clone(), value.clone());
            }
            response
        })
        .await;
        let response = client(&Wallet::default()).get(server.url("/")).send().await.unwrap();
        assert_eq!(response.receipt(), Some(Ok(receipt.clone())));
    }
    let server = Server::start(|_| {
        let mut response = ok("free");
        response.headers_mut().insert("payment-response", "???".parse().unwrap());
        response
    })
    .await;
    let response = client(&Wallet::default()).get(server.url("/")).send().await.unwrap();
    assert!(response.receipt().unwrap().is_err());
}

#[tokio::test]
async fn a_402_of_another_kind_is_returned_as_it_came() {
    let long = "x".repeat(200_000);
    let long_json = json!({ "padding": long }).to_string();
    for body in ["", "no money", "[1]", "{\"error\":\"quota exceeded\"}", "{", "   ", &long, &long_json] {
        let sent = body.to_owned();
        let server = Server::start(move |_| {
            let mut response = answer(402, sent.clone());
            response.headers_mut().insert("x-theirs", "kept".parse().unwrap());
            response
        })
        .await;
        let wallet = Wallet::default();
        let response = client(&wallet).get(server.url("/quota?of=mine")).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.url().query()), (402, Some("of=mine")));
        assert_eq!(response.headers()["x-theirs"], "kept");
        assert_eq!(response.content_length(), Some(body.len() as u64));
        assert!(response.remote_addr().is_some());
        assert!(response.text().await.unwrap() == body);
        assert_eq!((server.seen().len(), wallet.signatures()), (1, 0));
    }
}

#[tokio::test]
async fn a_request_that_brings_its_own_payment_is_passed_on() {
    let server = Server::start(|_| demand(&a_cent())).await;
    let wallet = Wallet::default();
    for name in [PAYMENT_SIGNATURE, X_PAYMENT] {
        let headers = HeaderMap::from_iter([(name, "mine".parse().unwrap())]);
        let response = client(&wallet).get(server.url("/")).headers(headers).send().await.unwrap();
        assert_eq!(response.status(), 402);
    }
    assert_eq!((server.seen().len(), wallet.signatures()), (2, 0));
}

#[tokio::test]
async fn one_client_serves_many_at_once() {
    let server = Server::selling(a_cent()).await;
    let wallet = Wallet::default();
    let client = client(&wallet);
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let request = client.get(server.url("/"));
            tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
    let mut payments = server.payments();
    payments.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    payments.dedup();
    assert_eq!((payments.len(), wallet.signatures()), (20, 20));
}
