//! Charges beyond the plain one: several options, computed prices, tokens of one's own, bodies of one's own.

use std::time::Duration;

use serde_json::{Value, json};
use x402_core::{
    amount::Amount,
    asset::Token,
    facilitator::FacilitatorErrorKind as Kind,
    gate::{
        Charge, CustomBody, GateBuilder, NotReady, RequestDecision, RequestInfo, TimeLimits, TokenAmount,
        exact, exact_with,
    },
    network::{BASE, BASE_SEPOLIA, Network},
    payment::{PaymentRequired, Version},
};
use x402_tests::{
    script::{Act, Script},
    serve::encoded,
};

use crate::{
    harness::{Case, Stack, case},
    shop::{Shop, cent, dollar},
    support::{MARKER, NETWORK, SELLER, assert_asked, assert_refused, assert_sold, sign_v1, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(a_price_is_computed_from_the_request),
    case!(a_pending_payment_for_three_seats_does_not_buy_four),
    case!(a_payee_is_computed_from_the_request),
    case!(options_on_several_networks_are_offered_in_order_and_each_buys),
    case!(what_the_facilitator_does_not_support_is_not_offered),
    case!(what_is_said_of_one_option_is_not_lost_when_another_joins).once(),
    case!(a_facilitator_of_one_version_is_offered_in_that_one),
    case!(version_1_can_be_switched_off),
    case!(a_network_without_a_name_in_version_1_is_offered_in_version_2_alone),
    case!(version_1_means_the_option_its_content_fits),
    case!(version_1_tries_every_token_of_the_same_price),
    case!(a_token_of_eighteen_decimals_is_charged_exactly),
    case!(bodies_of_ones_own_replace_the_gates_alone),
];

/// No body.
const EMPTY: (&str, &str) = ("content-length", "0");

/// A chain that version 1 has no name for.
const NAMELESS: Network = Network::from_static("eip155:42161");

fn column(offer: &Value, field: &str) -> Vec<String> {
    let accepts = offer["accepts"].as_array().unwrap();
    accepts.iter().map(|option| option[field].as_str().unwrap().to_owned()).collect()
}

async fn a_price_is_computed_from_the_request(stack: Stack) {
    let price = exact_with(async |request: RequestInfo| {
        let seats: u64 = request.uri.query().unwrap_or_default().parse()?;
        Ok(format!("${seats}"))
    });
    let shop = Shop::selling(stack, Script::new(), price.on(BASE_SEPOLIA).to(SELLER)).await;
    assert_eq!(column(&shop.offer("/cheap?3").await, "amount"), ["3000000"]);
    assert_eq!(column(&shop.offer_v1("/cheap?12").await, "maxAmountRequired"), ["12000000"]);
    let three = shop.v2("/cheap?3").await;
    assert_asked(&shop.pay("/cheap?4", &three).await, "no_matching_payment_requirements");
    assert_sold(&shop.pay("/cheap?3", &three).await, "/cheap");
    for query in ["/cheap?many", "/cheap", "/cheap?0"] {
        let answer = shop.get(query, &[]).await;
        assert_refused(&answer, 500, "payment_misconfigured");
        assert!(!answer.body.contains("digit") && !answer.body.contains("zero"), "{answer:?}");
    }
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn a_pending_payment_for_three_seats_does_not_buy_four(stack: Stack) {
    for act in [Act::Pending, Act::Fail(Kind::NoAnswer)] {
        let price = exact_with(async |request: RequestInfo| {
            let query = request.uri.query().unwrap_or_default();
            Ok(format!("${}", query.split('&').next().unwrap_or_default()))
        });
        let script = Script::new().on_settle([act.clone(), act, Act::Yes]);
        let shop = Shop::selling(stack, script, price.on(BASE_SEPOLIA).to(SELLER)).await;
        let payment = shop.v2("/cheap?3").await;
        assert!([502, 503].contains(&shop.pay("/cheap?3", &payment).await.status));
        let counts = shop.counts();
        for more in ["/cheap?4".to_owned(), format!("/cheap?9&{}", "x".repeat(2000)), "/cheap?3&4".to_owned()]
        {
            let answer = shop.pay(&more, &payment).await;
            assert_refused(&answer, 409, "payment_in_progress");
            assert_eq!(answer.count("payment-required"), 0, "{more}");
        }
        let post = shop.send("POST", "/cheap?3", &[("payment-signature", &encoded(&payment)), EMPTY]).await;
        assert_refused(&post, 409, "payment_in_progress");
        assert_eq!(shop.counts(), counts, "nobody was asked, nothing was given");
        let last = loop {
            let answer = shop.pay("/cheap?3", &payment).await;
            if answer.status == 200 {
                break answer;
            }
            assert!([502, 503].contains(&answer.status), "{answer:?}");
        };
        assert_sold(&last, "/cheap");
    }
}

async fn a_payee_is_computed_from_the_request(stack: Stack) {
    let charge = exact("$0.01").on(BASE_SEPOLIA).to_with(async |request| match request.uri.query() {
        Some(payee) => Ok(payee.parse()?),
        None => Err("the secret of the payee".into()),
    });
    let shop = Shop::selling(stack, Script::new(), charge).await;
    let stranger = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
    let payment = shop.v2(&format!("/cheap?{stranger}")).await;
    assert_eq!(payment["accepted"]["payTo"], stranger);
    assert_asked(&shop.pay(&format!("/cheap?{SELLER}"), &payment).await, "no_matching_payment_requirements");
    assert_sold(&shop.pay(&format!("/cheap?{stranger}"), &payment).await, "/cheap");
    for path in ["/cheap", "/cheap?nobody"] {
        let answer = shop.get(path, &[]).await;
        assert_refused(&answer, 500, "payment_misconfigured");
        assert!(!answer.body.contains("secret") && !answer.body.contains("hex"), "{answer:?}");
        assert_eq!(answer.count("payment-required"), 0);
    }
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn options_on_several_networks_are_offered_in_order_and_each_buys(stack: Stack) {
    let charge = cent().or(exact("0.02 USDC").on(BASE).to(SELLER)).describe("Tea").mime_type("text/plain");
    let shop = Shop::selling(stack, Script::new(), charge).await;
    let (two, one) = (shop.offer("/cheap").await, shop.offer_v1("/cheap").await);
    assert_eq!(column(&two, "network"), [NETWORK, "eip155:8453"]);
    assert_eq!(column(&two, "amount"), ["10000", "20000"]);
    assert_eq!(column(&one, "network"), ["base-sepolia", "base"]);
    assert_eq!(
        (&two["resource"]["description"], &two["resource"]["mimeType"]),
        (&json!("Tea"), &json!("text/plain"))
    );
    assert_eq!(
        (&one["accepts"][1]["description"], &one["accepts"][1]["mimeType"]),
        (&json!("Tea"), &json!("text/plain"))
    );
    for option in [0, 1] {
        assert_sold(&shop.pay("/cheap", &sign_v2(&two, option).await).await, "/cheap");
        assert_eq!(shop.pay("/cheap", &sign_v1(&one, option).await).await.status, 200);
    }
    let mut mixed = sign_v2(&two, 0).await;
    mixed["accepted"]["network"] = "eip155:8453".into();
    assert_asked(&shop.pay("/cheap", &mixed).await, "no_matching_payment_requirements");
    assert_eq!(shop.counts(), (4, 4, 4));
}

/// A shop whose facilitator does not settle on this network: its gate says so.
async fn lacking(
    stack: Stack,
    script: Script,
    set_up: impl FnOnce(GateBuilder) -> GateBuilder,
    charge: Charge,
    network: Network,
) -> Shop {
    let hasty = |gate| set_up(gate).time_limits(TimeLimits::default().ready(Duration::from_millis(300)));
    let shop = Shop::early(stack, script, hasty, charge).await;
    // In actix-web, charges are made where a worker begins.
    let _ = shop.get("/free", &[]).await;
    let NotReady(status) = shop.gate.ready().await.unwrap_err();
    let missing: Vec<_> = status.unsupported.iter().map(|way| (&*way.scheme, &way.network)).collect();
    assert_eq!((status.is_known, missing), (true, vec![("exact", &network)]));
    let words = status.to_string();
    assert!(words.contains("does not settle `exact`") && words.contains(network.as_str()), "{words}");
    assert!(shop.gate.ready().await.unwrap_err().to_string().contains(&words));
    shop
}

async fn what_the_facilitator_does_not_support_is_not_offered(stack: Stack) {
    let script = || Script::new().networks([BASE_SEPOLIA]);
    let shop =
        lacking(stack, script(), |gate| gate, exact("$0.01").on(BASE).to(SELLER).or(cent()), BASE).await;
    assert_eq!(column(&shop.offer("/cheap").await, "network"), [NETWORK]);
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");

    let shop = lacking(stack, script(), |gate| gate, exact("$0.01").on(BASE).to(SELLER), BASE).await;
    let answer = shop.get("/cheap", &[]).await;
    assert_refused(&answer, 503, "payment_unavailable");
    assert!(answer.header("retry-after").is_some() && answer.count("payment-required") == 0);
}

async fn what_is_said_of_one_option_is_not_lost_when_another_joins(stack: Stack) {
    for (charge, expected) in [
        (cent().max_timeout_seconds(60).or(dollar()), [60, 60]),
        (cent().or(dollar().max_timeout_seconds(90)), [300, 90]),
        (cent().max_timeout_seconds(60).or(dollar().max_timeout_seconds(90)), [60, 90]),
        (cent().or(dollar()).max_timeout_seconds(30), [30, 30]),
    ] {
        let offer = Shop::selling(stack, Script::new(), charge).await.offer("/cheap").await;
        let lifetimes = [0, 1].map(|option| offer["accepts"][option]["maxTimeoutSeconds"].as_u64().unwrap());
        assert_eq!(lifetimes, expected);
    }
    let refuse = async |_: RequestInfo| RequestDecision::Refuse("closed".to_owned());
    for charge in [cent().on_request(refuse).or(dollar()), cent().or(dollar().on_request(refuse))] {
        let shop = Shop::selling(stack, Script::new(), charge).await;
        assert_refused(&shop.get("/cheap", &[]).await, 403, "closed");
    }
    for charge in [cent().describe("A report").or(dollar()), cent().or(dollar().describe("A report"))] {
        let offer = Shop::selling(stack, Script::new(), charge).await.offer("/cheap").await;
        assert_eq!(offer["resource"]["description"], "A report");
    }
    // Where it is settled first and fails, no handler runs.
    for charge in [cent().settle_first().or(dollar()), cent().or(dollar().settle_first())] {
        let shop = Shop::selling(stack, Script::new().on_settle([Act::No("x")]), charge).await;
        let answer = shop.pay("/cheap", &shop.v2("/cheap").await).await;
        assert_eq!((answer.status, shop.counts()), (402, (0, 1, 1)));
    }
}

async fn a_facilitator_of_one_version_is_offered_in_that_one(stack: Stack) {
    let shop = Shop::selling(stack, Script::new().versions([Version::V2]), cent()).await;
    let one = Shop::selling(stack, Script::new(), cent()).await.v1("/cheap").await;
    let answer = shop.get("/cheap", &[]).await;
    assert_eq!((answer.status, answer.count("payment-required")), (402, 1));
    assert_eq!(
        answer.json().unwrap(),
        answer.decoded("payment-required").unwrap(),
        "for who reads no header"
    );
    assert_refused(&shop.pay("/cheap", &one).await, 402, "no_matching_payment_requirements");
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");

    let two = shop.v2("/cheap").await;
    let shop = Shop::selling(stack, Script::new().versions([Version::V1]), cent()).await;
    let answer = shop.get("/cheap", &[]).await;
    assert_eq!((answer.status, answer.count("payment-required")), (402, 0));
    assert_refused(&shop.pay("/cheap", &two).await, 402, "no_matching_payment_requirements");
    assert_eq!(shop.pay("/cheap", &shop.v1("/cheap").await).await.status, 200);
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn version_1_can_be_switched_off(stack: Stack) {
    let one = Shop::selling(stack, Script::new(), cent()).await.v1("/cheap").await;
    let shop = Shop::selling_with(stack, Script::new(), |gate| gate.without_v1(), cent()).await;
    let answer = shop.get("/cheap", &[]).await;
    assert_eq!((answer.status, &answer.json().unwrap()["x402Version"]), (402, &json!(2)));
    assert_refused(&shop.pay("/cheap", &one).await, 402, "invalid_x402_version");
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");
    assert_eq!(shop.counts(), (1, 1, 1));

    let script = Script::new().versions([Version::V1]);
    let shop = lacking(stack, script, |gate| gate.without_v1(), cent(), BASE_SEPOLIA).await;
    assert_refused(&shop.get("/cheap", &[]).await, 503, "payment_unavailable");
}

async fn a_network_without_a_name_in_version_1_is_offered_in_version_2_alone(stack: Stack) {
    let script = Script::new().networks([NAMELESS, BASE_SEPOLIA]);
    let shop = Shop::selling(stack, script, exact("$0.01").on(NAMELESS).to(SELLER).or(cent())).await;
    assert_eq!(column(&shop.offer("/cheap").await, "network"), ["eip155:42161", NETWORK]);
    assert_eq!(column(&shop.offer_v1("/cheap").await, "network"), ["base-sepolia"]);
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");
    assert_eq!(shop.pay("/cheap", &shop.v1("/cheap").await).await.status, 200);

    let script = Script::new().networks([NAMELESS]).versions([Version::V1]);
    let shop = lacking(stack, script, |gate| gate, exact("$0.01").on(NAMELESS).to(SELLER), NAMELESS).await;
    assert_refused(&shop.get("/cheap", &[]).await, 503, "payment_unavailable");
}

fn token(address: &str, symbol: &'static str, decimals: u8) -> Token {
    Token::eip3009(BASE_SEPOLIA, address.parse().unwrap(), symbol, decimals, symbol, "1")
}

async fn version_1_means_the_option_its_content_fits(stack: Stack) {
    let shop = Shop::selling(stack, Script::new(), dollar().or(cent())).await;
    let offer = shop.offer_v1("/cheap").await;
    for option in [1, 0] {
        assert_eq!(shop.pay("/cheap", &sign_v1(&offer, option).await).await.status, 200);
    }
    let amounts: Vec<_> =
        shop.script.seen().iter().map(|seen| seen.requirements.amount.to_string()).collect();
    assert_eq!(
        amounts,
        ["10000", "10000", "1000000", "1000000"],
        "verified and settled, one after the other"
    );
}

async fn version_1_tries_every_token_of_the_same_price(stack: Stack) {
    let mine = token("0x00000000000000000000000000000000000000aa", "MINE", 6);
    let amount = Amount::from(10_000);
    let charge = cent().or(exact(TokenAmount { token: mine.clone(), amount }).on(BASE_SEPOLIA).to(SELLER));
    let script = Script::new().on_verify([Act::No("invalid_exact_evm_signature"), Act::Yes]);
    let shop = Shop::selling(stack, script, charge.clone()).await;
    let payment = sign_v1(&shop.offer_v1("/cheap").await, 1).await;
    assert_eq!(shop.pay("/cheap", &payment).await.status, 200);
    let settled = shop.script.seen().pop().unwrap();
    assert_eq!(settled.requirements.asset, mine.address);
    assert_eq!(shop.counts(), (1, 2, 1));

    let shop =
        Shop::selling(stack, Script::new().on_verify([Act::No("invalid_exact_evm_signature")]), charge).await;
    let payment = sign_v1(&shop.offer_v1("/cheap").await, 1).await;
    assert_asked(&shop.pay("/cheap", &payment).await, "invalid_exact_evm_signature");
    assert_eq!(shop.counts(), (0, 2, 0));
}

async fn a_token_of_eighteen_decimals_is_charged_exactly(stack: Stack) {
    let ether = token("0x00000000000000000000000000000000000000bb", "WETHX", 18);
    let amount: Amount = "1000000000000000001".parse().unwrap();
    let charge = exact(TokenAmount { token: ether, amount }).on(BASE_SEPOLIA).to(SELLER);
    let shop = Shop::selling(stack, Script::new(), charge).await;
    let offer = shop.offer("/cheap").await;
    assert_eq!(column(&offer, "amount"), ["1000000000000000001"]);
    assert_eq!(offer["accepts"][0]["extra"], json!({ "name": "WETHX", "version": "1" }));
    let mut payment = shop.v2("/cheap").await;
    assert_eq!(payment["payload"]["authorization"]["value"], "1000000000000000001");
    payment["payload"]["authorization"]["value"] = "1000000000000000000".into();
    assert_eq!(shop.pay("/cheap", &payment).await.status, 402);
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");
}

async fn bodies_of_ones_own_replace_the_gates_alone(stack: Stack) {
    let charge = cent()
        .unpaid_body(|required: &PaymentRequired| CustomBody {
            content_type: "text/html".to_owned(),
            body: format!("<p>{} options</p>", required.accepts.len()).into(),
        })
        .settlement_failed_body(|answer| CustomBody {
            content_type: "bad\r\nheader: x".to_owned(),
            body: format!("{:?}", matches!(answer, x402_core::payment::SettleResponse::Failed(_))).into(),
        });
    let script =
        Script::new().on_verify([Act::Yes, Act::No("insufficient_funds")]).on_settle([Act::No("no")]);
    let shop = Shop::selling(stack, script, charge).await;
    let unpaid = shop.get("/cheap", &[]).await;
    assert_eq!((unpaid.status, unpaid.header("content-type")), (402, Some("text/html")));
    assert_eq!((unpaid.body.as_str(), unpaid.count("payment-required")), ("<p>1 options</p>", 1));
    let payment = shop.v2("/cheap").await;
    let failed = shop.pay("/cheap", &payment).await;
    assert_eq!((failed.status, failed.body.as_str()), (402, "true"));
    assert_eq!(failed.header("content-type"), Some("application/octet-stream"));
    assert_eq!((failed.count("payment-response"), failed.count("header")), (1, 0));
    assert!(!failed.body.contains(MARKER));
    assert_asked(&shop.pay("/cheap", &payment).await, "insufficient_funds");
}
