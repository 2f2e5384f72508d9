//! What it costs to be asked about authorizations that are used: an endpoint searches the logs of ten blocks at once, and
//! anybody may copy used authorizations off the chain.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::join_all;

use super::faulty::{Act, Endpoint};
use super::support::*;

const LOGS: &str = "eth_getLogs";

/// As some providers have it.
fn ten_blocks(method: &str, parameters: &Value) -> Act {
    let block = |key: &str| {
        let hex = parameters[0][key].as_str().unwrap();
        u64::from_str_radix(&hex[2..], 16).unwrap()
    };
    if method == LOGS && block("toBlock") - block("fromBlock") >= 10 {
        Act::Error("up to a 10 block range")
    } else {
        Act::Pass
    }
}

/// Valid for long.
fn lasting(nonce: u8) -> TransferWithAuthorization {
    TransferWithAuthorization { validBefore: U256::from(now() + 1_000_000), ..authorization(nonce) }
}

/// Used by somebody else, all in one block.
async fn use_all(chain: &Chain, messages: &[TransferWithAuthorization]) {
    chain.set_automine(false).await.unwrap();
    let provider = chain.provider_of(chain::stranger()).unwrap();
    let mut pending = Vec::new();
    for message in messages {
        let call = TransactionRequest::default().with_to(USDC).with_input(transfer_call(message));
        pending.push(provider.send_transaction(call.with_gas_limit(300_000)).await.unwrap());
    }
    chain.wait_for_pending(messages.len()).await.unwrap();
    chain.mine().await.unwrap();
    chain.set_automine(true).await.unwrap();
}

#[tokio::test]
async fn a_payment_that_was_used_long_ago_is_looked_for_once() {
    let (chain, _) = start().await;
    let endpoint = Endpoint::before(&chain, ten_blocks).await;
    let facilitator = facilitator_at(&endpoint.url);
    let message = lasting(1);
    use_all(&chain, std::slice::from_ref(&message)).await;
    chain.mine_many(640).await.unwrap();

    refused_settle(&facilitator, &with(&message), &reasons::NONCE_ALREADY_USED).await;
    assert_eq!(endpoint.calls(LOGS), 32, "as far as it searches");
    let calls = endpoint.all_calls();
    for _ in 0..20 {
        refused(&facilitator, &with(&message), &reasons::NONCE_ALREADY_USED).await;
    }
    assert_eq!(endpoint.all_calls(), calls, "nothing more is asked");

    // With another signature it is another matter, though not for the logs.
    let forged = sign_in(&message, &chain::stranger(), "USDC", "2", USDC);
    let forged = payment(Version::V2, &requirements(), payload(&message, &forged));
    refused(&facilitator, &forged, &reasons::SIGNATURE).await;
    assert_eq!(endpoint.calls(LOGS), 32);
}

/// A use that is no older than this is looked for again: the log may not have been indexed yet.
#[tokio::test]
async fn what_an_endpoint_has_not_indexed_yet_is_found_when_it_has() {
    let (chain, _) = start().await;
    for (nonce, blocks) in [(1, 0), (2, 50), (3, 90)] {
        let indexed = Arc::new(AtomicBool::new(false));
        let endpoint = Endpoint::before(&chain, {
            let indexed = indexed.clone();
            move |method, parameters| match method {
                LOGS if !indexed.load(Ordering::SeqCst) => Act::Answer(json!([])),
                _ => ten_blocks(method, parameters),
            }
        })
        .await;
        let facilitator = facilitator_at(&endpoint.url);
        let message = lasting(nonce);
        use_all(&chain, std::slice::from_ref(&message)).await;
        chain.mine_many(blocks.max(1)).await.unwrap();
        refused_settle(&facilitator, &with(&message), &reasons::NONCE_ALREADY_USED).await;
        indexed.store(true, Ordering::SeqCst);
        made_elsewhere(facilitator.settle((&with(&message)).into()).await.unwrap());
    }
}

/// Whoever floods it has no answer about money, and does not keep it from those who pay.
#[tokio::test]
async fn a_flood_of_used_authorizations_is_bounded_and_starves_nobody() {
    let (chain, _) = start().await;
    let endpoint = Endpoint::before(&chain, ten_blocks).await;
    let facilitator = facilitator_at(&endpoint.url);
    let used: Vec<_> = (1..=40).map(lasting).collect();
    use_all(&chain, &used).await;
    chain.mine_many(640).await.unwrap();

    // Seen here before somebody else makes it.
    let ours = lasting(100);
    let verified = facilitator.verify(&with(&ours)).await.unwrap();
    assert!(matches!(verified, VerifyResponse::Valid { .. }), "{verified:?}");

    let payments: Vec<_> = used.iter().map(with).collect();
    let began = std::time::Instant::now();
    let answers = join_all(payments.iter().map(|payment| facilitator.settle(payment.into()))).await;
    let (mut refused, mut later) = (0, 0);
    for answer in answers {
        match answer {
            Ok(SettleResponse::Failed(failure)) => {
                assert_eq!(failure.reason, reasons::NONCE_ALREADY_USED);
                refused += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(!error.may_have_acted(), "{error}");
                assert!(error.to_string().contains("settle it again later"), "{error}");
                later += 1;
            }
        }
    }
    // Eight searches at once, and a quarter of one a second.
    let seconds = began.elapsed().as_secs() as usize + 1;
    assert!(refused >= 8 && later > 0, "{refused} and {later}");
    assert!(endpoint.calls(LOGS) <= 8 * 32 + 8 * seconds, "{} in {seconds} s", endpoint.calls(LOGS));
    println!(
        "{} log calls for 40 payments in {seconds} s: {refused} refused, {later} later",
        endpoint.calls(LOGS)
    );

    settled(facilitator.settle((&with(&lasting(101))).into()).await.unwrap());
    use_all(&chain, std::slice::from_ref(&ours)).await;
    made_elsewhere(facilitator.settle((&with(&ours)).into()).await.unwrap());
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1);
}

/// What was seen unused here and is used by now may have been paid: it is never said that nothing was done about it.
#[tokio::test]
async fn what_was_seen_unused_and_not_looked_for_yet_may_have_been_paid() {
    let (chain, _) = start().await;
    let endpoint = Endpoint::before(&chain, ten_blocks).await;
    let facilitator = facilitator_at(&endpoint.url);
    let seen: Vec<_> = (1..=40).map(lasting).collect();
    let payments: Vec<_> = seen.iter().map(with).collect();
    for payment in &payments {
        let verified = facilitator.verify(payment).await.unwrap();
        assert!(matches!(verified, VerifyResponse::Valid { .. }), "{verified:?}");
    }
    use_all(&chain, &seen).await;
    chain.mine_many(640).await.unwrap();
    let answers = join_all(payments.iter().map(|payment| facilitator.settle(payment.into()))).await;
    let later: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(!later.is_empty(), "there is room for all of them");
    for error in later {
        assert!(error.to_string().contains("settle it again later"), "{error}");
        assert_eq!(error.kind(), FacilitatorErrorKind::Internal, "{error}");
    }
}

/// What we sent in vain is looked for, too, whenever somebody asks.
#[tokio::test]
async fn a_failed_settlement_is_looked_for_once_when_its_nonce_is_used_for_good() {
    let (chain, _) = start().await;
    let endpoint = Endpoint::before(&chain, ten_blocks).await;
    let facilitator = facilitator_at(&endpoint.url).receipt_timeout(Duration::from_secs(10));
    let (message, other) = (lasting(1), TransferWithAuthorization { value: U256::ONE, ..lasting(1) });
    chain.set_automine(false).await.unwrap();
    let ours = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), with(&message));
        async move { facilitator.settle((&payment).into()).await.unwrap() }
    });
    chain.wait_for_pending(1).await.unwrap();
    send_ahead(&chain, transfer_call(&other)).await;
    let failed = ours.await.unwrap();
    assert!(matches!(failed, SettleResponse::Failed(_)), "{failed:?}");
    chain.set_automine(true).await.unwrap();
    chain.mine_many(640).await.unwrap();
    assert_eq!(facilitator.settle((&with(&message)).into()).await.unwrap(), failed);
    let logs = endpoint.calls(LOGS);
    for _ in 0..5 {
        assert_eq!(facilitator.settle((&with(&message)).into()).await.unwrap(), failed);
    }
    assert_eq!(endpoint.calls(LOGS), logs);
}
