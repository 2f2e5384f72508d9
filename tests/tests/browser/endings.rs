//! How a purchase ends where nobody answers, and what is said of it.

use x402_tests::browser::Setup;

use crate::{
    goods::{Exhibit, Good, Methods, Shelf},
    harness::{Case, Stack, case},
    market::{Market, cent, page, shelves},
    rules::LATER,
    till::Act,
};

pub const CASES: &[Case] = &[
    case!(what_nobody_answers_is_paid_anew_when_its_time_is_over).once(),
    case!(what_was_made_unanswered_is_not_paid_again).once(),
    case!(an_answer_without_a_receipt_is_paid_anew_when_its_time_is_over).once(),
    case!(a_stored_payment_that_cannot_be_sent_is_not_on_its_way).once(),
    case!(a_server_in_trouble_is_not_called_on_its_way).once(),
    case!(what_may_not_exist_has_no_receipt).once(),
    case!(nothing_bought_is_called_nothing).once(),
    case!(a_download_says_that_it_has_begun).once(),
    case!(what_a_campaign_adds_to_an_address_buys_nothing_else).once(),
];

async fn what_nobody_answers_is_paid_anew_when_its_time_is_over(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::Unreachable]);
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    person.waits_for_reading_alone().await;
    person.before_each_page(LATER).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("waiting").await;
    assert!(!person.shows("#anew").await, "it may still settle");
    let before = market.till.settle_calls();
    person.evaluate("window.ahead = 600000, 1").await.unwrap();
    person.click("#retry").await.unwrap();
    market.till.settle_begun(before + 1).await;
    person.reads("waiting", "status", "The time of your signature is over").await;
    market.till.on_settle([Act::Yes]);
    person.click("#anew").await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    let nonces: Vec<_> = wallet.signed().iter().map(|typed| typed["message"]["nonce"].clone()).collect();
    assert_eq!(nonces[0], nonces[1], "the token takes one of the two at most");
    market.sold(1).await;
    person.behaved();
}

async fn what_was_made_unanswered_is_not_paid_again(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    let silent = "const { fetch: ask } = window;
        window.fetch = async (url, how) => {
            const response = await ask(url, how);
            return how?.headers?.['payment-signature'] ? new Response('', { status: 503 }) : response;
        };";
    person.waits_for_reading_alone().await;
    for script in [LATER, silent] {
        person.before_each_page(&format!("{{ {script} }}")).await.unwrap();
    }
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("waiting").await;
    market.sold(1).await;
    person.evaluate("window.ahead = 600000, 1").await.unwrap();
    person.click("#retry").await.unwrap();
    person.until("document.getElementById('anew').checkVisibility()").await.unwrap();
    person.click("#anew").await.unwrap();
    person.pays().await;
    person.reads("used", "status", "The network says that this payment has been made").await;
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

/// A network that answers everybody, and lets nobody through.
async fn an_answer_without_a_receipt_is_paid_anew_when_its_time_is_over(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    let hotel = "const { fetch: ask } = window;
        const page = () => new Response('Please log in', { headers: { 'content-type': 'text/plain' } });
        window.fetch = async (url, how) => how?.headers?.['payment-signature'] && !window.free
            ? Object.defineProperty(page(), 'url', { value: location.href }) : ask(url, how);";
    for script in [LATER, hotel] {
        person.before_each_page(&format!("{{ {script} }}")).await.unwrap();
    }
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.reads("paid", "status", "without a receipt").await;
    assert!(!person.shows("#anew").await, "it may still settle");
    person.evaluate("window.ahead = 600000, 1").await.unwrap();
    person.click("#retry").await.unwrap();
    person.until("document.getElementById('anew').checkVisibility()").await.unwrap();
    person.evaluate("window.free = true").await.unwrap();
    person.click("#anew").await.unwrap();
    person.sees("idle").await;
    assert!(!person.shows("#bought").await, "it was nothing that was bought");
    person.pays().await;
    person.until("document.getElementById('done').checkVisibility()").await.unwrap();
    let nonces: Vec<_> = wallet.signed().iter().map(|typed| typed["message"]["nonce"].clone()).collect();
    assert!(
        nonces.len() == 2 && nonces[0] == nonces[1],
        "the token takes one of the two at most: {nonces:?}"
    );
    market.sold(1).await;
    person.behaved();
}

async fn a_stored_payment_that_cannot_be_sent_is_not_on_its_way(stack: Stack) {
    for header in ["'line\\nbreak'", "'€'", "btoa('{}')", "''", "payment.header.slice(0, -8)"] {
        let market = Market::open(stack).await;
        market.till.on_settle([Act::Unreachable]);
        let wallet = market.wallet();
        let person = market.person(&wallet).await;
        person.waits_for_reading_alone().await;
        person.open(&market.serving.url("/data")).await.unwrap();
        person.pays().await;
        person.sees("waiting").await;
        let spoil = format!(
            "(() => {{ const payment = JSON.parse(localStorage['x402:/data']);
                localStorage['x402:/data'] = JSON.stringify({{ ...payment, header: {header} }}); }})()"
        );
        person.evaluate(&spoil).await.unwrap();
        market.till.on_settle([Act::Yes]);
        person.reload().await.unwrap();
        person.pays().await;
        person.sees("paid").await;
        let nonces: Vec<_> = wallet.signed().iter().map(|typed| typed["message"]["nonce"].clone()).collect();
        assert!(nonces.len() == 2 && nonces[0] == nonces[1], "it may have been sent before: {nonces:?}");
        market.sold(1).await;
        person.behaved();
    }
}

async fn a_server_in_trouble_is_not_called_on_its_way(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.person(&wallet).await;
    let busy = "window.said = []; const { fetch: ask } = window; let times = 0;
        new MutationObserver(() => said.push(document.getElementById('status')?.textContent))
            .observe(document, { subtree: true, childList: true, characterData: true });
        window.fetch = async (url, how) => how?.headers?.['payment-signature'] && times++ < 2
            ? new Response('', { status: 503 }) : ask(url, how);";
    person.before_each_page(busy).await.unwrap();
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.reads("settling", "status", "The site cannot answer yet").await;
    person.sees("paid").await;
    assert_eq!(person.evaluate("said.some((text) => text?.includes('on its way'))").await.unwrap(), false);
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn what_may_not_exist_has_no_receipt(stack: Stack) {
    let market = Market::open(stack).await;
    market.till.on_settle([Act::Unreachable]);
    let person = market.person(&market.wallet()).await;
    person.waits_for_reading_alone().await;
    person.open(&market.serving.url("/data")).await.unwrap();
    person.pays().await;
    person.sees("waiting").await;
    assert!(person.shows("#receipt").await);
    let shown = person.text("#receipt").await.unwrap();
    assert!(shown.contains("Your payment") && !shown.to_lowercase().contains("receipt"), "{shown}");
    market.till.on_settle([Act::Yes]);
    person.click("#retry").await.unwrap();
    person.sees("paid").await;
    let shown = person.text("#receipt").await.unwrap();
    assert!(shown.contains("Receipt") && !shown.contains("Your payment"), "{shown}");
    market.sold(1).await;
    person.behaved();
}

async fn nothing_bought_is_called_nothing(stack: Stack) {
    const NOTHING: &Exhibit = &Exhibit { headers: &[("content-type", "text/plain")], body: b"" };
    let charge = Some(cent().describe("Nothing"));
    let shelf = Shelf { path: "/nothing", methods: Methods::Get, charge, good: Good::Shows(NOTHING) };
    let market = Market::selling(stack, vec![shelf]).await;
    let person = market.opens("/nothing", &market.wallet()).await;
    person.pays().await;
    person.sees("paid").await;
    assert!(!person.shows("#content").await && !person.shows("#download").await);
    assert!(person.text("#bought").await.unwrap().contains("The site's answer is empty"));
    assert!(person.shows("#receipt").await);
    market.sold(1).await;
    person.behaved();
}

async fn a_download_says_that_it_has_begun(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/table", &market.wallet()).await;
    person.pays().await;
    person.sees("paid").await;
    assert!(person.text("#bought").await.unwrap().contains("The download of Bienenstöcke.csv has begun."));
    assert_eq!(person.saved(1).await.unwrap()[0].name, "Bienenstöcke.csv");
    market.sold(1).await;
    person.behaved();
}

/// The operator named `utm_*` and `ref`.
async fn what_a_campaign_adds_to_an_address_buys_nothing_else(stack: Stack) {
    let page = page().ignore_query(["utm_*", "ref"]);
    let market = Market::with(stack, shelves(&cent().idempotent()), page, &[]).await;
    let wallet = market.wallet();
    let person = market.opens("/data?issue=7&utm_source=letter", Setup::from(&wallet)).await;
    person.pays().await;
    person.sees("paid").await;
    market.sold(1).await;
    // The same article, by another link: what was paid is given again.
    for link in ["/data?issue=7&utm_source=feed&ref=a", "/data?ref=b&issue=7", "/data?issue=7"] {
        person.open(&market.serving.url(link)).await.unwrap();
        person.sees("paid").await;
        assert_eq!(person.text("#receipt-transaction").await.unwrap(), market.transaction().await);
    }
    // What counts is another purchase.
    for link in ["/data?issue=8&utm_source=feed", "/data?issue=7&reference=a"] {
        person.open(&market.serving.url(link)).await.unwrap();
        person.sees("idle").await;
    }
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}
