//! When an authorization is valid, to the second: by the facilitator's clock and by the chain's.

use super::support::*;

/// An authorization must be valid for this much longer.
const MARGIN: i64 = 6;

/// Verified and settled in both versions at the same moment of a chain whose newest block is from then; the
/// facilitator's clock is ahead of it by so many seconds.
async fn found(
    chain: &Chain,
    moment: u64,
    ahead: i64,
    (valid_after, valid_before): (i64, i64),
    nonce: u8,
) -> Option<Reason> {
    let at = |offset: i64| moment.checked_add_signed(offset).unwrap();
    let clock = at(ahead);
    let facilitator = facilitator_of(chain).clock(move || clock);
    let mut message = authorization(nonce);
    (message.validAfter, message.validBefore) = (U256::from(at(valid_after)), U256::from(at(valid_before)));
    let mut outcomes = Vec::new();
    for version in [Version::V1, Version::V2] {
        let payment = payment(version, &requirements(), payload(&message, &sign(&message)));
        outcomes.push(match facilitator.verify(&payment).await.unwrap() {
            VerifyResponse::Valid { .. } => None,
            VerifyResponse::Invalid(refusal) => Some(refusal.reason),
        });
    }
    let refused = outcomes[0].is_some();
    for version in [Version::V1, Version::V2] {
        let payment = payment(version, &requirements(), payload(&message, &sign(&message)));
        outcomes.push(match facilitator.settle((&payment).into()).await.unwrap() {
            SettleResponse::Settled(_) => None,
            SettleResponse::Failed(failure) => {
                assert_eq!(failure.transaction, None, "nothing is sent");
                Some(failure.reason)
            }
            SettleResponse::Pending(pending) => panic!("{pending:?}"),
        });
        if !refused {
            assert!(chain.latest_timestamp().await.unwrap() < at(valid_before), "the chain was in time");
        }
    }
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
    outcomes.remove(0)
}

#[tokio::test]
async fn the_table_of_times() {
    let (chain, _) = start().await;
    let early = Some(reasons::VALID_AFTER);
    let late = Some(reasons::VALID_BEFORE);
    #[rustfmt::skip]
    let table = [
        // validAfter, validBefore, the facilitator's clock, from now; what is found
        (-60, -MARGIN, 0, &late),
        (-60, -1, 0, &late),
        (-60, 0, 0, &late),
        (-60, 1, 0, &late),
        (-60, MARGIN - 1, 0, &late),
        (-60, MARGIN, 0, &None),
        (-60, MARGIN + 1, 0, &None),
        (-MARGIN, 60, 0, &None),
        (-1, 60, 0, &None),
        // Ours takes it, and the token only in a later block (EIP-3009: after, not at).
        (0, 60, 0, &early),
        (1, 60, 0, &early),
        (MARGIN, 60, 0, &early),
        // Both wrong: what ends last is told.
        (1, MARGIN - 1, 0, &late),
        // A clock that is ahead gives away the end and gains nothing at the beginning,
        (-60, 20, 30, &late),
        (-60, 30 + MARGIN - 1, 30, &late),
        (-60, 30 + MARGIN, 30, &None),
        (10, 60, 30, &early),
        // and one that is behind gains nothing at the end and gives away the beginning.
        (-60, 0, -30, &late),
        (-60, -20, -30, &late),
        (-60, -30 + MARGIN - 1, -30, &late),
        (-30, 60, -30, &None),
        (-29, 60, -30, &early),
    ];
    let mut moment = chain.latest_timestamp().await.unwrap();
    let mut paid = 0;
    for (row, (valid_after, valid_before, ahead, expected)) in table.into_iter().enumerate() {
        moment += 1_000;
        chain.mine_at(moment).await.unwrap();
        let nonce = u8::try_from(row).unwrap() + 1;
        let found = found(&chain, moment, ahead, (valid_after, valid_before), nonce).await;
        assert_eq!(found, *expected, "from {valid_after} to {valid_before}, with a clock at {ahead}");
        paid += usize::from(expected.is_none());
        assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), paid);
    }
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), paid as u64, "each was sent once");
}
