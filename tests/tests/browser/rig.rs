//! What the other cases rely on: that the browser tells of what a page does wrong, and the wallet signs what it is shown.

use alloy::{dyn_abi::TypedData, primitives::Signature};
use axum::{Router, http::header, response::Html, routing::get};
use serde_json::{Value, json};
use x402_tests::{
    Chain,
    browser::{Answer, Setup, Wallet},
    chain,
    serve::Serving,
};

use crate::{
    harness::{Case, Stack, case},
    market::browser,
    people::axe,
};

pub const CASES: &[Case] = &[
    case!(what_a_page_does_wrong_is_seen).once(),
    case!(what_only_some_can_use_is_found).once(),
    case!(a_wallet_does_as_wallets_do).once(),
    case!(a_wallet_outlives_its_page).once(),
];

async fn page(html: &'static str) -> Serving {
    let policy =
        [(header::CONTENT_SECURITY_POLICY, "default-src 'none'; script-src 'nonce-1'; connect-src *")];
    Serving::start(Router::new().route("/", get(async move || (policy, Html(html))))).await.unwrap()
}

async fn what_a_page_does_wrong_is_seen(_: Stack) {
    let other = page("<p>elsewhere").await;
    let serving = page(
        "<!doctype html><title>bad</title><p onclick='alert(1)'>bad</p><style>p { color: red }</style>\
         <script>alert('not run')</script><img src=data:,>",
    )
    .await;
    let visitor = browser().await.visitor(Setup::default()).await.unwrap();
    visitor.open(&serving.url("/")).await.unwrap();
    let elsewhere = format!("fetch('{}', {{ mode: 'no-cors' }}).then(() => 1)", other.url("/"));
    visitor.evaluate(&elsewhere).await.unwrap();
    visitor.evaluate("setTimeout(() => { throw new Error('nobody caught') })").await.unwrap();
    visitor.evaluate("alert('a window'), 1").await.unwrap();
    visitor.evaluate("new Promise((done) => setTimeout(done))").await.unwrap();

    let mut conduct = visitor.conduct();
    // This page has no icon, so some browsers ask for one.
    conduct.violations.retain(|issue| !issue.contains("/favicon.ico"));
    let of = |directive: &str| conduct.violations.iter().filter(|issue| issue.contains(directive)).count();
    assert_eq!(conduct.violations.len(), 4, "{:#?}", conduct.violations);
    assert_eq!((of("style-src"), of("script-src"), of("img-src")), (1, 2, 1), "{:#?}", conduct.violations);
    assert_eq!(conduct.foreign(&serving.url("")), [other.url("/")]);
    assert_eq!(conduct.errors.len(), 2, "{:#?}", conduct.errors);
}

async fn what_only_some_can_use_is_found(_: Stack) {
    let serving = Serving::start(Router::new().route("/", get(async || {
        Html("<!doctype html><title>bad</title><main><h1>bad</h1><img src='data:,'><p style='color:#999'>faint</p><input></main>")
    })));
    let visitor = browser().await.visitor(Setup::default()).await.unwrap();
    visitor.open(&serving.await.unwrap().url("/")).await.unwrap();
    let findings = axe(&visitor, "document").await;
    for (finding, name) in
        findings.iter().zip(["color-contrast (s", "html-has-lang (s", "image-alt (c", "label (c"])
    {
        assert!(finding.starts_with(name), "{name}: {findings:#?}");
    }
    assert_eq!(findings.len(), 4, "{findings:#?}");
}

const PROVIDER: &str = "
    let provider;
    addEventListener('eip6963:announceProvider', (event) => { provider = event.detail.provider; });
    dispatchEvent(new Event('eip6963:requestProvider'));
    const events = [];
    provider.on('chainChanged', (id) => events.push(id));
    const ask = (method, ...params) => provider.request({ method, params }).catch(({ code }) => code);";

/// A wallet's answers to some requests.
async fn ask(wallet: &Wallet, requests: &str) -> Value {
    let serving = page("<!doctype html><title>wallet</title>").await;
    let visitor = browser().await.visitor(wallet.into()).await.unwrap();
    visitor.open(&serving.url("/")).await.unwrap();
    visitor.evaluate(&format!("(async () => {{ {PROVIDER} return {requests}; }})()")).await.unwrap()
}

async fn a_wallet_does_as_wallets_do(_: Stack) {
    let chain = Chain::start().await.unwrap();
    let payer = chain::payer().address();
    let wallet = Wallet::new("Fox", &chain, payer).elsewhere(1).without(&chain);
    let typed = json!({
        "types": {
            "EIP712Domain": [{ "name": "chainId", "type": "uint256" }],
            "Word": [{ "name": "word", "type": "string" }],
        },
        "primaryType": "Word", "domain": { "chainId": 84532 }, "message": { "word": "yes" },
    });
    let sign = format!("ask('eth_signTypedData_v4', '{payer}', {})", json!(typed.to_string()));
    let base = "{ chainId: '0x14a34', chainName: 'Base Sepolia', rpcUrls: ['https://sepolia.base.org'],
                  nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 } }";
    let answers = ask(
        &wallet,
        &format!(
            "[await ask('eth_accounts'), await {sign}, await ask('eth_requestAccounts'), await {sign},
              await ask('eth_chainId'), await ask('eth_call', {{ to: '{usdc}', data: '0x313ce567' }}, 'latest'),
              await ask('wallet_switchEthereumChain', {{ chainId: '0x14a34' }}),
              await ask('wallet_addEthereumChain', {{ chainId: '0x14a34' }}),
              await ask('wallet_addEthereumChain', {base}),
              await ask('wallet_switchEthereumChain', {{ chainId: '0x14a34' }}), events,
              await ask('eth_chainId'), await ask('eth_call', {{ to: '{usdc}', data: '0x313ce567' }}, 'latest'),
              await ask('eth_sendTransaction', {{}}), await {sign}]",
            usdc = chain.usdc()
        ),
    )
    .await;
    let six = format!("0x{:064x}", 6);
    let account = payer.to_string().to_lowercase();
    let expected = json!([
        [],
        4100,
        [account],
        -32603,
        "0x1",
        "0x",
        4902,
        -32602,
        null,
        null,
        ["0x14a34"],
        "0x14a34",
        six,
        4200,
        answers[14]
    ]);
    assert_eq!(answers, expected);
    let typed: TypedData = serde_json::from_value(typed).unwrap();
    let signature: Signature = answers[14].as_str().unwrap().parse().unwrap();
    let hash = typed.eip712_signing_hash().unwrap();
    assert_eq!(signature.recover_address_from_prehash(&hash).unwrap(), payer);
    assert_eq!((wallet.sign_calls(), wallet.signed().len(), wallet.added().len()), (3, 1, 1));

    let wallet =
        Wallet::new("Fox", &chain, payer).connected().on_sign([Answer::Reject, Answer::Fail(-1, "no")]);
    assert_eq!(ask(&wallet, &format!("[await {sign}, await {sign}]")).await, json!([4001, -1]));
}

async fn a_wallet_outlives_its_page(_: Stack) {
    let chain = Chain::start().await.unwrap();
    let wallet = Wallet::new("Fox", &chain, chain::payer().address()).on_connect([Answer::Wait, Answer::Yes]);
    let serving = page("<!doctype html><title>wallet</title>").await;
    let setup = Setup { fallback: true, ..Setup::from(&wallet) };
    let visitor = browser().await.visitor(setup).await.unwrap();
    visitor.open(&serving.url("/")).await.unwrap();
    visitor.evaluate("ethereum.request({ method: 'eth_requestAccounts' }), 1").await.unwrap();
    wallet.connect_begun(1).await;
    visitor.reload().await.unwrap();
    wallet.let_go();
    visitor
        .until("ethereum.request({ method: 'eth_accounts' }).then((all) => all.length === 1)")
        .await
        .unwrap();
    assert_eq!(wallet.connect_calls(), 1);
}
