//! What wallets answer, and how they say no.

use x402_tests::browser::{Answer, Setup};

use crate::{
    harness::{Case, Stack, case},
    market::{Market, Person},
};

pub const CASES: &[Case] = &[
    case!(a_network_that_changes_late_is_waited_for).once(),
    case!(no_is_understood_however_it_is_said).once(),
    case!(every_form_of_a_signature_pays).once(),
    case!(a_smart_wallets_signature_stays_as_it_is).once(),
    case!(a_wallet_that_does_not_know_its_network_is_told_of).once(),
    case!(an_account_that_is_not_allowed_is_told_of).once(),
    case!(a_smart_wallet_that_is_not_set_up_is_told_of).once(),
    case!(a_wallet_that_throws_at_once_pays_nothing).once(),
    case!(a_network_that_cannot_be_added_is_added_by_hand).once(),
];

/// A wallet that answers otherwise: `call` is what it is asked, `ask()` what the wallet itself says.
async fn opens<'a>(market: &'a Market, setup: impl Into<Setup>, answer: &str) -> Person<'a> {
    let script = format!(
        "addEventListener('eip6963:announceProvider', ({{ detail: {{ provider }} }}) => {{
            if (provider.changed) return;
            const {{ request }} = provider;
            provider.changed = true;
            provider.request = (call) => {{
                const ask = (other = call) => request(other);
                const {{ method }} = call;
                {answer}
                return ask();
            }};
        }}, true);"
    );
    let person = market.person(setup).await;
    person.before_each_page(&script).await.unwrap();
    person.open(&market.serving.url("/article")).await.unwrap();
    person
}

/// Some answer before they have changed it.
async fn a_network_that_changes_late_is_waited_for(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().elsewhere(1);
    let late = "if (method === 'wallet_switchEthereumChain') {
            setTimeout(ask, 400);
            return Promise.resolve(null);
        }";
    let person = opens(&market, &wallet, late).await;
    person.pays().await;
    person.has_the_article().await;
    assert_eq!((wallet.switch_calls(), wallet.sign_calls()), (1, 1));
    market.sold(1).await;
    person.behaved();
}

async fn no_is_understood_however_it_is_said(stack: Stack) {
    let market = Market::open(stack).await;
    for (no, state) in [
        ("{ code: 4001 }", "rejected"),
        ("{ code: 'ACTION_REJECTED' }", "rejected"),
        ("{ code: 5000, message: 'User rejected.' }", "rejected"),
        (
            "{ code: -32603, message: 'Internal JSON-RPC error.', data: { originalError: { code: 4001 } } }",
            "rejected",
        ),
        ("{ code: -32603, message: 'failed', data: { code: 4001 } }", "rejected"),
        ("{ code: 'UNKNOWN_ERROR', error: { code: 4001 } }", "rejected"),
        ("new Error('MetaMask Tx Signature: User denied message signature.')", "rejected"),
        ("new Error('Rejected by user')", "rejected"),
        ("'User canceled'", "rejected"),
        // From another realm, as what a frame or an extension throws.
        ("Object.assign(Object.create(null), { code: 4001, message: 'no' })", "rejected"),
        (
            "Object.assign(Object.create(null), { code: -32603, data: Object.assign(Object.create(null), { code: 4001 }) })",
            "rejected",
        ),
        ("Object.assign(Object.create(null), { code: -32000, message: 'no' })", "failed"),
        ("'cancelled'", "rejected"),
        ("{ code: -32603, message: 'Internal JSON-RPC error.' }", "failed"),
        ("new Error('The node rejected the request')", "failed"),
        ("'out of memory'", "failed"),
        ("undefined", "failed"),
        ("{ code: -32000 }", "failed"),
    ] {
        for method in ["eth_requestAccounts", "eth_signTypedData_v4"] {
            let answer = format!("if (method === '{method}') return Promise.reject({no});");
            let person = opens(&market, &market.wallet(), &answer).await;
            person.pays().await;
            let over = "['rejected', 'failed'].includes(document.getElementById('paywall').dataset.state)";
            person.until(over).await.unwrap();
            assert_eq!(person.attribute("main", "data-state").await, state, "{method}: {no}");
            let said = person.text("main").await.unwrap();
            assert!(!said.contains("undefined") && !said.contains("[object"), "{no}: {said}");
            person.behaved();
        }
    }
    market.sold(0).await;
}

async fn every_form_of_a_signature_pays(stack: Stack) {
    let bare = "'0x' + rs + '0' + parity";
    for (form, code) in [
        // EIP-2098
        (
            "'0x' + rs.slice(0, 64) + (BigInt('0x' + rs.slice(64)) | BigInt(parity) << 255n).toString(16).padStart(64, '0')",
            "",
        ),
        (bare, ""),
        // A plain account that has borrowed a contract's code (EIP-7702), and a wallet that does not tell.
        (bare, "if (method === 'eth_getCode') return Promise.resolve('0xef0100' + '11'.repeat(20));"),
        (bare, "if (method === 'eth_getCode') return Promise.reject(new Error('no'));"),
        // EIP-155
        ("'0x' + rs + (35 + 2 * 84532 + parity).toString(16).padStart(6, '0')", ""),
        ("'0X' + (rs + (27 + parity).toString(16)).toUpperCase()", ""),
        ("rs + (27 + parity).toString(16)", ""),
    ] {
        let market = Market::open(stack).await;
        let wallet = market.wallet();
        let answer = format!(
            "{code} if (method === 'eth_signTypedData_v4') return ask().then((signature) => {{
                const [rs, parity] = [signature.slice(2, 130), parseInt(signature.slice(130), 16) % 27];
                return {form};
            }});"
        );
        let person = opens(&market, &wallet, &answer).await;
        person.pays().await;
        person.has_the_article().await;
        assert_eq!(wallet.sign_calls(), 1, "{form} {code}");
        market.sold(1).await;
        person.behaved();
    }
}

/// What 64 bytes of a contract's mean is the contract's business.
async fn a_smart_wallets_signature_stays_as_it_is(stack: Stack) {
    let market = Market::open(stack).await;
    let signature = "0x".to_owned() + &"ab".repeat(64);
    let answer = format!(
        "if (method === 'eth_signTypedData_v4') return Promise.resolve('{signature}');
         if (method === 'eth_getCode') return Promise.resolve('0x6001');"
    );
    let person = opens(&market, &market.wallet(), &answer).await;
    let watch = "window.sent = []; const { fetch: send } = window;
        window.fetch = (url, how) => {
            const header = how?.headers?.['payment-signature'];
            if (header) sent.push(JSON.parse(atob(header)).payload.signature);
            return send(url, how);
        }; 1";
    person.evaluate(watch).await.unwrap();
    person.pays().await;
    person.reads("failed", "alert", "the signature was not accepted").await;
    assert_eq!(person.evaluate("sent.join()").await.unwrap(), signature);
    market.sold(0).await;
    person.behaved();
}

async fn a_wallet_that_does_not_know_its_network_is_told_of(stack: Stack) {
    let market = Market::open(stack).await;
    for none in ["null", "undefined", "''", "'x'", "{}"] {
        let wallet = market.wallet();
        let answer = format!("if (method === 'eth_chainId') return Promise.resolve({none});");
        let person = opens(&market, &wallet, &answer).await;
        person.is_hasty().await;
        person.reload().await.unwrap();
        person.pays().await;
        person.reads("wrong-network", "alert", "does not say which network it is on").await;
        assert!(person.shows("#pay").await);
        assert_eq!(wallet.sign_calls(), 0, "{none}");
        person.behaved();
    }
    market.sold(0).await;
}

async fn an_account_that_is_not_allowed_is_told_of(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().on_sign([Answer::Fail(4100, "Unauthorized."), Answer::Yes]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("failed", "alert", "Connect the account to this page in your wallet").await;
    assert!(!person.text("#alert").await.unwrap().contains("4100"));
    person.click("#pay").await.unwrap();
    person.has_the_article().await;
    market.sold(1).await;
    person.behaved();
}

/// Its signature says how to set it up (EIP-6492), and nobody does.
async fn a_smart_wallet_that_is_not_set_up_is_told_of(stack: Stack) {
    let market = Market::open(stack).await;
    let answer = "if (method === 'eth_signTypedData_v4') return ask().then((signature) => {
            const word = (number) => number.toString(16).padStart(64, '0');
            return '0x' + word(1) + word(96) + word(128) + word(0) + word(65) + signature.slice(2).padEnd(192, '0')
                + '6492'.repeat(16);
        });";
    let person = opens(&market, &market.wallet(), answer).await;
    person.pays().await;
    person.reads("failed", "alert", "your smart wallet is not set up on this network").await;
    let alert = person.text("#alert").await.unwrap();
    assert!(!alert.contains('_'), "{alert}");
    market.sold(0).await;
    person.behaved();
}

async fn a_wallet_that_throws_at_once_pays_nothing(stack: Stack) {
    for methods in ["['eth_call', 'eth_accounts', 'eth_getBlockByNumber']", "['wallet_switchEthereumChain']"]
    {
        let market = Market::open(stack).await;
        let wallet = if methods.contains("switch") { market.wallet().elsewhere(1) } else { market.wallet() };
        let answer = format!("if ({methods}.includes(method)) throw new Error('not supported');");
        let person = opens(&market, &wallet, &answer).await;
        person.pays().await;
        if methods.contains("switch") {
            person.reads("wrong-network", "alert", "Base Sepolia").await;
            market.sold(0).await;
        } else {
            person.has_the_article().await;
            market.sold(1).await;
        }
        person.behaved();
    }
}

async fn a_network_that_cannot_be_added_is_added_by_hand(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet().elsewhere(1).without(&market.chain);
    let wallet = wallet.on_add([Answer::Fail(4200, "The Provider does not support the requested method.")]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("wrong-network", "facts", "84532").await;
    assert!(person.text("#facts").await.unwrap().contains("https://sepolia.base.org"));
    assert!(person.text("#alert").await.unwrap().contains("Add it there as said below"));
    let copied = person.copies(async || person.click("#facts tr:nth-of-type(2) button").await.unwrap()).await;
    assert_eq!(copied, "https://sepolia.base.org");
    // Who does not want it is not told how.
    let wallet = market.wallet().elsewhere(1).on_switch([Answer::Reject]);
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.reads("wrong-network", "alert", "Base Sepolia").await;
    assert!(!person.shows("#facts").await);
    market.sold(0).await;
    person.behaved();
}
