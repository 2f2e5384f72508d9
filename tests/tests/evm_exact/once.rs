//! One payment moves money once, and one nonce pays one authorization.

use futures_util::future::join_all;

use super::support::*;

#[tokio::test]
async fn many_settle_at_once_from_one_account() {
    let (chain, facilitator) = start().await;
    let mut payments = Vec::new();
    for _ in 0..25 {
        payments.push(signed(Version::V2, &requirements()).await);
    }
    let tasks: Vec<_> = payments
        .into_iter()
        .map(|payment| {
            let facilitator = facilitator.clone();
            tokio::spawn(async move { facilitator.settle((&payment).into()).await })
        })
        .collect();
    let mut hashes = std::collections::HashSet::new();
    for task in tasks {
        hashes.insert(settled(task.await.unwrap().unwrap()));
    }
    assert_eq!(hashes.len(), 25);
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 25);
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 25);
}

#[tokio::test]
async fn one_payment_settles_once_however_often_it_comes() {
    let (chain, facilitator) = start().await;
    let mut payment = signed(Version::V2, &requirements()).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (facilitator, payment) = (facilitator.clone(), payment.clone());
            tokio::spawn(async move { facilitator.settle((&payment).into()).await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    // Other case of hex is no other payment.
    for field in ["from", "nonce"] {
        let text = payment.payload.payload["authorization"][field].as_str().unwrap().to_owned();
        payment.payload.payload["authorization"][field] = format!("0x{}", text[2..].to_uppercase()).into();
    }
    answers.push(facilitator.settle((&payment).into()).await.unwrap());
    let hash = settled(answers[0].clone());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
    assert_eq!(chain.transactions_of(chain::facilitator().address()).await.unwrap(), [hash]);

    // Other requirements are not met by it.
    payment.requirements.pay_to = chain::stranger().address().to_string().parse().unwrap();
    refused_settle(&facilitator, &payment, &reasons::RECIPIENT_MISMATCH).await;
    // A facilitator that knows nothing of it finds it on chain, and cannot know who was told of it.
    let payment =
        facilitator_of(&chain).settle((&Payment { requirements: requirements(), ..payment }).into()).await;
    assert_eq!(made_elsewhere(payment.unwrap()), hash);
}

#[tokio::test]
async fn a_caller_who_hangs_up_stops_nothing() {
    let (chain, facilitator) = start().await;
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let caller = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), payment.clone());
        async move { facilitator.settle((&payment).into()).await }
    });
    chain.wait_for_pending(1).await.unwrap();
    caller.abort();
    chain.mine().await.unwrap();
    settled(facilitator.settle((&payment).into()).await.unwrap());
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

/// A payer may sign as often as it likes with one nonce: it pays once.
#[tokio::test]
async fn of_many_authorizations_with_one_nonce_one_settles() {
    let (chain, facilitator) = start().await;
    let first = authorization(1);
    let payments: Vec<_> = (0..12)
        .map(|later| {
            let mut message = first.clone();
            message.validBefore += U256::from(later);
            with(&message)
        })
        .collect();
    let tasks: Vec<_> = payments
        .iter()
        .cloned()
        .map(|payment| {
            let facilitator = facilitator.clone();
            tokio::spawn(async move { facilitator.settle((&payment).into()).await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    let mut hashes = Vec::new();
    for (payment, answer) in payments.iter().zip(answers) {
        assert_eq!(facilitator.settle(payment.into()).await.unwrap(), answer, "and it stays so");
        // One that knows nothing of them finds the same on chain.
        let anew = facilitator_of(&chain).settle(payment.into()).await.unwrap();
        match answer {
            SettleResponse::Settled(_) => {
                hashes.push(hash_of(&answer));
                assert_eq!(made_elsewhere(anew), hash_of(&answer));
            }
            SettleResponse::Failed(failure) => {
                assert_eq!(failure.reason, reasons::NONCE_ALREADY_USED);
                let SettleResponse::Failed(anew) = anew else { panic!("{anew:?}") };
                assert_eq!(anew.reason, reasons::NONCE_ALREADY_USED);
            }
            SettleResponse::Pending(pending) => panic!("{pending:?}"),
        }
    }
    assert_eq!(chain.transactions_of(chain::facilitator().address()).await.unwrap(), hashes);
    assert_eq!(hashes.len(), 1);
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

/// Each alone looks good, and a transaction costs the facilitator gas, be it in vain.
#[tokio::test]
async fn money_that_is_promised_is_not_there_for_the_next() {
    for affordable in [1, 3_u64] {
        let chain = Chain::start().await.unwrap();
        chain.mint(chain::payer().address(), PRICE * affordable).await.unwrap();
        let facilitator = facilitator_of(&chain);
        chain.set_automine(false).await.unwrap();
        let payments: Vec<_> = (1..=12).map(|nonce| with(&authorization(nonce))).collect();
        let settling = join_all(payments.iter().map(|payment| facilitator.settle(payment.into())));
        let mining = async {
            until(async || chain.pending().await.unwrap() as u64 == affordable).await;
            // Nobody who comes meanwhile is told that it would be paid.
            let hasty = facilitator.clone().receipt_timeout(Duration::from_millis(200));
            let verified = hasty.verify(&with(&authorization(13))).await.unwrap();
            assert!(matches!(verified, VerifyResponse::Invalid(_)), "{verified:?}");
            chain.mine().await.unwrap();
            chain.set_automine(true).await.unwrap();
        };
        let (answers, ()) = tokio::join!(settling, mining);
        let settled =
            answers.iter().filter(|answer| matches!(answer, Ok(SettleResponse::Settled(_)))).count();
        let refused = answers.iter().flatten().filter(|answer| match answer {
            SettleResponse::Failed(failure) => failure.reason == reasons::INSUFFICIENT_BALANCE,
            _ => false,
        });
        assert_eq!((settled as u64, refused.count() as u64), (affordable, 12 - affordable), "{answers:?}");
        assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), affordable, "in vain");
    }
}
