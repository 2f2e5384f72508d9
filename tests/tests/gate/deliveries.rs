//! What is bought arrives as the handler made it: streams, events, trailers, ranges, uploads, websockets.

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};
use x402_tests::{
    script::{HASH, Script},
    serve::{Answer, encoded},
};

use crate::{
    goods::shelves,
    harness::{Case, Framework, Stack, Wire, case},
    shop::{Shop, Stock},
    support::{assert_no_receipt, assert_sold, assert_spent, marker, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(events_go_out_one_by_one).http1(),
    case!(a_stream_that_breaks_ends_broken),
    case!(trailers_arrive).only(&[Framework::Axum, Framework::Poem, Framework::Tower]),
    case!(half_of_it_is_charged_as_the_whole),
    case!(headers_that_come_twice_stay_two),
    case!(an_upload_arrives_whole).http1(),
    case!(a_websocket_is_paid_for_with_its_handshake).http1(),
    case!(a_script_of_another_origin_can_ask_and_pay),
    case!(an_answer_that_says_so_is_not_charged),
    case!(settled_first_it_is_too_late_to_say_so),
    case!(an_error_in_the_frameworks_own_way_is_the_answer_it_becomes),
];

async fn events_go_out_one_by_one(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/events").await;
    let mut connection = shop.paying("/events", &payment).await;
    let mut came = Vec::new();
    while !String::from_utf8_lossy(&came).contains("data: sold:/events;\n\n") {
        assert_ne!(connection.read_buf(&mut came).await.unwrap(), 0, "{}", String::from_utf8_lossy(&came));
    }
    let answer = Answer::parse(&came).unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!((answer.count("payment-response"), shop.counts()), (1, (1, 1, 1)));
    // It is still open, and others are served.
    shop.assert_silent(connection).await;
    assert_spent(&shop.pay("/events", &payment).await);
}

async fn a_stream_that_breaks_ends_broken(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/breaks").await;
    let answer = shop.serving.send("GET", "/breaks", &[("payment-signature", &encoded(&payment))]).await;
    // Where the source fails at once, not even a head may have left.
    if let (Ok(answer), Wire::Http1) = (&answer, stack.wire) {
        assert!(answer.body.contains(&marker("/breaks")), "{answer:?}");
        assert!(!answer.body.ends_with("0\r\n\r\n"), "it looks whole: {answer:?}");
    }
    assert!(answer.is_err() || stack.wire == Wire::Http1, "it looks whole: {answer:?}");
    assert_eq!(shop.counts(), (1, 1, 1));
}

/// In actix-web, bodies have no trailers.
async fn trailers_arrive(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let header = encoded(&shop.v2("/trailers").await);
    let answer = shop.get("/trailers", &[("payment-signature", &header), ("te", "trailers")]).await;
    assert_eq!((answer.status, answer.count("payment-response")), (200, 1));
    assert_eq!(answer.body.matches(&marker("/trailers")).count(), 2);
    match stack.wire {
        Wire::Http1 => assert!(answer.body.ends_with("\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer:?}"),
        Wire::Http2 => assert_eq!(answer.header("trailer x-sum"), Some("42")),
    }
}

async fn half_of_it_is_charged_as_the_whole(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let header = encoded(&shop.v2("/range").await);
    let answer = shop.get("/range", &[("payment-signature", &header), ("range", "bytes=13-25")]).await;
    assert_eq!((answer.status, answer.header("content-range")), (206, Some("bytes 13-25/26")));
    assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
    assert_eq!((answer.body.as_str(), shop.counts()), (marker("/range").as_str(), (1, 1, 1)));
}

async fn headers_that_come_twice_stay_two(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let answer = shop.pay("/cached", &shop.v2("/cached").await).await;
    let cookies: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
    let cookies: Vec<_> = cookies.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

async fn an_upload_arrives_whole(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let unpaid = shop.send("POST", "/echo", &[("content-length", "0")]).await;
    let payment = encoded(&sign_v2(&unpaid.decoded("payment-required").unwrap(), 0).await);
    let upload: String = (0..40_000).map(|line| format!("{line}\n")).collect();
    let request = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\
         payment-signature: {payment}\r\n\r\n{upload}",
        upload.len()
    );
    let answer = shop.serving.raw(request.as_bytes()).await.unwrap();
    assert_eq!(answer.count("payment-response"), 1);
    assert!(answer.body == format!("{}{upload}", marker("/echo")), "{} bytes came", answer.body.len());

    // In pieces, and refused before any of them was read.
    let begun = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel";
    let mut connection = shop.serving.connect(begun).await.unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"}") {
        assert_ne!(connection.read_buf(&mut came).await.unwrap(), 0, "{}", String::from_utf8_lossy(&came));
    }
    assert_eq!(Answer::parse(&came).unwrap().status, 402);
    let _ = connection.write_all(b"lo\r\n0\r\n\r\n").await;
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn a_websocket_is_paid_for_with_its_handshake(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let knock = async |payment: Option<&str>| {
        let url = format!("ws://{}/socket", shop.serving.address);
        let mut request = url.into_client_request().unwrap();
        if let Some(payment) = payment {
            request.headers_mut().insert("payment-signature", payment.parse().unwrap());
        }
        client_async(request, TcpStream::connect(shop.serving.address).await.unwrap()).await
    };
    let Err(Error::Http(refused)) = knock(None).await else { panic!("an unpaid handshake was accepted") };
    assert_eq!((refused.status().as_u16(), shop.counts()), (402, (0, 0, 0)));
    let offer =
        x402_core::wire::decode_payment_required(&refused.headers()["payment-required"]).unwrap().required;
    let payment = encoded(&sign_v2(&serde_json::to_value(offer).unwrap(), 0).await);
    let (mut socket, accepted) = knock(Some(&payment)).await.unwrap();
    assert_eq!((accepted.status().as_u16(), shop.counts()), (101, (1, 1, 1)), "paid before it opens");
    assert!(accepted.headers().contains_key("payment-response"));
    for word in ["hello", "again"] {
        socket.send(Message::text(word)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(word));
    }
    let Err(Error::Http(spent)) = knock(Some(&payment)).await else { panic!("it opened twice") };
    assert_eq!((spent.status().as_u16(), shop.counts()), (402, (1, 1, 1)));
}

async fn a_script_of_another_origin_can_ask_and_pay(stack: Stack) {
    let shared = Stock::Shared(shelves());
    let shop = Shop::stocked(stack, Script::new(), |gate| gate, shared).await;
    let origin = ("origin", "https://app.example");
    let preflight = [
        origin,
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "payment-signature"),
    ];
    let answer = shop.send("OPTIONS", "/cheap", &preflight).await;
    assert!([200, 204].contains(&answer.status), "the browser cannot pay for its question: {answer:?}");
    let allowed = answer.header("access-control-allow-headers").unwrap().to_lowercase();
    assert!(allowed == "*" || allowed.contains("payment-signature"), "{answer:?}");
    let readable = |answer: &Answer, header: &str| {
        let from = answer.header("access-control-allow-origin").unwrap();
        assert!(["*", "https://app.example"].contains(&from), "{answer:?}");
        let exposed = answer.headers.iter().filter(|(name, _)| name == "access-control-expose-headers");
        let exposed = exposed.map(|(_, value)| value.to_lowercase()).collect::<Vec<_>>().join(",");
        assert!(exposed.contains(header) || exposed == "*", "{answer:?}");
    };
    let unpaid = shop.get("/cheap", &[origin]).await;
    assert_eq!((unpaid.status, shop.counts()), (402, (0, 0, 0)));
    readable(&unpaid, "payment-required");
    let payment = encoded(&sign_v2(&unpaid.decoded("payment-required").unwrap(), 0).await);
    let paid = shop.get("/cheap", &[origin, ("payment-signature", &payment)]).await;
    assert_sold(&paid, "/cheap");
    readable(&paid, "payment-response");
}

async fn an_answer_that_says_so_is_not_charged(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for payment in [shop.v2("/uncharged").await, shop.v1("/uncharged").await] {
        let answer = shop.pay("/uncharged", &payment).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "nothing new"));
        assert_eq!(answer.header("cache-control"), Some("private, max-age=60"), "it was not for all");
        assert_no_receipt(&answer);
        let settled = shop.script.settle_calls();
        assert_eq!(shop.pay("/cheap", &payment).await.status, 200, "the payment is still good");
        assert_eq!(shop.script.settle_calls(), settled + 1);
    }
    assert_eq!(shop.counts(), (4, 4, 2));
}

async fn settled_first_it_is_too_late_to_say_so(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/first-uncharged").await;
    let answer = shop.pay("/first-uncharged", &payment).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "nothing new"));
    assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
    assert_spent(&shop.pay("/cheap", &payment).await);
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn an_error_in_the_frameworks_own_way_is_the_answer_it_becomes(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/errs").await;
    let answer = shop.pay("/errs", &payment).await;
    assert_eq!((answer.status, shop.counts()), (404, (1, 1, 0)));
    assert_no_receipt(&answer);
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");

    let payment = shop.v2("/first-errs").await;
    let answer = shop.pay("/first-errs", &payment).await;
    assert_eq!((answer.status, shop.script.settle_calls()), (404, 2), "{answer:?}");
    assert_eq!(answer.decoded("payment-response").unwrap()["transaction"], HASH);
    assert_spent(&shop.pay("/first-errs", &payment).await);

    let payment = shop.v2("/first-breaks").await;
    for _ in 0..2 {
        let answer = shop.pay("/first-breaks", &payment).await;
        assert_eq!((answer.status, answer.count("payment-response")), (503, 1), "{answer:?}");
    }
    assert_eq!(shop.script.settle_calls(), 3, "our trouble is not paid for twice");
}
