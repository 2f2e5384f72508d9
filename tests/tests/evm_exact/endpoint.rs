//! Endpoints that are not what they should be, alone and beside a good one.

use super::faulty::{Act, Endpoint};
use super::support::*;

const SEND: &str = "eth_sendRawTransaction";

#[tokio::test]
async fn an_endpoint_of_another_chain_is_not_used() {
    let chain = Chain::start_with(8453).await.unwrap();
    let facilitator =
        ExactFacilitator::connect(chain.rpc_url(), Network::evm(BASE_SEPOLIA), chain::facilitator()).unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let error = facilitator.verify(&payment).await.unwrap_err();
    assert_eq!(error.kind(), FacilitatorErrorKind::Internal);
    assert!(error.to_string().contains("eip155:8453"), "{error}");
    let error = facilitator.settle((&payment).into()).await.unwrap_err();
    assert!(!error.may_have_acted(), "{error}");
}

type Lie = fn(&str) -> Act;

fn block(number: u64, timestamp: u64) -> Act {
    Act::Answer(json!({ "number": format!("{number:#x}"), "timestamp": format!("{timestamp:#x}") }))
}

/// It is asked for nothing that moves money, and the payment is settled over the other one.
#[tokio::test]
async fn an_endpoint_that_lies_is_set_aside() {
    let (chain, _) = start().await;
    for _ in 0..8 {
        chain.mine().await.unwrap();
    }
    let cases: [(&str, Lie); 8] = [
        (
            "another chain",
            (|method| match method {
                "eth_chainId" => Act::Answer(json!("0x1")),
                _ => Act::Pass,
            }),
        ),
        (
            "head 0",
            (|method| match method {
                "eth_getBlockByNumber" => block(0, now()),
                "eth_blockNumber" => Act::Answer(json!("0x0")),
                _ => Act::Pass,
            }),
        ),
        (
            "behind",
            (|method| match method {
                "eth_getBlockByNumber" => block(2, now() - 3_600),
                _ => Act::Pass,
            }),
        ),
        ("too many requests", (|_| Act::Status(429))),
        ("down", (|_| Act::Status(503))),
        ("silent", (|_| Act::Hang)),
        ("nonsense", (|_| Act::Answer(json!(["what", "?"])))),
        (
            "busy when it matters",
            (|method| match method {
                "eth_call" | "eth_estimateGas" | "eth_getCode" | SEND => Act::Status(429),
                _ => Act::Pass,
            }),
        ),
    ];
    let mut settled_so_far = 0;
    for (case, script) in cases {
        let liar = Endpoint::before(&chain, move |method, _| script(method)).await;
        let facilitator = facilitator_over(&[&liar.url, chain.rpc_url().as_str()]);
        let payment = signed(Version::V2, &requirements()).await;
        let verified = facilitator.verify(&payment).await.unwrap();
        assert!(matches!(verified, VerifyResponse::Valid { .. }), "{case}: {verified:?}");
        settled(facilitator.settle((&payment).into()).await.unwrap());
        settled_so_far += 1;
        assert_eq!(liar.calls(SEND), 0, "{case}");
        assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), settled_so_far, "{case}");
        assert_eq!(
            chain.nonce(chain::facilitator().address()).await.unwrap(),
            settled_so_far as u64,
            "{case}"
        );
    }
}

/// Who claims to be far ahead does not make the others late.
#[tokio::test]
async fn an_endpoint_that_boasts_displaces_nobody() {
    let (chain, _) = start().await;
    let honest = Endpoint::before(&chain, |_, _| Act::Pass).await;
    let boaster = Endpoint::before(&chain, |method, _| match method {
        "eth_getBlockByNumber" => block(0xffff_ffff, now()),
        _ => Act::Pass,
    })
    .await;
    let facilitator = facilitator_over(&[&honest.url, &boaster.url]);
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    assert_eq!((honest.calls(SEND), boaster.calls(SEND)), (1, 0));
}

/// The first endpoint takes the transaction and does not say so; the second one is handed the same bytes.
#[tokio::test]
async fn a_transaction_whose_fate_is_unknown_is_not_made_anew() {
    for fault in [Act::Swallow, Act::Lost(429), Act::Lost(502)] {
        let (chain, _) = start().await;
        let first = Endpoint::before(&chain, {
            let fault = fault.clone();
            move |method, _| if method == SEND { fault.clone() } else { Act::Pass }
        })
        .await;
        let second = Endpoint::before(&chain, |_, _| Act::Pass).await;
        let facilitator = facilitator_over(&[&first.url, &second.url]);
        let payment = signed(Version::V2, &requirements()).await;
        let hash = settled(facilitator.settle((&payment).into()).await.unwrap());
        assert_eq!(chain.transactions_of(chain::facilitator().address()).await.unwrap(), [hash], "{fault:?}");
        assert_eq!((first.calls(SEND), second.calls(SEND)), (1, 1), "{fault:?}");
        settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
        assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 2, "{fault:?}");
    }
}

/// The first endpoint may have taken the transaction, so it counts for nothing that the second one refuses it.
#[tokio::test]
async fn a_refusal_elsewhere_does_not_end_a_doubt() {
    let (chain, _) = start().await;
    chain.set_automine(false).await.unwrap();
    let first =
        Endpoint::before(&chain, |method, _| if method == SEND { Act::Lost(502) } else { Act::Pass }).await;
    let second = Endpoint::before(&chain, |method, _| match method {
        SEND => Act::Refused("insufficient funds for gas"),
        _ => stale(method),
    })
    .await;
    second.proxy.goes_on.notify_one();
    let facilitator =
        facilitator_over(&[&first.url, &second.url]).receipt_timeout(Duration::from_millis(300));
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle((&payment).into()).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    assert_eq!((first.calls(SEND), second.calls(SEND)), (1, 1));
    second.script(|_, _| Act::Pass);
    chain.mine().await.unwrap();
    assert_eq!(settled(facilitator.settle((&payment).into()).await.unwrap()), hash_of(&pending));
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1);
}

/// A node that knows nothing of what happened lately.
fn stale(method: &str) -> Act {
    match method {
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" => Act::Answer(Value::Null),
        "eth_getTransactionCount" => Act::Answer(json!("0x0")),
        "eth_call" => Act::Answer(json!(B256::ZERO)),
        "eth_getLogs" => Act::Answer(json!([])),
        _ => Act::Pass,
    }
}

/// The endpoint that took the transaction is gone; the other one has not heard of it.
#[tokio::test]
async fn an_endpoint_that_is_behind_ends_nothing() {
    let (chain, _) = start().await;
    chain.set_automine(false).await.unwrap();
    let first = Endpoint::before(&chain, |_, _| Act::Pass).await;
    let second = Endpoint::before(&chain, |method, _| stale(method)).await;
    let facilitator =
        facilitator_over(&[&first.url, &second.url]).receipt_timeout(Duration::from_millis(300));
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle((&payment).into()).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    first.script(|_, _| Act::Status(503));
    assert_eq!(facilitator.settle((&payment).into()).await.unwrap(), pending);
    chain.mine().await.unwrap();
    assert_eq!(facilitator.settle((&payment).into()).await.unwrap(), pending);
    assert!(second.calls(SEND) > 0, "the same bytes may be sent again");
    assert_eq!(chain.pending().await.unwrap(), 0, "and nothing else");
    second.script(|_, _| Act::Pass);
    assert_eq!(settled(facilitator.settle((&payment).into()).await.unwrap()), hash_of(&pending));
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1);
}

/// One endpoint counts the transaction and does not find it, as if another one had taken its place. The other one has it.
/// Of what was never sent, too: one that is behind may have it used in the blocks that it has not seen.
#[tokio::test]
async fn one_endpoint_alone_does_not_declare_an_authorization_dead() {
    let (chain, _) = start().await;
    let mut message = authorization(1);
    let end = chain.latest_timestamp().await.unwrap() + 100;
    message.validBefore = U256::from(end);
    let payment = with(&message);
    chain.mine_at(end + 100).await.unwrap();
    let used = B256::with_last_byte(1);
    let state = alloy::hex::encode_prefixed(Token::authorizationStateCall::SELECTOR);
    for (says_used, dead) in [(true, false), (false, true)] {
        let state = state.clone();
        let second = Endpoint::before(&chain, move |method, parameters| {
            let asks = parameters[0]["input"].as_str().is_some_and(|input| input.starts_with(&state));
            if says_used && method == "eth_call" && asks { Act::Answer(json!(used)) } else { Act::Pass }
        })
        .await;
        let clock = move || end + 10;
        let facilitator = facilitator_over(&[chain.rpc_url().as_str(), &second.url]).clock(clock);
        let answer = facilitator.settle((&payment).into()).await.unwrap();
        let SettleResponse::Failed(failure) = answer else { panic!("{answer:?}") };
        assert_eq!(failure.is_dead, dead);
    }
}

#[tokio::test]
async fn one_endpoint_alone_does_not_declare_a_transaction_dead() {
    let (chain, _) = start().await;
    chain.set_automine(false).await.unwrap();
    let first = Endpoint::before(&chain, |_, _| Act::Pass).await;
    let second = Endpoint::before(&chain, |_, _| Act::Pass).await;
    let facilitator =
        facilitator_over(&[&first.url, &second.url]).receipt_timeout(Duration::from_millis(300));
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle((&payment).into()).await.unwrap();
    first.script(|method, _| match method {
        "eth_getTransactionCount" => Act::Answer(json!("0x1")),
        _ => stale(method),
    });
    for _ in 0..2 {
        assert_eq!(facilitator.settle((&payment).into()).await.unwrap(), pending);
        assert_eq!(chain.pending().await.unwrap(), 1);
        // Nor do those that say nothing of it.
        second.script(|method, _| if method == "eth_chainId" { Act::Pass } else { stale(method) });
    }
    second.script(|_, _| Act::Pass);
    chain.mine().await.unwrap();
    assert_eq!(settled(facilitator.settle((&payment).into()).await.unwrap()), hash_of(&pending));
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn when_no_endpoint_is_left_the_error_says_so() {
    let (chain, _) = start().await;
    let down = |_: &str, _: &Value| Act::Status(503);
    let endpoints = [Endpoint::before(&chain, down).await, Endpoint::before(&chain, down).await];
    let facilitator = facilitator_over(&[&endpoints[0].url, &endpoints[1].url]);
    let payment = signed(Version::V2, &requirements()).await;
    let error = facilitator.settle((&payment).into()).await.unwrap_err();
    assert!(!error.may_have_acted(), "{error}");
    assert!(error.to_string().contains("all 2 RPC endpoints are set aside"), "{error}");
    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    let error = facilitator.check().await.unwrap_err().to_string();
    for endpoint in &endpoints {
        assert!(error.contains(endpoint.url.trim_start_matches("http://")), "{error}");
    }
    endpoints[1].script(|_, _| Act::Pass);
    until(async || facilitator.check().await.is_ok()).await;
    settled(facilitator.settle((&payment).into()).await.unwrap());
}

/// It was right once, is away for a while, and comes back as another one.
#[tokio::test]
async fn an_endpoint_is_looked_at_anew_when_it_comes_back() {
    let (chain, _) = start().await;
    let first = Endpoint::before(&chain, |_, _| Act::Pass).await;
    let facilitator = facilitator_over(&[&first.url, chain.rpc_url().as_str()]);
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    assert_eq!(first.calls(SEND), 1);
    first.script(|_, _| Act::Status(503));
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    let asked = first.calls("eth_chainId");
    first.script(|method, _| if method == "eth_chainId" { Act::Answer(json!("0x1")) } else { Act::Pass });
    until(async || facilitator.check().await.is_ok() && first.calls("eth_chainId") > asked).await;
    let calls = first.calls("eth_call");
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    assert_eq!((first.calls(SEND), first.calls("eth_call")), (1, calls));
    // And when it is right again, it is used again.
    first.script(|_, _| Act::Pass);
    until(async || {
        settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
        first.calls(SEND) > 1
    })
    .await;
}
