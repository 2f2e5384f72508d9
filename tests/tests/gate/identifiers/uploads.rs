//! Uploads are read to their end before they are answered, where they come with a name and their payment is good.

use super::*;

pub const CASES: &[Case] = &[
    case!(an_upload_is_read_only_with_an_identifier),
    case!(an_upload_that_breaks_off_is_refused).http1(),
    case!(an_upload_that_takes_too_much_or_too_long_is_refused).http1(),
    case!(an_upload_is_not_read_for_a_payment_that_is_not_good),
    case!(uploads_wait_for_room_and_are_then_refused).http1(),
];

async fn an_upload_is_read_only_with_an_identifier(stack: Stack) {
    let little = |gate: GateBuilder| gate.idempotency(Idempotency::default().longest_request(1000));
    let shop = open_with(stack, Script::new(), little).await;
    let long = "x".repeat(1001);
    let plain = sign_v2(
        &shop.send("POST", "/echo", &[("content-length", "0")]).await.decoded("payment-required").unwrap(),
        0,
    )
    .await;
    assert_sold(&shop.post("/echo", &plain, &long).await, "/echo");
    let payment = shop.named("/echo", ID).await;
    let answer = shop.post("/echo", &payment, &long).await;
    assert_refused(&answer, 413, "request_too_large");
    assert!(answer.json().unwrap()["message"].as_str().unwrap().contains("1000 bytes"));
    assert_eq!(shop.counts(), (1, 1, 1));
    let first = shop.post("/echo", &payment, &long[1..]).await;
    assert_eq!(first.body, format!("{}{}", marker("/echo"), &long[1..]));
    assert_again(&shop.post("/echo", &payment, &long[1..]).await, &first);

    if stack.wire == Wire::Http1 {
        let begun = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel";
        let mut connection = shop.serving.connect(begun).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"}") {
            assert_ne!(connection.read_buf(&mut came).await.unwrap(), 0);
        }
        assert_eq!(Answer::parse(&came).unwrap().status, 402, "refused before it was read");
        // In pieces, it is the same request.
        let pieces: String = long[1..].chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
        let request = format!(
            "POST /echo HTTP/1.1\r\nhost: service.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
             payment-signature: {}\r\n\r\n{pieces}0\r\n\r\n",
            encoded(&payment)
        );
        assert_again(&shop.serving.raw(request.as_bytes()).await.unwrap(), &first);
    }
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn an_upload_that_breaks_off_is_refused(stack: Stack) {
    let shop = open(stack, Script::new()).await;
    let payment = shop.named("/echo", ID).await;
    for framing in ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhel"] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nhost: service.test\r\npayment-signature: {}\r\n{framing}",
            encoded(&payment)
        );
        let mut connection = shop.serving.connect(request.as_bytes()).await.unwrap();
        connection.shutdown().await.unwrap();
        let mut came = Vec::new();
        connection.read_to_end(&mut came).await.unwrap();
        // A server may well close the connection without a word.
        if !came.is_empty() {
            assert_eq!(Answer::parse(&came).unwrap().status, 400, "{}", String::from_utf8_lossy(&came));
        }
    }
    assert_eq!((shop.visits.get(), shop.script.settle_calls()), (0, 0));
    assert_sold(&shop.post("/echo", &payment, "hello").await, "/echo");
}

async fn an_upload_that_takes_too_much_or_too_long_is_refused(stack: Stack) {
    let limits = Idempotency::default().longest_request(1000).read_within(Duration::from_millis(100));
    let shop = open_with(stack, Script::new(), |gate| gate.idempotency(limits)).await;
    let payment = shop.named("/echo", ID).await;
    let begin = async |rest: &str| {
        let request = format!(
            "POST /echo HTTP/1.1\r\nhost: service.test\r\npayment-signature: {}\r\n{rest}",
            encoded(&payment)
        );
        let mut connection = shop.serving.connect(request.as_bytes()).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"}") {
            assert_ne!(connection.read_buf(&mut came).await.unwrap(), 0);
        }
        Answer::parse(&came).unwrap()
    };
    // Nothing of it was sent, and nothing has to be.
    assert_refused(&begin("content-length: 1001\r\n\r\n").await, 413, "request_too_large");
    for slow in ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        assert_refused(&begin(slow).await, 408, "request_too_slow");
    }
    assert_eq!((shop.visits.get(), shop.script.settle_calls()), (0, 0));
    assert_sold(&shop.post("/echo", &payment, "hello").await, "/echo");
}

/// A stranger's payment costs a question, and no memory.
async fn an_upload_is_not_read_for_a_payment_that_is_not_good(stack: Stack) {
    let shop = open(stack, Script::new().on_verify([Act::No("insufficient_funds"), Act::Yes])).await;
    let payment = shop.named("/echo", ID).await;
    if stack.wire == Wire::Http1 {
        // It is answered while its body is still to come.
        let request = format!(
            "POST /echo HTTP/1.1\r\nhost: service.test\r\npayment-signature: {}\r\ncontent-length: 1000000\r\n\r\nhello",
            encoded(&payment)
        );
        let mut connection = shop.serving.connect(request.as_bytes()).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"}") {
            assert_ne!(connection.read_buf(&mut came).await.unwrap(), 0);
        }
        assert_refused(&Answer::parse(&came).unwrap(), 402, "insufficient_funds");
    } else {
        assert_refused(&shop.post("/echo", &payment, "hello").await, 402, "insufficient_funds");
    }
    assert_eq!(shop.counts(), (0, 1, 0));
    // Neither the payment nor its name is taken.
    let first = shop.post("/echo", &payment, "hello").await;
    assert_sold(&first, "/echo");
    assert_again(&shop.post("/echo", &payment, "hello").await, &first);
    // The same name with another payment is known without reading it, or asking anybody.
    let verified = shop.script.verify_calls();
    let other = shop.named("/echo", ID).await;
    assert_refused(&shop.post("/echo", &other, "hello").await, 409, "payment_identifier_conflict");
    assert_refused(&shop.post("/echo", &payment, "other").await, 409, "payment_identifier_conflict");
    assert_eq!((shop.visits.get(), shop.script.verify_calls()), (1, verified));
}

async fn uploads_wait_for_room_and_are_then_refused(stack: Stack) {
    let limits = Idempotency::default()
        .longest_request(4096)
        .all_requests(4096)
        .read_within(Duration::from_millis(300));
    let script = Script::new().on_settle([Act::Wait, Act::Yes]);
    let shop = open_with(stack, script, |gate| gate.idempotency(limits)).await;
    let (first, second) =
        (shop.named("/echo", ID).await, shop.named("/echo", "another-id-of-a-client").await);
    // It has all the room until it is answered.
    let long = "x".repeat(4096);
    let answered = shop.post("/echo", &first, &long);
    let (first_answer, ()) = tokio::join!(answered, async {
        shop.script.settle_begun(1).await;
        let refused = shop.post("/echo", &second, "hello").await;
        assert_refused(&refused, 503, "payment_unavailable");
        assert!(refused.header("retry-after").is_some());
        assert_eq!((shop.visits.get(), shop.script.settle_calls()), (1, 1));
        shop.script.let_go();
    });
    assert_sold(&first_answer, "/echo");
    assert_sold(&shop.post("/echo", &second, "hello").await, "/echo");
    assert_eq!(shop.script.settle_calls(), 2);
}
