//! Sends of known and of unknown outcome.

use super::*;

#[tokio::test]
async fn a_send_of_unknown_outcome_is_pending_and_repeated_byte_for_byte() {
    let node = Node::default();
    let sends = Arc::new(AtomicUsize::new(0));
    let facilitator = over(&node, {
        let sends = sends.clone();
        move |method, parameters| match method {
            "eth_sendRawTransaction" if sends.fetch_add(1, Ordering::SeqCst) == 0 => {
                assert!(parameters[0].as_str().unwrap().len() > 2);
                Some(Reply::Broken)
            }
            // The state says the authorization is unused.
            "eth_call" if parameters[0]["input"].as_str().unwrap().starts_with("0xe94a0102") => {
                Some(Reply::Is(json!(B256::ZERO)))
            }
            _ => None,
        }
    });
    let SettleResponse::Pending(pending) = facilitator.settle((&payment()).into()).await.unwrap() else {
        panic!()
    };
    let hash = hash_of(facilitator.settle((&payment()).into()).await.unwrap());
    assert_eq!(hash, pending.transaction.unwrap().to_string());
    assert_eq!(node.hashes().len(), 1);
    assert_eq!(hash_of(facilitator.settle((&payment()).into()).await.unwrap()), hash);
    assert_eq!(sends.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_send_that_broke_but_arrived_is_settled() {
    for reply in
        [Reply::Broken, Reply::Error(-32000, "already known"), Reply::Error(-32603, "upstream timed out")]
    {
        let node = Node::default();
        let facilitator = over(&node, {
            let node = node.clone();
            move |method, parameters| match method {
                "eth_sendRawTransaction" => {
                    node.take(parameters);
                    Some(reply.clone())
                }
                "eth_getTransactionByHash" => Some(Reply::Is(json!({ "hash": parameters[0] }))),
                _ => None,
            }
        });
        hash_of(facilitator.settle((&payment()).into()).await.unwrap());
        assert_eq!(node.hashes().len(), 1);
    }
}

#[tokio::test]
async fn a_nonce_that_is_taken_is_replaced_once() {
    let node = Node::default();
    let (sends, counts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(4)));
    let facilitator = over(&node, move |method, parameters| match method {
        "eth_sendRawTransaction" if sends.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some(Reply::Error(-32000, "nonce too low: next nonce 5, tx nonce 4"))
        }
        "eth_getTransactionCount" if parameters[1] == "pending" => {
            Some(Reply::Is(json!(format!("{:#x}", counts.fetch_add(1, Ordering::SeqCst)))))
        }
        _ => None,
    });
    hash_of(facilitator.settle((&payment()).into()).await.unwrap());
    assert_eq!(node.hashes().len(), 1);

    let facilitator = over(&Node::default(), |method, _| {
        (method == "eth_sendRawTransaction").then_some(Reply::Error(-32000, "nonce too low"))
    });
    assert!(!facilitator.settle((&payment()).into()).await.unwrap_err().may_have_acted());
}

/// The endpoint takes the transaction whatever it says, and does not find it again: only words that rule that out
/// count, and only if the transaction is said to be unknown.
#[tokio::test(start_paused = true)]
async fn only_certain_words_prove_that_nothing_was_sent() {
    let sends = [
        (Reply::Error(-32603, "internal error"), false),
        (Reply::Error(-32005, "limit exceeded"), false),
        (Reply::Error(-32000, "txpool is full"), false),
        (Reply::Error(-32000, "nonce too high"), false),
        (Reply::Error(-32000, ""), false),
        (Reply::Http(429), false),
        (Reply::Http(503), false),
        (Reply::Broken, false),
        (Reply::Never, false),
        (Reply::Error(-32000, "Insufficient funds for gas * price + value"), true),
        (Reply::Error(-32000, "nonce too low: next nonce 6, tx nonce 5"), true),
        (Reply::Error(-32000, "transaction underpriced: tip needed 1, tip permitted 0"), true),
        (Reply::Error(-32000, "replacement transaction underpriced"), true),
        (Reply::Error(-32000, "intrinsic gas too low"), true),
        (Reply::Error(-32000, "max fee per gas less than block base fee: address 0x1"), true),
        (Reply::Error(-32000, "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)"), true),
        (Reply::Error(-32000, "exceeds block gas limit"), true),
        (Reply::Error(-32000, "invalid sender"), true),
        (Reply::Error(-32000, "invalid chain id for signer: have 1 want 2"), true),
        (Reply::Error(-32000, "gas required exceeds allowance (0)"), true),
        (Reply::Error(-32000, "oversized data: transaction size 200000"), true),
    ];
    let lookups = [Reply::Is(Value::Null), Reply::Broken, Reply::Error(-32000, "header not found")];
    for (send, certain) in sends {
        for (at, lookup) in lookups.iter().enumerate() {
            let (node, mined) = (Node::default(), Arc::new(AtomicBool::new(false)));
            let facilitator = over(&node, {
                let (node, mined) = (node.clone(), mined.clone());
                let (send, lookup) = (send.clone(), lookup.clone());
                move |method, parameters| match method {
                    "eth_sendRawTransaction" => {
                        node.take(parameters);
                        Some(send.clone())
                    }
                    _ if mined.load(Ordering::SeqCst) => None,
                    "eth_getTransactionByHash" => Some(lookup.clone()),
                    "eth_getTransactionReceipt" => Some(Reply::Is(Value::Null)),
                    _ => None,
                }
            });
            let answer = facilitator.settle((&payment()).into()).await;
            let case = format!("{send:?} {lookup:?}: {answer:?}");
            if certain && at == 0 {
                assert!(!answer.unwrap_err().may_have_acted(), "{case}");
                continue;
            }
            let Ok(SettleResponse::Pending(pending)) = answer else { panic!("{case}") };
            mined.store(true, Ordering::SeqCst);
            let hash = hash_of(facilitator.settle((&payment()).into()).await.unwrap());
            assert_eq!(hash, pending.transaction.unwrap().to_string(), "{case}");
            assert_eq!(node.hashes().len(), 1, "{case}");
        }
    }
}
