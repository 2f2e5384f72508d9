//! Every refusal has its reason.

use super::support::*;

#[tokio::test]
async fn every_refusal_has_its_reason() {
    let (chain, facilitator) = start().await;
    let good = authorization(1);
    let spoilt = |spoil: fn(&mut TransferWithAuthorization)| {
        let mut message = authorization(2);
        spoil(&mut message);
        with(&message)
    };

    let by_another = sign_in(&good, &chain::stranger(), "USDC", "2", USDC);
    let high_s = token::high_s(
        &token::sign(&chain::payer(), &good, &token::domain("USDC", "2", BASE_SEPOLIA, USDC)).unwrap(),
    );
    let mut other_parity = sign(&good);
    other_parity[64] = 55 - other_parity[64];
    let mut by_chain = sign(&good).to_vec();
    by_chain.splice(64.., (35 + 2 * 84_532_u32 + u32::from(sign(&good)[64] - 27)).to_be_bytes());
    let mut wrapped =
        (chain::stranger().address(), Bytes::new(), Bytes::from(sign(&good).to_vec())).abi_encode_params();
    wrapped.extend([0x64, 0x92].repeat(16));
    let signature = |bytes: &[u8]| payment(Version::V2, &requirements(), payload(&good, bytes));

    let mut cases = vec![
        ("another's signature", signature(&by_another), reasons::SIGNATURE),
        ("a high s", signature(&high_s.as_bytes()), reasons::SIGNATURE),
        ("the other parity", signature(&other_parity), reasons::SIGNATURE),
        ("the other parity, in 64 bytes", signature(&compact(&other_parity)), reasons::SIGNATURE),
        ("v with a chain's id", signature(&by_chain), reasons::SIGNATURE),
        ("63 bytes", signature(&sign(&good)[..63]), reasons::SIGNATURE),
        ("no bytes", signature(&[]), reasons::SIGNATURE),
        ("a wallet to be made", signature(&wrapped), reasons::FACTORY_NOT_ALLOWED),
        (
            "recipient",
            spoilt(|message| message.to = chain::stranger().address()),
            reasons::RECIPIENT_MISMATCH,
        ),
        ("less", spoilt(|message| message.value -= U256::ONE), reasons::VALUE_MISMATCH),
        ("more", spoilt(|message| message.value += U256::ONE), reasons::VALUE_MISMATCH),
        ("expired", spoilt(|message| message.validBefore = U256::from(now() - 1)), reasons::VALID_BEFORE),
        ("future", spoilt(|message| message.validAfter = U256::from(now() + 100)), reasons::VALID_AFTER),
        (
            "shape",
            payment(Version::V2, &requirements(), json!({ "transaction": "" })),
            Reason::INVALID_PAYLOAD,
        ),
    ];

    let mut other = with(&good);
    other.payload.version = Version::V1;
    other.requirements.amount = (PRICE + 1).into();
    cases.push(("amount in version 1", other, reasons::VALUE_MISMATCH_V1));
    let mut other = with(&good);
    other.requirements.scheme = "upto".into();
    cases.push(("scheme", other, reasons::SCHEME));
    let mut other = with(&good);
    other.payload.accepted.scheme = "upto".into();
    cases.push(("accepted scheme", other, reasons::SCHEME));
    let mut other = with(&good);
    other.requirements.extra.remove("version");
    cases.push(("no domain", other, reasons::MISSING_DOMAIN));
    let mut other = with(&good);
    other.requirements.network = Network::evm(8453);
    cases.push(("network", other, reasons::NETWORK_MISMATCH));
    let mut other = with(&good);
    other.payload.accepted.network = Network::evm(8453);
    cases.push(("accepted network", other, reasons::NETWORK_MISMATCH));
    let mut other = with(&good);
    other.requirements.extra.insert("assetTransferMethod".into(), "permit2".into());
    cases.push(("method", other, reasons::UNSUPPORTED_PAYLOAD));

    let in_domain = |name: &'static str, version: &'static str| {
        let mut asked = requirements();
        asked.extra.insert("name".into(), name.into());
        asked.extra.insert("version".into(), version.into());
        let signature = sign_in(&good, &chain::payer(), name, version, USDC);
        payment(Version::V2, &asked, payload(&good, &signature))
    };
    cases.push(("name", in_domain("USD Coin", "2"), reasons::TOKEN_NAME_MISMATCH));
    cases.push(("version", in_domain("USDC", "1"), reasons::TOKEN_VERSION_MISMATCH));

    let of_asset = |asset: Address| {
        let mut asked = requirements();
        asked.asset = asset.to_string().parse().unwrap();
        let signature = sign_in(&good, &chain::payer(), "USDC", "2", asset);
        payment(Version::V2, &asked, payload(&good, &signature))
    };
    let bare = Address::repeat_byte(0x77);
    let without = chain.deploy("TestWallet", &chain::stranger().address().abi_encode()).await.unwrap();
    let unknown = Address::repeat_byte(0x78);
    let facilitator = facilitator.allow_token(bare).allow_token(without);
    cases.push(("unknown token", of_asset(unknown), reasons::ASSET_NOT_ALLOWED));
    cases.push(("no code", of_asset(bare), reasons::ASSET_NOT_DEPLOYED));
    cases.push(("no EIP-3009", of_asset(without), reasons::EIP3009_NOT_SUPPORTED));

    let poor = chain::stranger();
    let mut message = authorization(3);
    message.from = poor.address();
    let signature = sign_in(&message, &poor, "USDC", "2", USDC);
    let poor = payment(Version::V2, &requirements(), payload(&message, &signature));
    cases.push(("no money", poor, reasons::INSUFFICIENT_BALANCE));

    for (case, payment, reason) in &cases {
        println!("{case}");
        refused(&facilitator, payment, reason).await;
    }
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 0, "nothing was sent");
    settled(facilitator.settle((&with(&good)).into()).await.unwrap());
}
