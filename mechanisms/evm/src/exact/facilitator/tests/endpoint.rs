//! The clock, and endpoints in trouble or of the wrong kind.

use super::*;

/// By our clock alone: this chain takes any time. See the table of the tests on a real one, too.
#[tokio::test]
async fn time_is_bounded_exactly() {
    let (early, late) = (Some(reasons::VALID_AFTER), Some(reasons::VALID_BEFORE));
    let cases = [
        (0, 0, &late),
        (0, NOW - 6, &late),
        (0, NOW - 1, &late),
        (0, NOW, &late),
        (0, NOW + 1, &late),
        (0, NOW + 5, &late),
        (0, NOW + 6, &None),
        (0, NOW + 7, &None),
        (0, u64::MAX, &None),
        (NOW - 6, NOW + 60, &None),
        (NOW - 1, NOW + 60, &None),
        (NOW, NOW + 60, &None),
        (NOW + 1, NOW + 60, &early),
        (NOW + 6, NOW + 60, &early),
        (u64::MAX, NOW + 60, &early),
        (NOW + 1, NOW + 5, &late),
    ];
    for (valid_after, valid_before, expected) in cases {
        for version in [Version::V1, Version::V2] {
            let node = Node::default();
            let facilitator = over(&node, |_, _| None);
            let mut payment = payment_of(valid_after, valid_before);
            payment.payload.version = version;
            let verified = match facilitator.verify(&payment).await.unwrap() {
                VerifyResponse::Valid { .. } => None,
                VerifyResponse::Invalid(refusal) => Some(refusal.reason),
            };
            let settled = match facilitator.settle((&payment).into()).await.unwrap() {
                SettleResponse::Settled(_) => None,
                other => Some(reason_of(other)),
            };
            assert_eq!(
                (&verified, &settled),
                (expected, expected),
                "{valid_after}..{valid_before} {version:?}"
            );
            assert_eq!(node.hashes().len(), usize::from(expected.is_none()));
        }
    }
}

#[tokio::test]
async fn an_endpoint_in_trouble_refuses_nobody() {
    let troubles = [
        Reply::Http(429),
        Reply::Http(503),
        Reply::Error(-32005, "limit exceeded"),
        Reply::Error(-32000, "header not found"),
        Reply::NotConnected,
        Reply::Broken,
        Reply::Never,
        Reply::Is(json!({ "not": "it" })),
    ];
    for method in ["eth_chainId", "eth_getCode", "eth_call", "eth_estimateGas"] {
        for trouble in &troubles {
            let node = Node::default();
            let facilitator = over(&node, {
                let trouble = trouble.clone();
                move |asked, _| (asked == method).then(|| trouble.clone())
            });
            if method != "eth_estimateGas" {
                let error = facilitator.verify(&payment()).await.unwrap_err();
                assert_eq!(error.kind(), FacilitatorErrorKind::Internal, "{method} {trouble:?}");
                assert!(error.to_string().contains("eip155:84532"), "{error}");
            }
            if method != "eth_call" {
                let error = facilitator.settle((&payment()).into()).await.unwrap_err();
                assert!(!error.may_have_acted(), "{method} {trouble:?}: {error}");
            }
            assert!(node.hashes().is_empty());
        }
    }
}

#[tokio::test]
async fn a_node_without_a_chain_knows_no_tokens() {
    let at = |head: &'static str| {
        over(&Node::default(), move |method, _| match method {
            "eth_getCode" => Some(Reply::Is(json!("0x"))),
            "eth_blockNumber" => Some(Reply::Is(json!(head))),
            _ => None,
        })
    };
    assert!(at("0x0").verify(&payment()).await.is_err());
    let refused = at("0x1").verify(&payment()).await.unwrap();
    assert!(
        matches!(refused, VerifyResponse::Invalid(refusal) if refusal.reason == reasons::ASSET_NOT_DEPLOYED)
    );
}

#[tokio::test]
async fn a_chain_without_a_base_fee_gets_a_legacy_transaction() {
    for (reply, legacy) in [(None, false), (Some(Reply::Error(-32601, "no such method")), true)] {
        let node = Node::default();
        let facilitator =
            over(&node, move |method, _| if method == "eth_feeHistory" { reply.clone() } else { None });
        hash_of(facilitator.settle((&payment()).into()).await.unwrap());
        let first = node.sent.lock().unwrap()[0][0];
        assert_eq!(first >= 0xc0, legacy, "{first:#x}");
    }
}

#[test]
fn only_evm_networks_and_http_endpoints_will_do() {
    let connect = |url: &str, network: &'static str| {
        ExactFacilitator::connect(url, Network::from_static(network), signer())
    };
    let good = connect("https://rpc.example/KEY", "eip155:8453").unwrap();
    assert!(!format!("{good:?}").contains("KEY"), "no URL in Debug");
    for (url, network, kind) in [
        ("https://rpc.example", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", ErrorKind::Network),
        ("https://rpc.example", "eip155:08453", ErrorKind::Network),
        ("wss://rpc.example/KEY", "eip155:8453", ErrorKind::Endpoint),
        ("rpc.example/KEY", "eip155:8453", ErrorKind::Endpoint),
    ] {
        let error = connect(url, network).unwrap_err();
        assert_eq!(error.kind(), kind, "{url} {network}");
        assert!(!error.to_string().contains("KEY"), "{error}");
    }
}

/// Whoever runs the facilitator is told which endpoint it is and what to do; whoever pays is not.
#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_named() {
    let url = "http://user:SECRET@127.0.0.1:1/SECRET?key=SECRET";
    let facilitator = ExactFacilitator::connect(url, BASE_SEPOLIA, signer()).unwrap();
    let error = facilitator.check().await.unwrap_err().to_string();
    for part in ["eip155:84532", "127.0.0.1:1:", "could not connect", "running", "URL right?"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("SECRET") && !error.contains("payment"), "{error}");

    let error = facilitator.verify(&payment()).await.unwrap_err().to_string();
    assert!(!error.contains("127.0.0.1"), "{error}");

    let other =
        over(&Node::default(), |method, _| (method == "eth_chainId").then(|| Reply::Is(json!("0x1"))));
    let error = other.check().await.unwrap_err().to_string();
    assert!(error.contains("the RPC endpoint serves eip155:1, expected eip155:84532: configure"), "{error}");
}
