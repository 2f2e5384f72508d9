// The receipt: on the page, to be copied, and as a bar beside HTML that took the page's place.

import { $, data, hide, labels, language, link, make, nonces, say, tell, title } from "./dom.js";
import { copy } from "./view.js";

/** @import { Payment } from "./types" */

/** @param {Payment} payment */
const explored = ({ receipt, explorer }) =>
  receipt?.transaction && explorer?.startsWith("https://") ? explorer + receipt.transaction : "";

/** As money, and in the token. @param {Payment} payment */
const amountOf = ({ price, amount }) => (amount ? `${price} (${amount})` : price);

/** By what the site finds a payment whose transaction is not known. @param {Payment} payment */
const evidence = ({ from, nonce, signedAt }) =>
  say("evidence", { account: from, nonce, time: new Date(signedAt).toISOString() });

/** @param {Payment} payment */
const receiptText = (payment) =>
  [
    labels.seller,
    title,
    location.href,
    amountOf(payment),
    payment.option.payTo,
    payment.receipt?.transaction,
    explored(payment),
    evidence(payment),
  ]
    .filter(Boolean)
    .join("\n");

/** @param {Payment} payment */
export function showReceipt(payment) {
  const transaction = payment.receipt?.transaction ?? "";
  const proven = Boolean(payment.receipt?.success || payment.spent);
  hide("receipt", false);
  // What nobody has seen happen has no receipt.
  tell("receipt-title", proven ? labels.receipt : say("payment"));
  const date = new Date(payment.signedAt).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
  const told = {
    amount: amountOf(payment),
    payee: payment.option.payTo,
    date,
    transaction,
    evidence: transaction ? "" : evidence(payment),
  };
  for (const [name, text] of Object.entries(told)) tell("receipt-" + name, text);
  const there = explored(payment);
  link("receipt-link").href = there;
  hide("receipt-link", !there);
  $("copy-receipt").onclick = () => copy(receiptText(payment), $("copy-receipt"), $("receipt"));
}

/** The receipt beside HTML that knows nothing of it. @param {Payment} payment */
export function bar(payment) {
  const { transaction = "", network = "", amount = "" } = payment.receipt ?? {};
  const host = make("div", { id: "x402-receipt" });
  Object.assign(host.dataset, { transaction, network, amount });
  const root = host.attachShadow({ mode: "closed" });
  try {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(data.bar);
    root.adoptedStyleSheets = [sheet];
  } catch {
    // Older browsers make none.
    root.append(make("style", { nonce: nonces.style, textContent: data.bar }));
  }
  const words = receiptText(payment);
  const told = make("span", { textContent: say("paid-bar", { amount: payment.price }) });
  const summary = make("summary", {}, make("b", { textContent: "✓ " + labels.receipt }), told);
  const proof = make("code", { textContent: transaction });
  const copies = make("button", { textContent: labels.copy, onclick: () => copy(words, copies, proof) });
  const href = explored(payment);
  const explorer = make("a", {
    href,
    target: "_blank",
    rel: "noreferrer",
    textContent: labels.explorer,
    hidden: !href,
  });
  const close = make("button", { textContent: "×", ariaLabel: say("close"), onclick: () => host.remove() });
  // What is there from the beginning is not read out; what comes into it is.
  const news = make("p", { role: "status" });
  const { setTimeout } = window;
  const tell = () => (host.isConnected ? (news.textContent = told.textContent) : setTimeout(tell, 500));
  setTimeout(tell, 500);
  const details = make("details", {}, summary, proof, copies, explorer);
  const aside = make("aside", { lang: language, ariaLabel: labels.receipt }, details, close);
  details.ontoggle = () => (aside.className = details.open ? "" : "pill");
  // It was seen; from now on it covers little of what was bought.
  setTimeout(() => details.open || (aside.className = "pill"), 6000);
  root.append(aside, news);
  return host;
}
