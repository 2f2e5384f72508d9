//! Every stack with an embedded facilitator on a real chain: whose clients pay it, and what moves.

use alloy::primitives::U256;
use futures_util::future::join_all;
use serde_json::json;
use x402_core::{
    facilitator::{Facilitator, FacilitatorError, SettleRequest},
    gate::{PaymentGate, exact},
    network::BASE_SEPOLIA,
    payment::{Payment, SettleResponse, Supported, VerifyResponse, Version},
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::LocalFacilitator;
use x402_reqwest::ResponseExt;
use x402_tests::{
    Chain, chain, node,
    serve::{Serving, encoded},
};

use crate::{
    goods::{Goods, Shelf, of_everything},
    harness::{Case, Stack, case},
    shop::{Stock, gate, serve},
    support::{marker, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(published_clients_and_ours_pay_in_both_versions).http1(),
    case!(many_at_once_move_the_money_once).threads(),
];

const CENT: u64 = 10_000;

/// A chain, and a shop on it that sells `/cheap` for a cent.
struct Market {
    chain: Chain,
    goods: Goods,
    serving: Serving,
    _gate: PaymentGate,
}

impl Market {
    async fn open(stack: Stack, version: Option<Version>) -> Self {
        x402_tests::install_crypto();
        let chain = Chain::start().await.unwrap();
        chain.mint(chain::payer().address(), 100 * CENT).await.unwrap();
        let exact_facilitator =
            ExactFacilitator::connect(chain.rpc_url(), BASE_SEPOLIA, chain::facilitator()).unwrap();
        let facilitator = Speaks(version, LocalFacilitator::new().with(exact_facilitator));
        let (gate, goods) = (gate(facilitator).build().unwrap(), Goods::default());
        gate.ready().await.unwrap();
        let charge = exact("$0.01").on(BASE_SEPOLIA).to(chain::merchant().address());
        let shelves = vec![Shelf { charge: Some(charge), ..of_everything("/cheap") }];
        let serving = serve(stack, &gate, &goods, Stock::Priced(shelves)).await.unwrap();
        Self { chain, goods, serving, _gate: gate }
    }

    /// The merchant has been paid this many cents, each by a transfer of the payer's, and as many answers were given.
    async fn assert_sold(&self, cents: u64) {
        let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
        assert_eq!(self.chain.balance(merchant).await.unwrap(), U256::from(cents * CENT));
        assert_eq!(self.chain.balance(payer).await.unwrap(), U256::from((100 - cents) * CENT));
        assert_eq!(self.chain.transfers(merchant).await.unwrap() as u64, cents);
        assert_eq!(self.goods.visits.get() as u64, cents);
    }
}

/// A facilitator that says it speaks one version only.
struct Speaks(Option<Version>, LocalFacilitator);

impl Facilitator for Speaks {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        let mut supported = self.1.supported().await?;
        supported.kinds.retain(|kind| self.0.is_none_or(|version| kind.version == version));
        Ok(supported)
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        self.1.verify(payment).await
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        self.1.settle(payment.into()).await
    }
}

async fn published_clients_and_ours_pay_in_both_versions(stack: Stack) {
    let market = Market::open(stack, None).await;
    let url = market.serving.url("/cheap");
    let key = chain::private_key(&chain::payer());
    for (cents, program, receipt) in
        [(1, "pay-v2.mjs", "payment-response"), (2, "pay-v1.mjs", "x-payment-response")]
    {
        let report = node::run(program, &[("URL", &url), ("PRIVATE_KEY", &key)]).await.unwrap();
        assert_eq!(report["status"], 200, "{program}: {report}");
        assert_eq!(report["body"], json!(marker("/cheap")), "{program}");
        assert!(report["headers"][receipt].is_string(), "{program}: {report}");
        market.assert_sold(cents).await;
    }
    for (version, header) in [(Version::V2, "payment-signature"), (Version::V1, "x-payment")] {
        let market = Market::open(stack, Some(version)).await;
        let client = x402_reqwest::Client::builder()
            .scheme(x402_evm::exact::client(chain::payer()))
            .max_per_request("$0.01")
            .build()
            .unwrap();
        let answer = client.get(market.serving.url("/cheap")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.payment().unwrap().header().0.as_str()), (200, header));
        assert!(matches!(answer.receipt(), Some(Ok(SettleResponse::Settled(_)))));
        assert_eq!(answer.text().await.unwrap(), marker("/cheap"));
        market.assert_sold(1).await;
    }
}

async fn many_at_once_move_the_money_once(stack: Stack) {
    let market = Market::open(stack, None).await;
    for round in 1..=3 {
        let offer = market.serving.get("/cheap", &[]).await.unwrap().decoded("payment-required").unwrap();
        let payment = encoded(&sign_v2(&offer, 0).await);
        let headers = [("payment-signature", payment.as_str())];
        let answers = join_all((0..32).map(|_| market.serving.get("/cheap", &headers))).await;
        let statuses: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 402, 409].contains(status)), "{statuses:?}");
        market.assert_sold(round).await;
    }
}
