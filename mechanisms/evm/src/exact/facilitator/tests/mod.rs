//! What a real chain rarely does: the clock's exact bounds, endpoints in trouble, sends of unknown outcome.

mod assets;
mod endpoint;
mod limits;
mod nonce;
mod sending;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use alloy::{
    consensus::{Transaction as _, TxEnvelope},
    eips::Decodable2718,
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::{SolCall, SolEvent, SolValue},
};
use alloy_primitives::{Address, B256, Bytes, U256, address, hex, keccak256};
use serde_json::{Value, json};
use x402_core::{
    network::BASE_SEPOLIA,
    payment::{PaymentPayload, PaymentRequirements, Reason},
};

use super::*;
use crate::{
    chain::{
        contracts::Eip3009,
        scripted::{self, Reply},
    },
    eip3009::{Authorization, Domain, Payload},
};

const NOW: u64 = 1_700_000_000;
const USDC: Address = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");
const PAYEE: Address = Address::repeat_byte(0x99);

fn signer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x11)).unwrap()
}

fn payer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x22)).unwrap()
}

fn authorization_of(valid_after: u64, valid_before: u64) -> Authorization {
    Authorization {
        from: payer().address(),
        to: PAYEE,
        value: U256::from(10_000),
        valid_after: U256::from(valid_after),
        valid_before: U256::from(valid_before),
        nonce: B256::repeat_byte(7),
    }
}

fn payment_of(valid_after: u64, valid_before: u64) -> Payment {
    payment_in(USDC, authorization_of(valid_after, valid_before))
}

/// Rightly signed.
fn payment_in(token: Address, authorization: Authorization) -> Payment {
    let hash = Domain::new("USDC", "2", 84532, token).signing_hash(&authorization);
    let signature = payer().sign_hash_sync(&hash).unwrap().as_bytes().into();
    let requirements: PaymentRequirements = serde_json::from_value(json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000", "asset": token, "payTo": PAYEE,
        "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" },
    }))
    .unwrap();
    let payload = PaymentPayload {
        version: Version::V2,
        resource: None,
        accepted: requirements.clone(),
        payload: Payload { signature, authorization }.to_json(),
        extensions: JsonMap::new(),
    };
    Payment { payload, requirements }
}

fn payment() -> Payment {
    payment_of(0, NOW + 60)
}

/// A chain on which everything goes well, and the transactions sent to it.
#[derive(Clone, Default)]
struct Node {
    sent: Arc<Mutex<Vec<Bytes>>>,
}

impl Node {
    fn answer(&self, method: &str, parameters: &Value) -> Reply {
        Reply::Is(match method {
            "eth_chainId" => json!("0x14a34"),
            "eth_blockNumber" => json!("0x64"),
            "eth_getBlockByNumber" => json!({ "number": "0x64", "timestamp": format!("{NOW:#x}") }),
            "eth_getCode" if parameters[0] == json!(USDC) => json!("0x60"),
            "eth_getCode" | "eth_call" => json!("0x"),
            "eth_estimateGas" => json!("0x10000"),
            "eth_feeHistory" => {
                json!({ "oldestBlock": "0x1", "baseFeePerGas": ["0x7", "0x7"], "gasUsedRatio": [0.5], "reward": [["0x1"]] })
            }
            "eth_gasPrice" => json!("0x9"),
            "eth_getBalance" => json!("0xffffffffffffff"),
            "eth_getTransactionCount" => json!("0x5"),
            "eth_sendRawTransaction" => json!(self.take(parameters)),
            "eth_getTransactionByHash" => Value::Null,
            "eth_getTransactionReceipt" => {
                if self.hashes().iter().any(|hash| parameters[0] == json!(hash)) {
                    receipt("0x1", &[transfer()])
                } else {
                    Value::Null
                }
            }
            _ => panic!("{method}"),
        })
    }

    fn take(&self, parameters: &Value) -> B256 {
        let raw: Bytes = serde_json::from_value(parameters[0].clone()).unwrap();
        let hash = keccak256(&raw);
        self.sent.lock().unwrap().push(raw);
        hash
    }

    fn hashes(&self) -> Vec<B256> {
        self.sent.lock().unwrap().iter().map(keccak256).collect()
    }
}

fn log(topics: &[B256], data: Vec<u8>) -> Value {
    json!({ "address": USDC, "topics": topics, "data": hex::encode_prefixed(data), "transactionHash": B256::repeat_byte(0xdd) })
}

fn transfer() -> Value {
    let topics = [Eip3009::Transfer::SIGNATURE_HASH, payer().address().into_word(), PAYEE.into_word()];
    log(&topics, U256::from(10_000).abi_encode())
}

fn receipt(status: &str, logs: &[Value]) -> Value {
    json!({ "status": status, "blockNumber": "0x63", "logs": logs })
}

/// A facilitator over a node of which the test changes some answers.
fn over(
    node: &Node,
    change: impl Fn(&str, &Value) -> Option<Reply> + Send + Sync + 'static,
) -> ExactFacilitator {
    let node = node.clone();
    let provider = scripted::provider(move |method, parameters| {
        change(method, parameters).unwrap_or_else(|| node.answer(method, parameters))
    });
    facilitator(provider, BASE_SEPOLIA, signer())
        .unwrap()
        .clock(|| NOW)
        .call_timeout(Duration::from_millis(50))
        .receipt_timeout(Duration::from_millis(150))
}

fn used() -> Value {
    let topics =
        [Eip3009::AuthorizationUsed::SIGNATURE_HASH, payer().address().into_word(), B256::repeat_byte(7)];
    log(&topics, vec![])
}

/// What a transaction calls the token with to use an authorization.
fn calldata(authorization: &Authorization) -> Vec<u8> {
    let Authorization { from, to, value, valid_after, valid_before, nonce } = *authorization;
    let words = (from, to, value, valid_after, valid_before, nonce).abi_encode();
    [Eip3009::transferWithAuthorization_0Call::SELECTOR.as_slice(), &words, &[0; 96]].concat()
}

fn is_state_call(method: &str, parameters: &Value) -> bool {
    let selector = hex::encode_prefixed(Eip3009::authorizationStateCall::SELECTOR);
    method == "eth_call" && parameters[0]["input"].as_str().unwrap().starts_with(&selector)
}

fn reason_of(answer: SettleResponse) -> Reason {
    match answer {
        SettleResponse::Failed(failure) => failure.reason,
        other => panic!("{other:?}"),
    }
}

fn hash_of(answer: SettleResponse) -> String {
    match answer {
        SettleResponse::Settled(proof) => proof.transaction.unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}
