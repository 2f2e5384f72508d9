//! Bought HTML with a policy of its own: what it keeps from running does not run in the page's place either.

use serde_json::json;

use crate::{
    goods::{Exhibit, Good, Methods, Shelf},
    harness::{Case, Stack, case},
    market::{Market, cent, shelves},
};

pub const CASES: &[Case] = &[
    case!(an_articles_own_policy_holds).once(),
    case!(a_sandboxed_article_stays_in_its_sandbox).once(),
    case!(the_reading_of_an_article_takes_no_time).once(),
];

/// Articles with markup that is not theirs, and policies that keep it from running: name, policy, body.
const ARTICLES: &[(&str, &str, &str)] = &[
    (
        "no policy",
        "",
        "<!doctype html><title>a</title><style>p{color:red}</style><p>a<script>note('own')</script>",
    ),
    ("no doctype", "", "<title>a</title><p>a<script>note(document.compatMode)</script>"),
    (
        "line breaks",
        "",
        "<!doctype html><p>a<pre>\n\nb</pre><textarea>\n\nc</textarea>
         <script>note(document.querySelector('pre').textContent + document.querySelector('textarea').value)</script>",
    ),
    (
        "nonce in the header",
        "script-src 'nonce-abc'",
        "<p>a<script nonce=abc>note('own')</script><script>note('INJECTED')</script>",
    ),
    (
        "nonce in a meta",
        "",
        "<meta http-equiv=content-security-policy content=\"script-src 'nonce-abc'\"><p>a
         <script nonce=abc>note('own')</script><script>note('INJECTED')</script>",
    ),
    (
        "styles by another rule",
        "script-src 'nonce-abc'; style-src 'unsafe-inline'",
        "<style>p{color:red}</style><p>a<script nonce=abc>note('own')</script>",
    ),
    (
        "nonces for each",
        "script-src 'nonce-abc'; style-src 'nonce-xyz'",
        "<style nonce=abc>p{color:red}</style><p>a<script nonce=abc>note('own')</script>
         <script nonce=xyz>note('INJECTED')</script>",
    ),
    (
        "an open attribute",
        "script-src 'nonce-abc'",
        "<p>SAYS: <script src=/evil.js x='</p>\n<script nonce=\"abc\">note('own')</script><p>It's fine</p>
         <script nonce=\"abc\">note('last')</script>",
    ),
    (
        "an open attribute before a meta",
        "script-src 'nonce-abc'",
        "<p>SAYS: <script src=/evil.js x='</p>\n<meta property=\"csp-nonce\" nonce=\"abc\"><p>It's fine\n</p>
         <script nonce=\"abc\">note('own')</script>",
    ),
    (
        "a title with a nonce",
        "",
        "<link rel=alternate title='How nonce=foo'><p class=x title='a><img src=x id=injected><b '>a</p>
         <script>note('own')</script>",
    ),
    (
        "another title with a nonce",
        "",
        "<link rel=alternate title='T nonce=x'><meta content=' rel=stylesheet href=/evil.css ><img id=injected>'>
         <p>a<script>note('own')</script>",
    ),
    ("an unquoted apostrophe", "", "<p title=Bob's>a</p><script>note('own')</script><p>it's"),
    ("a short comment", "", "<!--><p>a</p><script>note('own')</script><!-- x -->"),
    ("scripts forbidden", "script-src 'none'", "<p>a<script>note('INJECTED')</script>"),
    ("inline scripts forbidden", "script-src 'self'", "<p>a<script>note('INJECTED')</script>"),
    (
        "two policies",
        "script-src 'nonce-abc', script-src 'none'",
        "<p>a<script nonce=abc>note('INJECTED')</script>",
    ),
    (
        "text that looks like one",
        "",
        "<p>a<textarea><script>note('INJECTED')</script></textarea><xmp><script>note('INJECTED')</script></xmp>
         <!-- <script>note('INJECTED')</script> --><script>note('own')</script>",
    ),
];

/// What ran, how it looks, and whether a picture got in.
const LOOK: &str = "(() => ({ ran: window.noted ?? [], mode: document.compatMode,
    colour: getComputedStyle(document.querySelector('p')).color, injected: !!document.getElementById('injected') }))()";

fn leak(text: impl Into<String>) -> &'static str {
    Box::leak(text.into().into_boxed_str())
}

/// HTML with a policy of its own.
fn html(path: &'static str, sold: bool, policy: &str, body: &str) -> Shelf {
    let mut headers = vec![("content-type", "text/html; charset=utf-8")];
    if !policy.is_empty() {
        headers.push(("content-security-policy", leak(policy)));
    }
    let exhibit: &'static Exhibit =
        Box::leak(Box::new(Exhibit { headers: headers.leak(), body: leak(body).as_bytes() }));
    Shelf { path, methods: Methods::Get, charge: sold.then(cent), good: Good::Shows(exhibit) }
}

const EVIL: &Exhibit =
    &Exhibit { headers: &[("content-type", "text/javascript")], body: b"note('INJECTED')" };

async fn an_articles_own_policy_holds(stack: Stack) {
    let mut shelves = shelves(&cent());
    for (number, (_, policy, body)) in ARTICLES.iter().enumerate() {
        for (folder, sold) in [("sold", true), ("free", false)] {
            shelves.push(html(leak(format!("/{folder}/{number}")), sold, policy, body));
        }
    }
    let good = Good::Shows(EVIL);
    shelves.push(Shelf { path: "/evil.js", methods: Methods::Get, charge: None, good });
    let market = Market::selling(stack, shelves).await;
    for (number, (name, ..)) in ARTICLES.iter().enumerate() {
        let mut looks = Vec::new();
        for folder in ["free", "sold"] {
            let person = market.person(&market.wallet()).await;
            let note = "window.note = (word) => (window.noted ??= []).push(word)";
            person.before_each_page(note).await.unwrap();
            person.open(&market.serving.url(&format!("/{folder}/{number}"))).await.unwrap();
            if folder == "sold" {
                person.pays().await;
                person.until("!!document.getElementById('x402-receipt')").await.unwrap();
            }
            person.until("document.readyState === 'complete'").await.unwrap();
            looks.push(person.evaluate(LOOK).await.unwrap());
        }
        assert_eq!(looks[1], looks[0], "{name}: as sold, and as it is by itself");
        assert!(!looks[1]["ran"].to_string().contains("INJECTED"), "{name}: {}", looks[1]);
    }
}

async fn a_sandboxed_article_stays_in_its_sandbox(stack: Stack) {
    const BODY: &str = "<!doctype html><title>a</title><p>a<script>
        let kept; try { kept = Object.keys(localStorage).length } catch { kept = 'no storage' }
        parent.postMessage([origin, kept], '*')</script>";
    let boxes = [
        ("/still", "sandbox", "", json!([])),
        ("/moving", "sandbox allow-scripts", "allow-scripts", json!([["null", "no storage"]])),
        ("/nonce", "script-src 'nonce-a', sandbox allow-scripts", "allow-scripts", json!([])),
    ];
    let mut shelves = shelves(&cent());
    shelves.extend(boxes.iter().map(|(path, policy, ..)| html(path, true, policy, BODY)));
    let market = Market::selling(stack, shelves).await;
    for (path, _, tokens, told) in boxes {
        let person = market.person(&market.wallet()).await;
        let listen = "window.told = []; addEventListener('message', ({ data }) => window.told.push(data));";
        person.before_each_page(listen).await.unwrap();
        person.open(&market.serving.url(path)).await.unwrap();
        person.pays().await;
        person.sees("paid").await;
        assert_eq!(person.attribute("#content iframe", "sandbox").await, tokens);
        assert!(person.shows("#content iframe").await && person.shows("#receipt").await);
        person.until(&format!("JSON.stringify(told) === JSON.stringify({told})")).await.unwrap();
        // Two turns of another frame are time enough to say what it must not.
        let turns = "(async () => { for (let turn = 0; turn < 2; turn++) await new Promise((loaded) => {
            const frame = document.createElement('iframe'); frame.onload = loaded; document.body.append(frame) }) })()";
        person.evaluate(turns).await.unwrap();
        assert_eq!(person.evaluate("told").await.unwrap(), told, "{path}");
        if path == "/moving" {
            person.behaved();
        }
    }
}

async fn the_reading_of_an_article_takes_no_time(stack: Stack) {
    let mut shelves = shelves(&cent());
    let long = format!("<!doctype html><p>a{}<p>b{}", "<a".repeat(80_000), "<!--".repeat(80_000));
    shelves.push(html("/long", true, "", &long));
    let market = Market::selling(stack, shelves).await;
    let person = market.opens("/long", &market.wallet()).await;
    person.pays().await;
    person.until("!!document.getElementById('x402-receipt')").await.unwrap();
}
