//! Uploads are read to their end before their payment is looked at, where they come with a name.

use super::*;

pub const CASES: &[Case] = &[
    case!(an_upload_is_read_only_with_an_identifier),
    case!(an_upload_that_breaks_off_is_refused).http1(),
    case!(an_upload_that_takes_too_much_or_too_long_is_refused).http1(),
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
    assert_eq!(shop.counts(), (0, 0, 0));
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
    assert_eq!(shop.counts(), (0, 0, 0));
    assert_sold(&shop.post("/echo", &payment, "hello").await, "/echo");
}
