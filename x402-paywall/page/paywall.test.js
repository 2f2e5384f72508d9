// The parts of the script that need no page.
import assert from "node:assert/strict";
import test from "node:test";

import { browsers, canonical, chainOf, codes, saysNo, words } from "./wallet.js";
import { cut, decodeText, filename, indent, policies, prologue, trusted, withNonces } from "./bought.js";
import {
  answer,
  decode,
  encode,
  figure,
  judge,
  offered,
  pause,
  payable,
  plain,
  purchase,
  size,
  stored,
  typedData,
} from "./wire.js";

test("headers are base64 of UTF-8 JSON", () => {
  const value = { a: "ä€😀", b: [1, null] };
  assert.equal(encode(value), Buffer.from(JSON.stringify(value)).toString("base64"));
  assert.deepEqual(decode(encode(value)), value);
  for (const none of [null, "", "%", "e30", btoa("{")]) assert.ok([null, undefined].includes(decode(none)?.x));
});

test("a payment repeats what was offered, and names itself where that is asked for", () => {
  const accepted = { scheme: "exact" };
  const offer = {
    x402Version: 2,
    error: "x",
    resource: { url: "u" },
    accepts: [accepted],
    extensions: { other: { info: 1 }, "payment-identifier": { info: { required: false }, schema: {} } },
  };
  assert.deepEqual(answer(offer, accepted, { p: 1 }, "pay_1"), {
    x402Version: 2,
    resource: { url: "u" },
    accepted,
    payload: { p: 1 },
    extensions: { other: { info: 1 }, "payment-identifier": { info: { required: false, id: "pay_1" }, schema: {} } },
  });
  assert.equal(offer.extensions["payment-identifier"].info.id, undefined);
  const { extensions } = answer({ x402Version: 2, accepts: [] }, accepted, {}, "pay_1");
  assert.equal(extensions, undefined);
});

test("what is signed is bound to the token and its chain", () => {
  const { domain, primaryType } = typedData(
    { network: "eip155:84532", asset: "0xA", extra: { name: "USDC", version: "2" } },
    {},
  );
  assert.deepEqual(domain, { name: "USDC", version: "2", chainId: 84532, verifyingContract: "0xA" });
  assert.equal(primaryType, "TransferWithAuthorization");
});

const offer = { error: "invalid_exact_evm_insufficient_balance", accepts: [] };
const failed = (errorReason) => ({ success: false, errorReason });

for (const [name, given, verdict] of [
  ["an answer", { status: 200 }, "paid"],
  ["a redirect's end", { status: 204, settlement: { success: true } }, "paid"],
  ["a refusal with an offer", { status: 402, offer }, "refused"],
  ["a refusal without one", { status: 402, error: "x" }, "failed"],
  ["the page again", { status: 402, offer, html: true }, "unseen"],
  ["an offer as to a stranger", { status: 402, offer: { error: "Payment required" } }, "unseen"],
  ["a failed settlement", { status: 402, settlement: failed("invalid_exact_evm_transaction_failed") }, "failed"],
  ["a failed settlement with an offer", { status: 402, settlement: failed("x"), offer }, "refused"],
  ["a pending one in a 402", { status: 402, settlement: failed("settlement_pending"), offer }, "pending"],
  ["a pending one", { status: 503, settlement: failed("settlement_pending") }, "pending"],
  ["work in progress", { status: 409, error: "payment_in_progress" }, "pending"],
  ["money moved, no answer", { status: 500, settlement: { success: true } }, "pending"],
  ["trouble", { status: 503, error: "payment_unavailable" }, "pending"],
  ["a proxy's trouble", { status: 502 }, "pending"],
  ["too many requests", { status: 429 }, "pending"],
  ["a spent payment", { status: 402, error: "duplicate_settlement" }, "used"],
  ["a spent payment, with an offer", { status: 402, offer: { error: "invalid_exact_evm_nonce_already_used" } }, "used"],
  ["an answer that is gone", { status: 409, error: "payment_answer_not_kept" }, "used"],
  ["another's identifier", { status: 409, error: "payment_identifier_conflict" }, "failed"],
  ["a malformed payment", { status: 400, error: "invalid_payload" }, "failed"],
  ["nothing there", { status: 404 }, "failed"],
  ["a misconfigured route", { status: 500, error: "payment_misconfigured" }, "failed"],
]) {
  test(`${name} means ${verdict}`, () => assert.equal(judge(given), verdict));
}

test("pauses grow and are bounded", () => {
  assert.equal(pause("3", 0), 3);
  assert.equal(pause("3600", 0), 10);
  assert.equal(pause("Wed, 21 Oct 2015 07:28:00 GMT", 0), 1);
  const pauses = Array.from({ length: 9 }, (_, attempt) => pause(null, attempt));
  assert.deepEqual(
    pauses,
    [...pauses].sort((a, b) => a - b),
  );
  assert.equal(pauses[8], 10);
});

test("amounts are exact, and written as the server writes them", () => {
  for (const [amount, decimals, english, german] of [
    ["10000", 6, "0.01", "0,01"],
    ["0", 6, "0.00", "0,00"],
    ["1", 18, "0.000000000000000001", "0,000000000000000001"],
    ["999999999999", 6, "999,999.999999", "999.999,999999"],
    ["1234567890000", 6, "1,234,567.89", "1.234.567,89"],
    ["1234", 0, "1,234", "1.234"],
    ["5", 1, "0.5", "0,5"],
    [123456789012345678901234567890n, 18, "123,456,789,012.34567890123456789", "123.456.789.012,34567890123456789"],
    ["1", 255, "0." + "1".padStart(255, "0"), "0," + "1".padStart(255, "0")],
  ]) {
    assert.equal(figure(amount, decimals), english);
    assert.equal(figure(amount, decimals, "de"), german);
  }
});

test("what can be signed here is told as the server tells it", () => {
  const address = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
  const good = {
    scheme: "exact",
    network: "eip155:8453",
    amount: "10000",
    asset: address,
    payTo: address,
    maxTimeoutSeconds: 300,
    extra: { name: "USD Coin", version: "2" },
  };
  assert.ok(payable(good));
  assert.ok(payable({ ...good, extra: { ...good.extra, assetTransferMethod: "eip3009" } }));
  for (const change of [
    { scheme: "upto" },
    { network: "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1" },
    { network: "eip155:9007199254740992" },
    { amount: "-1" },
    { amount: "1.5" },
    { asset: "0x20" },
    { payTo: "me" },
    { maxTimeoutSeconds: 0 },
    { maxTimeoutSeconds: "300" },
    { extra: undefined },
    { extra: { name: "", version: "2" } },
    { extra: { name: "USD Coin", version: 2 } },
    { extra: { ...good.extra, assetTransferMethod: "permit2" } },
  ])
    assert.ok(!payable({ ...good, ...change }), JSON.stringify(change));
});

const authorized = (change) => {
  const authorization = {
    from: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
    nonce: "0x" + "ab".repeat(32),
    validBefore: "1800000000",
    ...change,
  };
  return encode({ payload: { authorization } });
};

test("what is stored is a payment of this format, or nothing", () => {
  const address = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
  const payment = {
    v: 1,
    header: authorized({}),
    option: {
      scheme: "exact",
      network: "eip155:8453",
      amount: "10000",
      asset: address,
      payTo: address,
      maxTimeoutSeconds: 300,
      extra: { name: "USD Coin", version: "2" },
    },
    from: address,
    nonce: "0x" + "ab".repeat(32),
    validBefore: 1800000000,
    signedAt: 1790000000000,
    price: "$0.01",
  };
  assert.deepEqual(stored(JSON.stringify(payment)), payment);
  for (const none of [null, "", "5", "{}", "null", "[]", '"x"', "{"]) assert.equal(stored(none), null);
  for (const change of [
    { v: undefined },
    { v: 2 },
    { header: 1 },
    { option: undefined },
    { option: { ...payment.option, payTo: "me" } },
    { from: "0x" },
    { nonce: "1" },
    { validBefore: "1800000000" },
    { signedAt: 1e300 },
    { price: {} },
    { at: 5 },
    { amount: {} },
    { until: "1800000000" },
    { explorer: 5 },
  ])
    assert.equal(stored(JSON.stringify({ ...payment, ...change })), null, JSON.stringify(change));
  // What cannot be sent may have been: the token is asked about its nonce.
  for (const header of [
    "",
    "€",
    "line\nbreak",
    payment.header + "\n",
    payment.header.slice(0, -8),
    btoa("null"),
    btoa("{}"),
    authorized({ nonce: "0x" + "cd".repeat(32) }),
    authorized({ from: "0x" + "1".repeat(40) }),
    authorized({ validBefore: "1800000001" }),
  ]) {
    const spoilt = { ...payment, header };
    assert.deepEqual(stored(JSON.stringify(spoilt)), { ...spoilt, refused: true }, header);
    assert.deepEqual(stored(JSON.stringify({ ...spoilt, paid: 5 })), { ...spoilt, paid: 5 }, header);
  }
});

test("foreign texts turn nothing around", () => {
  assert.equal(plain("a\u202eb\u2066c\u200fd é"), "abcd é");
  assert.equal(plain("F\u200bo\u2060x\ufeff"), "Fox");
});

test("names of downloads", () => {
  for (const [disposition, path, expected] of [
    [null, "/a/report.pdf", "report.pdf"],
    [null, "/a/b%20c.csv", "b c.csv"],
    [null, "/a/%zz", "%zz"],
    [null, "/", "download"],
    ["attachment", "/x.csv", "x.csv"],
    ["attachment; filename=a.csv", "/x", "a.csv"],
    ['attachment; filename="a \\"b\\".csv"', "/x", "a _b_.csv"],
    ["attachment; filename=\"x.csv\"; filename*=UTF-8''%e2%82%ac%20rates.csv", "/x", "€ rates.csv"],
    ["attachment; filename*=iso-8859-1'en'%A3.txt", "/x", "£.txt"],
    ['attachment; filename="../../etc/passwd"', "/x", "passwd"],
    // A header's bytes, one character each: UTF-8 as many write it, and what is none.
    ['attachment; filename="Bienenst\xc3\xb6cke.csv"', "/x", "Bienenstöcke.csv"],
    ["attachment; filename=\xe2\x82\xac.csv", "/x", "€.csv"],
    ['attachment; filename="Stra\xdfe.csv"', "/x", "Straße.csv"],
    ['attachment; filename="100%.csv"', "/x", "100%.csv"],
    ['attachment; filename="..\\\\..\\\\evil.exe"', "/x", "evil.exe"],
    ["attachment; filename*=UTF-8''%2e%2e%2f.bashrc", "/x", "bashrc"],
    ["attachment; filename*=UTF-8''%ff", "/x", "x"],
    ['attachment; filename="a\u202ecsv.exe"', "/x", "a_csv.exe"],
    [`attachment; filename="${"x".repeat(400)}"`, "/x", "x".repeat(150)],
  ])
    assert.equal(filename(disposition, path), expected, String(disposition));
  for (const [path, mime, expected] of [
    ["/data", "application/json", "data.json"],
    ["/data", "application/ld+json", "data.json"],
    ["/a", "text/plain", "a.txt"],
    ["/a", "image/svg+xml", "a.svg"],
    ["/a", "image/png", "a.png"],
    ["/a", "application/octet-stream", "a"],
    ["/a.b", "text/plain", "a.b"],
    ["/a", "", "a"],
  ])
    assert.equal(filename(null, path, mime), expected, mime);
});

test("what is no JSON stays as it is", () => {
  assert.equal(indent("{"), "{");
});

test("policies are read as browsers read them", () => {
  const read = (header) => policies(header).map((policy) => Object.fromEntries(policy));
  assert.deepEqual(read(null), []);
  assert.deepEqual(read(" , ;"), []);
  assert.deepEqual(read("Script-Src 'self'  a.test ; script-src b.test;sandbox, img-src *"), [
    { "script-src": ["'self'", "a.test"], sandbox: [] },
    { "img-src": ["*"] },
  ]);
  // What is not ASCII is no directive, and no space.
  assert.deepEqual(read("script-src\u00a0'unsafe-inline'; script-src 'none'; img-src *;\u00a0sandbox"), [
    { "script-src": ["'none'"], "img-src": ["*"] },
  ]);
});

test("the type of a document is found behind whatever may stand before it, and in no time", () => {
  for (const [html, expected] of [
    ["<!doctype html><p>", "<!doctype html>"],
    [
      " \n<!-- a --><?xml a?><!-- b --> <!DOCTYPE html SYSTEM 'x'>\n<p>",
      " \n<!-- a --><?xml a?><!-- b --> <!DOCTYPE html SYSTEM 'x'>",
    ],
    ["<p><!doctype html>", ""],
    ["<!-- a", ""],
    ["<!-- a -->".repeat(50_000), ""],
    ["", ""],
  ])
    assert.equal(prologue(html), expected, html.slice(0, 80));
});

test("our nonce takes the place of the policies' own", () => {
  for (const [header, kind, own, expected] of [
    [null, "script", "", true],
    ["script-src 'self'", "script", "", true],
    ["script-src 'nonce-a'", "script", "a", true],
    ["script-src 'nonce-a'", "script", "A", false],
    ["script-src 'nonce-a'", "script", "", false],
    ["script-src 'nonce-a'", "style", "", true],
    ["script-src 'nonce-a'; style-src 'unsafe-inline'", "style", "", true],
    ["default-src 'nonce-a'", "style", "", false],
    ["default-src 'nonce-a'; style-src 'self'", "style", "", true],
    ["script-src 'nonce-a'; script-src-elem 'nonce-b'", "script", "a", false],
    ["script-src 'nonce-a' 'NONCE-b'", "script", "b", true],
    ["script-src 'nonce-a', script-src 'nonce-b'", "script", "a", false],
    ["script-src 'nonce-a', script-src 'self'", "script", "a", true],
  ])
    assert.equal(trusted(policies(header), kind, own), expected, `${header} ${kind} ${own}`);
});

test("a policy goes along with our nonces beside its own", () => {
  const nonces = { script: "S", style: "T" };
  for (const [header, expected] of [
    ["script-src 'self'", "script-src 'self'"],
    ["script-src 'nonce-a'", "script-src 'nonce-a' 'nonce-S'"],
    ["default-src 'nonce-a'", "default-src 'nonce-a' 'nonce-S' 'nonce-T'"],
    ["default-src 'nonce-a'; style-src *", "default-src 'nonce-a' 'nonce-S'; style-src *"],
    ["SCRIPT-SRC 'NONCE-a='; img-src x", "script-src 'NONCE-a=' 'nonce-S'; img-src x"],
    // What is no nonce for a browser does not become one.
    ["script-src 'nonce-'", "script-src 'nonce-'"],
    ["script-src 'nonce-{{nonce}}'", "script-src 'nonce-{{nonce}}'"],
    ["script-src 'nonce-a b'", "script-src 'nonce-a b'"],
  ])
    assert.equal(withNonces(policies(header)[0], nonces), expected, header);
});

test("HTML is cut around the ends of scripts and styles, and nothing of it is lost", () => {
  for (const [html, parts] of [
    ["", [""]],
    ["<p>a", ["<p>a"]],
    ["a<script>b</script>c", ["a<script>b", "</script>", "c"]],
    ["<STYLE>b</STYLE >c</scripty>", ["<STYLE>b", "</STYLE ", ">c</scripty>"]],
  ]) {
    assert.deepEqual(cut(html), parts);
    assert.equal(cut(html).join(""), html);
  }
});

test("texts are read in the encoding that they are in", () => {
  const bytes = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));
  for (const [text, charset, html, expected] of [
    ["\xc3\xa9", undefined, true, "é"],
    ["\xe9", undefined, true, "é"],
    ["\xe9", "iso-8859-1", false, "é"],
    ["\xef\xbb\xbf\xc3\xa9", "iso-8859-1", true, "é"],
    ["\xff\xfe\xe9\x00", "utf-8", true, "é"],
    ["\xfe\xff\x00\xe9", undefined, false, "é"],
    ["<meta charset=windows-1251>\xe9", undefined, true, "<meta charset=windows-1251>й"],
    ["<meta charset='windows-1251'>\xe9", "iso-8859-1", true, "<meta charset='windows-1251'>é"],
    ["<meta charset=windows-1251>\xe9", undefined, false, "<meta charset=windows-1251>é"],
    ["<!-- <meta charset=utf-16> --><meta content='text/html; charset=koi8-r'>\xc1", undefined, true, "а"],
    ["<meta charset=utf-16>\xc3\xa9", undefined, true, "é"],
    ["<meta charset=none>\xc3\xa9", undefined, true, "é"],
    ["\xc3\xa9", "no-such", true, "é"],
  ])
    assert.ok(decodeText(bytes(text), charset, html).endsWith(expected), `${text} ${charset}`);
});

test("what is no offer is none", () => {
  for (const none of [null, undefined, 5, "x", {}, { accepts: "x" }, { accepts: [null] }, { accepts: [5] }])
    assert.equal(offered(none), null, JSON.stringify(none));
  assert.deepEqual(offered({ accepts: [{}] }), { accepts: [{}] });
});

test("a long price is written smaller", () => {
  for (const [price, expected] of [
    ["$0.01", ""],
    ["1.2345 HONEY", ""],
    ["$123,456.789", "long"],
    ["$1,234,567.123456", "long"],
    ["$1,234,567.1234567", "longer"],
  ])
    assert.equal(size(price), expected, price);
});

test("a purchase is known by what counts in its address", () => {
  const ignored = ["utm_*", "ref"];
  for (const [address, expected] of [
    ["/a", "/a"],
    ["/a?", "/a"],
    ["/a?b=c", "/a?b=c"],
    ["/a?utm_source=x&b=c&utm_medium=y&ref=z", "/a?b=c"],
    ["/a?utm_source=x", "/a"],
    ["/a?ref", "/a"],
    ["/a?refer=x&utm=y", "/a?refer=x&utm=y"],
    ["/a?b=utm_x&c=d?e", "/a?b=utm_x&c=d?e"],
  ])
    assert.equal(purchase(address, ignored), "x402:" + expected, address);
  // Where nothing is ignored, all of it counts, as it is.
  for (const address of ["/a?", "/a?&b", "/a?utm_source=x"]) assert.equal(purchase(address), "x402:" + address);
});

test("no is no, in whichever words", () => {
  for (const no of [
    { code: 4001 },
    { code: "4001" },
    { code: "ACTION_REJECTED" },
    { code: 5000 },
    { code: -32603, data: { originalError: { code: 4001 } } },
    { code: -32603, data: { cause: { code: 4001 } } },
    { info: { error: { code: 4001 } } },
    new Error("User denied transaction signature."),
    new Error("Request was declined by the user"),
    "User rejected the request.",
    "Cancelled",
  ])
    assert.ok(saysNo(no), JSON.stringify(no));
  for (const other of [
    undefined,
    null,
    5,
    "",
    "out of memory",
    {},
    { code: -32603, message: "Internal JSON-RPC error." },
    { code: 4100, message: "Unauthorized" },
    new Error("The node rejected the request"),
  ])
    assert.ok(!saysNo(other), JSON.stringify(other));
});

test("codes are found inside an error, however deep, and where it holds itself", () => {
  const loop = { code: 1 };
  loop.cause = loop;
  assert.ok(codes(loop).includes(1));
  const foreign = Object.assign(Object.create(null), { code: 4001, message: Object.create(null) });
  assert.deepEqual([codes({ data: foreign }), saysNo(foreign), words(foreign)], [[4001], true, ""]);
  for (const none of [null, undefined, 5, {}, { message: 5 }]) assert.equal(words(none), "");
  assert.deepEqual([words("no"), words(new Error("no"))], ["no", "no"]);
  assert.deepEqual(codes({ code: -32603, data: { originalError: { code: 4902 } } }), [-32603, 4902]);
  for (const none of [null, undefined, "x", 5, {}]) assert.deepEqual(codes(none), []);
});

test("a chain's id is a number, or none", () => {
  for (const [id, expected] of [
    ["0x14a34", 84532n],
    ["84532", 84532n],
    [84532, 84532n],
    ["", null],
    [null, null],
    [undefined, null],
    ["x", null],
    [1.5, null],
    [true, null],
    [{}, null],
    [[], null],
  ])
    assert.equal(chainOf(id), expected, String(id));
});

test("a plain account's signature has one form, and what is none stays as it is", () => {
  const [r, s] = ["11".repeat(32), "22".repeat(31)];
  for (const [parity, v, compact] of [
    [0n, "1b", "22"],
    [1n, "1c", "a2"],
  ]) {
    const usual = `0x${r}22${s}${v}`;
    const chain = (35n + 2n * 84532n + parity).toString(16).padStart(6, "0");
    for (const form of [
      usual,
      usual.slice(2),
      `0x${r}22${s}0${parity}`,
      `0x${r}${compact}${s}`,
      `0x${r}22${s}${chain}`,
    ])
      assert.equal(canonical(form, 84532n), usual, form);
    assert.equal(canonical("0X" + usual.slice(2).toUpperCase(), 84532n), usual);
    assert.equal(canonical(`0x${r}22${s}${(37n + parity).toString(16)}`, 1n), usual);
    // Of another chain it is not ours to read.
    assert.equal(canonical(`0x${r}22${s}${chain}`, 8453n), `0x${r}22${s}${chain}`);
  }
  for (const other of ["0x1b", "0x" + "ab".repeat(300), `0x${r}22${s}1d`, `0x${r}22${s}1b00`])
    assert.equal(canonical(other, 84532n), other);
  for (const none of [null, undefined, "", "0x", "0xzz", "0x1", 5, {}]) assert.equal(canonical(none, 1n), null);
});

test("links open the whole address in a wallet's browser", () => {
  for (const [, href] of browsers("https://example.com/a?b=c&d=%26"))
    assert.ok(/^https:[^ ]+$/.test(href) && decodeURIComponent(href).includes("example.com/a?b=c&d="), href);
});
