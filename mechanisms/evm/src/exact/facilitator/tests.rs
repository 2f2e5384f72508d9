//! What a real chain rarely does: the clock's exact bounds, endpoints in trouble, sends of unknown outcome.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use alloy::{
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::{SolCall, SolEvent, SolValue},
};
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use serde_json::{Value, json};
use x402_core::{
    network::BASE_SEPOLIA,
    payment::{PaymentPayload, PaymentRequirements},
};

use super::*;
use crate::{
    chain::{
        contracts::Eip3009,
        scripted::{self, Reply},
    },
    eip3009::{Authorization, Domain, Payload},
    exact::reasons,
};

const NOW: u64 = 1_700_000_000;
const USDC: Address = Address::repeat_byte(0x05);
const PAYEE: Address = Address::repeat_byte(0x99);

fn signer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x11)).unwrap()
}

fn payer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x22)).unwrap()
}

fn payment_of(valid_after: u64, valid_before: u64) -> Payment {
    let authorization = Authorization {
        from: payer().address(),
        to: PAYEE,
        value: U256::from(10_000),
        valid_after: U256::from(valid_after),
        valid_before: U256::from(valid_before),
        nonce: B256::repeat_byte(7),
    };
    let hash = Domain::new("USDC", "2", 84532, USDC).signing_hash(&authorization);
    let signature = payer().sign_hash_sync(&hash).unwrap().as_bytes().into();
    let requirements: PaymentRequirements = serde_json::from_value(json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000", "asset": USDC, "payTo": PAYEE,
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
            "eth_getCode" if parameters[0] == json!(USDC) => json!("0x60"),
            "eth_getCode" | "eth_call" => json!("0x"),
            "eth_estimateGas" => json!("0x10000"),
            "eth_feeHistory" => {
                json!({ "oldestBlock": "0x1", "baseFeePerGas": ["0x7", "0x7"], "gasUsedRatio": [0.5], "reward": [["0x1"]] })
            }
            "eth_gasPrice" => json!("0x9"),
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

fn hash_of(answer: SettleResponse) -> String {
    match answer {
        SettleResponse::Settled(proof) => proof.transaction.unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn time_is_bounded_exactly() {
    let facilitator = over(&Node::default(), |_, _| None);
    let cases = [
        (0, NOW + 5, Some(reasons::VALID_BEFORE)),
        (0, NOW + 6, None),
        (0, NOW + 7, None),
        (0, NOW - 1, Some(reasons::VALID_BEFORE)),
        (0, 0, Some(reasons::VALID_BEFORE)),
        (0, u64::MAX, None),
        (NOW - 1, NOW + 60, None),
        (NOW, NOW + 60, None),
        (NOW + 1, NOW + 60, Some(reasons::VALID_AFTER)),
        (NOW + 1, NOW + 5, Some(reasons::VALID_BEFORE)),
    ];
    for (valid_after, valid_before, expected) in cases {
        let found = match facilitator.verify(&payment_of(valid_after, valid_before)).await.unwrap() {
            VerifyResponse::Valid { .. } => None,
            VerifyResponse::Invalid(refusal) => Some(refusal.reason),
        };
        assert_eq!(found, expected, "{valid_after}..{valid_before}");
    }
}

#[tokio::test]
async fn an_endpoint_in_trouble_refuses_nobody() {
    let troubles = [
        Reply::Http(429),
        Reply::Http(503),
        Reply::Error(-32005, "limit exceeded"),
        Reply::Error(-32000, "header not found"),
        Reply::NotConnected,
        Reply::Broken,
        Reply::Never,
        Reply::Is(json!({ "not": "it" })),
    ];
    for method in ["eth_chainId", "eth_getCode", "eth_call", "eth_estimateGas"] {
        for trouble in &troubles {
            let node = Node::default();
            let facilitator = over(&node, {
                let trouble = trouble.clone();
                move |asked, _| (asked == method).then(|| trouble.clone())
            });
            if method != "eth_estimateGas" {
                let error = facilitator.verify(&payment()).await.unwrap_err();
                assert_eq!(error.kind(), FacilitatorErrorKind::Internal, "{method} {trouble:?}");
                assert!(error.to_string().contains("eip155:84532"), "{error}");
            }
            if method != "eth_call" {
                let error = facilitator.settle(&payment()).await.unwrap_err();
                assert!(!error.may_have_acted(), "{method} {trouble:?}: {error}");
            }
            assert!(node.hashes().is_empty());
        }
    }
}

#[tokio::test]
async fn a_node_without_a_chain_knows_no_tokens() {
    let at = |head: &'static str| {
        over(&Node::default(), move |method, _| match method {
            "eth_getCode" => Some(Reply::Is(json!("0x"))),
            "eth_blockNumber" => Some(Reply::Is(json!(head))),
            _ => None,
        })
    };
    assert!(at("0x0").verify(&payment()).await.is_err());
    let refused = at("0x1").verify(&payment()).await.unwrap();
    assert!(
        matches!(refused, VerifyResponse::Invalid(refusal) if refusal.reason == reasons::ASSET_NOT_DEPLOYED)
    );
}

#[tokio::test]
async fn a_send_of_unknown_outcome_is_pending_and_repeated_byte_for_byte() {
    let node = Node::default();
    let sends = Arc::new(AtomicUsize::new(0));
    let facilitator = over(&node, {
        let sends = sends.clone();
        move |method, parameters| match method {
            "eth_sendRawTransaction" if sends.fetch_add(1, Ordering::SeqCst) == 0 => {
                assert!(parameters[0].as_str().unwrap().len() > 2);
                Some(Reply::Broken)
            }
            // The state says the authorization is unused.
            "eth_call" if parameters[0]["input"].as_str().unwrap().starts_with("0xe94a0102") => {
                Some(Reply::Is(json!(B256::ZERO)))
            }
            _ => None,
        }
    });
    let SettleResponse::Pending(pending) = facilitator.settle(&payment()).await.unwrap() else { panic!() };
    let hash = hash_of(facilitator.settle(&payment()).await.unwrap());
    assert_eq!(hash, pending.transaction.to_string());
    assert_eq!(node.hashes().len(), 1);
    assert_eq!(hash_of(facilitator.settle(&payment()).await.unwrap()), hash);
    assert_eq!(sends.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_send_that_broke_but_arrived_is_settled() {
    for reply in
        [Reply::Broken, Reply::Error(-32000, "already known"), Reply::Error(-32603, "upstream timed out")]
    {
        let node = Node::default();
        let facilitator = over(&node, {
            let node = node.clone();
            move |method, parameters| match method {
                "eth_sendRawTransaction" => {
                    node.take(parameters);
                    Some(reply.clone())
                }
                "eth_getTransactionByHash" => Some(Reply::Is(json!({ "hash": parameters[0] }))),
                _ => None,
            }
        });
        hash_of(facilitator.settle(&payment()).await.unwrap());
        assert_eq!(node.hashes().len(), 1);
    }
}

#[tokio::test]
async fn a_nonce_that_is_taken_is_replaced_once() {
    let node = Node::default();
    let (sends, counts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(4)));
    let facilitator = over(&node, move |method, parameters| match method {
        "eth_sendRawTransaction" if sends.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some(Reply::Error(-32000, "nonce too low: next nonce 5, tx nonce 4"))
        }
        "eth_getTransactionCount" if parameters[1] == "pending" => {
            Some(Reply::Is(json!(format!("{:#x}", counts.fetch_add(1, Ordering::SeqCst)))))
        }
        _ => None,
    });
    hash_of(facilitator.settle(&payment()).await.unwrap());
    assert_eq!(node.hashes().len(), 1);

    let facilitator = over(&Node::default(), |method, _| {
        (method == "eth_sendRawTransaction").then_some(Reply::Error(-32000, "nonce too low"))
    });
    assert!(!facilitator.settle(&payment()).await.unwrap_err().may_have_acted());
}

#[tokio::test]
async fn a_chain_without_a_base_fee_gets_a_legacy_transaction() {
    for (reply, legacy) in [(None, false), (Some(Reply::Error(-32601, "no such method")), true)] {
        let node = Node::default();
        let facilitator =
            over(&node, move |method, _| if method == "eth_feeHistory" { reply.clone() } else { None });
        hash_of(facilitator.settle(&payment()).await.unwrap());
        let first = node.sent.lock().unwrap()[0][0];
        assert_eq!(first >= 0xc0, legacy, "{first:#x}");
    }
}

#[tokio::test]
async fn a_wallet_that_burns_gas_is_refused() {
    let node = Node::default();
    let facilitator =
        over(&node, |method, _| (method == "eth_estimateGas").then_some(Reply::Is(json!("0xf4241"))));
    let SettleResponse::Failed(failure) = facilitator.settle(&payment()).await.unwrap() else { panic!() };
    assert_eq!(failure.reason, reasons::SIMULATION_FAILED);
    assert!(node.hashes().is_empty());
}

/// Ours reverts; the endpoint searches ten blocks at once and is at first unable to search at all.
#[tokio::test]
async fn a_reverted_settlement_waits_for_the_truth() {
    let node = Node::default();
    let searches = Arc::new(AtomicUsize::new(0));
    let facilitator = over(&node, move |method, parameters| match method {
        "eth_getTransactionReceipt" if parameters[0] == json!(B256::repeat_byte(0xdd)) => {
            Some(Reply::Is(receipt("0x1", &[used(), transfer()])))
        }
        "eth_getTransactionReceipt" => Some(Reply::Is(receipt("0x0", &[]))),
        "eth_call" => Some(Reply::Is(json!(B256::with_last_byte(1)))),
        "eth_getLogs" => {
            let number =
                |key: &str| u64::from_str_radix(&parameters[0][key].as_str().unwrap()[2..], 16).unwrap();
            Some(match searches.fetch_add(1, Ordering::SeqCst) {
                0 => Reply::Broken,
                _ if number("toBlock") - number("fromBlock") >= 10 => Reply::Error(-32600, "up to 10 blocks"),
                _ if number("fromBlock") > 80 => Reply::Is(json!([])),
                _ => Reply::Is(json!([used()])),
            })
        }
        _ => None,
    });
    let error = facilitator.settle(&payment()).await.unwrap_err();
    assert!(error.may_have_acted(), "{error}");
    assert_eq!(hash_of(facilitator.settle(&payment()).await.unwrap()), B256::repeat_byte(0xdd).to_string());
    assert_eq!(node.hashes().len(), 1);
}

fn used() -> Value {
    let topics =
        [Eip3009::AuthorizationUsed::SIGNATURE_HASH, payer().address().into_word(), B256::repeat_byte(7)];
    log(&topics, vec![])
}

/// One transaction may use several authorizations: another one's transfer does not pay for ours.
#[tokio::test]
async fn another_transfer_in_the_same_transaction_is_no_payment() {
    let elsewhere = {
        let topics =
            [Eip3009::Transfer::SIGNATURE_HASH, payer().address().into_word(), payer().address().into_word()];
        log(&topics, U256::from(10_000).abi_encode())
    };
    for (logs, pays) in [
        (vec![used(), transfer()], true),
        (vec![elsewhere.clone(), used(), transfer(), elsewhere.clone()], true),
        (vec![used(), elsewhere.clone(), transfer()], false),
        (vec![transfer(), used(), elsewhere.clone()], false),
        (vec![transfer(), used()], false),
        (vec![transfer()], false),
    ] {
        let facilitator = over(&Node::default(), move |method, parameters| match method {
            "eth_estimateGas" => Some(Reply::Error(3, "execution reverted")),
            "eth_call"
                if parameters[0]["input"]
                    .as_str()
                    .unwrap()
                    .starts_with(&hex::encode_prefixed(Eip3009::authorizationStateCall::SELECTOR)) =>
            {
                Some(Reply::Is(json!(B256::with_last_byte(1))))
            }
            "eth_getLogs" => Some(Reply::Is(json!([used()]))),
            "eth_getTransactionReceipt" => Some(Reply::Is(receipt("0x1", &logs))),
            _ => None,
        });
        match facilitator.settle(&payment()).await.unwrap() {
            SettleResponse::Settled(_) => assert!(pays),
            SettleResponse::Failed(failure) => {
                assert!(!pays);
                assert_eq!(failure.reason, reasons::NONCE_ALREADY_USED);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_evm_networks_and_http_endpoints_will_do() {
    let connect = |url: &str, network: &'static str| {
        ExactFacilitator::connect(url, Network::from_static(network), signer())
    };
    let good = connect("https://rpc.example/KEY", "eip155:8453").unwrap();
    assert!(!format!("{good:?}").contains("KEY"), "no URL in Debug");
    for (url, network, kind) in [
        ("https://rpc.example", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", ErrorKind::Network),
        ("https://rpc.example", "eip155:08453", ErrorKind::Network),
        ("wss://rpc.example/KEY", "eip155:8453", ErrorKind::Endpoint),
        ("rpc.example/KEY", "eip155:8453", ErrorKind::Endpoint),
    ] {
        let error = connect(url, network).unwrap_err();
        assert_eq!(error.kind(), kind, "{url} {network}");
        assert!(!error.to_string().contains("KEY"), "{error}");
    }
}
