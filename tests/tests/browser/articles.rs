//! Bought HTML with a policy of its own: in the page's place it looks, and runs, as it does by itself.

use futures_util::future::join_all;
use serde_json::{Value, json};
use x402_tests::browser::COMPLETE;

use crate::{
    goods::{Exhibit, Good, Methods, Shelf},
    harness::{Case, Stack, case},
    market::{Market, cent, shelves},
};

pub const CASES: &[Case] = &[
    case!(what_an_article_may_not_run_does_not_run).once(),
    case!(an_article_looks_as_by_itself).once(),
    case!(some_scripts_run_by_themselves_only).once(),
    case!(a_sandboxed_article_runs_nothing).once(),
    case!(the_reading_of_an_article_takes_no_time).once(),
];

/// Name, content type, policy, body.
type Article = (&'static str, &'static str, &'static str, &'static [u8]);

const UTF8: &str = "text/html; charset=utf-8";
const BARE: &str = "text/html";

const INJECTED: &[u8] = b"<p>a<script>note('INJECTED')</script>";

/// What a policy, or the markup around it, keeps from running.
#[rustfmt::skip]
const HELD: &[Article] = &[
    ("nonce in the header", UTF8, "script-src 'nonce-abc'",
        b"<p>a<script nonce=abc>note('own')</script><script>note('INJECTED')</script>"),
    ("styles by another rule", UTF8, "script-src 'nonce-abc'; style-src 'unsafe-inline'",
        b"<style>p{color:red}</style><p>a<script nonce=abc>note('own')</script>"),
    ("nonces for each", UTF8, "script-src 'nonce-abc'; style-src 'nonce-xyz'",
        b"<style nonce=abc>p{color:red}</style><p>a<script nonce=abc>note('own')</script>
          <script nonce=xyz>note('INJECTED')</script>"),
    ("scripts forbidden", UTF8, "script-src 'none'", INJECTED),
    ("inline scripts forbidden", UTF8, "script-src 'self'", INJECTED),
    ("two policies", UTF8, "script-src 'nonce-abc', script-src 'none'", b"<p>a<script nonce=abc>note('INJECTED')</script>"),
    ("a policy with a tab", UTF8, "script-src\t'none'", INJECTED),
    ("an empty nonce", UTF8, "script-src 'nonce-'", INJECTED),
    ("an empty nonce for everything", UTF8, "default-src 'self' 'nonce-'", INJECTED),
    ("a nonce of two words", UTF8, "script-src 'nonce-a b'", INJECTED),
    ("an unfinished nonce", UTF8, "script-src 'nonce-abc; style-src 'self'", INJECTED),
    ("a nonce never filled in", UTF8, "script-src 'nonce-{{nonce}}'", b"<p>a<script nonce='{{nonce}}'>note('INJECTED')</script>"),
    ("a style that looks for the nonce", UTF8, "script-src 'nonce-abc'; style-src 'unsafe-inline'",
        b"<style>head, meta { display: block } meta[content*=\"'nonce-\"] { background: url(/drawing.png?elsewhere) }</style>
          <p>a<script nonce=abc>note('own')</script>"),

    ("a nonce", UTF8, "script-src 'nonce-abc'", b"<p>a<script src=/own.js nonce=abc></script>"),
    ("an open attribute", UTF8, "script-src 'nonce-abc'",
        b"<p>SAYS: <script src=/evil.js x='</p>\n<script nonce=\"abc\">note('own')</script><p>It's fine</p>
          <script nonce=\"abc\">note('last')</script>"),
    ("an open attribute before a meta", UTF8, "script-src 'nonce-abc'",
        b"<p>SAYS: <script src=/evil.js x='</p>\n<meta property=\"csp-nonce\" nonce=\"abc\"><p>It's fine\n</p>
          <script nonce=\"abc\">note('own')</script>"),
    ("an attribute twice", UTF8, "script-src 'nonce-abc'", b"<p>a<script src=/evil.js x x nonce=abc></script>"),
    ("an attribute twice, and a link", UTF8, "script-src 'nonce-abc'",
        b"<p>a<script src=/evil.js rel=x <link rel=alternate href=/x nonce=abc></script>"),
    ("a link with a nonce", UTF8, "script-src 'nonce-abc'", b"<p>a<script src=/evil.js x <link rel=a nonce=abc></script>"),
    ("an end tag in a value", UTF8, "script-src 'nonce-abc'", b"<p>a<script src=/own.js x='</p>' nonce=abc></script>"),
    ("a link in a value", UTF8, "script-src 'nonce-abc'", b"<p>a<script src=/evil.js x='<link' nonce=abc></script>"),
    ("< as a name", UTF8, "script-src 'nonce-abc'", b"<p>a<script src=/own.js < nonce=abc></script>"),
    ("<b as a name", UTF8, "script-src 'nonce-abc'", b"<p>a<script src=/own.js <b nonce=abc></script>"),
    ("a title with a nonce", UTF8, "",
        b"<link rel=alternate title='How nonce=foo'><p class=x title='a><img src=x id=injected><b '>a</p>
          <script>note('own')</script>"),
    ("another title with a nonce", UTF8, "",
        b"<link rel=alternate title='T nonce=x'><meta content=' rel=stylesheet href=/evil.css ><img id=injected>'>
          <p>a<script>note('own')</script>"),

    ("a policy in a meta, after a picture in <noscript>", UTF8, "",
        b"<head><noscript><img src=/drawing.png></noscript>
          <meta http-equiv=content-security-policy content=\"script-src 'none'\"></head><body><p>a<script>note('INJECTED')</script>"),
    ("text in <noscript>", UTF8, "", b"<p>a<noscript><p><script>note('INJECTED')</script></noscript>"),
    ("text in <noscript> of the head", UTF8, "", b"<head><noscript><p><script>note('INJECTED')</script></noscript></head><p>a"),
    ("a comment in <noscript>", UTF8, "script-src 'self'; style-src 'none'",
        b"<p>a<noscript><!--</noscript><script>note('INJECTED')</script>--></noscript>"),
    ("a link's nonce, out of <noscript>", UTF8, "script-src 'nonce-abc'",
        b"<p>a<noscript><!--</noscript><script src=/evil.js x='--></noscript>' <link rel=stylesheet href=/site.css></script>
          <script nonce=abc>note('own')</script>"),
    ("a link's nonce, out of nested forms", UTF8, "script-src 'nonce-abc'",
        b"<p>a<form><math><mtext></form><form><mglyph><style></math><script src=/evil.js x='</style>'
          <link rel=stylesheet href=/site.css></script><script nonce=abc>note('own')</script>"),
    ("a picture in nested forms", UTF8, "",
        b"<p>a<form><math><mtext></form><form><mglyph><style></math><img id=injected src=/drawing.png></style>"),
    ("an address in nested forms", UTF8, "",
        b"<p>a<form><math><mtext></form><form><mglyph><style></math><meta http-equiv=refresh content='0;url=/note?elsewhere'></style>"),

    ("text that looks like scripts", UTF8, "",
        b"<p>a<textarea><script>note('INJECTED')</script></textarea><xmp><script>note('INJECTED')</script></xmp>
          <!-- <script>note('INJECTED')</script> --><script>note('own')</script>"),
    ("plain text", UTF8, "", b"<p>a<plaintext><script>note('INJECTED')</script>"),
    ("an unclosed comment", UTF8, "", b"<p>a<!-- <script>note('INJECTED')</script>"),
    ("comments that end oddly", UTF8, "",
        b"<p>a<!x --!><!-- --!><script>note('own')</script><!-- <!-- --><script>note('last')</script><!---><b>c</b>-->"),
    ("a style in svg", UTF8, "",
        b"<p>a<svg><style><script>note('own')</script></style></svg><xmp><script>note('INJECTED')</script></xmp>"),
    ("a title in svg", UTF8, "", b"<p>a<svg><title><xmp></title><textarea></svg><script>note('INJECTED')</script></textarea>"),
    ("a select", UTF8, "", b"<p>a<select><option><xmp><script>note('INJECTED')</script></xmp></select>"),

    ("scripts in svg", UTF8, "script-src 'nonce-abc'",
        b"<p>a<svg><script>note('INJECTED')</script><script nonce=abc>note('own')</script></svg>"),
    ("modules", UTF8, "script-src 'nonce-abc'",
        b"<p>a<script type=module>note('INJECTED')</script><script type=module nonce=abc>note('own')</script>"),
    ("a shadow root", UTF8, "script-src 'nonce-abc'",
        b"<p>a<div><template shadowrootmode=open><script>note('INJECTED')</script><script nonce=abc>note('own')</script></template></div>"),
    ("a frame", UTF8, "script-src 'nonce-abc'", b"<p>a<iframe srcdoc=\"<script>top.note('INJECTED')</script>\"></iframe>"),
    ("strict types", UTF8, "require-trusted-types-for 'script'",
        b"<p>a<script>try { document.querySelector('p').innerHTML = 'b'; note('INJECTED') } catch { note('own') }</script>"),

    ("ISO-2022-JP by meta", BARE, "",
        b"<meta charset=iso-2022-jp><p>a\x1b$BA<script>note('INJECTED')</script>\x1b(B<p>b"),
    ("ISO-2022-JP by header", "text/html; charset=iso-2022-jp", "", b"<p>a\x1b$BA<script>note('INJECTED')</script>\x1b(B<p>b"),
];

/// How it is seen.
#[rustfmt::skip]
const SEEN: &[Article] = &[
    ("a script that ends the reading", UTF8, "",
        b"<title>t</title><p>a<script>document.write('<p>w'); document.close(); note('own')</script><p>after"),
    ("a script that removes itself", UTF8, "", b"<p>a<script src=/gone.js></script><p>after<script>note('last')</script>"),
    ("a script in a shadow root", UTF8, "",
        b"<p>a<div><template shadowrootmode=open><script src=/own.js></script></template></div><script>note('last')</script>"),
    ("a script with an address that is none", UTF8, "", b"<p>a<script href=/own.js>note('own')</script><script>note('last')</script>"),
    ("style sheets that never come", UTF8, "",
        b"<link rel=stylesheet href=''><link rel=stylesheet type=text/less href=/x.less><p>a<script>note('own')</script>
          <script>note('more')</script><script>note('last')</script>"),
    ("a style that a script makes", UTF8, "",
        b"<p>a<script>const made = document.createElement('style'); document.head.append(made);
          made.sheet.insertRule('p { color: red }'); note('own')</script>"),
    ("a declaration before the type", UTF8, "script-src 'none'", b"<?xml version=\"1.0\"?><!-- a --><!doctype html><p>a"),
    ("no policy", UTF8, "", b"<!doctype html><title>t</title><style>p{color:red}</style><p>a<script>note('own')</script>"),
    ("no doctype", UTF8, "", b"<title>t</title><p>a<table><tr><td>b</table><script>note(document.compatMode)</script>"),
    ("another doctype", UTF8, "", b"<!doctype html other><title>t</title><p>a"),
    ("line breaks", UTF8, "",
        b"<!doctype html><p>a<pre>\n\nb</pre><textarea>\n\nc</textarea>
          <script>note(document.querySelector('pre').textContent + document.querySelector('textarea').value)</script>"),
    ("an unquoted apostrophe", UTF8, "", b"<p title=Bob's>a</p><script>note('own')</script><p>it's"),
    ("a short comment", UTF8, "", b"<!--><p>a</p><script>note('own')</script><!-- x -->"),
    ("comments around", UTF8, "", b"<!-- a --><!doctype html><!-- b --><title>t</title><p>a</body></html><!-- c -->"),
    ("a style in a comment before the root", UTF8, "", b"<!doctype html><!-- <style --><html lang=fr class=x><title>t</title><p>a"),
    ("a hint in <noscript>", UTF8, "", b"<!doctype html><p>a<noscript><div>Please enable JavaScript</div></noscript></p>"),
    ("a hint in <noscript> of the head", UTF8, "",
        b"<!doctype html><head><noscript><p>Please enable JavaScript</p></noscript><title>t</title></head><body class=x><p>a"),
    ("a picture in <noscript> of the head", UTF8, "",
        b"<!doctype html><head><noscript><img src=/drawing.png></noscript><style>p{color:red}</style></head><body><p>a"),
    ("a policy in <noscript>", UTF8, "",
        b"<!doctype html><head><noscript><meta http-equiv=content-security-policy content=\"script-src 'nonce-abc'\"></noscript></head>
          <p>a<script>note('own')</script>"),
    ("a nonce handed on", UTF8, "style-src 'nonce-abc'; script-src 'nonce-abc'",
        b"<!doctype html><meta property=csp-nonce nonce=abc><p>a<script nonce=abc>const style = document.createElement('style');
          style.nonce = document.querySelector('meta[property=csp-nonce]').nonce; style.textContent = 'p{color:red}';
          document.head.append(style)</script>"),
    ("types of its own", UTF8, "require-trusted-types-for 'script'; trusted-types x", b"<p>a<script>note('own')</script>"),
    ("nothing allowed", UTF8, "default-src 'none'", b"<!doctype html><p>a"),

    ("windows-1252 by meta", BARE, "", b"<!doctype html><meta charset=windows-1252><p>caf\xe9"),
    ("no charset at all", BARE, "", b"<!doctype html><p>caf\xe9"),
    ("UTF-8 by its mark, said to be latin", "text/html; charset=iso-8859-1", "", b"\xef\xbb\xbf<!doctype html><p>caf\xc3\xa9"),

    // What an article names so hides what the document has.
    ("a picture named createElement", UTF8, "", b"<!doctype html><p>a<img name=createElement src=/drawing.png>"),
    ("a picture named body", UTF8, "", b"<!doctype html><p>a<img name=body src=/drawing.png>"),
    ("a form named readyState", UTF8, "", b"<!doctype html><p>a<form name=readyState></form>"),
    ("a form named children", UTF8, "", b"<!doctype html><p>a<form name=children><input name=content></form>"),
    ("a form named addEventListener", UTF8, "",
        b"<!doctype html><p>a<form name=addEventListener></form><script src=/site.js></script>"),
    ("an element with the receipt's id", UTF8, "", b"<!doctype html><p>a<div id=x402-receipt hidden></div>"),

    ("frames", UTF8, "", b"<title>t</title><frameset cols=*><frame src=/site.css></frameset>"),
    ("plain text to the end", UTF8, "", b"<!doctype html><title>t</title><p>a<plaintext>rest"),
    ("an open textarea", UTF8, "", b"<!doctype html><p>a<textarea>"),
    ("an open select", UTF8, "", b"<!doctype html><p>a<select><option>"),
    ("an open svg", UTF8, "", b"<!doctype html><p>a<svg>"),
    ("an open comment", UTF8, "", b"<!doctype html><p>a<!--"),
    ("an open template", UTF8, "", b"<!doctype html><p>a<template>"),
    ("an open script", UTF8, "", b"<!doctype html><p>a<script>"),
    ("an open title", UTF8, "", b"<!doctype html><title>"),
];

/// What runs less, what runs of it by itself, and what of it as it is sold.
#[rustfmt::skip]
const LESS: &[(Article, &[&str], &[&str])] = &[
    // An element has one nonce, and it is ours: with that, none of the policy's in a meta lets it run.
    (("nonce in a meta", UTF8, "",
        b"<meta http-equiv=content-security-policy content=\"script-src 'nonce-abc'\"><p>a
          <script nonce=abc>note('own')</script><script>note('INJECTED')</script>"), &["own"], &[]),
    (("nonce in a meta, after a picture in <noscript>", UTF8, "",
        b"<head><noscript><img src=/drawing.png></noscript><meta http-equiv=content-security-policy content=\"script-src 'nonce-abc'\">
          </head><p>a<script nonce=abc>note('own')</script><script>note('INJECTED')</script>"), &["own"], &[]),
    (("a script before a nonce in a meta", UTF8, "",
        b"<script>note('own')</script><meta http-equiv=content-security-policy content=\"script-src 'nonce-abc'\"><p>a
          <script nonce=abc>note('last')</script>"), &["own", "last"], &["own"]),
    // Where a policy has nonces, what carries none of them gets none of ours, and our policy knows no hash.
    (("a hash beside a nonce", UTF8, "script-src 'nonce-abc' 'sha256-Mxatjn5lUDSDDcaiWRm67j0B/Pbhh225HPohtDtP+1k='",
        b"<p>a<script>note('own')</script><script nonce=abc>note('last')</script>"), &["own", "last"], &["last"]),
];

/// UTF-16, where this ASCII is the bytes of other characters.
fn utf16(before: &str, hidden: &str, after: &str) -> &'static [u8] {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    [b"\xff\xfe", &wide(before)[..], hidden.as_bytes(), &wide(after)].concat().leak()
}

fn leak(text: impl Into<String>) -> &'static str {
    Box::leak(text.into().into_boxed_str())
}

fn shelf(path: &'static str, sold: bool, (_, kind, policy, body): Article) -> Shelf {
    let mut headers = vec![("content-type", kind)];
    if !policy.is_empty() {
        headers.push(("content-security-policy", policy));
    }
    let exhibit: &'static Exhibit = Box::leak(Box::new(Exhibit { headers: headers.leak(), body }));
    Shelf { path, methods: Methods::Get, charge: sold.then(cent), good: Good::Shows(exhibit) }
}

const EVIL: &Exhibit =
    &Exhibit { headers: &[("content-type", "text/javascript")], body: b"note('INJECTED')" };
const GONE: &Exhibit = &Exhibit {
    headers: &[("content-type", "text/javascript")],
    body: b"document.currentScript.remove(); note('own')",
};
const OWN: &Exhibit = &Exhibit { headers: &[("content-type", "text/javascript")], body: b"note('own')" };

/// All that is there but the receipt, once the server has answered twice: time enough for what must not happen.
const LOOK: &str = "(async () => {
    for (let turn = 0; turn < 2; turn++) await fetch('/site.css').catch(() => {});
    const root = document.documentElement.cloneNode(true), p = document.querySelector('p');
    root.querySelector('#x402-receipt[data-transaction]')?.remove();
    return {
        ran: window.noted ?? [], injected: !!document.getElementById('injected'), mode: document.compatMode,
        title: document.title, text: document.body?.innerText.trim(), colour: p && getComputedStyle(p).color,
        attributes: Array.from(root.attributes, ({ name, value }) => [name, value]), html: root.outerHTML,
    } })()";
const RECEIPT: &str = "document.querySelector('#x402-receipt[data-transaction]')?.checkVisibility() === true";

/// What is seen of each article by itself, and as it is sold.
async fn looks(stack: Stack, articles: &[Article]) -> Vec<[Value; 2]> {
    let mut shelves = shelves(&cent());
    for (number, article) in articles.iter().enumerate() {
        for (folder, sold) in [("free", false), ("sold", true)] {
            shelves.push(shelf(leak(format!("/{folder}/{number}")), sold, *article));
        }
    }
    for (path, script) in [("/evil.js", EVIL), ("/own.js", OWN), ("/gone.js", GONE)] {
        shelves.push(Shelf { path, methods: Methods::Get, charge: None, good: Good::Shows(script) });
    }
    let market = &Market::selling(stack, shelves).await;
    let numbered: Vec<_> = articles.iter().enumerate().collect();
    // Each visitor reads some of them.
    let visits = numbered.chunks(articles.len().div_ceil(4)).map(async |articles| {
        let person = market.person(&market.wallet()).await;
        let note = "window.note = (word) => (window.noted ??= []).push(word)";
        person.before_each_page(note).await.unwrap();
        let look = async |folder, number| {
            person.open(&market.serving.url(&format!("/{folder}/{number}"))).await?;
            if folder == "sold" {
                person.pays().await;
                person.until(RECEIPT).await?;
            }
            person.until(COMPLETE).await?;
            person.evaluate(LOOK).await
        };
        let mut looks = Vec::new();
        for (number, (name, ..)) in articles {
            let both = [look("free", number).await, look("sold", number).await]
                .map(|look| look.unwrap_or_else(|error| panic!("{name}: {error}")));
            assert!(
                !both.iter().any(|look| look["ran"].to_string().contains("INJECTED")),
                "{name}: {both:?}"
            );
            let requests = person.conduct().requests;
            assert!(!requests.iter().any(|url| url.contains("elsewhere")), "{name}: {requests:?}");
            looks.push(both);
        }
        looks
    });
    let looks = join_all(visits).await.concat();
    market.sold(articles.len() as u64).await;
    looks
}

async fn assert_same(stack: Stack, articles: &[Article]) {
    for ((name, ..), [alone, sold]) in articles.iter().zip(looks(stack, articles).await) {
        assert_eq!(sold, alone, "{name}: as sold, and as it is by itself");
    }
}

async fn what_an_article_may_not_run_does_not_run(stack: Stack) {
    let wide = utf16("<p>a", "<script>note('INJECTED') </script>", "<p>b");
    let wide = [("UTF-16", BARE, "", wide), ("UTF-16, said to be UTF-8", UTF8, "", wide)];
    assert_same(stack, &[HELD, &wide].concat()).await;
}

async fn an_article_looks_as_by_itself(stack: Stack) {
    let wide = ("UTF-16", BARE, "", utf16("<!doctype html><title>t</title><p>caf\u{e9}", "", ""));
    assert_same(stack, &[SEEN, &[wide]].concat()).await;
}

async fn some_scripts_run_by_themselves_only(stack: Stack) {
    let articles: Vec<_> = LESS.iter().map(|(article, ..)| *article).collect();
    for (((name, ..), alone, sold), looks) in LESS.iter().zip(looks(stack, &articles).await) {
        assert_eq!(json!([looks[0]["ran"], looks[1]["ran"]]), json!([alone, sold]), "{name}");
        assert_eq!(looks[1]["text"], looks[0]["text"], "{name}");
    }
}

/// With its scripts it could leave its box: it would be of the page's origin, as its styles have to be.
async fn a_sandboxed_article_runs_nothing(stack: Stack) {
    const BODY: &[u8] = b"<!doctype html><style>p{color:red}</style><p>a<script>
        parent.postMessage('ran', '*');
        confirm('own');
        parent.document.getElementById('paywall').dataset.owned = 'yes'</script>";
    let boxes = [
        ("/still", "sandbox"),
        ("/moving", "sandbox allow-scripts"),
        ("/nonce", "script-src 'nonce-a', sandbox allow-scripts"),
        ("/own", "sandbox allow-scripts allow-same-origin"),
        ("/much", "sandbox allow-scripts allow-modals allow-forms allow-top-navigation allow-popups"),
    ];
    let mut shelves = shelves(&cent());
    shelves.extend(boxes.map(|(path, policy)| shelf(path, true, (path, UTF8, policy, BODY))));
    let market = Market::selling(stack, shelves).await;
    for (path, _) in boxes {
        let person = market.person(&market.wallet()).await;
        let listen = "window.told = []; addEventListener('message', ({ data }) => window.told.push(data));";
        person.before_each_page(listen).await.unwrap();
        person.open(&market.serving.url(path)).await.unwrap();
        person.pays().await;
        person.sees("paid").await;
        assert_eq!(person.attribute("#content iframe", "sandbox").await, "allow-same-origin", "{path}");
        assert!(person.shows("#content iframe").await && person.shows("#receipt").await);
        let colour = "(() => { const { contentDocument, contentWindow } = document.querySelector('#content iframe');
            return contentWindow.getComputedStyle(contentDocument.querySelector('p')).color === 'rgb(255, 0, 0)' })()";
        person.until(colour).await.unwrap();
        // Two turns of another frame are time enough to say what it must not.
        let turns = "(async () => { for (let turn = 0; turn < 2; turn++) await new Promise((loaded) => {
            const frame = document.createElement('iframe'); frame.onload = loaded; document.body.append(frame) }) })()";
        person.evaluate(turns).await.unwrap();
        assert_eq!(person.evaluate("told").await.unwrap(), json!([]), "{path}");
        assert_eq!(person.attribute("#paywall", "data-owned").await, Value::Null, "{path}");
        person.behaved();
    }
    market.sold(boxes.len() as u64).await;
}

async fn the_reading_of_an_article_takes_no_time(stack: Stack) {
    let mut shelves = shelves(&cent());
    let long = format!("<!doctype html><p>a{}<p>b{}", "<a".repeat(80_000), "<!--".repeat(80_000));
    shelves.push(shelf("/long", true, ("", UTF8, "", leak(long).as_bytes())));
    let market = Market::selling(stack, shelves).await;
    let person = market.opens("/long", &market.wallet()).await;
    person.pays().await;
    person.until("!!document.getElementById('x402-receipt')").await.unwrap();
}
