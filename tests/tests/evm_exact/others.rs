//! What others do with an authorization, or with the money, before we send.

use super::support::*;

alloy::sol! {
    #[allow(missing_docs)]
    interface Wallet {
        function execute(address target, bytes data) external returns (bytes);
    }
}

fn cancel_call(message: &TransferWithAuthorization) -> Vec<u8> {
    let cancel = CancelAuthorization { authorizer: message.from, nonce: message.nonce };
    let by = token::sign(&chain::payer(), &cancel, &token::domain("USDC", "2", BASE_SEPOLIA, USDC)).unwrap();
    Token::cancelAuthorizationCall {
        authorizer: cancel.authorizer,
        nonce: cancel.nonce,
        v: token::v_of(&by),
        r: by.r().into(),
        s: by.s().into(),
    }
    .abi_encode()
}

#[tokio::test]
async fn a_cancelled_authorization_is_refused() {
    let (chain, facilitator) = start().await;
    let message = authorization(1);
    send_as(&chain, chain::stranger(), USDC, cancel_call(&message)).await;
    refused(&facilitator, &with(&message), &reasons::NONCE_ALREADY_USED).await;
    // Withdrawn, it can never move money: whoever holds it may let it go.
    let answer = facilitator.settle((&with(&message)).into()).await.unwrap();
    assert!(matches!(answer, SettleResponse::Failed(failure) if failure.is_dead));

    // Ahead of ours, which reverts.
    chain.set_automine(false).await.unwrap();
    let message = authorization(2);
    let ours = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), with(&message));
        async move { facilitator.settle((&payment).into()).await.unwrap() }
    });
    chain.wait_for_pending(1).await.unwrap();
    send_ahead(&chain, cancel_call(&message)).await;
    let answer = ours.await.unwrap();
    let SettleResponse::Failed(failure) = &answer else { panic!("{answer:?}") };
    assert_eq!(failure.reason, reasons::TRANSACTION_FAILED);
    assert_eq!(facilitator.settle((&with(&message)).into()).await.unwrap(), answer);
}

#[tokio::test]
async fn a_third_party_may_send_it_first() {
    let (chain, facilitator) = start().await;
    let merchant = chain::merchant().address();

    // Before we do.
    let message = authorization(1);
    let hash = send_as(&chain, chain::stranger(), USDC, transfer_call(&message)).await;
    assert!(matches!(
        facilitator.verify(&with(&message)).await.unwrap(),
        VerifyResponse::Invalid(refusal) if refusal.reason == reasons::NONCE_ALREADY_USED
    ));
    // It may have bought something elsewhere: who asks without a key is told what there is to know, and no success.
    for _ in 0..2 {
        assert_eq!(made_elsewhere(facilitator.settle((&with(&message)).into()).await.unwrap()), hash);
    }
    // The first to ask with a key may know better, and is told the same each time; nobody else is.
    let (first, other): (SettlementKey, SettlementKey) =
        ("the-first-of-all-keys".parse().unwrap(), "another-key-altogether".parse().unwrap());
    let payment = with(&message);
    let reason = async |key: Option<&SettlementKey>| {
        let answer = facilitator.settle(SettleRequest::new(&payment).with_key(key)).await.unwrap();
        let SettleResponse::Failed(failure) = answer else { panic!("{answer:?}") };
        failure.reason
    };
    for _ in 0..2 {
        assert_eq!(reason(Some(&first)).await, Reason::PAID_BY_THIRD_PARTY);
        assert_eq!(reason(Some(&other)).await, Reason::DUPLICATE_SETTLEMENT);
        assert_eq!(reason(None).await, Reason::DUPLICATE_SETTLEMENT);
    }
    assert_eq!(chain.transfers(merchant).await.unwrap(), 1);

    // In the same block, ahead of us: our transaction reverts.
    chain.set_automine(false).await.unwrap();
    let message = authorization(2);
    let ours = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), with(&message));
        async move { facilitator.settle((&payment).into()).await.unwrap() }
    });
    chain.wait_for_pending(1).await.unwrap();
    let theirs = send_ahead(&chain, transfer_call(&message)).await;
    assert_eq!(settled(ours.await.unwrap()), theirs);
    assert_eq!(chain.transfers(merchant).await.unwrap(), 2);
    assert_eq!(
        settled(facilitator.settle((&with(&message)).into()).await.unwrap()),
        theirs,
        "and it stays so"
    );
}

/// The payer moves the money away ahead of our transaction, which reverts.
async fn fails_on_chain(
    chain: &Chain,
    facilitator: &ExactFacilitator,
    message: &TransferWithAuthorization,
) -> SettleResponse {
    chain.set_automine(false).await.unwrap();
    let ours = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), with(message));
        async move { facilitator.settle((&payment).into()).await.unwrap() }
    });
    chain.wait_for_pending(1).await.unwrap();
    let drain =
        Token::transferCall { to: chain::stranger().address(), value: U256::from(FUNDS) }.abi_encode();
    let request = TransactionRequest::default()
        .with_to(USDC)
        .with_input(drain)
        .with_gas_limit(100_000)
        .with_max_fee_per_gas(100_000_000_000)
        .with_max_priority_fee_per_gas(50_000_000_000);
    let _ = chain.provider_of(chain::payer()).unwrap().send_transaction(request).await.unwrap();
    chain.mine().await.unwrap();
    chain.set_automine(true).await.unwrap();
    let answer = ours.await.unwrap();
    let SettleResponse::Failed(failure) = &answer else { panic!("{answer:?}") };
    assert_eq!(failure.reason, reasons::TRANSACTION_FAILED);
    answer
}

#[tokio::test]
async fn a_payer_who_empties_the_account_has_not_paid() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_secs(10));
    let message = authorization(1);
    let answer = fails_on_chain(&chain, &facilitator, &message).await;
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 0);
    assert_eq!(facilitator.settle((&with(&message)).into()).await.unwrap(), answer);
    // With the money back, the token would take it.
    chain.mint(chain::payer().address(), FUNDS).await.unwrap();
    let VerifyResponse::Invalid(refusal) = facilitator.verify(&with(&message)).await.unwrap() else {
        panic!("valid, and it will never settle")
    };
    assert_eq!(refusal.reason, reasons::TRANSACTION_FAILED);
    assert_eq!(facilitator.settle((&with(&message)).into()).await.unwrap(), answer);
    assert_eq!(
        chain.nonce(chain::facilitator().address()).await.unwrap(),
        1,
        "no gas is spent on it any more"
    );
}

/// An authorization lives until it expires, whatever became of our transaction.
#[tokio::test]
async fn what_failed_may_be_paid_by_another_later() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_secs(10));
    let message = authorization(1);
    fails_on_chain(&chain, &facilitator, &message).await;
    chain.mint(chain::payer().address(), FUNDS).await.unwrap();
    let theirs = send_as(&chain, chain::stranger(), USDC, transfer_call(&message)).await;
    // It was begun without a key, and the first to ask with one has it now; nobody else.
    let (first, other): (SettlementKey, SettlementKey) =
        ("the-first-of-all-keys".parse().unwrap(), "another-key-altogether".parse().unwrap());
    let payment = with(&message);
    for _ in 0..2 {
        let request = SettleRequest::new(&payment);
        assert_eq!(settled(facilitator.settle(request.with_key(&first)).await.unwrap()), theirs);
        let SettleResponse::Failed(failure) = facilitator.settle(request.with_key(&other)).await.unwrap()
        else {
            panic!("told to another")
        };
        assert_eq!(failure.reason, Reason::DUPLICATE_SETTLEMENT);
    }
    let longer =
        TransferWithAuthorization { validBefore: message.validBefore + U256::ONE, ..message.clone() };
    refused(&facilitator, &with(&longer), &reasons::NONCE_ALREADY_USED).await;
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

/// Through a contract, too; but what used the nonce is this authorization or no payment of it.
#[tokio::test]
async fn a_third_party_pays_only_what_it_sent() {
    let (chain, facilitator) = start().await;
    let contract = chain.deploy("TestWallet", &chain::stranger().address().abi_encode()).await.unwrap();
    let through = async |messages: &TransferWithAuthorization, junk: Vec<u8>| {
        let data = [transfer_call(messages), junk].concat().into();
        let call = Wallet::executeCall { target: USDC, data }.abi_encode();
        send_as(&chain, chain::stranger(), contract, call).await
    };
    let signed = authorization(1);
    let hash = through(&signed, vec![]).await;
    assert_eq!(made_elsewhere(facilitator.settle((&with(&signed)).into()).await.unwrap()), hash);

    let longer = |message: &TransferWithAuthorization| TransferWithAuthorization {
        validBefore: message.validBefore + U256::ONE,
        ..message.clone()
    };
    let signed = authorization(2);
    let used = longer(&signed);
    // The other one is written beside it, where the token does not look.
    through(&used, transfer_call(&signed)).await;
    for message in [signed, used] {
        refused(&facilitator, &with(&message), &reasons::NONCE_ALREADY_USED).await;
    }
    let signed = authorization(3);
    let used = longer(&signed);
    let hash = send_as(&chain, chain::stranger(), USDC, transfer_call(&used)).await;
    refused(&facilitator, &with(&signed), &reasons::NONCE_ALREADY_USED).await;
    assert_eq!(made_elsewhere(facilitator.settle((&with(&used)).into()).await.unwrap()), hash);
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 3);
}

/// Calls the dollar with what it is called with, each bit turned around: in its calldata there is no authorization to
/// be read.
fn inverting_relay() -> Bytes {
    // i = 0; do { memory[i] = ~calldata[i]; i += 32 } while (i < size); call the token or revert
    let copy =
        [0x5f, 0x5b, 0x80, 0x35, 0x19, 0x81, 0x52, 0x60, 0x20, 0x01, 0x80, 0x36, 0x11, 0x60, 0x01, 0x57];
    let arguments = [0x5f, 0x5f, 0x36, 0x5f, 0x5f, 0x73];
    let call = [0x5a, 0xf1, 0x60, 0x32, 0x57, 0x5f, 0x5f, 0xfd, 0x5b, 0x00];
    [&copy[..], &arguments, USDC.as_slice(), &call].concat().into()
}

/// Somebody else uses the nonce ahead of our transaction, packed so that nobody can read what was used. The log tells
/// the payee and the amount; and of all that were signed with the nonce, one is paid by it.
#[tokio::test]
async fn a_packed_authorization_pays_what_we_sent_and_nothing_else() {
    let (chain, facilitator) = start().await;
    let merchant = chain::merchant().address();
    let relay = Address::repeat_byte(0x42);
    chain.set_code_at(relay, inverting_relay()).await.unwrap();
    let ahead = async |sent: &TransferWithAuthorization, used: &TransferWithAuthorization, packed: bool| {
        chain.set_automine(false).await.unwrap();
        let ours = tokio::spawn({
            let (facilitator, payment) = (facilitator.clone(), with(sent));
            async move { facilitator.settle((&payment).into()).await.unwrap() }
        });
        chain.wait_for_pending(1).await.unwrap();
        let input = transfer_call(used);
        let (to, input) =
            if packed { (relay, input.iter().map(|byte| !byte).collect()) } else { (USDC, input) };
        let request = TransactionRequest::default()
            .with_to(to)
            .with_input(input)
            .with_gas_limit(300_000)
            .with_max_fee_per_gas(100_000_000_000)
            .with_max_priority_fee_per_gas(50_000_000_000);
        let provider = chain.provider_of(chain::stranger()).unwrap();
        let theirs = *provider.send_transaction(request).await.unwrap().tx_hash();
        chain.mine().await.unwrap();
        chain.set_automine(true).await.unwrap();
        (theirs, ours.await.unwrap())
    };
    let reverted = |answer: SettleResponse| match answer {
        SettleResponse::Failed(failure) => assert_eq!(failure.reason, reasons::TRANSACTION_FAILED),
        other => panic!("{other:?}"),
    };
    let changed = |message: &TransferWithAuthorization, change: fn(&mut TransferWithAuthorization)| {
        let mut other = message.clone();
        change(&mut other);
        other
    };
    let longer =
        |message: &TransferWithAuthorization| changed(message, |other| other.validBefore += U256::ONE);

    // The same one.
    let sent = authorization(1);
    let (theirs, answer) = ahead(&sent, &sent, true).await;
    assert_eq!(settled(answer), theirs);
    assert_eq!(settled(facilitator.settle((&with(&sent)).into()).await.unwrap()), theirs, "and it stays so");
    refused(&facilitator, &with(&longer(&sent)), &reasons::NONCE_ALREADY_USED).await;

    // One that is valid for longer, which cannot be told: one of the two is paid, here and elsewhere.
    let sent = authorization(2);
    let used = longer(&sent);
    let (theirs, answer) = ahead(&sent, &used, true).await;
    assert_eq!(settled(answer), theirs);
    for other in [facilitator.clone(), facilitator_of(&chain)] {
        refused(&other, &with(&used), &reasons::NONCE_ALREADY_USED).await;
    }

    // The same, and it can be told.
    let sent = authorization(3);
    let used = longer(&sent);
    let (theirs, answer) = ahead(&sent, &used, false).await;
    reverted(answer);
    assert_eq!(made_elsewhere(facilitator.settle((&with(&used)).into()).await.unwrap()), theirs);

    // Another payee, or another amount.
    let sent = authorization(4);
    reverted(ahead(&sent, &changed(&sent, |other| other.to = chain::stranger().address()), true).await.1);
    let sent = authorization(5);
    reverted(ahead(&sent, &changed(&sent, |other| other.value += U256::ONE), true).await.1);

    // One that we did not send: nothing shows that it is the one that was used.
    let message = authorization(6);
    let packed = transfer_call(&message).iter().map(|byte| !byte).collect();
    send_as(&chain, chain::stranger(), relay, packed).await;
    refused(&facilitator, &with(&message), &reasons::NONCE_ALREADY_USED).await;
    assert_eq!(chain.transfers(merchant).await.unwrap(), 5);
}
