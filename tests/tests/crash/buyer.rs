//! Who pays, and presents the same payment until it has come to its end.

use std::{fmt, net::SocketAddr, time::Duration};

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use x402_core::{
    payment::{PaymentRequirements, Version},
    scheme::ClientScheme,
    store::Stamp,
};
use x402_evm::exact;
use x402_tests::{
    chain::{BASE_SEPOLIA, Chain, USDC},
    crash::GOODS,
    serve::{Answer, Serving, encoded},
};

/// What is waited between two presentations.
const PAUSE: Duration = Duration::from_millis(40);
/// How long a payment may take to come to its end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);

pub struct Buyer {
    signer: PrivateKeySigner,
}

/// A payment that is signed, and what it was answered.
pub struct Payment {
    /// What the shop's ledger calls it.
    pub id: String,
    pub payer: Address,
    pub nonce: B256,
    request: String,
    header: String,
    pub heard: Vec<Heard>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Goods,
    /// The payment buys nothing more.
    Spent,
    /// Not now: the status, and the code.
    Later(u16, String),
    /// Another payment is asked for, for this reason.
    Asked(String),
    /// No answer.
    Nothing,
}

impl Heard {
    fn of(answer: &Answer) -> Self {
        let error = || answer.json().ok().and_then(|json| Some(json["error"].as_str()?.to_owned()));
        match answer.status {
            200 => {
                assert!(answer.body.contains(GOODS), "{answer:?}");
                Self::Goods
            }
            _ if answer.count("payment-required") > 0 => Self::Asked(error().unwrap_or_default()),
            402 if error().is_some_and(|error| {
                error == "duplicate_settlement" || error.ends_with("nonce_already_used")
            }) =>
            {
                Self::Spent
            }
            status => Self::Later(status, error().unwrap_or_default()),
        }
    }

    fn is_final(&self) -> bool {
        matches!(self, Self::Goods | Self::Spent | Self::Asked(_))
    }
}

/// What the gate calls the payment.
impl fmt::Display for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eip155:{BASE_SEPOLIA}/{USDC:#x}/{:#x}/{:#x}", self.payer, self.nonce)
    }
}

impl Buyer {
    /// One with money for many payments.
    pub async fn new(chain: &Chain) -> Self {
        let signer = PrivateKeySigner::random();
        chain.mint(signer.address(), 1_000_000_000).await.unwrap();
        Self { signer }
    }

    /// Asks what is to be paid until somebody answers, and signs it.
    pub async fn sign(&self, shop: SocketAddr, path: &str) -> Payment {
        let id = Stamp::new().to_string();
        let request = format!("{path}?id={id}");
        let begun = Instant::now();
        let offer = loop {
            let answer = ask(shop, &request, &[]).await;
            if let Some(offer) = answer.as_ref().and_then(|answer| answer.decoded("payment-required").ok()) {
                break offer;
            }
            assert!(begun.elapsed() < PATIENCE, "the shop asks for no payment: {answer:?}");
            sleep(PAUSE).await;
        };
        let accepted = &offer["accepts"][0];
        let requirements: PaymentRequirements = serde_json::from_value(accepted.clone()).unwrap();
        let payload: Value =
            exact::client(self.signer.clone()).sign(Version::V2, &requirements).await.unwrap();
        let nonce = payload["authorization"]["nonce"].as_str().unwrap().parse().unwrap();
        let payment = json!({
            "x402Version": 2, "resource": offer["resource"], "accepted": accepted, "payload": payload,
        });
        let payer = self.signer.address();
        Payment { id, payer, nonce, request, header: encoded(&payment), heard: Vec::new() }
    }
}

impl Payment {
    /// Presents it once.
    pub async fn present(&mut self, shop: SocketAddr) -> Heard {
        let heard = self.answer(shop).await;
        self.heard.push(heard.clone());
        heard
    }

    /// What it is answered; nobody takes note.
    pub async fn answer(&self, shop: SocketAddr) -> Heard {
        match ask(shop, &self.request, &[("payment-signature", &self.header)]).await {
            Some(answer) => Heard::of(&answer),
            None => Heard::Nothing,
        }
    }

    /// Presents it, at one shop after the other, until it has come to its end, or for too long.
    pub async fn present_until_its_end(&mut self, shops: &[SocketAddr]) {
        let heard = self.answers_until_its_end(shops).await;
        self.heard.extend(heard);
    }

    /// What it is answered then; nobody takes note.
    pub async fn answers_until_its_end(&self, shops: &[SocketAddr]) -> Vec<Heard> {
        let (begun, mut heard) = (Instant::now(), Vec::new());
        for shop in shops.iter().cycle() {
            heard.push(self.answer(*shop).await);
            if heard.last().is_some_and(Heard::is_final) || begun.elapsed() > PATIENCE {
                break;
            }
            sleep(PAUSE).await;
        }
        heard
    }

    /// Whether the goods arrived, or nothing more is to be had for it.
    pub fn has_ended(&self) -> bool {
        self.heard.iter().any(Heard::is_final)
    }

    /// How often the goods arrived.
    pub fn received(&self) -> usize {
        self.heard.iter().filter(|heard| **heard == Heard::Goods).count()
    }
}

async fn ask(shop: SocketAddr, request: &str, headers: &[(&str, &str)]) -> Option<Answer> {
    let shop = Serving::ended_by(shop, || {});
    timeout(ANSWER, shop.get(request, headers)).await.ok()?.ok()
}
