//! The rig itself: the chain behaves like one with USDC on it, and the published peers run.

#![allow(clippy::unwrap_used)] // the helpers of a test fail as the test does

use std::sync::{Arc, Mutex};

use alloy::contract::{CallBuilder, CallDecoder};
use alloy::primitives::{Address, B256, Signature, U256, address, b256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{Eip712Domain, SolStruct, SolValue};
use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};
use x402_tests::chain::{self, BASE_SEPOLIA, Chain, USDC};
use x402_tests::node;
use x402_tests::token::{self, CancelAuthorization, Permit, Token, TransferWithAuthorization};

const NONCE: B256 = B256::repeat_byte(7);

fn usdc() -> Eip712Domain {
    token::domain("USDC", "2", BASE_SEPOLIA, USDC)
}

async fn transfer_vrs(
    chain: &Chain,
    token: Address,
    message: &TransferWithAuthorization,
    by: &Signature,
) -> Outcome {
    let TransferWithAuthorization { from, to, value, validAfter, validBefore, nonce } = *message;
    let (v, r, s) = (token::v_of(by), B256::from(by.r()), B256::from(by.s()));
    let token = chain.token_at(token);
    let call = token.transferWithAuthorization_0(from, to, value, validAfter, validBefore, nonce, v, r, s);
    send(call.from(chain::facilitator().address())).await
}

async fn transfer_bytes(
    chain: &Chain,
    token: Address,
    message: &TransferWithAuthorization,
    by: &[u8],
) -> Outcome {
    let TransferWithAuthorization { from, to, value, validAfter, validBefore, nonce } = *message;
    let token = chain.token_at(token);
    let call = token.transferWithAuthorization_1(
        from,
        to,
        value,
        validAfter,
        validBefore,
        nonce,
        by.to_vec().into(),
    );
    send(call.from(chain::facilitator().address())).await
}

/// Mined without a revert, or the contract's reason.
type Outcome = Result<(), Token::TokenErrors>;

/// Asks the node what a call would do and sends it if it would succeed.
async fn send<P: Provider, D: CallDecoder>(call: CallBuilder<P, D>) -> Outcome {
    if let Err(error) = call.call().await {
        match error.as_decoded_interface_error::<Token::TokenErrors>() {
            Some(reason) => return Err(reason),
            None => panic!("not a revert of the token: {error}"),
        }
    }
    assert!(call.send().await.unwrap().get_receipt().await.unwrap().status());
    Ok(())
}

#[tokio::test]
async fn the_dollar_is_where_clients_look_for_it() {
    let chain = Chain::start().await.unwrap();
    let token = chain.token();
    assert_eq!(chain.usdc(), USDC);
    assert_eq!(chain.network(), "eip155:84532");
    assert_eq!(token.name().call().await.unwrap(), "USDC");
    assert_eq!(token.version().call().await.unwrap(), "2");
    assert_eq!(token.symbol().call().await.unwrap(), "USDC");
    assert_eq!(token.decimals().call().await.unwrap(), 6);
    assert_eq!(token.DOMAIN_SEPARATOR().call().await.unwrap(), usdc().separator());
}

#[tokio::test]
async fn the_signers_are_the_accounts_of_the_node() {
    let chain = Chain::start().await.unwrap();
    let signers: Vec<_> = (0..10).map(|index| chain::signer(index).address()).collect();
    assert_eq!(chain.provider().get_accounts().await.unwrap(), signers);
}

#[tokio::test]
async fn another_chain_has_its_own_dollar() {
    let chain = Chain::start_with(8453).await.unwrap();
    let base = address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913");
    assert_eq!(chain.usdc(), base);
    assert_eq!(chain.token().name().call().await.unwrap(), "USD Coin");
    let domain = token::domain("USD Coin", "2", 8453, base);
    assert_eq!(chain.token().DOMAIN_SEPARATOR().call().await.unwrap(), domain.separator());
}

#[tokio::test]
async fn minted_money_is_there_and_is_no_payment() {
    let chain = Chain::start().await.unwrap();
    let payer = chain::payer().address();
    chain.mint(payer, 1_000_000).await.unwrap();
    assert_eq!(chain.balance(payer).await.unwrap(), U256::from(1_000_000));
    assert_eq!(chain.transfers(payer).await.unwrap(), 0);
    assert_eq!(chain.nonce(payer).await.unwrap(), 0);
}

#[tokio::test]
async fn both_overloads_move_money_once() {
    let chain = Chain::start().await.unwrap();
    let (payer, merchant) = (chain::payer(), chain::merchant().address());
    chain.mint(payer.address(), 1_000).await.unwrap();

    let first = TransferWithAuthorization::new(payer.address(), merchant, 100, NONCE);
    let signature = token::sign(&payer, &first, &usdc()).unwrap();
    transfer_vrs(&chain, USDC, &first, &signature).await.unwrap();
    assert!(matches!(
        transfer_vrs(&chain, USDC, &first, &signature).await,
        Err(Token::TokenErrors::NonceSpent(_))
    ));
    assert!(matches!(
        transfer_bytes(&chain, USDC, &first, &signature.as_bytes()).await,
        Err(Token::TokenErrors::NonceSpent(_))
    ));
    assert!(chain.token().authorizationState(payer.address(), NONCE).call().await.unwrap());

    let second = TransferWithAuthorization { nonce: B256::repeat_byte(8), ..first };
    let signature = token::sign(&payer, &second, &usdc()).unwrap();
    transfer_bytes(&chain, USDC, &second, &signature.as_bytes()).await.unwrap();

    assert_eq!(chain.balance(merchant).await.unwrap(), U256::from(200));
    assert_eq!(chain.balance(payer.address()).await.unwrap(), U256::from(800));
    let log = chain.transfer_log(merchant).await.unwrap();
    assert_eq!(log.iter().map(|transfer| transfer.value.to::<u64>()).collect::<Vec<_>>(), [100, 100]);
    // The refused ones were noticed before they were sent.
    let sent = chain.transactions_of(chain::facilitator().address()).await.unwrap();
    assert_eq!(sent, log.iter().map(|transfer| transfer.transaction).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_not_signed_is_refused() {
    let chain = Chain::start().await.unwrap();
    let (payer, merchant) = (chain::payer(), chain::merchant().address());
    chain.mint(payer.address(), 1_000).await.unwrap();
    let good = TransferWithAuthorization::new(payer.address(), merchant, 100, NONCE);
    let signature = token::sign(&payer, &good, &usdc()).unwrap();
    let refused = |outcome| matches!(outcome, Err(Token::TokenErrors::SignatureRefused(_)));

    let high = token::high_s(&signature);
    assert_eq!(
        high.recover_address_from_prehash(&good.eip712_signing_hash(&usdc())).unwrap(),
        payer.address(),
        "mathematically, the malleable twin is a signature too"
    );
    assert!(refused(transfer_vrs(&chain, USDC, &good, &high).await));
    assert!(refused(transfer_bytes(&chain, USDC, &good, &high.as_bytes()).await));

    let dearer = TransferWithAuthorization { value: U256::from(101), ..good.clone() };
    assert!(refused(transfer_vrs(&chain, USDC, &dearer, &signature).await));
    let elsewhere = TransferWithAuthorization { to: chain::stranger().address(), ..good.clone() };
    assert!(refused(transfer_vrs(&chain, USDC, &elsewhere, &signature).await));
    for domain in [token::domain("USDC", "1", BASE_SEPOLIA, USDC), token::domain("USDC", "2", 8453, USDC)] {
        let foreign = token::sign(&payer, &good, &domain).unwrap();
        assert!(refused(transfer_vrs(&chain, USDC, &good, &foreign).await));
    }
    let strange = token::sign(&chain::stranger(), &good, &usdc()).unwrap();
    assert!(refused(transfer_vrs(&chain, USDC, &good, &strange).await));
    assert!(refused(
        transfer_bytes(&chain, USDC, &good, &[signature.as_bytes().as_slice(), &[0]].concat()).await
    ));

    assert_eq!(chain.transfers(merchant).await.unwrap(), 0);
}

#[tokio::test]
async fn bounds_in_time_and_money_hold() {
    let chain = Chain::start().await.unwrap();
    let (payer, merchant) = (chain::payer(), chain::merchant().address());
    chain.mint(payer.address(), 100).await.unwrap();
    let now = chain.latest_timestamp().await.unwrap();
    let good = TransferWithAuthorization::new(payer.address(), merchant, 100, NONCE);
    let attempt = async |message: &TransferWithAuthorization| {
        let signature = token::sign(&payer, message, &usdc()).unwrap();
        transfer_vrs(&chain, USDC, message, &signature).await
    };

    let early = TransferWithAuthorization { validAfter: U256::from(now + 1_000), ..good.clone() };
    assert!(matches!(attempt(&early).await, Err(Token::TokenErrors::NotYetValid(_))));
    let late = TransferWithAuthorization { validBefore: U256::from(now), ..good.clone() };
    assert!(matches!(attempt(&late).await, Err(Token::TokenErrors::NoLongerValid(_))));
    let dear = TransferWithAuthorization { value: U256::from(101), ..good.clone() };
    assert!(matches!(attempt(&dear).await, Err(Token::TokenErrors::BalanceTooLow(_))));

    chain.warp(2_000).await.unwrap();
    attempt(&early).await.unwrap();
}

#[tokio::test]
async fn an_authorization_can_be_cancelled() {
    let chain = Chain::start().await.unwrap();
    let payer = chain::payer();
    chain.mint(payer.address(), 100).await.unwrap();
    let cancel = CancelAuthorization { authorizer: payer.address(), nonce: NONCE };
    let by = token::sign(&payer, &cancel, &usdc()).unwrap();
    let token = chain.token();
    let call =
        token.cancelAuthorization(payer.address(), NONCE, token::v_of(&by), by.r().into(), by.s().into());
    send(call.from(chain::stranger().address())).await.unwrap();

    let message = TransferWithAuthorization::new(payer.address(), chain::merchant().address(), 100, NONCE);
    let signature = token::sign(&payer, &message, &usdc()).unwrap();
    assert!(matches!(
        transfer_vrs(&chain, USDC, &message, &signature).await,
        Err(Token::TokenErrors::NonceSpent(_))
    ));
}

#[tokio::test]
async fn a_permit_allows_once() {
    let chain = Chain::start().await.unwrap();
    let (owner, spender) = (chain::payer(), chain::stranger().address());
    let (value, deadline) = (U256::from(5), U256::MAX);
    let permit = Permit { owner: owner.address(), spender, value, nonce: U256::ZERO, deadline };
    let by = token::sign(&owner, &permit, &usdc()).unwrap();
    let token = chain.token();
    let (v, r, s) = (token::v_of(&by), by.r().into(), by.s().into());
    let call = token.permit(owner.address(), spender, value, deadline, v, r, s).from(spender);
    send(call.clone()).await.unwrap();
    assert_eq!(token.allowance(owner.address(), spender).call().await.unwrap(), value);
    assert!(matches!(send(call).await, Err(Token::TokenErrors::SignatureRefused(_))));
}

#[tokio::test]
async fn a_smart_wallet_answers_for_itself() {
    let chain = Chain::start().await.unwrap();
    let (owner, merchant) = (chain::payer(), chain::merchant().address());
    let wallet = chain.deploy("TestWallet", &owner.address().abi_encode()).await.unwrap();
    chain.mint(wallet, 1_000).await.unwrap();
    let message = TransferWithAuthorization::new(wallet, merchant, 100, NONCE);

    let strange = token::sign(&chain::stranger(), &message, &usdc()).unwrap();
    assert!(matches!(
        transfer_bytes(&chain, USDC, &message, &strange.as_bytes()).await,
        Err(Token::TokenErrors::SignatureRefused(_))
    ));
    let signature = token::sign(&owner, &message, &usdc()).unwrap();
    transfer_vrs(&chain, USDC, &message, &signature).await.unwrap();

    let again = TransferWithAuthorization { nonce: B256::repeat_byte(8), ..message };
    let signature = token::sign(&owner, &again, &usdc()).unwrap();
    let framed = [b"a frame of its own".as_slice(), &signature.as_bytes()].concat();
    transfer_bytes(&chain, USDC, &again, &framed).await.unwrap();
    assert_eq!(chain.balance(merchant).await.unwrap(), U256::from(200));
}

#[tokio::test]
async fn ill_behaved_tokens_misbehave() {
    let chain = Chain::start().await.unwrap();
    let (payer, merchant) = (chain::payer(), chain::merchant().address());
    let pay = async |token: Address, nonce: u8| {
        let message =
            TransferWithAuthorization::new(payer.address(), merchant, 100, B256::repeat_byte(nonce));
        let signature =
            token::sign(&payer, &message, &token::domain("USDC", "2", BASE_SEPOLIA, token)).unwrap();
        transfer_vrs(&chain, token, &message, &signature).await.unwrap();
    };
    let logs = async || {
        let latest = chain.provider().get_block_number().await.unwrap();
        let filter = Filter::new().select(latest);
        let logs = chain.provider().get_logs(&filter).await.unwrap();
        logs.iter()
            .filter_map(|log| Some((log.address(), log.log_decode::<Token::Transfer>().ok()?.inner.data)))
            .map(|(emitter, transfer)| (emitter, transfer.from, transfer.to, transfer.value.to::<u64>()))
            .collect::<Vec<_>>()
    };

    let silent = chain.deploy("SilentToken", &[]).await.unwrap();
    pay(silent, 1).await;
    assert_eq!(logs().await, []);
    assert!(chain.balance_of(silent, merchant).await.unwrap() > U256::from(1_000_000_000));

    let spoof = chain.deploy("SpoofToken", &[]).await.unwrap();
    let said = async |lie: u8| {
        chain.token_at(spoof).tell(lie).from(merchant).send().await.unwrap().get_receipt().await.unwrap();
        pay(spoof, lie).await;
        let [(emitter, from, to, value)] = logs().await[..] else { panic!("one transfer is logged") };
        (emitter == spoof, from == payer.address(), to == merchant, value == 100)
    };
    assert_eq!(said(0).await, (true, true, true, false));
    assert_eq!(said(1).await, (false, true, true, true));
    assert_eq!(said(2).await, (true, true, false, true));
    assert_eq!(said(3).await, (true, false, true, true));
    assert_eq!(chain.balance_of(spoof, merchant).await.unwrap(), U256::ZERO);

    let fee = chain.deploy("FeeToken", &[]).await.unwrap();
    chain.mint_of(fee, payer.address(), 100).await.unwrap();
    pay(fee, 1).await;
    assert_eq!(logs().await[0], (fee, payer.address(), merchant, 90));
    assert_eq!(chain.balance_of(fee, merchant).await.unwrap(), U256::from(90));
}

#[tokio::test]
async fn mining_can_wait() {
    let chain = Chain::start().await.unwrap();
    let (payer, merchant) = (chain::payer(), chain::merchant().address());
    chain.set_automine(false).await.unwrap();
    chain.mint(payer.address(), 100).await.unwrap(); // the rig's own are mined nonetheless

    let wallet = chain.provider_of(payer.clone()).unwrap();
    let pending = Token::new(USDC, wallet).transfer(merchant, U256::from(60)).send().await.unwrap();
    chain.wait_for_pending(1).await.unwrap();
    assert_eq!(chain.transfers(merchant).await.unwrap(), 0);
    chain.mine().await.unwrap();
    assert!(pending.get_receipt().await.unwrap().status());
    assert_eq!(chain.transfers(merchant).await.unwrap(), 1);
    assert_eq!(chain.pending().await.unwrap(), 0);

    let _ = chain.token().transfer(merchant, U256::ONE).from(payer.address()).send().await.unwrap();
    chain.wait_for_pending(1).await.unwrap();
    chain.drop_pending().await.unwrap();
    assert_eq!(chain.pending().await.unwrap(), 0);
    assert_eq!(chain.nonce(payer.address()).await.unwrap(), 1);
}

#[tokio::test]
async fn an_account_can_be_poor() {
    let chain = Chain::start().await.unwrap();
    let poor = chain::facilitator();
    chain.set_ether(poor.address(), U256::ZERO).await.unwrap();
    let token = Token::new(USDC, chain.provider_of(poor).unwrap());
    let sent = token.mint(chain::payer().address(), U256::ONE).send().await;
    assert!(sent.is_err(), "gas was paid with nothing");
}

/// The vector was made with the published packages.
#[test]
fn golden_vector() {
    let signer: PrivateKeySigner = chain::signer(0);
    let message = TransferWithAuthorization {
        from: signer.address(),
        to: address!("209693Bc6afc0C5328bA36FaF03C514EF312287C"),
        value: U256::from(10_000),
        validAfter: U256::ZERO,
        validBefore: U256::from(1_740_672_154),
        nonce: b256!("f3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480"),
    };
    assert_eq!(
        message.eip712_signing_hash(&usdc()),
        b256!("4f4985a0c4a7592c738a9d385dac72ed9932049a3a642b4923659213c54fa8c6")
    );
    let signature = token::sign(&signer, &message, &usdc()).unwrap();
    assert_eq!(
        signature.to_string(),
        "0x887688bfda2adc60488cb21d8355641dc7e6cae2acf979a4e510569110fbeb6912bfec8521359ee79ecbd2c6f8ba9ada97d499a910f5c0d4e274d0da99b8f3561c"
    );
}

/// A facilitator that believes everything and moves nothing. Returns its URL and the calls it gets.
async fn credulous() -> (String, Arc<Mutex<Vec<(&'static str, Value)>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str, answer: Value| {
        let calls = calls.clone();
        move |body: String| {
            let body = serde_json::from_str(&body).unwrap_or(Value::Null);
            calls.lock().unwrap().push((name, body));
            std::future::ready(([("content-type", "application/json")], answer.to_string()))
        }
    };
    let supported = json!({
        "kinds": [
            { "x402Version": 2, "scheme": "exact", "network": "eip155:84532" },
            { "x402Version": 1, "scheme": "exact", "network": "base-sepolia" },
        ],
        "extensions": [],
        "signers": {},
    });
    let payer = chain::payer().address().to_string();
    let verified = json!({ "isValid": true, "payer": payer });
    let settled = |network: &str| {
        let transaction = B256::repeat_byte(0xab).to_string();
        json!({ "success": true, "payer": payer, "transaction": transaction, "network": network })
    };
    let app = Router::new()
        .route("/v2/supported", get(note("supported", supported)))
        .route("/v2/verify", post(note("verify", verified.clone())))
        .route("/v2/settle", post(note("settle", settled("eip155:84532"))))
        .route("/v1/verify", post(note("verify", verified)))
        .route("/v1/settle", post(note("settle", settled("base-sepolia"))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, calls)
}

async fn peers_pay_each_other(version: &str, network: &str, first_calls: &[&str]) {
    let (facilitator, calls) = credulous().await;
    let facilitator = format!("{facilitator}/{version}");
    let merchant = chain::merchant().address().to_string();
    let env = [("FACILITATOR_URL", facilitator.as_str()), ("PAY_TO", &merchant)];
    let server = node::Server::start(&format!("server-{version}.mjs"), &env).await.unwrap();

    let (url, key) = (server.url("/paid"), chain::private_key(&chain::payer()));
    let env = [("URL", url.as_str()), ("PRIVATE_KEY", &key)];
    let paid = node::run(&format!("pay-{version}.mjs"), &env).await.unwrap();
    assert_eq!(paid["status"], 200, "{paid}");
    assert_eq!(paid["body"], json!({ "secret": "forty-two" }));
    assert_eq!(paid["receipt"]["network"], network);
    assert_eq!(paid["exchanges"], json!([{ "status": 402, "paid": false }, { "status": 200, "paid": true }]));
    assert!(paid["payment"].is_string());
    assert_eq!(server.handled().await.unwrap(), 1, "{}", server.log());
    let names: Vec<_> = calls.lock().unwrap().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, first_calls);
}

#[tokio::test]
async fn published_v2_peers_run() {
    peers_pay_each_other("v2", "eip155:84532", &["supported", "verify", "settle"]).await;
}

#[tokio::test]
async fn published_v1_peers_run() {
    peers_pay_each_other("v1", "base-sepolia", &["verify", "settle"]).await;
}

#[tokio::test]
async fn a_published_client_signs_without_sending() {
    let (facilitator, _) = credulous().await;
    let facilitator = format!("{facilitator}/v2");
    let merchant = chain::merchant().address().to_string();
    let env = [("FACILITATOR_URL", facilitator.as_str()), ("PAY_TO", &merchant)];
    let server = node::Server::start("server-v2.mjs", &env).await.unwrap();
    let http = x402_tests::http().unwrap();
    let unpaid = http.get(server.url("/paid")).send().await.unwrap();
    assert_eq!(unpaid.status(), 402);
    let required = unpaid.headers()["payment-required"].to_str().unwrap().to_owned();

    let key = chain::private_key(&chain::payer());
    let env = [("PAYMENT_REQUIRED", required.as_str()), ("PRIVATE_KEY", &key)];
    let signed = node::run("sign.mjs", &env).await.unwrap();
    assert_eq!(signed["payload"]["accepted"]["payTo"], merchant);
    let header = signed["headers"]["PAYMENT-SIGNATURE"].as_str().unwrap();
    let paid = http.get(server.url("/paid")).header("PAYMENT-SIGNATURE", header).send().await.unwrap();
    assert_eq!(paid.status(), 200);
}

#[tokio::test]
async fn what_a_client_refuses_is_an_answer() {
    let key = chain::private_key(&chain::payer());
    let env = [("URL", "http://127.0.0.1:1/"), ("PRIVATE_KEY", &key)];
    let refused = node::run("pay-v2.mjs", &env).await.unwrap();
    assert!(refused["error"].is_string(), "{refused}");
}
