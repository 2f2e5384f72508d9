//! `exact` on a real chain: what is verified settles, moves exactly the asked amount, and moves it once.

#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolValue};
use serde_json::{Value, json};
use x402_core::facilitator::FacilitatorErrorKind;
use x402_core::network::Network;
use x402_core::payment::{
    Payment, PaymentPayload, PaymentRequirements, Reason, SettleResponse, VerifyResponse, Version,
};
use x402_core::scheme::{ClientScheme, FacilitatorScheme};
use x402_evm::exact::{self, ExactFacilitator, reasons};
use x402_tests::chain::{self, BASE_SEPOLIA, Chain, USDC};
use x402_tests::token::{self, CancelAuthorization, Token, TransferWithAuthorization};

const PRICE: u64 = 10_000;
const FUNDS: u64 = 1_000_000;

async fn start() -> (Chain, ExactFacilitator) {
    let chain = Chain::start().await.unwrap();
    chain.mint(chain::payer().address(), FUNDS).await.unwrap();
    let facilitator = facilitator_of(&chain);
    (chain, facilitator)
}

fn facilitator_of(chain: &Chain) -> ExactFacilitator {
    ExactFacilitator::connect(chain.rpc_url(), Network::evm(chain.chain_id()), chain::facilitator()).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn requirements() -> PaymentRequirements {
    serde_json::from_value(json!({
        "scheme": "exact",
        "network": "eip155:84532",
        "amount": PRICE.to_string(),
        "asset": USDC,
        "payTo": chain::merchant().address(),
        "maxTimeoutSeconds": 300,
        "extra": { "name": "USDC", "version": "2" },
    }))
    .unwrap()
}

fn payment(version: Version, requirements: &PaymentRequirements, payload: Value) -> Payment {
    let accepted = requirements.clone();
    let extensions = Default::default();
    Payment {
        payload: PaymentPayload { version, resource: None, accepted, payload, extensions },
        requirements: requirements.clone(),
    }
}

/// A payment as our client signs it.
async fn signed(version: Version, requirements: &PaymentRequirements) -> Payment {
    let client = exact::client(chain::payer());
    let payload = client.sign(version, requirements).await.unwrap();
    payment(version, requirements, payload)
}

/// A good authorization, to be spoilt.
fn authorization(nonce: u8) -> TransferWithAuthorization {
    TransferWithAuthorization {
        from: chain::payer().address(),
        to: chain::merchant().address(),
        value: U256::from(PRICE),
        validAfter: U256::ZERO,
        validBefore: U256::from(now() + 300),
        nonce: B256::repeat_byte(nonce),
    }
}

fn payload(message: &TransferWithAuthorization, signature: &[u8]) -> Value {
    json!({
        "signature": Bytes::copy_from_slice(signature),
        "authorization": {
            "from": message.from,
            "to": message.to,
            "value": message.value.to_string(),
            "validAfter": message.validAfter.to_string(),
            "validBefore": message.validBefore.to_string(),
            "nonce": message.nonce,
        },
    })
}

fn sign_in(
    message: &TransferWithAuthorization,
    signer: &PrivateKeySigner,
    name: &'static str,
    version: &'static str,
    asset: Address,
) -> [u8; 65] {
    token::sign(signer, message, &token::domain(name, version, BASE_SEPOLIA, asset)).unwrap().as_bytes()
}

fn sign(message: &TransferWithAuthorization) -> [u8; 65] {
    sign_in(message, &chain::payer(), "USDC", "2", USDC)
}

/// A payment with this authorization, rightly signed.
fn with(message: &TransferWithAuthorization) -> Payment {
    payment(Version::V2, &requirements(), payload(message, &sign(message)))
}

fn hash_of(answer: &SettleResponse) -> B256 {
    let id = match answer {
        SettleResponse::Settled(receipt) => receipt.transaction.clone().unwrap(),
        SettleResponse::Pending(pending) => pending.transaction.clone(),
        SettleResponse::Failed(failure) => failure.transaction.clone().expect("a transaction"),
    };
    id.as_str().parse().unwrap()
}

fn settled(answer: SettleResponse) -> B256 {
    assert!(matches!(answer, SettleResponse::Settled(_)), "{answer:?}");
    hash_of(&answer)
}

/// Refused by both, for this reason, and nothing was sent.
async fn refused(facilitator: &ExactFacilitator, payment: &Payment, reason: &Reason) {
    match facilitator.verify(payment).await.unwrap() {
        VerifyResponse::Invalid(refusal) => assert_eq!(refusal.reason, *reason),
        VerifyResponse::Valid { .. } => panic!("valid, not {reason}"),
    }
    match facilitator.settle(payment).await.unwrap() {
        SettleResponse::Failed(failure) => {
            assert_eq!(failure.reason, *reason);
            assert_eq!(failure.transaction, None);
        }
        other => panic!("{other:?}, not {reason}"),
    }
}

async fn send_as(chain: &Chain, signer: PrivateKeySigner, to: Address, input: Vec<u8>) -> B256 {
    let provider = chain.provider_of(signer).unwrap();
    let request = TransactionRequest::default().with_to(to).with_input(input).with_gas_limit(300_000);
    let pending = provider.send_transaction(request).await.unwrap();
    *pending.tx_hash()
}

fn transfer_call(message: &TransferWithAuthorization) -> Vec<u8> {
    let TransferWithAuthorization { from, to, value, validAfter, validBefore, nonce } = *message;
    let signature = sign(message).to_vec().into();
    Token::transferWithAuthorization_1Call { from, to, value, validAfter, validBefore, nonce, signature }
        .abi_encode()
}

#[tokio::test]
async fn a_good_payment_moves_exactly_the_amount() {
    let (chain, facilitator) = start().await;
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    for (round, version) in [(1, Version::V2), (2, Version::V1)] {
        let payment = signed(version, &requirements()).await;
        let verified = facilitator.verify(&payment).await.unwrap();
        let VerifyResponse::Valid { payer: Some(named) } = verified else { panic!("{verified:?}") };
        assert_eq!(named.as_str(), payer.to_checksum(None));
        let SettleResponse::Settled(receipt) = facilitator.settle(&payment).await.unwrap() else { panic!() };
        assert_eq!(receipt.network, requirements().network);
        assert_eq!(receipt.payer, Some(named));
        assert_eq!(chain.balance(merchant).await.unwrap(), U256::from(round * PRICE));
        assert_eq!(chain.balance(payer).await.unwrap(), U256::from(FUNDS - round * PRICE));
        let log = chain.transfer_log(merchant).await.unwrap();
        let last = log.last().unwrap();
        assert_eq!(last.transaction.to_string(), receipt.transaction.unwrap().as_str());
    }
}

#[tokio::test]
async fn what_it_can_do() {
    let (chain, facilitator) = start().await;
    let kinds = facilitator.kinds();
    assert_eq!(kinds.iter().map(|kind| kind.version).collect::<Vec<_>>(), [Version::V2, Version::V1]);
    assert_eq!(facilitator.signers()[0].as_str(), chain::facilitator().address().to_checksum(None));
    facilitator.check().await.unwrap();
    let unnamed = Network::evm(42161);
    let other = ExactFacilitator::connect(chain.rpc_url(), unnamed, chain::facilitator()).unwrap();
    assert_eq!(other.kinds().len(), 1);
}

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
    let mut parity_zero = sign(&good);
    parity_zero[64] -= 27;
    let mut wrapped =
        (chain::stranger().address(), Bytes::new(), Bytes::from(sign(&good).to_vec())).abi_encode_params();
    wrapped.extend([0x64, 0x92].repeat(16));
    let signature = |bytes: &[u8]| payment(Version::V2, &requirements(), payload(&good, bytes));

    let mut cases = vec![
        ("another's signature", signature(&by_another), reasons::SIGNATURE),
        ("a high s", signature(&high_s.as_bytes()), reasons::SIGNATURE),
        ("v 0 or 1", signature(&parity_zero), reasons::SIGNATURE),
        ("64 bytes", signature(&sign(&good)[..64]), reasons::SIGNATURE),
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
    settled(facilitator.settle(&with(&good)).await.unwrap());
}

#[tokio::test]
async fn a_cancelled_authorization_is_refused() {
    let (chain, facilitator) = start().await;
    let message = authorization(1);
    let cancel = CancelAuthorization { authorizer: message.from, nonce: message.nonce };
    let by = token::sign(&chain::payer(), &cancel, &token::domain("USDC", "2", BASE_SEPOLIA, USDC)).unwrap();
    let call = Token::cancelAuthorizationCall {
        authorizer: cancel.authorizer,
        nonce: cancel.nonce,
        v: token::v_of(&by),
        r: by.r().into(),
        s: by.s().into(),
    };
    send_as(&chain, chain::stranger(), USDC, call.abi_encode()).await;
    refused(&facilitator, &with(&message), &reasons::NONCE_ALREADY_USED).await;
}

#[tokio::test]
async fn a_smart_wallet_pays() {
    let (chain, facilitator) = start().await;
    let owner = chain::stranger();
    let wallet = chain.deploy("TestWallet", &owner.address().abi_encode()).await.unwrap();
    chain.mint(wallet, FUNDS).await.unwrap();
    for (nonce, frame) in [(1, vec![]), (2, vec![0xfe; 40])] {
        let mut message = authorization(nonce);
        message.from = wallet;
        let tail = sign_in(&message, &owner, "USDC", "2", USDC);
        let signature = [frame.as_slice(), &tail].concat();
        let good = payment(Version::V2, &requirements(), payload(&message, &signature));
        assert!(matches!(facilitator.verify(&good).await.unwrap(), VerifyResponse::Valid { .. }));
        let forged = sign_in(&message, &chain::payer(), "USDC", "2", USDC);
        let forged = payment(Version::V2, &requirements(), payload(&message, &forged));
        refused(&facilitator, &forged, &reasons::SIGNATURE).await;
        settled(facilitator.settle(&good).await.unwrap());

        // What was settled answers again, but only to who has a signature.
        refused_settle(&facilitator, &forged, &reasons::SIGNATURE).await;
        let other = [&[0xab; 7], signature.as_slice()].concat();
        let other = payment(Version::V2, &requirements(), payload(&message, &other));
        settled(facilitator.settle(&other).await.unwrap());
    }
    // Wrapped though it is deployed: the inner signature counts.
    let mut message = authorization(3);
    message.from = wallet;
    let inner = Bytes::from(sign_in(&message, &owner, "USDC", "2", USDC).to_vec());
    let mut wrapped = (owner.address(), Bytes::new(), inner).abi_encode_params();
    wrapped.extend([0x64, 0x92].repeat(16));
    let wrapped = payment(Version::V2, &requirements(), payload(&message, &wrapped));
    settled(facilitator.settle(&wrapped).await.unwrap());
    assert_eq!(chain.balance(wallet).await.unwrap(), U256::from(FUNDS - 3 * PRICE));
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 3);
}

async fn refused_settle(facilitator: &ExactFacilitator, payment: &Payment, reason: &Reason) {
    match facilitator.settle(payment).await.unwrap() {
        SettleResponse::Failed(failure) => assert_eq!(failure.reason, *reason),
        other => panic!("{other:?}, not {reason}"),
    }
}

#[tokio::test]
async fn no_evil_token_is_a_payment() {
    let (chain, facilitator) = start().await;
    let evil = async |contract: &str, lie: Option<u8>, nonce: u8| {
        let asset = chain.deploy(contract, &[]).await.unwrap();
        chain.mint_of(asset, chain::payer().address(), FUNDS).await.unwrap();
        if let Some(lie) = lie {
            send_as(&chain, chain::stranger(), asset, Token::tellCall { lie }.abi_encode()).await;
        }
        let mut asked = requirements();
        asked.asset = asset.to_string().parse().unwrap();
        let message = authorization(nonce);
        let signature = sign_in(&message, &chain::payer(), "USDC", "2", asset);
        payment(Version::V2, &asked, payload(&message, &signature))
    };
    let cases = [
        evil("SilentToken", None, 1).await,
        evil("FeeToken", None, 2).await,
        evil("SpoofToken", Some(0), 3).await,
        evil("SpoofToken", Some(1), 4).await,
        evil("SpoofToken", Some(2), 5).await,
        evil("SpoofToken", Some(3), 6).await,
    ];
    for payment in &cases {
        let answer = facilitator.settle(payment).await.unwrap();
        let SettleResponse::Failed(failure) = &answer else { panic!("{answer:?}") };
        assert_eq!(failure.reason, reasons::TRANSFER_EVENT_MISMATCH);
        assert!(failure.transaction.is_some());
        assert_eq!(facilitator.settle(payment).await.unwrap(), answer, "and it stays so");
    }
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), cases.len() as u64);
}

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
            tokio::spawn(async move { facilitator.settle(&payment).await })
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
async fn a_failed_send_leaves_no_gap() {
    let (chain, facilitator) = start().await;
    settled(facilitator.settle(&signed(Version::V2, &requirements()).await).await.unwrap());

    let account = chain::facilitator().address();
    chain.set_ether(account, U256::ZERO).await.unwrap();
    let late = signed(Version::V2, &requirements()).await;
    let error = facilitator.settle(&late).await.unwrap_err();
    assert!(!error.may_have_acted(), "{error}");
    assert!(error.to_string().to_lowercase().contains("insufficient funds"), "{error}");

    chain.set_ether(account, U256::from(10).pow(U256::from(18))).await.unwrap();
    settled(facilitator.settle(&late).await.unwrap());
    settled(facilitator.settle(&signed(Version::V2, &requirements()).await).await.unwrap());
    assert_eq!(chain.nonce(account).await.unwrap(), 3);
}

#[tokio::test]
async fn a_nonce_used_elsewhere_is_noticed() {
    let (chain, facilitator) = start().await;
    settled(facilitator.settle(&signed(Version::V2, &requirements()).await).await.unwrap());
    send_as(&chain, chain::facilitator(), chain::stranger().address(), vec![]).await;
    settled(facilitator.settle(&signed(Version::V2, &requirements()).await).await.unwrap());
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 3);
}

#[tokio::test]
async fn one_payment_settles_once_however_often_it_comes() {
    let (chain, facilitator) = start().await;
    let mut payment = signed(Version::V2, &requirements()).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (facilitator, payment) = (facilitator.clone(), payment.clone());
            tokio::spawn(async move { facilitator.settle(&payment).await.unwrap() })
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
    answers.push(facilitator.settle(&payment).await.unwrap());
    let hash = settled(answers[0].clone());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
    assert_eq!(chain.transactions_of(chain::facilitator().address()).await.unwrap(), [hash]);

    // Other requirements are not met by it.
    payment.requirements.pay_to = chain::stranger().address().to_string().parse().unwrap();
    refused_settle(&facilitator, &payment, &reasons::RECIPIENT_MISMATCH).await;
    // A facilitator that knows nothing of it finds it on chain.
    let payment = facilitator_of(&chain).settle(&Payment { requirements: requirements(), ..payment }).await;
    assert_eq!(settled(payment.unwrap()), hash);
}

#[tokio::test]
async fn what_is_not_mined_is_pending_and_then_settled() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_millis(300));
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle(&payment).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    assert_eq!(facilitator.settle(&payment).await.unwrap(), pending, "nothing else is sent");
    assert_eq!(chain.pending().await.unwrap(), 1);

    let mut forged = payment.clone();
    forged.payload.payload["signature"] = Bytes::from(sign(&authorization(1)).to_vec()).to_string().into();
    refused_settle(&facilitator, &forged, &reasons::SIGNATURE).await;
    chain.mine().await.unwrap();
    refused_settle(&facilitator, &forged, &reasons::SIGNATURE).await;
    assert_eq!(settled(facilitator.settle(&payment).await.unwrap()), hash_of(&pending));
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_forgotten_transaction_is_sent_again_as_it_was() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_millis(300));
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle(&payment).await.unwrap();
    chain.drop_pending().await.unwrap();
    chain.set_automine(true).await.unwrap();
    assert_eq!(settled(facilitator.settle(&payment).await.unwrap()), hash_of(&pending));
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_gap_is_filled_and_the_displaced_payment_still_settles() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_millis(300));
    chain.set_automine(false).await.unwrap();
    let displaced = signed(Version::V2, &requirements()).await;
    let first = facilitator.settle(&displaced).await.unwrap();
    assert!(matches!(first, SettleResponse::Pending(_)), "{first:?}");
    chain.drop_pending().await.unwrap();
    chain.set_automine(true).await.unwrap();
    // Takes the forgotten transaction's place in the account's order.
    settled(facilitator.settle(&signed(Version::V2, &requirements()).await).await.unwrap());
    assert_ne!(settled(facilitator.settle(&displaced).await.unwrap()), hash_of(&first));
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 2);
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 2);
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
    assert_eq!(settled(facilitator.settle(&with(&message)).await.unwrap()), hash);
    assert_eq!(chain.transfers(merchant).await.unwrap(), 1);

    // In the same block, ahead of us: our transaction reverts.
    chain.set_automine(false).await.unwrap();
    let message = authorization(2);
    let ours = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), with(&message));
        async move { facilitator.settle(&payment).await.unwrap() }
    });
    chain.wait_for_pending(1).await.unwrap();
    let provider = chain.provider_of(chain::stranger()).unwrap();
    let request = TransactionRequest::default()
        .with_to(USDC)
        .with_input(transfer_call(&message))
        .with_gas_limit(300_000)
        .with_max_fee_per_gas(100_000_000_000)
        .with_max_priority_fee_per_gas(50_000_000_000);
    let theirs = *provider.send_transaction(request).await.unwrap().tx_hash();
    chain.mine().await.unwrap();
    assert_eq!(settled(ours.await.unwrap()), theirs);
    assert_eq!(chain.transfers(merchant).await.unwrap(), 2);
    assert_eq!(settled(facilitator.settle(&with(&message)).await.unwrap()), theirs, "and it stays so");
}

#[tokio::test]
async fn a_payer_who_empties_the_account_has_not_paid() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_secs(10));
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let ours = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), payment.clone());
        async move { facilitator.settle(&payment).await.unwrap() }
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
    let answer = ours.await.unwrap();
    let SettleResponse::Failed(failure) = &answer else { panic!("{answer:?}") };
    assert_eq!(failure.reason, reasons::TRANSACTION_FAILED);
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 0);
    assert_eq!(facilitator.settle(&payment).await.unwrap(), answer);
}

#[tokio::test]
async fn a_caller_who_hangs_up_stops_nothing() {
    let (chain, facilitator) = start().await;
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let caller = tokio::spawn({
        let (facilitator, payment) = (facilitator.clone(), payment.clone());
        async move { facilitator.settle(&payment).await }
    });
    chain.wait_for_pending(1).await.unwrap();
    caller.abort();
    chain.mine().await.unwrap();
    settled(facilitator.settle(&payment).await.unwrap());
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn deeper_confirmation_is_waited_for() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.confirmations(3).receipt_timeout(Duration::from_millis(300));
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle(&payment).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    chain.mine().await.unwrap();
    assert_eq!(facilitator.settle(&payment).await.unwrap(), pending);
    chain.mine().await.unwrap();
    assert_eq!(settled(facilitator.settle(&payment).await.unwrap()), hash_of(&pending));
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_not_used() {
    let chain = Chain::start_with(8453).await.unwrap();
    let facilitator =
        ExactFacilitator::connect(chain.rpc_url(), Network::evm(BASE_SEPOLIA), chain::facilitator()).unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let error = facilitator.verify(&payment).await.unwrap_err();
    assert_eq!(error.kind(), FacilitatorErrorKind::Internal);
    assert!(error.to_string().contains("eip155:8453"), "{error}");
    let error = facilitator.settle(&payment).await.unwrap_err();
    assert!(!error.may_have_acted(), "{error}");
}

#[tokio::test]
async fn a_provider_of_ones_own_will_do() {
    let (chain, _) = start().await;
    let network = Network::evm(chain.chain_id());
    let facilitator = exact::facilitator(chain.provider(), network, chain::facilitator()).unwrap();
    settled(facilitator.settle(&signed(Version::V2, &requirements()).await).await.unwrap());
}
