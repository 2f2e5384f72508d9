//! One nonce of a payer pays once, however many authorizations are signed with it and whoever uses it.

use super::*;

/// Ours reverts; the endpoint searches ten blocks at once and is at first unable to search at all.
#[tokio::test]
async fn a_reverted_settlement_waits_for_the_truth() {
    let node = Node::default();
    let searches = Arc::new(AtomicUsize::new(0));
    let facilitator = over(&node, move |method, parameters| match method {
        "eth_getTransactionReceipt" if parameters[0] == json!(B256::repeat_byte(0xdd)) => {
            Some(Reply::Is(receipt("0x1", &[used(), transfer()])))
        }
        "eth_getTransactionReceipt" => Some(Reply::Is(receipt("0x0", &[]))),
        "eth_getTransactionByHash" => {
            let input = calldata(&authorization_of(0, NOW + 60));
            Some(Reply::Is(json!({ "input": hex::encode_prefixed(input) })))
        }
        "eth_call" if is_state_call(method, parameters) => Some(Reply::Is(json!(B256::with_last_byte(1)))),
        "eth_getLogs" => {
            let number =
                |key: &str| u64::from_str_radix(&parameters[0][key].as_str().unwrap()[2..], 16).unwrap();
            Some(match searches.fetch_add(1, Ordering::SeqCst) {
                0 => Reply::Broken,
                _ if number("toBlock") - number("fromBlock") >= 10 => Reply::Error(-32600, "up to 10 blocks"),
                _ if number("fromBlock") > 80 => Reply::Is(json!([])),
                _ => Reply::Is(json!([used()])),
            })
        }
        _ => None,
    });
    let error = facilitator.settle((&payment()).into()).await.unwrap_err();
    assert!(error.may_have_acted(), "{error}");
    assert_eq!(
        hash_of(facilitator.settle((&payment()).into()).await.unwrap()),
        B256::repeat_byte(0xdd).to_string()
    );
    assert_eq!(node.hashes().len(), 1);
}

/// Ours reverted in block 99; the use is in block 98, or later, and we look when the chain has gone on.
#[tokio::test]
async fn what_used_a_nonce_is_looked_for_where_ours_reverted() {
    let cancelled = {
        let by = payer().address().into_word();
        log(&[Eip3009::AuthorizationCanceled::SIGNATURE_HASH, by, B256::repeat_byte(7)], vec![])
    };
    let facilitator_at = |head: u64, width: u64, used_in: Option<u64>, log: Value| {
        over(&Node::default(), move |method, parameters| match method {
            "eth_blockNumber" => Some(Reply::Is(json!(format!("{head:#x}")))),
            "eth_getTransactionReceipt" if parameters[0] == json!(B256::repeat_byte(0xdd)) => {
                Some(Reply::Is(receipt("0x1", &[used(), transfer()])))
            }
            "eth_getTransactionReceipt" => Some(Reply::Is(receipt("0x0", &[]))),
            "eth_getTransactionByHash" => {
                let input = calldata(&authorization_of(0, NOW + 60));
                Some(Reply::Is(json!({ "input": hex::encode_prefixed(input) })))
            }
            "eth_call" if is_state_call(method, parameters) => {
                Some(Reply::Is(json!(B256::with_last_byte(1))))
            }
            "eth_getLogs" => {
                let number =
                    |key: &str| u64::from_str_radix(&parameters[0][key].as_str().unwrap()[2..], 16).unwrap();
                let (from, to) = (number("fromBlock"), number("toBlock"));
                assert!(from <= to && to <= head, "{from} to {to} of {head}");
                Some(if to - from >= width {
                    Reply::Error(-32600, "too many blocks")
                } else if used_in.is_some_and(|block| (from..=to).contains(&block)) {
                    Reply::Is(json!([log]))
                } else {
                    Reply::Is(json!([]))
                })
            }
            _ => None,
        })
    };
    for width in [10, 500, 5_000] {
        for head in [99, 100, 4_000, 1_000_000] {
            let facilitator = facilitator_at(head, width, Some(98), used());
            let hash = hash_of(facilitator.settle((&payment()).into()).await.unwrap());
            assert_eq!(hash, B256::repeat_byte(0xdd).to_string(), "{head}, {width} blocks at once");

            let facilitator = facilitator_at(head, width, Some(98), cancelled.clone());
            let answer = facilitator.settle((&payment()).into()).await.unwrap();
            assert_eq!(reason_of(answer), reasons::TRANSACTION_FAILED, "{head}, {width} blocks at once");

            // It is used, so somebody used it.
            let facilitator = facilitator_at(head, width, None, used());
            for _ in 0..2 {
                let error = facilitator.settle((&payment()).into()).await.unwrap_err();
                assert!(error.may_have_acted(), "{head}, {width} blocks at once: {error}");
            }
        }
        // By the newest state.
        for used_in in [100, 110, 1_000_000] {
            let facilitator = facilitator_at(1_000_000, width, Some(used_in), used());
            hash_of(facilitator.settle((&payment()).into()).await.unwrap());
        }
    }
}

/// Ours reverted long ago, by the block of its receipt: a node that has dropped that block's state is asked for a newer
/// one, and one that has not come so far yet proves nothing.
#[tokio::test]
async fn a_reverted_settlement_is_judged_by_the_states_there_are() {
    for (reverted_in, judged) in [("0x63", true), ("0x64", true), ("0x65", false)] {
        let facilitator = over(&Node::default(), move |method, parameters| match method {
            "eth_call" if is_state_call(method, parameters) => Some(if parameters[1] == "latest" {
                Reply::Is(json!(B256::ZERO))
            } else {
                Reply::Error(-32000, "missing trie node")
            }),
            "eth_getTransactionReceipt" => {
                Some(Reply::Is(json!({ "status": "0x0", "blockNumber": reverted_in, "logs": [] })))
            }
            _ => None,
        });
        match facilitator.settle((&payment()).into()).await {
            Ok(answer) => {
                assert!(judged && reason_of(answer) == reasons::TRANSACTION_FAILED, "{reverted_in}")
            }
            Err(error) => assert!(!judged && error.may_have_acted(), "{reverted_in}: {error}"),
        }
    }
}

/// One transaction may use several authorizations: another one's transfer does not pay for ours.
#[tokio::test]
async fn another_transfer_in_the_same_transaction_is_no_payment() {
    let elsewhere = {
        let topics =
            [Eip3009::Transfer::SIGNATURE_HASH, payer().address().into_word(), payer().address().into_word()];
        log(&topics, U256::from(10_000).abi_encode())
    };
    for (logs, pays) in [
        (vec![used(), transfer()], true),
        (vec![elsewhere.clone(), used(), transfer(), elsewhere.clone()], true),
        (vec![used(), elsewhere.clone(), transfer()], false),
        (vec![transfer(), used(), elsewhere.clone()], false),
        (vec![transfer(), used()], false),
        (vec![transfer()], false),
    ] {
        let facilitator = over(&Node::default(), move |method, parameters| match method {
            "eth_estimateGas" => Some(Reply::Error(3, "execution reverted")),
            "eth_call" if is_state_call(method, parameters) => {
                Some(Reply::Is(json!(B256::with_last_byte(1))))
            }
            "eth_getTransactionByHash" => {
                let input = calldata(&authorization_of(0, NOW + 60));
                Some(Reply::Is(json!({ "input": hex::encode_prefixed(input) })))
            }
            "eth_getLogs" => Some(Reply::Is(json!([used()]))),
            "eth_getTransactionReceipt" => Some(Reply::Is(receipt("0x1", &logs))),
            _ => None,
        });
        match facilitator.settle((&payment()).into()).await.unwrap() {
            SettleResponse::Failed(failure) => {
                // It was used before we saw it: whoever was paid, it is not for us to say that this caller was.
                let by_another = Reason::PAID_BY_THIRD_PARTY;
                assert_eq!(failure.reason, if pays { by_another } else { reasons::NONCE_ALREADY_USED });
                assert_eq!(failure.transaction.is_some(), pays);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A log tells which nonce was used, not which authorization.
#[tokio::test]
async fn only_the_authorization_that_was_used_is_paid() {
    let (ours, theirs) = (authorization_of(0, NOW + 60), authorization_of(0, NOW + 61));
    let of_another = calldata(&Authorization { from: PAYEE, ..ours.clone() });
    let receive = {
        let mut input = calldata(&ours);
        input[..4].copy_from_slice(&Eip3009::receiveWithAuthorization_0Call::SELECTOR);
        input
    };
    let (ours, theirs) = (calldata(&ours), calldata(&theirs));
    let nested = |calls: &[&[u8]]| [&[0xee; 4 + 3 * 32][..], &calls.concat(), &[0; 28]].concat();
    for (case, input, pays) in [
        ("ours", Some(ours.clone()), true),
        ("within another call", Some(nested(&[&ours])), true),
        ("twice", Some(nested(&[&ours, &ours])), true),
        ("beside another payer's", Some(nested(&[&of_another, &ours])), true),
        ("another one of the nonce", Some(theirs.clone()), false),
        ("both", Some(nested(&[&ours, &theirs])), false),
        ("both, turned around", Some(nested(&[&theirs, &ours])), false),
        ("signed as something else", Some(receive), false),
        ("not whole", Some(ours[..4 + 6 * 32 - 1].to_vec()), false),
        ("nothing", Some(vec![]), false),
        ("nowhere", None, false),
    ] {
        let unknown = input.is_none();
        let facilitator = over(&Node::default(), move |method, parameters| match method {
            "eth_estimateGas" => Some(Reply::Error(3, "execution reverted")),
            "eth_call" if is_state_call(method, parameters) => {
                Some(Reply::Is(json!(B256::with_last_byte(1))))
            }
            "eth_getLogs" => Some(Reply::Is(json!([used()]))),
            "eth_getTransactionReceipt" => Some(Reply::Is(receipt("0x1", &[used(), transfer()]))),
            "eth_getTransactionByHash" => Some(Reply::Is(match &input {
                Some(input) => json!({ "input": hex::encode_prefixed(input) }),
                None => Value::Null,
            })),
            _ => None,
        });
        match facilitator.settle((&payment()).into()).await {
            Ok(answer) => {
                assert!(!unknown, "{case}");
                let by_another = Reason::PAID_BY_THIRD_PARTY;
                assert_eq!(
                    reason_of(answer),
                    if pays { by_another } else { reasons::NONCE_ALREADY_USED },
                    "{case}"
                );
            }
            Err(error) => assert!(unknown, "{case}: {error}"),
        }
    }
}

/// The node would take them all: it does not look at the authorizations' nonce.
#[tokio::test(start_paused = true)]
async fn of_many_authorizations_with_one_nonce_one_settles() {
    let node = Node::default();
    let facilitator = over(&node, |_, _| None);
    let mut tasks = Vec::new();
    for offset in 0..12 {
        let (facilitator, payment) = (facilitator.clone(), payment_of(0, NOW + 60 + offset));
        tasks.push(tokio::spawn(
            async move { (facilitator.settle((&payment).into()).await.unwrap(), payment) },
        ));
    }
    let mut settled = 0;
    for task in tasks {
        let (answer, payment) = task.await.unwrap();
        assert_eq!(facilitator.settle((&payment).into()).await.unwrap(), answer, "and it stays so");
        if matches!(answer, SettleResponse::Settled(_)) {
            settled += 1;
        } else {
            assert_eq!(reason_of(answer), reasons::NONCE_ALREADY_USED);
        }
    }
    assert_eq!((settled, node.hashes().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_authorization_that_was_not_sent_leaves_the_nonce_to_others() {
    let (node, sends) = (Node::default(), AtomicUsize::new(0));
    let facilitator = over(&node, move |method, _| {
        let first = method == "eth_sendRawTransaction" && sends.fetch_add(1, Ordering::SeqCst) == 0;
        first.then_some(Reply::NotConnected)
    });
    let (first, second) = (payment(), payment_of(0, NOW + 61));
    let (first, second) =
        tokio::join!(facilitator.settle((&first).into()), facilitator.settle((&second).into()));
    assert!(!first.unwrap_err().may_have_acted());
    hash_of(second.unwrap());
    assert_eq!(node.hashes().len(), 1);
}

/// Nobody knows of the first one's transaction; then it is mined, or another one takes its place.
#[tokio::test(start_paused = true)]
async fn an_authorization_waits_for_the_fate_of_another() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fate {
        Unknown,
        Mined,
        Replaced,
    }
    for fate in [Fate::Mined, Fate::Replaced] {
        let (node, now) = (Node::default(), Arc::new(Mutex::new(Fate::Unknown)));
        let facilitator = over(&node, {
            let (node, now) = (node.clone(), now.clone());
            move |method, parameters| {
                let now = *now.lock().unwrap();
                match method {
                    "eth_sendRawTransaction" if now == Fate::Unknown => {
                        if node.hashes().is_empty() {
                            node.take(parameters);
                        }
                        Some(Reply::Broken)
                    }
                    "eth_call" if is_state_call(method, parameters) => Some(Reply::Is(json!(B256::ZERO))),
                    "eth_getTransactionCount" if now == Fate::Replaced => Some(Reply::Is(json!("0x6"))),
                    "eth_getTransactionReceipt"
                        if now == Fate::Unknown
                            || (now == Fate::Replaced && parameters[0] == json!(node.hashes()[0])) =>
                    {
                        Some(Reply::Is(Value::Null))
                    }
                    _ => None,
                }
            }
        });
        let (first, second) = (payment(), payment_of(0, NOW + 61));
        let pending = facilitator.settle((&first).into()).await.unwrap();
        let SettleResponse::Pending(pending) = pending else { panic!("{pending:?}") };
        for _ in 0..2 {
            let error = facilitator.settle((&second).into()).await.unwrap_err();
            // The one record of the nonce is another's: what was sent for this one before is not in it.
            assert!(error.may_have_acted(), "{error}");
            assert!(error.to_string().contains(pending.transaction.as_ref().unwrap().as_str()), "{error}");
        }
        *now.lock().unwrap() = fate;
        let (second, first) =
            (facilitator.settle((&second).into()).await, facilitator.settle((&first).into()).await);
        if fate == Fate::Mined {
            assert_eq!(reason_of(second.unwrap()), reasons::NONCE_ALREADY_USED);
            assert_eq!(hash_of(first.unwrap()), pending.transaction.unwrap().to_string());
            assert_eq!(node.hashes().len(), 1);
        } else {
            hash_of(second.unwrap());
            assert_eq!(reason_of(first.unwrap()), reasons::NONCE_ALREADY_USED);
            assert_eq!(node.hashes().len(), 2);
        }
    }
}

/// The node takes it again, as one does that is behind.
#[tokio::test]
async fn what_has_its_answer_is_not_valid_any_more() {
    for (status, reason) in [("0x1", reasons::NONCE_ALREADY_USED), ("0x0", reasons::TRANSACTION_FAILED)] {
        let facilitator = over(&Node::default(), move |method, parameters| match method {
            "eth_call" if is_state_call(method, parameters) => Some(Reply::Is(json!(B256::ZERO))),
            "eth_getTransactionReceipt" => Some(Reply::Is(receipt(status, &[transfer()]))),
            _ => None,
        });
        let verified = facilitator.verify(&payment()).await.unwrap();
        assert!(matches!(verified, VerifyResponse::Valid { .. }), "{verified:?}");
        let answer = facilitator.settle((&payment()).into()).await.unwrap();
        assert_eq!(matches!(answer, SettleResponse::Settled(_)), status == "0x1", "{answer:?}");
        match facilitator.verify(&payment()).await.unwrap() {
            VerifyResponse::Invalid(refusal) => {
                assert_eq!(refusal.reason, reason);
                assert_eq!(refusal.payer, Some(to_core(payer().address())));
            }
            VerifyResponse::Valid { .. } => panic!("valid, not {reason}"),
        }
        assert_eq!(facilitator.settle((&payment()).into()).await.unwrap(), answer);
        // Another authorization with its nonce may be paid, if this one was not.
        let verified = facilitator.verify(&payment_of(0, NOW + 61)).await.unwrap();
        assert_eq!(matches!(verified, VerifyResponse::Valid { .. }), status == "0x0", "{verified:?}");
    }
}

/// Another transaction of the account takes the place of ours, and the next one reverts, or is not even sent. Whoever
/// watches the first is told of its end in a way that they can know it.
#[tokio::test(start_paused = true)]
async fn who_watches_a_replaced_transaction_hears_of_its_end() {
    for sent_again in [true, false] {
        let (node, is_replaced) = (Node::default(), Arc::new(AtomicBool::new(false)));
        let facilitator = over(&node, {
            let (node, is_replaced) = (node.clone(), is_replaced.clone());
            move |method, parameters| {
                let is_replaced = is_replaced.load(Ordering::SeqCst);
                match method {
                    "eth_sendRawTransaction" if !is_replaced => {
                        if node.hashes().is_empty() {
                            node.take(parameters);
                        }
                        Some(Reply::Broken)
                    }
                    "eth_call" if is_state_call(method, parameters) => Some(Reply::Is(json!(B256::ZERO))),
                    "eth_estimateGas" if is_replaced && !sent_again => {
                        Some(Reply::Error(3, "execution reverted"))
                    }
                    "eth_getTransactionCount" if is_replaced => Some(Reply::Is(json!("0x6"))),
                    "eth_getTransactionReceipt"
                        if !is_replaced || parameters[0] == json!(node.hashes()[0]) =>
                    {
                        Some(Reply::Is(Value::Null))
                    }
                    "eth_getTransactionReceipt" => Some(Reply::Is(receipt("0x0", &[]))),
                    _ => None,
                }
            }
        });
        let pending = facilitator.settle((&payment()).into()).await.unwrap();
        let SettleResponse::Pending(first) = pending else { panic!("{pending:?}") };
        is_replaced.store(true, Ordering::SeqCst);
        let watched = if sent_again {
            let pending = facilitator.settle((&payment()).into()).await.unwrap();
            let SettleResponse::Pending(second) = pending else { panic!("{pending:?}") };
            assert_ne!(second.transaction, first.transaction);
            second.transaction
        } else {
            first.transaction
        };
        let failed = facilitator.settle((&payment()).into()).await.unwrap();
        let SettleResponse::Failed(failure) = failed else { panic!("{failed:?}") };
        assert_eq!(failure.transaction, watched, "sent again: {sent_again}");
    }
}
