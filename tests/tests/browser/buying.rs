//! What people buy, how it is shown to them, and what they have in hand afterwards.

use serde_json::json;

use crate::{
    harness::{Case, Stack, case},
    market::{ARTICLE, DATA, Market, PICTURE, Person, TABLE, cent, shelves},
};

pub const CASES: &[Case] = &[
    case!(an_article_takes_the_pages_place),
    case!(json_is_shown_with_its_receipt),
    case!(text_is_shown_as_text),
    case!(an_image_is_shown),
    case!(a_download_keeps_its_name),
    case!(what_was_bought_is_not_bought_again_by_a_reload),
    case!(what_was_bought_is_given_again_where_answers_are_kept),
];

async fn an_article_takes_the_pages_place(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.opens("/article?issue=7", &wallet).await;
    person.sees("idle").await;
    assert_eq!(person.text("#price").await.unwrap(), "$0.01");
    assert_eq!(person.text("h1").await.unwrap(), "An article on bees");
    assert!(person.shows("#testnet").await);
    assert_eq!(wallet.connect_calls(), 0, "nothing is asked before somebody pays");
    market.sold(0).await;

    person.pays().await;
    person.has_the_article().await;
    let article = person
        .evaluate(
            "(() => { const { body, title } = document; return {
                title, path: location.pathname + location.search, ...body.dataset,
                margin: getComputedStyle(body).marginLeft,
                colour: getComputedStyle(document.querySelector('h1')).color,
                picture: document.getElementById('drawing').naturalWidth } })()",
        )
        .await
        .unwrap();
    let expected = json!({
        "title": "On bees", "path": "/article?issue=7", "inline": "ran", "file": "ran", "margin": "77px",
        "colour": "rgb(1, 2, 3)", "picture": 3,
    });
    assert_eq!(
        article,
        expected,
        "it is as it would be by itself: {}",
        String::from_utf8_lossy(ARTICLE.body)
    );
    assert_eq!(person.attribute("#x402-receipt", "data-transaction").await, market.transaction().await);
    assert_eq!(person.attribute("#x402-receipt", "data-network").await, market.chain.network());
    assert_eq!(wallet.sign_calls(), 1);
    market.sold(1).await;
    person.behaved();
}

async fn has_the_receipt(person: &Person<'_>, market: &Market) {
    let transaction = market.transaction().await;
    assert!(person.shows("#receipt").await);
    assert_eq!(person.text("#receipt-transaction").await.unwrap(), transaction);
    assert!(person.text("#receipt-amount").await.unwrap().contains("0.01"));
    let link = format!("https://sepolia.basescan.org/tx/{transaction}");
    assert_eq!(person.attribute("#receipt-link", "href").await, link);
    assert_eq!(person.attribute("#receipt-link", "rel").await, "noreferrer");
    let copied = person.copies(async || person.click("#copy-receipt").await.unwrap()).await;
    assert!(
        [transaction.as_str(), "0.01", &market.serving.url("/")].iter().all(|word| copied.contains(word)),
        "{copied}"
    );
}

async fn json_is_shown_with_its_receipt(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/data", &market.wallet()).await;
    person.pays().await;
    person.sees("paid").await;
    person.until("document.getElementById('content').innerText !== ''").await.unwrap();
    let shown = person.text("#content").await.unwrap();
    assert!(shown.contains("\"exact\": 12345678901234567890.10"), "to the last digit: {shown}");
    assert!(!person.shows("#pay").await);
    has_the_receipt(&person, &market).await;
    person.click("#download").await.unwrap();
    let saved = person.saved(1).await.unwrap();
    assert_eq!(std::fs::read(&saved[0].path).unwrap(), DATA.body);
    market.sold(1).await;
    person.behaved();
}

async fn text_is_shown_as_text(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/note", &market.wallet()).await;
    person.pays().await;
    person.sees("paid").await;
    person.until("document.getElementById('content').innerText !== ''").await.unwrap();
    let shown = person.text("#content").await.unwrap();
    assert!(shown.contains("Bienen & <b>Blüten</b> <script>"), "{shown}");
    market.sold(1).await;
    person.behaved();
}

async fn an_image_is_shown(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/picture", &market.wallet()).await;
    person.pays().await;
    person.sees("paid").await;
    person.until("document.querySelector('#content img')?.naturalWidth === 3").await.unwrap();
    assert_eq!(person.attribute("#content img", "alt").await, "A picture");
    person.click("#download").await.unwrap();
    let saved = person.saved(1).await.unwrap();
    assert_eq!(saved[0].name, "picture.png");
    assert_eq!(std::fs::read(&saved[0].path).unwrap(), PICTURE.body);
    market.sold(1).await;
    person.behaved();
}

async fn a_download_keeps_its_name(stack: Stack) {
    let market = Market::open(stack).await;
    let person = market.opens("/table", &market.wallet()).await;
    person.pays().await;
    person.sees("paid").await;
    let saved = person.saved(1).await.unwrap();
    assert_eq!(saved[0].name, "Bienenstöcke.csv");
    assert_eq!(std::fs::read(&saved[0].path).unwrap(), TABLE.body);
    has_the_receipt(&person, &market).await;
    market.sold(1).await;
    person.behaved();
}

async fn what_was_bought_is_not_bought_again_by_a_reload(stack: Stack) {
    let market = Market::open(stack).await;
    let wallet = market.wallet();
    let person = market.opens("/data", &wallet).await;
    person.pays().await;
    person.sees("paid").await;
    for _ in 0..2 {
        person.reload().await.unwrap();
        person.reads("used", "status", "this payment has been used").await;
        assert!(!person.shows("#pay").await);
        assert_eq!(person.text("#receipt-transaction").await.unwrap(), market.transaction().await);
    }
    market.sold(1).await;
    // Who wants it once more pays once more, and only after asking for it.
    person.click("#anew").await.unwrap();
    person.pays().await;
    person.sees("paid").await;
    assert_eq!(wallet.sign_calls(), 2);
    market.sold(2).await;
    person.behaved();
}

async fn what_was_bought_is_given_again_where_answers_are_kept(stack: Stack) {
    let market = Market::selling(stack, shelves(&cent().idempotent())).await;
    let wallet = market.wallet();
    let person = market.opens("/article", &wallet).await;
    person.pays().await;
    person.has_the_article().await;
    for _ in 0..2 {
        person.reload().await.unwrap();
        person.has_the_article().await;
        assert_eq!(person.attribute("#x402-receipt", "data-transaction").await, market.transaction().await);
    }
    assert_eq!((wallet.sign_calls(), market.till.settle_calls()), (1, 1));
    market.sold(1).await;
    person.behaved();
}
