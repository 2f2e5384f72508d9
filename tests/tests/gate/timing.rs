//! What happens before the money moved, and what only after.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use x402_tests::{
    chain,
    script::{Act, HASH, Script},
    serve::{Answer, encoded},
};

use crate::{
    harness::{Case, Framework, Stack, case},
    shop::Shop,
    support::{MARKER, NETWORK, USDC, assert_refused, marker},
};

pub const CASES: &[Case] = &[
    case!(nothing_is_streamed_before_the_money_moved).http1(),
    case!(nothing_is_streamed_when_the_money_did_not_move),
    case!(an_upload_is_not_read_before_it_is_paid_for).http1(),
    case!(by_default_the_handler_runs_before_the_money_moves),
    case!(settled_first_the_handler_waits_for_the_money_and_has_the_receipt),
    case!(settled_first_no_handler_runs_when_the_money_did_not_move),
];

async fn nothing_is_streamed_before_the_money_moved(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Wait])).await;
    let payment = shop.v2("/stream").await;
    let connection = shop.paying("/stream", &payment).await;
    shop.script.settle_begun(1).await;
    let mut connection = shop.assert_silent(connection).await;
    assert_eq!((shop.visits.get(), shop.polls.get()), (1, 0), "the handler answered, its body rests");
    shop.script.let_go();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = Answer::parse(&answer).unwrap();
    assert_eq!((answer.status, answer.count("payment-response")), (200, 1));
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "it streams");
    assert_eq!(answer.body.matches(MARKER).count(), 3);
    assert_eq!(shop.polls.get(), 4);
}

async fn nothing_is_streamed_when_the_money_did_not_move(stack: Stack) {
    for act in [Act::No("insufficient_funds"), Act::Pending, Act::Panic] {
        let shop = Shop::open(stack, Script::new().on_settle([act.clone()])).await;
        let answer = shop.pay("/stream", &shop.v2("/stream").await).await;
        assert!([402, 502, 503].contains(&answer.status), "{answer:?}");
        assert!(!answer.body.contains(MARKER), "{answer:?}");
        assert_eq!((shop.visits.get(), shop.polls.get()), (1, 0), "{act:?}");
    }
}

async fn an_upload_is_not_read_before_it_is_paid_for(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_verify([Act::Wait])).await;
    let upload = |header: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-length: 5\r\n{header}\r\n"
        )
    };
    // actix-web invites every upload, and holds what comes of it back.
    let invites_all = stack.framework == Framework::Actix;
    let unpaid = shop.serving.raw(upload("").as_bytes()).await.unwrap();
    let unpaid = if invites_all { Answer::parse(unpaid.body.as_bytes()).unwrap() } else { unpaid };
    assert_eq!(unpaid.status, 402, "no invitation to go on: {unpaid:?}");

    let payment = encoded(&shop.v2_for("POST", "/echo").await);
    let request = upload(&format!("payment-signature: {payment}\r\n"));
    let mut connection = shop.serving.connect(request.as_bytes()).await.unwrap();
    shop.script.verify_begun(1).await;
    if !invites_all {
        connection = shop.assert_silent(connection).await; // nobody asked for the body
    }
    shop.script.let_go();
    let mut invitation = [0; 25];
    connection.read_exact(&mut invitation).await.unwrap();
    assert_eq!(&invitation, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_all(b"hello").await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = Answer::parse(&answer).unwrap();
    assert_eq!((answer.status, answer.body), (200, format!("{}hello", marker("/echo"))));
    assert_eq!(shop.counts(), (1, 1, 1));
}

impl Shop {
    async fn v2_for(&self, method: &str, path: &str) -> serde_json::Value {
        let answer = self.send(method, path, &[("content-length", "0")]).await;
        crate::support::sign_v2(&answer.decoded("payment-required").unwrap(), 0).await
    }
}

async fn by_default_the_handler_runs_before_the_money_moves(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Wait])).await;
    let payment = shop.v2("/cheap").await;
    let (answer, ()) = tokio::join!(shop.pay("/cheap", &payment), async {
        shop.script.settle_begun(1).await;
        assert_eq!(shop.counts(), (1, 1, 1));
        shop.script.let_go();
    });
    assert_eq!(answer.status, 200);
}

async fn settled_first_the_handler_waits_for_the_money_and_has_the_receipt(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_settle([Act::Wait])).await;
    let payment = shop.v2("/first-who").await;
    let (answer, ()) = tokio::join!(shop.pay("/first-who", &payment), async {
        shop.script.settle_begun(1).await;
        assert_eq!(shop.visits.get(), 0);
        shop.script.let_go();
    });
    let payer = chain::payer().address().to_checksum(None);
    let expected = format!("{} {payer} {NETWORK} 10000 {USDC} V2 {HASH}", marker("/who"));
    assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()));
    assert_eq!(answer.count("payment-response"), 1);
    assert_eq!(shop.script.settle_calls(), 1, "and is not settled again");
}

async fn settled_first_no_handler_runs_when_the_money_did_not_move(stack: Stack) {
    for (act, status, code) in [
        (Act::No("insufficient_funds"), 402, "insufficient_funds"),
        (Act::Pending, 503, "settlement_pending"),
        (Act::Panic, 502, "settlement_pending"),
    ] {
        let shop = Shop::open(stack, Script::new().on_settle([act])).await;
        let answer = shop.pay("/first", &shop.v2("/first").await).await;
        assert_refused(&answer, status, code);
        assert_eq!(answer.count("payment-required"), 0);
        assert_eq!(shop.visits.get(), 0);
    }
}
