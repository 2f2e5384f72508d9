//! What nobody would try first.

use serde_json::{Value, json};
use x402_core::{
    amount::Amount,
    asset::Token,
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind as Kind, SettleRequest},
    gate::{Charge, GateBuilder, RequestDecision, TokenAmount, exact},
    network::BASE_SEPOLIA,
    payment::{Payment, SettleResponse, Supported, VerifyResponse},
};
use x402_tests::{
    script::{Act, Script},
    serve::encoded,
};

use crate::{
    goods::{Goods, of_everything},
    harness::{Case, Stack, case},
    hostile::assert_malformed,
    shop::{Shop, Stock, cent, gate, serve},
    support::{SELLER, assert_asked, assert_refused, assert_sold, assert_spent, sign_v1, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(what_the_gate_refuses_no_route_gives_away),
    case!(a_pending_payment_stays_pending_while_nobody_answers),
    case!(in_version_1_a_spent_payment_is_not_tried_as_another_token),
    case!(in_version_1_no_other_token_is_tried_when_the_facilitator_fails),
    case!(one_nonce_in_two_tokens_is_two_payments),
    case!(bits_behind_the_end_of_a_header_are_malformed),
    case!(what_the_facilitator_adds_to_an_offer_counts_in_its_depth_too),
    case!(an_offer_that_the_facilitator_made_too_long_is_none),
];

async fn what_the_gate_refuses_no_route_gives_away(stack: Stack) {
    let closed = |gate: GateBuilder| gate.on_request(async |_| RequestDecision::Refuse("closed".to_owned()));
    let gift = cent().on_request(async |_| RequestDecision::Free);
    let shop = Shop::selling_with(stack, Script::new(), closed, gift).await;
    assert_refused(&shop.get("/cheap", &[]).await, 403, "closed");
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn a_pending_payment_stays_pending_while_nobody_answers(stack: Stack) {
    // Of a transaction that is on its way is asked twice.
    for (status, begins) in [(503, &[Act::Pending, Act::Pending][..]), (502, &[Act::Fail(Kind::NoAnswer)])] {
        let fails = [Act::Fail(Kind::Unreachable), Act::Fail(Kind::NotActed), Act::Yes];
        let script = Script::new().on_settle(begins.iter().cloned().chain(fails));
        let shop = Shop::open(stack, script).await;
        let payment = shop.v2("/cheap").await;
        for _ in 0..3 {
            let answer = shop.pay("/cheap", &payment).await;
            assert_refused(&answer, status, "settlement_pending");
            assert_eq!(answer.count("payment-required"), 0, "{answer:?}");
        }
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        assert_eq!(shop.script.verify_calls(), 1);
    }
}

/// The same number of atomic units, in either of two tokens.
fn cent_in_two_tokens() -> Charge {
    let address = "0x00000000000000000000000000000000000000aa".parse().unwrap();
    let token = Token::eip3009(BASE_SEPOLIA, address, "MINE", 6, "MINE", "1");
    cent().or(exact(TokenAmount { token, amount: Amount::from(10_000) }).on(BASE_SEPOLIA).to(SELLER))
}

async fn in_version_1_a_spent_payment_is_not_tried_as_another_token(stack: Stack) {
    let shop = Shop::selling(stack, Script::new(), cent_in_two_tokens()).await;
    let payment = sign_v1(&shop.offer_v1("/cheap").await, 0).await;
    assert_eq!(shop.pay("/cheap", &payment).await.status, 200);
    assert_spent(&shop.pay("/cheap", &payment).await);
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn in_version_1_no_other_token_is_tried_when_the_facilitator_fails(stack: Stack) {
    let script = Script::new().on_verify([Act::Fail(Kind::Unreachable), Act::Yes]);
    let shop = Shop::selling(stack, script, cent_in_two_tokens()).await;
    let payment = sign_v1(&shop.offer_v1("/cheap").await, 0).await;
    assert_refused(&shop.pay("/cheap", &payment).await, 503, "facilitator_unavailable");
    assert_eq!(shop.counts(), (0, 1, 0));
}

async fn one_nonce_in_two_tokens_is_two_payments(stack: Stack) {
    let shop = Shop::selling(stack, Script::new(), cent_in_two_tokens()).await;
    let offer = shop.offer("/cheap").await;
    let (one, mut two) = (sign_v2(&offer, 0).await, sign_v2(&offer, 1).await);
    two["payload"]["authorization"]["nonce"] = one["payload"]["authorization"]["nonce"].clone();
    for payment in [one, two] {
        assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
        assert_spent(&shop.pay("/cheap", &payment).await);
    }
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn bits_behind_the_end_of_a_header_are_malformed(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let mut payment = shop.v2("/cheap").await;
    let pads = ["", "x", "xx"].map(|pad| json!({ "pad": pad }));
    let mut headers = pads.into_iter().map(|pad| {
        payment["extensions"] = pad;
        encoded(&payment)
    });
    let good = headers.find(|header| header.ends_with("==")).unwrap();
    let at = good.len() - 3;
    let header = format!("{}{}==", &good[..at], char::from(good.as_bytes()[at] + 1));
    let answer = shop.get("/cheap", &[("payment-signature", &header)]).await;
    assert_malformed(&answer, "it decodes to the same bytes");
    assert_eq!(shop.counts(), (0, 0, 0));
    assert_sold(&shop.get("/cheap", &[("payment-signature", &good)]).await, "/cheap");
}

/// Adds this to every offer.
#[derive(Clone)]
struct Adds(Script, Value);

impl Facilitator for Adds {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        let mut supported = self.0.supported().await?;
        for kind in &mut supported.kinds {
            kind.extra.insert("adds".into(), self.1.clone());
        }
        Ok(supported)
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        self.0.verify(payment).await
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        self.0.settle(payment.into()).await
    }
}

/// A shop whose facilitator adds this to every offer.
async fn shop_with(stack: Stack, adds: Value) -> Shop {
    let (script, goods) = (Script::new(), Goods::default());
    let gate = gate(Adds(script.clone(), adds)).build().unwrap();
    gate.ready().await.unwrap();
    let stock = Stock::Priced(vec![of_everything("/cheap")]);
    let serving = serve(stack, &gate, &goods, stock).await.unwrap();
    Shop::around(stack, script, gate, goods, serving)
}

async fn what_the_facilitator_adds_to_an_offer_counts_in_its_depth_too(stack: Stack) {
    let shop = shop_with(stack, json!({ "deep": { "fee": "1" } })).await;
    let mut payment = shop.v2("/cheap").await;
    payment["accepted"]["extra"]["adds"]["deep"]["fee"] = "2".into();
    assert_asked(&shop.pay("/cheap", &payment).await, "no_matching_payment_requirements");
    payment["accepted"]["extra"]["adds"]["deep"]["fee"] = "1".into();
    payment["accepted"]["extra"]["adds"]["more"] = "of the client".into();
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn an_offer_that_the_facilitator_made_too_long_is_none(stack: Stack) {
    let shop = shop_with(stack, "x".repeat(10_000).into()).await;
    let answer = shop.get("/cheap", &[]).await;
    assert_refused(&answer, 500, "payment_misconfigured");
    assert_eq!(answer.count("payment-required"), 0);
}
