//! Many requests, slow ones, and as much as fits.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use x402_core::gate::{Charge, ConfigError};
use x402_tests::{
    script::Script,
    serve::{Answer, encoded},
};

use crate::{
    goods::{Shelf, of_everything},
    harness::{Case, Stack, case},
    shop::{Shop, Stock, cent, gate},
    support::{MARKER, assert_refused, assert_sold, assert_spent, marker, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(garbage_asks_nobody_and_stands_in_nobodys_way).threads(),
    case!(who_dawdles_with_a_request_keeps_nobody_waiting).http1(),
    case!(the_longest_offer_fits_and_a_longer_one_is_no_charge),
    case!(a_payment_buys_one_thing_of_those_that_cost_the_same),
];

async fn garbage_asks_nobody_and_stands_in_nobodys_way(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let good = shop.v2("/cheap").await;
    let mut stale = good.clone();
    stale["accepted"]["amount"] = "1".into();
    let garbage = [
        String::new(),
        "?".repeat(4_000),
        "A".repeat(4_000),
        encoded(&serde_json::json!({ "x402Version": 2 })),
        encoded(&stale),
    ];
    let send = async |turn: usize| {
        let headers = [("payment-signature", garbage[turn % garbage.len()].as_str())];
        let answer = shop.get(["/cheap", "/dear/7", "/first"][turn % 3], &headers).await;
        // Of a payment that is being settled, nobody is asked for another, whatever price it says.
        let refused =
            [400, 402].contains(&answer.status) || (turn % garbage.len() == 4 && answer.status == 409);
        assert!(refused && !answer.body.contains(MARKER), "{answer:?}");
    };
    let flood = async {
        for turn in (0..500).step_by(50) {
            join_all((turn..turn + 50).map(send)).await;
        }
    };
    let ((), sold) = tokio::join!(flood, shop.pay("/cheap", &good));
    assert_sold(&sold, "/cheap");
    assert_eq!(shop.counts(), (1, 1, 1), "nobody was asked about garbage");
}

async fn who_dawdles_with_a_request_keeps_nobody_waiting(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = encoded(&shop.v2("/cheap").await);
    let request = shop.serving.request("GET", "/cheap", &[("payment-signature", &payment)]);
    let mut slow = Vec::new();
    for _ in 0..200 {
        slow.push(shop.serving.connect(&request.as_bytes()[..request.len() - 3]).await.unwrap());
    }
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(shop.get("/cheap", &[]).await.status, 402);
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "took {:?}", begun.elapsed());
    assert_eq!(shop.counts(), (0, 0, 0), "half a request pays nothing");
    // Each of them at last sends the rest: one payment, one answer.
    let mut sold = 0;
    for mut connection in slow {
        let mut bytes = Vec::new();
        let rest = &request.as_bytes()[request.len() - 3..];
        if connection.write_all(rest).await.is_err() || connection.read_to_end(&mut bytes).await.is_err() {
            continue; // the server lost patience
        }
        let Ok(answer) = Answer::parse(&bytes) else { continue };
        sold += usize::from(answer.body.contains(&marker("/cheap")));
        assert!([200, 402, 408].contains(&answer.status), "{answer:?}");
    }
    assert!(sold <= 1 && shop.visits.get() == sold, "{sold} answers for one payment");
}

/// The charge that says this much, if it is one.
fn wordy(words: usize) -> Charge {
    (0..20).fold(cent(), |charge, _| charge.or(cent())).describe("x".repeat(words))
}

async fn the_longest_offer_fits_and_a_longer_one_is_no_charge(stack: Stack) {
    let probe = gate(Script::new()).build().unwrap();
    let fits = |words: usize| match probe.toll(wordy(words)) {
        Ok(_) => true,
        Err(ConfigError::OfferTooLarge { bytes, limit }) => {
            assert!(bytes > limit && limit == 8192);
            false
        }
        Err(error) => panic!("{error}"),
    };
    let (mut longest, mut too_long) = (0, 8192);
    while longest + 1 < too_long {
        let words = (longest + too_long) / 2;
        if fits(words) { longest = words } else { too_long = words }
    }
    let shelves = vec![Shelf { charge: Some(wordy(longest)), ..of_everything("/cheap") }];
    let shop = Shop::stocked(stack, Script::new(), |gate| gate, Stock::Priced(shelves)).await;
    for query in [0, 100, 900, 2_000] {
        let path = format!("/cheap?{}", "q".repeat(query));
        let answer = shop.get(&path, &[]).await;
        if answer.status == 500 {
            // What is sold is named at more length than it was when the charge was made.
            assert_refused(&answer, 500, "payment_misconfigured");
            panic!("{query}: the offer grew beyond its limit");
        }
        assert_eq!(answer.status, 402);
        assert!(answer.header("payment-required").unwrap().len() <= 8192);
    }
    let offer = shop.offer("/cheap").await;
    assert_eq!(offer["accepts"].as_array().unwrap().len(), 21);
    let mut other = sign_v2(&offer, 20).await;
    other["accepted"]["amount"] = "1".into();
    let refused = shop.pay("/cheap", &other).await;
    assert_eq!(refused.decoded("payment-required").unwrap()["error"], "no_matching_payment_requirements");
    assert_sold(&shop.pay("/cheap", &sign_v2(&offer, 20).await).await, "/cheap");
}

async fn a_payment_buys_one_thing_of_those_that_cost_the_same(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for (bought, others) in
        [("/twin", &["/cheap", "/first", "/twin"][..]), ("/dear/7", &["/dear/8", "/dear", "/dear/7"])]
    {
        let payment = shop.v2(bought).await;
        let answer = shop.pay(bought, &payment).await;
        assert_eq!((answer.status, answer.count("payment-response")), (200, 1));
        for other in others {
            assert_spent(&shop.pay(other, &payment).await);
        }
    }
    assert_eq!(shop.counts(), (2, 2, 2));
}
