//! What the cases share, whatever the framework: signing, sending, and the look of a refusal.

use std::io::ErrorKind;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use x402_core::{
    payment::{PaymentRequirements, Version},
    scheme::ClientScheme,
    wire::decode_payment_required_body,
};
use x402_evm::exact;
use x402_tests::{
    chain,
    serve::{Answer, encoded},
};

use crate::shop::Shop;

pub use crate::goods::{MARKER, SELLER, marker};

/// Where clients reach the shop; not where it listens.
pub const ORIGIN: &str = "https://shop.example.com";
/// The network most things are sold on, in both versions' words.
pub const NETWORK: &str = "eip155:84532";
pub const NETWORK_V1: &str = "base-sepolia";
/// USDC there.
pub const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";

/// Signs one of the ways to pay of a version 2 offer.
pub async fn sign_v2(offer: &Value, option: usize) -> Value {
    let accepted = &offer["accepts"][option];
    let requirements: PaymentRequirements = serde_json::from_value(accepted.clone()).unwrap();
    let payload = exact::client(chain::payer()).sign(Version::V2, &requirements).await.unwrap();
    json!({ "x402Version": 2, "resource": offer["resource"], "accepted": accepted, "payload": payload })
}

/// Signs one of the ways to pay of a version 1 offer.
pub async fn sign_v1(offer: &Value, option: usize) -> Value {
    let accepted = &offer["accepts"][option];
    let required = decode_payment_required_body(offer.to_string().as_bytes()).unwrap().required;
    let requirements = &required.accepts[option];
    let payload = exact::client(chain::payer()).sign(Version::V1, requirements).await.unwrap();
    json!({
        "x402Version": 1, "scheme": accepted["scheme"], "network": accepted["network"], "payload": payload,
    })
}

/// The header that carries payments of the version this one states.
pub fn header_of(payment: &Value) -> &'static str {
    if payment["x402Version"] == 1 { "x-payment" } else { "payment-signature" }
}

impl Shop {
    /// What an unpaid request is offered, in version 2.
    pub async fn offer(&self, path: &str) -> Value {
        self.get(path, &[]).await.decoded("payment-required").unwrap()
    }

    /// What an unpaid request is offered, in version 1.
    pub async fn offer_v1(&self, path: &str) -> Value {
        self.get(path, &[]).await.json().unwrap()
    }

    /// A good payment in version 2.
    pub async fn v2(&self, path: &str) -> Value {
        sign_v2(&self.offer(path).await, 0).await
    }

    /// A good payment in version 1.
    pub async fn v1(&self, path: &str) -> Value {
        sign_v1(&self.offer_v1(path).await, 0).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.serving.send(method, path, headers).await.unwrap()
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers).await
    }

    /// A GET with this payment, in the header of its version.
    pub async fn pay(&self, path: &str, payment: &Value) -> Answer {
        self.get(path, &[(header_of(payment), &encoded(payment))]).await
    }

    /// A GET with this payment, its answer still to come.
    pub async fn paying(&self, path: &str, payment: &Value) -> TcpStream {
        let request = self.serving.request("GET", path, &[(header_of(payment), &encoded(payment))]);
        self.serving.connect(request.as_bytes()).await.unwrap()
    }

    /// How often handlers of paid routes ran, payments were verified, and settled.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.visits.get(), self.script.verify_calls(), self.script.settle_calls())
    }
}

/// An answer that gives nothing away, with this status and code.
#[track_caller]
pub fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert!(!answer.body.contains(MARKER), "{answer:?}");
    assert_eq!(answer.json().unwrap()["error"], code, "{answer:?}");
}

/// A 402 that asks for payment in both versions, for this reason.
#[track_caller]
pub fn assert_asked(answer: &Answer, reason: &str) {
    assert_refused(answer, 402, reason);
    let v2 = answer.decoded("payment-required").unwrap();
    assert_eq!((&v2["x402Version"], &v2["error"]), (&json!(2), &json!(reason)), "{answer:?}");
    let v1 = answer.json().unwrap();
    assert_eq!(v1["x402Version"], 1, "{answer:?}");
    assert!(!v1["accepts"].as_array().unwrap().is_empty(), "{answer:?}");
    assert_no_receipt(answer);
}

/// A 402 that asks for nothing: the payment has bought its answer.
#[track_caller]
pub fn assert_spent(answer: &Answer) {
    assert_refused(answer, 402, "duplicate_settlement");
    assert_eq!(answer.count("payment-required"), 0, "{answer:?}");
    assert!(answer.json().unwrap().get("accepts").is_none(), "{answer:?}");
    assert_no_receipt(answer);
}

#[track_caller]
pub fn assert_no_receipt(answer: &Answer) {
    assert_eq!(answer.count("payment-response") + answer.count("x-payment-response"), 0, "{answer:?}");
}

/// What was bought, with its receipt in version 2.
#[track_caller]
pub fn assert_sold(answer: &Answer, route: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains(&marker(route)), "{answer:?}");
    assert_eq!(answer.decoded("payment-response").unwrap()["success"], true, "{answer:?}");
}

impl Shop {
    /// Nothing came over this connection, although the server had every opportunity.
    pub async fn assert_silent(&self, connection: TcpStream) -> TcpStream {
        for _ in 0..20 {
            let elsewhere = self.serving.get("/free", &[]).await.unwrap();
            assert_eq!(elsewhere.status, 200, "others are served meanwhile");
        }
        let connection = connection.into_std().unwrap();
        let came = connection.peek(&mut [0; 64]);
        assert!(matches!(&came, Err(error) if error.kind() == ErrorKind::WouldBlock), "{came:?} bytes came");
        TcpStream::from_std(connection).unwrap()
    }
}

impl Shop {
    /// Requests in short, each `GET|POST /path 402>sold`: unpaid it is answered so, and with the payment that is asked for
    /// it is sold what stands behind the `>`, or not charged and answered so.
    pub async fn answers(&self, lines: &str) {
        for line in lines.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()) {
            let [methods, path, answers] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let (unpaid, paid) = answers.split_once('>').unwrap_or((answers, ""));
            for method in methods.split('|') {
                let before = self.counts();
                assert_eq!(self.ask(method, path).await.status.to_string(), unpaid, "{method} {path}");
                assert_eq!(self.counts(), before, "{method} {path}");
                match paid.parse::<u16>() {
                    Ok(status) => {
                        assert_eq!(self.buy(method, path).await.status, status, "{method} {path}");
                        assert_eq!(self.script.settle_calls(), before.2, "{method} {path}");
                    }
                    Err(_) if paid.is_empty() => {}
                    Err(_) => assert_sold(&self.buy(method, path).await, paid),
                }
            }
        }
    }

    /// Nor do these requests get in with a letter of their path encoded, once or twice, or behind another slash.
    pub async fn spelled_otherwise_gives_nothing(&self, lines: &str) {
        let before = self.counts();
        for path in lines.split_whitespace().filter(|word| word.starts_with('/')) {
            for (at, byte) in path.bytes().enumerate().skip(1) {
                for letter in [format!("%{byte:02X}"), format!("%25{byte:02x}"), format!("/{}", byte as char)]
                {
                    let spelled = format!("{}{letter}{}", &path[..at], &path[at + 1..]);
                    let status = self.ask("GET", &spelled).await.status;
                    assert!([402, 404].contains(&status), "{spelled} {status}");
                }
            }
        }
        assert_eq!(self.counts(), before);
    }

    /// Asks without a payment, for which nothing is sold and nobody is asked.
    pub async fn ask(&self, method: &str, path: &str) -> Answer {
        let (_, verified, settled) = self.counts();
        let answer = self.send(method, path, &[("content-length", "0")]).await;
        assert!(!answer.body.contains(MARKER), "{method} {path} {answer:?}");
        assert_eq!((self.script.verify_calls(), self.script.settle_calls()), (verified, settled));
        answer
    }

    /// Pays what is asked for.
    pub async fn buy(&self, method: &str, path: &str) -> Answer {
        let offer = self.ask(method, path).await.decoded("payment-required").unwrap();
        let payment = encoded(&sign_v2(&offer, 0).await);
        self.send(method, path, &[("content-length", "0"), ("payment-signature", &payment)]).await
    }
}
