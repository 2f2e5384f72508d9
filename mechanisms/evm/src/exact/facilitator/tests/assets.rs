//! Which tokens are settled, and for how much gas.

use super::*;

const OTHER: Address = Address::repeat_byte(0x05);

/// A node that counts its calls, and has every token.
fn counting(calls: &Arc<AtomicUsize>) -> ExactFacilitator {
    let calls = calls.clone();
    over(&Node::default(), move |method, parameters| {
        calls.fetch_add(1, Ordering::SeqCst);
        let token = method == "eth_getCode" && parameters[0] != json!(payer().address());
        token.then(|| Reply::Is(json!("0x60")))
    })
}

#[tokio::test]
async fn only_known_tokens_are_settled() {
    let calls = Arc::new(AtomicUsize::new(0));
    let strange = payment_in(OTHER, authorization_of(0, NOW + 60));
    let facilitator = counting(&calls);
    let VerifyResponse::Invalid(refusal) = facilitator.verify(&strange).await.unwrap() else { panic!() };
    assert_eq!(refusal.reason, reasons::ASSET_NOT_ALLOWED);
    assert!(refusal.payer.is_some());
    let message = refusal.message.unwrap();
    assert!(message.contains(&OTHER.to_string()) && message.contains("allow_token"), "{message}");
    assert_eq!(reason_of(facilitator.settle((&strange).into()).await.unwrap()), reasons::ASSET_NOT_ALLOWED);
    assert_eq!(calls.load(Ordering::SeqCst), 0, "the chain was not asked");

    for facilitator in [facilitator.allow_token(OTHER), counting(&calls).any_token()] {
        for payment in [&strange, &payment()] {
            let verified = facilitator.verify(payment).await.unwrap();
            assert!(matches!(verified, VerifyResponse::Valid { .. }), "{verified:?}");
        }
    }
}

/// What is wrong with the payment's shape is said first.
#[tokio::test]
async fn an_unknown_token_is_not_the_first_reason() {
    let facilitator = over(&Node::default(), |_, _| None);
    let mut strange = payment_in(OTHER, authorization_of(0, NOW + 60));
    strange.payload.payload = json!({});
    assert_eq!(reason_of(facilitator.settle((&strange).into()).await.unwrap()), Reason::INVALID_PAYLOAD);
    strange.requirements.scheme = "upto".into();
    assert_eq!(reason_of(facilitator.settle((&strange).into()).await.unwrap()), reasons::SCHEME);
}

#[tokio::test]
async fn strangers_do_not_fill_the_memory() {
    let facilitator = counting(&Arc::default()).any_token();
    for token in 1..=20 {
        let strange = payment_in(Address::repeat_byte(token), authorization_of(0, NOW + 60));
        facilitator.verify(&strange).await.unwrap();
    }
    facilitator.verify(&payment()).await.unwrap();
    assert_eq!(facilitator.shared.deployed.lock().unwrap().len(), 1);
}

/// The gas a settlement may take, by whether the payer has code.
#[tokio::test]
async fn gas_is_bounded() {
    type Set = fn(ExactFacilitator) -> ExactFacilitator;
    let cases: [(bool, u64, Set, Option<u64>); 11] = [
        (false, 60_000, |it| it, Some(95_000)),
        (false, 190_000, |it| it, Some(200_000)),
        (false, 200_000, |it| it, Some(200_000)),
        (false, 200_001, |it| it, None),
        (false, 300_000, |it| it.max_plain_gas(300_000), Some(300_000)),
        (false, 100_001, |it| it.max_gas(100_000), None),
        (true, 200_001, |it| it, Some(270_001)),
        (true, 500_000, |it| it, Some(500_000)),
        (true, 500_001, |it| it, None),
        (true, 1_000_000, |it| it.max_gas(1_000_000), Some(1_000_000)),
        (true, 300_001, |it| it.max_gas(300_000), None),
    ];
    for (wallet, estimate, set, limit) in cases {
        let node = Node::default();
        let facilitator = set(over(&node, move |method, parameters| match method {
            "eth_estimateGas" => Some(Reply::Is(json!(format!("{estimate:#x}")))),
            "eth_getCode" if wallet => Some(Reply::Is(json!("0x60"))),
            // The wallet's yes.
            "eth_call" if wallet && parameters[0]["to"] == json!(payer().address()) => {
                Some(Reply::Is(json!(format!("0x1626ba7e{}", "00".repeat(28)))))
            }
            _ => None,
        }));
        let answer = facilitator.settle((&payment()).into()).await.unwrap();
        let Some(limit) = limit else {
            assert_eq!(reason_of(answer), reasons::SIMULATION_FAILED, "{wallet} {estimate}");
            assert!(node.hashes().is_empty());
            continue;
        };
        hash_of(answer);
        let raw = node.sent.lock().unwrap()[0].clone();
        let sent = TxEnvelope::decode_2718(&mut raw.as_ref()).unwrap();
        assert_eq!(sent.gas_limit(), limit, "{wallet} {estimate}");
    }
}

/// What an account with code (EIP-7702) signed with its key, by whether its code takes the signature, whether the token
/// has the overload that asks it, and whether the token recovers the key.
#[tokio::test]
async fn what_a_token_takes_of_an_account_with_code_is_settled() {
    let (recovering, asking) = ("0xe3ee160e", "0xcf092995");
    for (code_says_yes, token_asks, token_recovers, settled_by) in [
        (true, true, true, Some(asking)),
        (true, true, false, Some(asking)),
        (true, false, true, Some(recovering)),
        (true, false, false, None),
        (false, true, true, Some(recovering)),
        (false, false, true, Some(recovering)),
        (false, true, false, None),
        (false, false, false, None),
    ] {
        let node = Node::default();
        let facilitator = over(&node, move |method, parameters| {
            let reverts = || Some(Reply::Error(3, "execution reverted"));
            let input =
                || parameters[0]["input"].as_str().or(parameters[0]["data"].as_str()).unwrap_or_default();
            let to_payer = || parameters[0]["to"] == json!(payer().address());
            match method {
                "eth_getCode" if parameters[0] == json!(payer().address()) => {
                    Some(Reply::Is(json!(format!("0xef0100{}", "11".repeat(20)))))
                }
                "eth_call" if to_payer() => {
                    let word = if code_says_yes { "1626ba7e" } else { "ffffffff" };
                    Some(Reply::Is(json!(format!("0x{word}{}", "00".repeat(28)))))
                }
                "eth_call" | "eth_estimateGas" if input().starts_with(recovering) && !token_recovers => {
                    reverts()
                }
                "eth_call" | "eth_estimateGas" if input().starts_with(asking) && !token_asks => reverts(),
                _ => None,
            }
        });
        let case = (code_says_yes, token_asks, token_recovers);
        let answer = facilitator.settle((&payment()).into()).await.unwrap();
        let Some(settled_by) = settled_by else {
            reason_of(answer);
            assert!(node.hashes().is_empty(), "{case:?}");
            continue;
        };
        hash_of(answer);
        let raw = node.sent.lock().unwrap()[0].clone();
        let sent = TxEnvelope::decode_2718(&mut raw.as_ref()).unwrap();
        assert!(format!("{}", sent.input()).starts_with(settled_by), "{case:?}");
    }
}
