//! What a stranger can make us pay gas for.

use super::support::*;

fn asking(amount: u64, to: Address) -> PaymentRequirements {
    let mut asked = requirements();
    asked.amount = amount.into();
    asked.pay_to = to.to_string().parse().unwrap();
    asked
}

fn signed_by(signer: &PrivateKeySigner, asked: &PaymentRequirements, nonce: u8) -> Payment {
    let mut message = authorization(nonce);
    message.from = signer.address();
    message.to = asked.pay_to.as_str().parse().unwrap();
    message.value = asked.amount.get();
    let signature = sign_in(&message, signer, "USDC", "2", USDC);
    payment(Version::V2, asked, payload(&message, &signature))
}

/// The token takes each of these, and a penniless key can sign as many as it likes.
#[tokio::test]
async fn payments_that_move_nothing_cost_no_gas() {
    let (chain, facilitator) = start().await;
    let merchant = chain::merchant().address();
    for index in 0..20 {
        let penniless = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x40 + index)).unwrap();
        let own = penniless.address();
        for (asked, reason) in [
            (asking(0, merchant), reasons::AMOUNT_BELOW_MINIMUM),
            (asking(0, own), reasons::PAYER_IS_RECIPIENT),
            (asking(PRICE, own), reasons::PAYER_IS_RECIPIENT),
            (asking(0, USDC), Reason::INVALID_REQUIREMENTS),
            (asking(PRICE, Address::ZERO), Reason::INVALID_REQUIREMENTS),
        ] {
            refused(&facilitator, &signed_by(&penniless, &asked, 1), &reason).await;
        }
    }
    // Who has money, and sends it to themselves or to nobody.
    let payer = chain::payer();
    refused(
        &facilitator,
        &signed_by(&payer, &asking(PRICE, payer.address()), 2),
        &reasons::PAYER_IS_RECIPIENT,
    )
    .await;
    refused(&facilitator, &signed_by(&payer, &asking(PRICE, USDC), 3), &Reason::INVALID_REQUIREMENTS).await;
    refused(&facilitator, &signed_by(&payer, &asking(999, merchant), 4), &reasons::AMOUNT_BELOW_MINIMUM)
        .await;
    assert!(chain.transactions_of(chain::facilitator().address()).await.unwrap().is_empty());

    settled(facilitator.settle((&signed_by(&payer, &asking(1_000, merchant), 5)).into()).await.unwrap());
    let lower = facilitator.min_amount(USDC, 1);
    settled(lower.settle((&signed_by(&payer, &asking(1, merchant), 6)).into()).await.unwrap());
    assert_eq!(chain.balance(merchant).await.unwrap(), U256::from(1_001));
}

/// Says yes to any signature (EIP-1271), after so many rounds of 26 gas.
fn wallet_that_burns(rounds: u16) -> Bytes {
    // i = rounds; do { i -= 1 } while (i); return the selector
    let [high, low] = rounds.to_be_bytes();
    let burn = [0x61, high, low, 0x5b, 0x60, 0x01, 0x90, 0x03, 0x80, 0x60, 0x03, 0x57];
    let yes = [0x63, 0x16, 0x26, 0xba, 0x7e, 0x60, 0xe0, 0x1b, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
    [&burn[..], &yes].concat().into()
}

#[tokio::test]
async fn a_smart_wallet_burns_no_more_than_the_limit() {
    let (chain, facilitator) = start().await;
    let wallet = Address::repeat_byte(0x43);
    chain.mint(wallet, FUNDS).await.unwrap();
    let paying = |nonce| {
        let mut message = authorization(nonce);
        message.from = wallet;
        payment(Version::V2, &requirements(), payload(&message, &[1; 65]))
    };
    // As much as a passkey that is checked in a contract, and what was settled for 939,060 gas before.
    chain.set_code_at(wallet, wallet_that_burns(12_000)).await.unwrap();
    let hash = settled(facilitator.settle((&paying(1)).into()).await.unwrap());
    let receipt = chain.provider().get_transaction_receipt(hash).await.unwrap().unwrap();
    assert!((350_000..500_000).contains(&receipt.gas_used), "{}", receipt.gas_used);

    // The check alone, and with the transfer.
    for (rounds, reason) in [(33_000, reasons::SIGNATURE), (17_000, reasons::SIMULATION_FAILED)] {
        chain.set_code_at(wallet, wallet_that_burns(rounds)).await.unwrap();
        let answer = facilitator.settle((&paying(2)).into()).await.unwrap();
        let SettleResponse::Failed(failure) = answer else { panic!("{rounds}: {answer:?}") };
        assert_eq!((failure.reason, failure.transaction), (reason, None), "{rounds}");
        assert!(failure.message.is_some_and(|words| words.contains("500000")), "{rounds}");
        let verified = facilitator.verify(&paying(2)).await.unwrap();
        assert!(matches!(verified, VerifyResponse::Invalid(_)), "{rounds}: {verified:?}");
    }
    chain.set_code_at(wallet, wallet_that_burns(33_000)).await.unwrap();
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1, "nothing was sent");
    let generous = facilitator.max_gas(1_000_000);
    let hash = settled(generous.settle((&paying(3)).into()).await.unwrap());
    let receipt = chain.provider().get_transaction_receipt(hash).await.unwrap().unwrap();
    assert!(receipt.gas_used > 900_000, "{}", receipt.gas_used);
}
