//! The gRPC example, called by a client of tonic's: refused in gRPC's own words, paid by metadata.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[allow(dead_code, reason = "its `main` is not called here")]
#[path = "../src/services/grpc.rs"]
mod grpc;

use std::net::TcpListener;

use tonic::{Code, Request, Response, Status, body::Body, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;
use tower::{Service, ServiceExt};
use x402_core::{gate::PaymentGate, scheme::ClientScheme, wire};
use x402_tests::{chain, script::Script};

use grpc::{Forecast, Place};

struct Client(Grpc<Channel>);

impl Client {
    async fn today(&mut self, city: &str, payment: Option<&str>) -> Result<Response<Forecast>, Status> {
        let mut request = Request::new(Place { city: city.to_owned() });
        if let Some(payment) = payment {
            request.metadata_mut().insert("payment-signature", payment.parse().unwrap());
        }
        self.0.ready().await.unwrap();
        let path = "/weather.Weather/Today".parse().unwrap();
        self.0.unary(request, path, ProstCodec::default()).await
    }

    /// Signs what an unpaid call is offered.
    async fn sign(&mut self) -> String {
        let refused = self.today("Rome", None).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        assert!(refused.message().contains("Payment required"), "{refused:?}");
        let offer = refused.metadata().get("payment-required").unwrap();
        let offer = wire::decode_payment_required(&offer.as_bytes().try_into().unwrap()).unwrap().required;
        let client = x402_evm::exact::client(chain::payer());
        let payload = client.sign(offer.version, &offer.accepts[0]).await.unwrap();
        let payment = serde_json::json!({
            "x402Version": 2, "resource": offer.resource, "accepted": offer.accepts[0], "payload": payload,
        });
        x402_tests::serve::encoded(&payment)
    }
}

#[tokio::test]
async fn a_call_is_paid_for_by_its_metadata() {
    let (script, me) = (Script::new(), chain::merchant().address().to_string());
    let gate = PaymentGate::builder("https://weather.example.com")
        .facilitator(script.clone())
        .scheme(x402_evm::exact::server())
        .build()
        .unwrap();
    gate.ready().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { grpc::serve(gate, &me, listener).await.unwrap() });
    let mut channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    let mut client = Client(Grpc::new(channel.clone()));

    let payment = client.sign().await;
    let malformed = client.today("Rome", Some("?")).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    let failed = client.today("", Some(&payment)).await.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::InvalidArgument, "which city?"));
    assert!(!failed.metadata().contains_key("payment-response"));
    assert_eq!((script.verify_calls(), script.settle_calls()), (1, 0), "a call that fails is not charged");

    for method in ["PUT", "GET", "X", "OPTIONS"] {
        let request = http::Request::builder().method(method).uri("/weather.Weather/Today");
        let request =
            request.header("origin", "https://x.example").header("access-control-request-method", "POST");
        let request = request.header("content-type", "application/grpc").body(Body::empty()).unwrap();
        let refused = channel.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(refused.headers()["grpc-status"], "9", "tonic takes any method");
    }

    let answer = client.today("Rome", Some(&payment)).await.unwrap();
    assert!(answer.metadata().contains_key("payment-response"));
    let payer = chain::payer().address();
    assert_eq!(answer.into_inner().text, format!("sunny in Rome, {payer}"));
    let again = client.today("Rome", Some(&payment)).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    assert_eq!((script.verify_calls(), script.settle_calls()), (2, 1));
}
