//! Payments, and what becomes of them.

pub(crate) use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use alloy::network::TransactionBuilder;
pub(crate) use alloy::primitives::{Address, B256, Bytes, U256};
pub(crate) use alloy::providers::Provider;
pub(crate) use alloy::rpc::types::TransactionRequest;
pub(crate) use alloy::signers::local::PrivateKeySigner;
pub(crate) use alloy::sol_types::{SolCall, SolValue};
pub(crate) use serde_json::{Value, json};
pub(crate) use x402_core::facilitator::{FacilitatorErrorKind, SettleRequest, SettlementKey};
pub(crate) use x402_core::network::Network;
pub(crate) use x402_core::payment::{
    Payment, PaymentPayload, PaymentRequirements, Reason, SettleResponse, VerifyResponse, Version,
};
pub(crate) use x402_core::scheme::{ClientScheme, FacilitatorScheme};
pub(crate) use x402_evm::exact::{self, ExactFacilitator, reasons};
pub(crate) use x402_tests::chain::{self, BASE_SEPOLIA, Chain, USDC};
pub(crate) use x402_tests::token::{self, CancelAuthorization, Token, TransferWithAuthorization};

pub(crate) const PRICE: u64 = 10_000;
pub(crate) const FUNDS: u64 = 1_000_000;

pub(crate) async fn start() -> (Chain, ExactFacilitator) {
    let chain = Chain::start().await.unwrap();
    chain.mint(chain::payer().address(), FUNDS).await.unwrap();
    let facilitator = facilitator_of(&chain);
    (chain, facilitator)
}

pub(crate) fn facilitator_of(chain: &Chain) -> ExactFacilitator {
    ExactFacilitator::connect(chain.rpc_url(), Network::evm(chain.chain_id()), chain::facilitator()).unwrap()
}

pub(crate) fn facilitator_at(url: &str) -> ExactFacilitator {
    ExactFacilitator::connect(url, Network::evm(BASE_SEPOLIA), chain::facilitator()).unwrap()
}

/// Over several endpoints, each of which has half a second to answer.
pub(crate) fn facilitator_over(urls: &[&str]) -> ExactFacilitator {
    ExactFacilitator::connect_all(urls, Network::evm(BASE_SEPOLIA), chain::facilitator())
        .unwrap()
        .call_timeout(Duration::from_millis(1500))
}

/// Returns once it is so; fails if it is not after ten seconds.
pub(crate) async fn until(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it does not become so");
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn requirements() -> PaymentRequirements {
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

pub(crate) fn payment(version: Version, requirements: &PaymentRequirements, payload: Value) -> Payment {
    let accepted = requirements.clone();
    let extensions = Default::default();
    Payment {
        payload: PaymentPayload { version, resource: None, accepted, payload, extensions },
        requirements: requirements.clone(),
    }
}

/// A payment as our client signs it.
pub(crate) async fn signed(version: Version, requirements: &PaymentRequirements) -> Payment {
    let client = exact::client(chain::payer());
    let payload = client.sign(version, requirements).await.unwrap();
    payment(version, requirements, payload)
}

/// A good authorization, to be spoilt.
pub(crate) fn authorization(nonce: u8) -> TransferWithAuthorization {
    TransferWithAuthorization {
        from: chain::payer().address(),
        to: chain::merchant().address(),
        value: U256::from(PRICE),
        validAfter: U256::ZERO,
        validBefore: U256::from(now() + 300),
        nonce: B256::repeat_byte(nonce),
    }
}

pub(crate) fn payload(message: &TransferWithAuthorization, signature: &[u8]) -> Value {
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

pub(crate) fn sign_in(
    message: &TransferWithAuthorization,
    signer: &PrivateKeySigner,
    name: &'static str,
    version: &'static str,
    asset: Address,
) -> [u8; 65] {
    token::sign(signer, message, &token::domain(name, version, BASE_SEPOLIA, asset)).unwrap().as_bytes()
}

pub(crate) fn sign(message: &TransferWithAuthorization) -> [u8; 65] {
    sign_in(message, &chain::payer(), "USDC", "2", USDC)
}

/// The same signature in 64 bytes (EIP-2098).
pub(crate) fn compact(signature: &[u8; 65]) -> [u8; 64] {
    let mut compact = [0; 64];
    compact.copy_from_slice(&signature[..64]);
    compact[32] |= (signature[64] - 27) << 7;
    compact
}

/// A payment with this authorization, rightly signed.
pub(crate) fn with(message: &TransferWithAuthorization) -> Payment {
    payment(Version::V2, &requirements(), payload(message, &sign(message)))
}

pub(crate) fn hash_of(answer: &SettleResponse) -> B256 {
    let id = match answer {
        SettleResponse::Settled(receipt) => receipt.transaction.clone().unwrap(),
        SettleResponse::Pending(pending) => pending.transaction.clone().expect("a transaction"),
        SettleResponse::Failed(failure) => failure.transaction.clone().expect("a transaction"),
    };
    id.as_str().parse().unwrap()
}

pub(crate) fn settled(answer: SettleResponse) -> B256 {
    assert!(matches!(answer, SettleResponse::Settled(_)), "{answer:?}");
    hash_of(&answer)
}

/// Made by a transaction that the facilitator's journal knows nothing of: no success for whoever asks without a key.
pub(crate) fn made_elsewhere(answer: SettleResponse) -> B256 {
    let SettleResponse::Failed(failure) = &answer else { panic!("{answer:?}") };
    assert_eq!((&failure.reason, failure.is_dead), (&Reason::PAID_BY_THIRD_PARTY, false));
    hash_of(&answer)
}

/// Refused by both, for this reason, and nothing was sent.
pub(crate) async fn refused(facilitator: &ExactFacilitator, payment: &Payment, reason: &Reason) {
    match facilitator.verify(payment).await.unwrap() {
        VerifyResponse::Invalid(refusal) => assert_eq!(refusal.reason, *reason),
        VerifyResponse::Valid { .. } => panic!("valid, not {reason}"),
    }
    match facilitator.settle(payment.into()).await.unwrap() {
        SettleResponse::Failed(failure) => {
            assert_eq!(failure.reason, *reason);
            assert_eq!(failure.transaction, None);
        }
        other => panic!("{other:?}, not {reason}"),
    }
}

/// Returns once it is mined: the chain does that a moment after it has taken it.
pub(crate) async fn send_as(chain: &Chain, signer: PrivateKeySigner, to: Address, input: Vec<u8>) -> B256 {
    let provider = chain.provider_of(signer).unwrap();
    let request = TransactionRequest::default().with_to(to).with_input(input).with_gas_limit(300_000);
    let pending = provider.send_transaction(request).await.unwrap();
    pending.with_timeout(Some(Duration::from_secs(10))).watch().await.unwrap()
}

/// Sends to the dollar as a stranger, and mines it in one block with what waits, ahead of that.
pub(crate) async fn send_ahead(chain: &Chain, input: Vec<u8>) -> B256 {
    let request = TransactionRequest::default()
        .with_to(USDC)
        .with_input(input)
        .with_gas_limit(300_000)
        .with_max_fee_per_gas(100_000_000_000)
        .with_max_priority_fee_per_gas(50_000_000_000);
    let provider = chain.provider_of(chain::stranger()).unwrap();
    let hash = *provider.send_transaction(request).await.unwrap().tx_hash();
    chain.mine().await.unwrap();
    hash
}

pub(crate) fn transfer_call(message: &TransferWithAuthorization) -> Vec<u8> {
    let TransferWithAuthorization { from, to, value, validAfter, validBefore, nonce } = *message;
    let signature = sign(message).to_vec().into();
    Token::transferWithAuthorization_1Call { from, to, value, validAfter, validBefore, nonce, signature }
        .abi_encode()
}

pub(crate) async fn refused_settle(facilitator: &ExactFacilitator, payment: &Payment, reason: &Reason) {
    match facilitator.settle(payment.into()).await.unwrap() {
        SettleResponse::Failed(failure) => assert_eq!(failure.reason, *reason),
        other => panic!("{other:?}, not {reason}"),
    }
}
