// The signed payment is sent, as often as it takes, and what it bought is shown.

import {
  $,
  MARGIN,
  accepts,
  address,
  clocks,
  data,
  duration,
  hide,
  key,
  link,
  make,
  nonces,
  picked,
  priceOf,
  priceThere,
  read,
  renewOffer,
  say,
  sleep,
  tell,
  title,
} from "./dom.js";
import { decodeText, filename, indent, policies, pour } from "./bought.js";
import { bar, showReceipt } from "./receipt.js";
import { save, standing } from "./store.js";
import { nearest, radio, same, show, showOption, showPayment } from "./view.js";
import { PENDING, decode, judge, offered, parse, pause, plain, purchase } from "./wire.js";

/** @import { Offer, Payment, Settlement } from "./types" */

const REPEATS = 8;
const LONGEST_REQUEST = 90_000;
const LONGEST_BODY = 300_000;
const LONGEST_PROBE = 10_000;

// An article's policy may ask for types of what is written; a site's may forbid ours, and then no HTML takes this page's place.
/** @type {any} */
let typed = /** @type {any} */ (window).trustedTypes;
try {
  typed = typed?.createPolicy("x402", { createHTML: (/** @type {string} */ text) => text });
} catch {
  typed = null;
}

/** Sends the stored payment until the server says what became of it. Never signs. */
export async function deliver() {
  const payment = /** @type {Payment} */ (standing());
  showPayment(payment);
  show("settling");
  for (let attempt = 0; ; attempt++) {
    const abort = new AbortController();
    const limit = (/** @type {number} */ time) => setTimeout(() => abort.abort(), time);
    let timer = limit(LONGEST_REQUEST);
    // Where it was signed, which may differ in what does not count for the purchase.
    const { at = address } = payment;
    const here = location.origin + (purchase(at, data.ignored) === key ? at : address);
    /** @type {RequestInit} */
    const ours = { mode: "same-origin", credentials: "same-origin", cache: "no-store" };
    /** @type {Response | null} */
    const response = await fetch(here, {
      ...ours,
      headers: { accept: "text/html,image/avif,image/webp,*/*;q=0.8", "payment-signature": payment.header },
      signal: abort.signal,
    }).catch(() => null);
    clearTimeout(timer);
    timer = limit(LONGEST_BODY);
    const body = (await response?.blob().catch(() => null)) ?? null;
    clearTimeout(timer);
    // Where the server is there for others, it may have sent this to another origin, where no page can follow it.
    if (!response && !abort.signal.aborted) {
      const signal = AbortSignal.timeout?.(LONGEST_PROBE);
      payment.lost = Boolean(await fetch(here, { ...ours, method: "HEAD", signal }).catch(() => null));
    }
    const header = (/** @type {string} */ name) => response?.headers.get(name) ?? null;
    const status = response?.status ?? 503;
    /** @type {Settlement | null} */
    const settlement = decode(header("payment-response"));
    if (settlement?.transaction && !payment.receipt?.success) payment.receipt = settlement;
    /** @type {Offer | null} */
    const next = offered(decode(header("payment-required")));
    const type = header("content-type") ?? "";
    const json = status >= 400 && /json/.test(type) ? await body?.text() : undefined;
    const error = parse(json)?.error;
    let verdict = judge({ status, settlement, offer: next, html: /html/.test(type), error });
    const expired = Math.min(...clocks().slice(0, 2)) > payment.validBefore + MARGIN;
    if (verdict === "unseen") verdict = expired ? "refused" : "failed";
    if (verdict === "refused" && payment.paid) verdict = "used";
    // Without a receipt it may be somebody else's answer, like a hotel's network: then the payment still stands.
    if (settlement?.success || verdict === "used") payment.paid ??= Date.now();
    save({ ...payment, refused: verdict === "refused" });
    const code = String(settlement?.errorReason ?? error ?? next?.error ?? status);
    if (verdict === "paid") return showBought(/** @type {Response} */ (response), body, payment, expired);
    // A transaction that failed is no receipt.
    if (payment.receipt?.success || ["used", "pending"].includes(verdict)) showReceipt(payment);
    const lost = payment.lost ? say("lost") : "";
    if (verdict === "used") return show("used", { alert: lost, status: say("used"), risk: true });
    const unpaid = settlement?.success === false && !settlement.transaction;
    if (verdict === "refused") return refused(/** @type {Offer} */ (next), payment, reason(code, "refused", unpaid));
    if (verdict === "failed")
      return show("failed", {
        alert: reason(code, "status", unpaid),
        retry: true,
        anew: expired,
        risk: !unpaid,
      });
    // When its time is over, the token can tell what became of it.
    if (attempt >= REPEATS)
      return show("waiting", {
        alert: lost,
        status: say(expired ? "waiting-over" : "waiting"),
        anew: expired,
        risk: true,
      });
    const works = settlement?.success || PENDING.test(code);
    show("settling", { status: say(works ? "still-settling" : response || lost ? "no-answer" : "offline") });
    await sleep(1000 * pause(header("retry-after"), attempt));
  }
}

/** That nothing was paid is said only where the server says so by a settlement that failed. */
function reason(/** @type {string} */ code, /** @type {string} */ otherwise, /** @type {boolean} */ unpaid) {
  const known = {
    undeployed: /6492|undeployed/,
    "no-funds": /insufficient/,
    "too-late": /valid_before|expired/,
    "bad-signature": /signature/,
    unseen: /^(Payment|X-PAYMENT header is) required$/,
  };
  const [name] = Object.entries(known).find(([, pattern]) => pattern.test(code)) ?? [otherwise];
  const words = say("reason-" + name, { code: plain(code).slice(0, 120) });
  return unpaid ? `${words} ${say("unpaid")}` : words;
}

/** If the server asks for something else by now, the person is to look at it first. */
function refused(/** @type {Offer} */ next, /** @type {Payment} */ payment, /** @type {string} */ words) {
  renewOffer(next);
  accepts.forEach((old, index) => {
    const input = /** @type {HTMLInputElement} */ (radio(index));
    const kept = nearest(next.accepts, old);
    if (!kept) input.disabled = !(input.checked = false);
    else accepts[index] = kept;
    const price = input.closest("label")?.querySelector(".row-price");
    if (price) price.textContent = priceOf(data.options[index], accepts[index].amount);
  });
  showOption();
  const index = picked("option");
  if (!index) return show("failed", { alert: say("offer-gone") });
  const { amount, payTo, maxTimeoutSeconds } = accepts[+index];
  const was = payment.option;
  const changes = [];
  if (amount !== was.amount) changes.push([say("price"), payment.price, priceThere(data.options[+index], amount)]);
  if (!same(payTo, was.payTo)) changes.push([read("payee-name"), was.payTo, payTo]);
  if (maxTimeoutSeconds > was.maxTimeoutSeconds)
    changes.push([read("valid-name"), duration(was.maxTimeoutSeconds), duration(maxTimeoutSeconds)]);
  if (!changes.length) show("failed", { alert: words, pay: true });
  else show("price-changed", { alert: say("changed"), facts: [["", say("before"), say("now")], ...changes] });
}

// ---- What was bought, shown

/** @param {Response} response @param {Blob | null} blob @param {Payment} payment @param {boolean} expired */
async function showBought(response, blob, payment, expired) {
  const type = (response.headers.get("content-type") ?? "").toLowerCase();
  const mime = type.split(";")[0].trim();
  const disposition = response.headers.get("content-disposition");
  const attached = /^\s*attachment/i.test(disposition ?? "");
  if (payment.receipt?.success) showReceipt(payment);
  else hide("receipt");
  if (!blob) return show("failed", { alert: say("broken"), retry: true, risk: true });
  // Where a site forbids to write it, it is saved.
  const isHtml = mime === "text/html" && !attached && typed !== null;
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const text = () => decodeText(bytes, /charset="?([^";\s]+)/.exec(type)?.[1], isHtml);
  const policy = response.headers.get("content-security-policy");
  const box = isHtml && policies(policy).some((one) => one.has("sandbox"));
  if (isHtml && !box) {
    try {
      return await replace(text(), policy, payment);
    } catch {
      // What cannot be shown is saved.
    }
  }
  $("content").replaceChildren();
  const file = link("download");
  file.href = URL.createObjectURL(blob);
  file.download = filename(disposition, new URL(response.url).pathname, mime);
  file.textContent = say("save", { name: file.download });
  file.hidden = !blob.size;
  const known = /^image\/|^application\/(.+\+)?json$|^(text|application)\/(.+\+)?xml$|^text\/(plain|markdown)$/;
  const shows = blob.size && (box || (!attached && known.test(mime)));
  if (box) {
    // Nothing of it runs, so it may be of our origin, where its styles can be given a nonce.
    const frame = make("iframe", { title });
    frame.setAttribute("sandbox", "allow-same-origin");
    $("content").append(frame);
    pour(frame.contentDocument, text(), policy, nonces, typed, false);
  } else if (shows && mime.startsWith("image/")) $("content").append(make("img", { src: file.href, alt: title }));
  else if (shows)
    $("content").append(make("pre", { tabIndex: 0, textContent: mime.endsWith("json") ? indent(text()) : text() }));
  else if (blob.size) file.click();
  // It may be somebody else's, like a hotel's network: then the payment still stands.
  const proven = Boolean(payment.receipt?.success);
  const saved = !blob.size ? say("empty") : shows ? "" : say("saved", { name: file.download });
  tell("saved", saved);
  hide("saved", !saved);
  show("paid", proven ? {} : { status: say("unproven"), retry: true, anew: expired });
  hide("purchase", proven);
  hide("done", !proven);
  hide("bought", false);
  hide("content", !shows);
  document.title = title;
  $(proven ? "done" : "status").focus();
}

/** @param {string} html @param {string | null} policy @param {Payment} payment */
async function replace(html, policy, payment) {
  const receipt = payment.receipt?.success && bar(payment);
  const root = await pour(document, html, policy, nonces, typed);
  // Behind the article, where it takes the room that it covers.
  if (receipt) root?.append(receipt);
}
