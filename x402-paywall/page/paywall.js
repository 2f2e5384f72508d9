// The page's part in the browser: find a wallet, have one payment signed, send it, show what it bought.
// It is a module without imports, so that it can stand in the page as it is and be tested without one.
// A payment is stored before it is sent, and sent again rather than signed again: see docs/paywall.md.

/**
 * @import { Answer, Data, Offer, Option, Payment, Provider, Requirements, Settlement, Shown, Wallet } from "./types"
 */

const FORMAT = 1;
const REPEATS = 8;
const LONGEST_PAUSE = 10;
const LONGEST_REQUEST = 90_000;
const LONGEST_BODY = 300_000;
const LONGEST_READ = 10_000;
const MARGIN = 60;
const LONGEST_SIGNATURE = 86_400;
const DAY = 86_400_000;

// ---- What is written on the wire

/** @param {unknown} value */
export function encode(value) {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** @param {string | null | undefined} text @returns {any} */
export function parse(text) {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return null;
  }
}

/** @param {string | null} text @returns {any} */
export function decode(text) {
  try {
    const bytes = Uint8Array.from(atob(text ?? ""), (char) => char.charCodeAt(0));
    return parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

/** @param {Requirements} option */
export function typedData({ network, asset, extra }, /** @type {object} */ message) {
  const field = (/** @type {string} */ name, type = "uint256") => ({ name, type });
  return {
    types: {
      EIP712Domain: [
        field("name", "string"),
        field("version", "string"),
        field("chainId"),
        field("verifyingContract", "address"),
      ],
      TransferWithAuthorization: [
        field("from", "address"),
        field("to", "address"),
        field("value"),
        field("validAfter"),
        field("validBefore"),
        field("nonce", "bytes32"),
      ],
    },
    primaryType: "TransferWithAuthorization",
    domain: { name: extra?.name, version: extra?.version, chainId: Number(network.slice(7)), verifyingContract: asset },
    message,
  };
}

/** The payment that answers an offer. An identifier is sent where one is taken: with it a lost answer is given again. */
export function answer(
  /** @type {Offer} */ offer,
  /** @type {Requirements} */ accepted,
  /** @type {object} */ payload,
  /** @type {string} */ id,
) {
  const { resource, extensions } = structuredClone(offer);
  const info = extensions?.["payment-identifier"]?.info;
  if (typeof info?.required === "boolean") info.id = id;
  return { x402Version: 2, resource, accepted, payload, extensions };
}

/**
 * What an answer to a payment means. Only `refused` permits another signature.
 * @param {Answer} answer
 */
export function judge({ status, settlement, offer, html, error }) {
  const code = settlement?.errorReason ?? error ?? offer?.error ?? "";
  if (status < 400) return "paid";
  if (/^duplicate_settlement$|^payment_answer_not_kept$|nonce_already_used|authorization_(already_)?used/.test(code))
    return "used";
  if (code === "payment_identifier_conflict") return "failed";
  if (settlement?.success || /^settlement_pending$|^payment_in_progress$/.test(code)) return "pending";
  if ([408, 409, 425, 429, 502, 503, 504].includes(status)) return "pending";
  if (status !== 402 || !offer) return "failed";
  // An offer as for somebody who did not pay: the payment got lost on the way, so nothing was decided about it.
  return html || offer.error === "Payment required" ? "unseen" : "refused";
}

/** Seconds until the same payment is sent again. */
export function pause(/** @type {string | null | undefined} */ retryAfter, /** @type {number} */ attempt) {
  const asked = /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : 0;
  return Math.min(Math.max(asked, 1.5 ** attempt), LONGEST_PAUSE);
}

/** An atomic amount as people write it: exactly, with two places at least, as the server writes it. */
export function figure(/** @type {string | bigint} */ amount, /** @type {number} */ decimals, language = "en") {
  const digits = String(amount).padStart(decimals + 1, "0");
  const [group, point] = language === "de" ? [".", ","] : [",", "."];
  const whole = digits.slice(0, digits.length - decimals).replace(/\B(?=(\d{3})+$)/g, group);
  const fraction = digits.slice(digits.length - decimals);
  const places = Math.max(fraction.replace(/0+$/, "").length, Math.min(decimals, 2));
  return places ? whole + point + fraction.slice(0, places) : whole;
}

/** Whether it can be signed here: `exact` by EIP-3009 on an EVM chain. */
export function payable(
  /** @type {Requirements} */ { scheme, network, amount, asset, payTo, maxTimeoutSeconds, extra },
) {
  const address = /^0x[0-9a-f]{40}$/i;
  return (
    scheme === "exact" &&
    /^eip155:[1-9]\d*$/.test(network) &&
    Number.isSafeInteger(Number(network.slice(7))) &&
    /^\d+$/.test(amount) &&
    [asset, payTo].every((text) => address.test(text)) &&
    Number.isSafeInteger(maxTimeoutSeconds) &&
    maxTimeoutSeconds > 0 &&
    [extra?.name, extra?.version].every((text) => text && typeof text === "string") &&
    [undefined, null, "eip3009"].includes(/** @type {any} */ (extra?.assetTransferMethod))
  );
}

/** A stored payment. What is of another format, or of nobody's, is none. @returns {Payment | null} */
export function stored(/** @type {string | null} */ text) {
  const payment = parse(text);
  const { v, header, option, from, nonce, validBefore, signedAt, price } = payment ?? {};
  const whole =
    v === FORMAT &&
    [header, price].every((text) => typeof text === "string") &&
    payable(option ?? {}) &&
    /^0x[0-9a-f]{40}$/i.test(from) &&
    /^0x[0-9a-f]{64}$/i.test(nonce) &&
    [validBefore, signedAt].every(Number.isFinite) &&
    signedAt > 0 &&
    signedAt < 8e15;
  return whole ? payment : null;
}

/** A foreign text without what shows it, or what is beside it, in another order. */
export const plain = (/** @type {string} */ text) =>
  text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");

// ---- What was bought

/** The name to save it under: of RFC 6266's two, the one that can be any text wins. */
export function filename(/** @type {string | null} */ disposition, /** @type {string} */ path, mime = "") {
  const header = disposition ?? "";
  const extended = /;\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^;\s]+)/i.exec(header);
  const plain = /;\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))/i.exec(header);
  let name = plain?.[1]?.replace(/\\(.)/g, "$1") ?? plain?.[2] ?? path.split("/").pop() ?? "";
  try {
    if (extended) name = /^u/i.test(extended[1]) ? decodeURIComponent(extended[2]) : unescape(extended[2]);
    else if (!plain) name = decodeURIComponent(name);
  } catch {
    // What is no percent-encoding stays as it is.
  }
  // eslint-disable-next-line no-control-regex -- what a file's name must not have, and what shows it in another order
  const unfit = /[\u0000-\u001f\u007f<>:"|?*\u202a-\u202e\u2066-\u2069]/g;
  name = name
    .replace(/^.*[/\\]/, "")
    .replace(unfit, "_")
    .replace(/^\.+/, "");
  name = name.slice(0, 150) || "download";
  // Without an ending nobody's computer knows what to open it with.
  const ending = /^(?:text|image|application)\/(?:.*\+)?([a-z]{2,8})$/.exec(mime.replace("svg+xml", "svg"))?.[1];
  return name.includes(".") || !ending ? name : `${name}.${{ plain: "txt", markdown: "md" }[ending] ?? ending}`;
}

/** JSON on several lines, its numbers and strings as they came. What is none stays as it is. */
export function indent(/** @type {string} */ json) {
  try {
    JSON.parse(json);
  } catch {
    return json;
  }
  let depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  return json.replace(
    /("(?:[^"\\]|\\.)*")|\s+|([[{]\s*[\]}])|([[{])|([\]}])|(,)|(:)/g,
    (_, string, empty, open, close, comma, colon) => {
      if (string) return string;
      if (empty) return empty.replace(/\s/g, "");
      if (open) return (depth++, open + line());
      if (close) return (depth--, line() + close);
      return comma ? comma + line() : colon ? ": " : "";
    },
  );
}

/** The policies of a Content-Security-Policy: a header joins several with commas, and each holds. */
export function policies(/** @type {string | null | undefined} */ header) {
  const read = (/** @type {string} */ policy) => {
    /** @type {Map<string, string[]>} */
    const directives = new Map();
    for (const directive of policy.split(";")) {
      const [name, ...values] = directive.trim().split(/\s+/);
      // Of two with one name, the first holds.
      if (name && !directives.has(name.toLowerCase())) directives.set(name.toLowerCase(), values);
    }
    return directives;
  };
  return (header ?? "")
    .split(",")
    .map(read)
    .filter(({ size }) => size);
}

/** What a sandbox still allows, where there is one; of several, what each allows. */
export function sandbox(/** @type {Map<string, string[]>[]} */ all) {
  const boxes = all.flatMap((policy) => (policy.has("sandbox") ? [policy.get("sandbox") ?? []] : []));
  return boxes.length ? (boxes[0] ?? []).filter((token) => boxes.every((box) => box.includes(token))) : null;
}

/**
 * Whether an element with this nonce of its own is to have ours. Where a policy has nonces for its kind, only what carries
 * one of them; else every element, and the policy, which goes along, decides about it.
 * @param {Map<string, string[]>[]} all @param {"script" | "style"} kind @param {string} own
 */
export function trusted(all, kind, own) {
  return all.every((policy) => {
    const sources = policy.get(kind + "-src-elem") ?? policy.get(kind + "-src") ?? policy.get("default-src") ?? [];
    const nonces = sources.flatMap((source) => /^'nonce-(.+)'$/i.exec(source)?.[1] ?? []);
    return !nonces.length || nonces.includes(own);
  });
}

/**
 * The paid HTML, with our nonce on its scripts and styles, since our policy stays in force when it takes this page's place.
 * Its own policies go along, with our nonce for theirs. A parser reads it, and no pattern: what is no element for the
 * browser is none here.
 * @param {string} html @param {string} nonce @param {string | null} header
 */
function stamp(html, nonce, header) {
  const inert = document.implementation.createHTMLDocument();
  const parsed = inert.createElement("html");
  // Nothing of it is in a document: no script runs, no picture loads, and no style is held against our policy.
  // eslint-disable-next-line no-unsanitized/property, no-restricted-properties -- see above
  parsed.innerHTML = html;
  // That leaves out what is before: the document's type, and the attributes of its root.
  const { doctype, documentElement } = new DOMParser().parseFromString(html.split(/<style/i, 1)[0] ?? "", "text/html");
  for (const attribute of documentElement.attributes)
    parsed.setAttributeNode(/** @type {Attr} */ (attribute.cloneNode()));
  const head = parsed.children[0];
  /** @type {HTMLMetaElement[]} */
  const metas = Array.from(head.querySelectorAll('meta[http-equiv="content-security-policy" i]'));
  const all = policies([header ?? "", ...metas.map(({ content }) => content)].join());
  const ours = (/** @type {string} */ policy) => policy.replace(/'nonce-[^']*'/gi, `'nonce-${nonce}'`);
  for (const meta of metas) meta.content = ours(meta.content);
  const each = (/** @type {ParentNode} */ root) => {
    for (const element of root.querySelectorAll("script,style,link")) {
      const { localName, rel = "", as } = /** @type {HTMLLinkElement} */ (element);
      const style = localName === "style" || /\bstylesheet\b/i.test(rel) || as === "style";
      const own = element.getAttribute("nonce") ?? "";
      if (trusted(all, style ? "style" : "script", own)) element.setAttribute("nonce", nonce);
      else element.removeAttribute("nonce");
    }
    // A parser drops the first line break in these.
    for (const { firstChild } of root.querySelectorAll("pre,textarea,listing"))
      if (firstChild?.nodeValue?.startsWith("\n")) firstChild.nodeValue = "\n" + firstChild.nodeValue;
    for (const { content } of root.querySelectorAll("template")) if (content) each(content);
  };
  each(parsed);
  const carried = header?.split(",").map((policy) => {
    const meta = inert.createElement("meta");
    meta.httpEquiv = "Content-Security-Policy";
    meta.content = ours(policy.trim());
    return meta;
  });
  head.prepend(...(carried ?? []));
  const type = doctype ? new XMLSerializer().serializeToString(doctype) : "";
  // It is read here, not written.
  // eslint-disable-next-line no-restricted-properties -- see above
  return type + parsed.outerHTML;
}

// ---- The page

/** A stop that is told in words. */
class Stop extends Error {
  /** @param {string} state @param {string} words @param {object} [more] */
  constructor(state, words, more) {
    super(words);
    this.state = state;
    this.more = more;
  }
}

function start() {
  const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const link = (/** @type {string} */ id) => /** @type {HTMLAnchorElement} */ ($(id));
  const picked = (/** @type {string} */ name) =>
    /** @type {HTMLInputElement | null} */ (document.querySelector(`input[name="${name}"]:checked`))?.value;
  /** @type {(tag: string, properties: object, ...children: Node[]) => any} */
  const make = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const main = $("paywall");
  /** @type {Data} */
  const data = JSON.parse($("offer").textContent ?? "");
  /** @type {Offer} */
  let offer = data.required;
  const accepts = offer.accepts.slice();
  const { nonce = "" } = /** @type {HTMLScriptElement} */ (document.querySelector("script[nonce]"));
  const language = document.documentElement.lang;
  const title = document.querySelector("h1")?.textContent ?? "";
  const key = "x402:" + location.pathname + location.search;
  const skew = data.now - Date.now() / 1000;
  /** @type {Map<string, Wallet>} */
  const wallets = new Map();
  let busy = false;
  /** @type {Payment | null | undefined} */
  let unstored;

  /** The server's clock: what is signed by a wrong one may be over before it begins. */
  const now = () => Date.now() / 1000 + skew;

  const say = (/** @type {string} */ name, /** @type {Record<string, string>} */ values = {}) =>
    (data.texts[name] ?? "").replace(/\{(\w+)\}/g, (_, value) => values[value] ?? "");

  const money = (
    /** @type {Option} */ { dollar, symbol, decimals },
    /** @type {string | bigint} */ amount,
    inToken = !dollar,
  ) => {
    const text = figure(amount, decimals, language);
    if (inToken) return `${text}\u00a0${symbol}`;
    return language === "de" ? `${text}\u00a0$` : `$${text}`;
  };

  const duration = (/** @type {number} */ seconds) => {
    const [unit, length] = [
      ["hour", 3600],
      ["minute", 60],
      ["second", 1],
    ].find(([, length]) => seconds % Number(length) === 0) ?? ["second", 1];
    const count = seconds / Number(length);
    return say(count === 1 && length !== 1 ? `${unit}` : `${unit}s`, { count: `${count}` });
  };

  const short = (/** @type {string} */ text) => `${text.slice(0, 6)}…${text.slice(-4)}`;

  // ---- What is shown

  const asks = ["idle", "choosing", "wrong-network", "low-balance", "rejected", "price-changed"];
  const works = ["connecting", "signing", "settling", "elsewhere"];

  /** @param {string} state @param {Shown} [more] */
  function show(
    state,
    {
      alert = "",
      status = alert ? "" : say(state),
      busy = works.includes(state),
      pay = busy || asks.includes(state),
      retry = state === "waiting",
      anew = state === "used",
      cancel = busy && ["connecting", "signing", "wrong-network"].includes(state),
    } = {},
  ) {
    main.dataset.state = state;
    $("status").textContent = status;
    $("alert").textContent = alert;
    $("pay").textContent = busy ? say("busy") : say("pay", { price: $("price").textContent ?? "" });
    $("pay").ariaDisabled = String(busy);
    const lost = document.activeElement;
    for (const [id, shown] of Object.entries({ pay, retry, anew, cancel, onramp: false })) $(id).hidden = !shown;
    // While a payment stands, there is no other way to pay.
    for (const [id, disabled] of Object.entries({ options: busy || standing(), wallets: busy }))
      if ($(id)) /** @type {HTMLFieldSetElement} */ ($(id)).disabled = Boolean(disabled);
    // Whoever works with a keyboard keeps a place to be.
    if (lost?.closest("[hidden], :disabled"))
      (["pay", "retry", "anew"].map($).find((button) => !button.hidden) ?? $("status")).focus();
  }

  /** Before anything is asked for, or after it came to nothing. */
  function rest() {
    if (!picked("option")) show("unpayable");
    else if (!wallets.size) show("no-wallet");
    else show(picked("wallet") ? "idle" : "choosing");
  }

  /** What was said of the wallet is no longer so. */
  function recall() {
    const said = ["static", "no-wallet", "idle", "choosing", "wrong-network", "low-balance", "rejected"];
    if (!busy && said.includes(main.dataset.state ?? "")) rest();
  }

  /** What would be signed, or what was. */
  function showOption(/** @type {Requirements | undefined} */ signed = undefined) {
    const index = picked("option");
    if (!index) return;
    const { amount, payTo, maxTimeoutSeconds } = signed ?? accepts[+index];
    const option = data.options[+index];
    $("price").textContent = money(option, amount);
    $("amount").textContent = say("amount", { amount: money(option, amount, true), network: option.network });
    $("payee").textContent = short(payTo);
    $("payee-full").textContent = payTo;
    $("valid").textContent = duration(maxTimeoutSeconds);
  }

  const radio = (/** @type {number} */ index) =>
    /** @type {HTMLInputElement | null} */ (document.querySelector(`input[name="option"][value="${index}"]`));

  const same = (/** @type {string} */ one, /** @type {string} */ other) => one.toLowerCase() === other.toLowerCase();

  const alike = (/** @type {Requirements} */ one, /** @type {Requirements} */ other) =>
    one.scheme === other.scheme && one.network === other.network && same(one.asset, other.asset);

  /** A payment that was signed is what the page is about. @param {Payment} payment */
  function showPayment({ option, price, from }) {
    const at = accepts.findIndex((offered) => alike(offered, option) && same(offered.payTo, option.payTo));
    const input = radio(at < 0 ? accepts.findIndex((offered) => alike(offered, option)) : at);
    if (input) input.checked = true;
    showOption(option);
    if (!input) [$("price").textContent, $("amount").textContent] = [price, ""];
    showAccount(from);
  }

  function showAccount(account = "") {
    $("account").textContent = account && say("account", { account: short(account) });
    $("account").title = account;
  }

  /** @param {Payment} payment */
  const explored = ({ receipt, explorer }) =>
    receipt?.transaction && explorer?.startsWith("https://") ? explorer + receipt.transaction : "";

  /** @param {Payment} payment */
  function showReceipt(payment) {
    const transaction = payment.receipt?.transaction ?? "";
    $("receipt").hidden = false;
    $("receipt-amount").textContent = payment.price;
    $("receipt-transaction").textContent = transaction;
    $("receipt-evidence").textContent = evidence(payment);
    const rows = { "receipt-transaction": transaction, "receipt-evidence": !transaction };
    for (const [id, shown] of Object.entries(rows)) {
      const row = $(id).closest("div");
      if (row) row.hidden = !shown;
    }
    link("receipt-link").href = explored(payment);
    link("receipt-link").hidden = !explored(payment);
    $("copy-receipt").onclick = () => copy(inWords(payment), $("copy-receipt"), $("receipt-transaction"));
  }

  /** By what the site finds a payment whose transaction is not known. @param {Payment} payment */
  const evidence = ({ from, nonce, signedAt }) =>
    say("evidence", { account: from, nonce, time: new Date(signedAt).toISOString() });

  /** @param {Payment} payment */
  const inWords = (payment) =>
    [title, location.href, payment.price, payment.receipt?.transaction, explored(payment), evidence(payment)]
      .filter(Boolean)
      .join("\n");

  async function copy(/** @type {string} */ text, /** @type {HTMLElement} */ button, /** @type {HTMLElement} */ shown) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = say("copied");
    } catch {
      getSelection()?.selectAllChildren(shown);
    }
  }

  // ---- The stored payment

  const load = () => {
    if (unstored !== undefined) return unstored;
    try {
      return stored(localStorage.getItem(key));
    } catch {
      return null;
    }
  };

  /** Where there is no room, what this tab remembers counts, and nothing older is left for others to find. */
  function save(/** @type {Payment | null} */ payment) {
    const text = payment && JSON.stringify(payment);
    for (const room of [false, true]) {
      try {
        if (room || !text) localStorage.removeItem(key);
        if (text) localStorage.setItem(key, text);
        unstored = undefined;
        window.onbeforeunload = null;
        return;
      } catch {
        unstored = payment;
      }
    }
    // A reload would forget it, so the browser asks first.
    window.onbeforeunload = payment && !payment.paid && !payment.refused ? (event) => event.preventDefault() : null;
  }

  /** Answered payments are kept for a day, all others until something is known of them. */
  function tidy() {
    try {
      for (const name of Object.keys(localStorage)) {
        if (!name.startsWith("x402:")) continue;
        const payment = stored(localStorage.getItem(name));
        if (!payment || (payment.paid && Date.now() - payment.paid > DAY)) localStorage.removeItem(name);
      }
    } catch {
      // What cannot be read cannot be tidied.
    }
  }

  /** The payment that may still settle, or has. */
  const standing = () => {
    const payment = load();
    return payment?.refused ? null : payment;
  };

  // ---- The wallet

  /** @param {Wallet} wallet */
  function found({ id, name, icon, provider }) {
    if (wallets.has(id)) return;
    if (wallets.delete("injected")) document.querySelector('[value="injected"]')?.closest("label")?.remove();
    wallets.set(id, { id, name, icon, provider });
    const input = make("input", { type: "radio", name: "wallet", value: id });
    const image = make("img", { alt: "", hidden: !icon.startsWith("data:image/") });
    image.onerror = () => (image.hidden = true);
    if (!image.hidden) image.src = icon;
    $("wallets").append(make("label", {}, input, image, make("span", { textContent: plain(name).slice(0, 60) })));
    $("wallets").hidden = false;
    const inputs = $("wallets").querySelectorAll("input");
    inputs[0].checked = inputs.length === 1;
    const changed = (/** @type {any} */ accounts) => {
      // What was bought may have taken the page's place.
      if (!main.isConnected) return;
      // What is being signed is of the account that is shown.
      if (!busy && !standing() && Array.isArray(accounts)) showAccount(accounts[0]);
      recall();
    };
    for (const event of ["accountsChanged", "chainChanged"]) provider.on?.(event, changed);
    provider.on?.("disconnect", () => changed([]));
    recall();
  }

  function look() {
    addEventListener("eip6963:announceProvider", (event) => {
      const { info, provider } = /** @type {CustomEvent} */ (event).detail ?? {};
      if (info && provider?.request)
        found({ id: String(info.rdns ?? info.uuid), name: String(info.name), icon: String(info.icon), provider });
    });
    const injected = () => {
      const provider = /** @type {{ethereum?: Provider}} */ (window).ethereum;
      if (!wallets.size && provider?.request) found({ id: "injected", name: say("injected"), icon: "", provider });
    };
    dispatchEvent(new Event("eip6963:requestProvider"));
    injected();
    addEventListener("ethereum#initialized", injected);
    setTimeout(() => {
      if (main.dataset.state !== "static") return;
      injected();
      rest();
    }, 300);
  }

  /** @param {Provider} provider @param {Option} option @param {string} chainId */
  async function goTo(provider, option, chainId, step = show) {
    const there = async () => BigInt(await provider.request({ method: "eth_chainId" })) === BigInt(chainId);
    const change = () => provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
    if (await there()) return;
    step("wrong-network", { busy: true, status: say("switching", option) });
    try {
      await change().catch(async (error) => {
        const unknown =
          [error.code, error.data?.originalError?.code].includes(4902) || /unrecognized chain/i.test(error.message);
        const { network: chainName, coin, rpc, explorer } = option;
        if (!unknown || !rpc) throw error;
        const nativeCurrency = { name: coin, symbol: coin, decimals: 18 };
        const blockExplorerUrls = explorer && [explorer.replace(/\/tx\/$/, "")];
        await provider.request({
          method: "wallet_addEthereumChain",
          params: [{ chainId, chainName, nativeCurrency, rpcUrls: [rpc], blockExplorerUrls }],
        });
        if (!(await there())) await change();
      });
    } catch (error) {
      if (/** @type {any} */ (error)?.code === -32002) throw error;
    }
    if (!(await there())) throw new Stop("wrong-network", say("wrong-network-help", option));
  }

  /**
   * Reads a number from a contract; what cannot be read, or not in time, is null.
   * @param {Provider} provider @param {string[]} words
   */
  async function read(provider, /** @type {string} */ to, /** @type {string} */ selector, ...words) {
    const call = { to, data: selector + words.map((word) => word.slice(2).padStart(64, "0")).join("") };
    const late = new Promise((done) => setTimeout(done, LONGEST_READ));
    try {
      return BigInt(await Promise.race([provider.request({ method: "eth_call", params: [call, "latest"] }), late]));
    } catch {
      return null;
    }
  }

  const random = (/** @type {number} */ length) =>
    Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  /**
   * What comes of a run that was cancelled meanwhile goes nowhere.
   * @param {Payment | null} earlier @param {{ cancelled: boolean }} run @returns {Promise<Payment>}
   */
  async function sign(earlier, run) {
    const goesOn = () => {
      if (run.cancelled) throw new Stop("idle", "");
    };
    /** @type {typeof show} */
    const step = (state, more) => (goesOn(), show(state, more));
    const index = Number(picked("option"));
    const [accepted, option] = [accepts[index], data.options[index]];
    const { network, asset, amount } = accepted;
    const provider = wallets.get(picked("wallet") ?? "")?.provider;
    if (!provider) throw new Stop("choosing", say("choosing"));
    if (!payable(accepted)) throw new Stop("unpayable", say("unpayable"));
    if (accepted.maxTimeoutSeconds > LONGEST_SIGNATURE)
      throw new Stop("unpayable", say("too-long", { time: duration(accepted.maxTimeoutSeconds) }));
    step("connecting");
    const [from] = await provider.request({ method: "eth_requestAccounts" });
    if (!/^0x[0-9a-f]{40}$/i.test(from)) throw new Stop("failed", say("no-account"), { pay: true });
    goesOn();
    showAccount(from);
    await goTo(provider, option, "0x" + BigInt(network.slice(7)).toString(16), step);
    let nonce = "0x" + random(32);
    if (earlier) {
      // The server refused it; the token has the last word on whether it is spent (`authorizationState`).
      const { option: was, from: payer, validBefore, waived } = earlier;
      const spent =
        was.network === network ? await read(provider, was.asset, "0xe94a0102", payer, earlier.nonce) : null;
      goesOn();
      if (spent) {
        const paid = { ...earlier, refused: false, paid: Date.now() };
        save(paid);
        showReceipt(paid);
        throw new Stop("used", "", { status: say("spent") });
      }
      // With the nonce of the earlier one, the token takes one of the two at most.
      const replaces = was.network === network && same(was.asset, asset) && same(payer, from);
      const over = now() > validBefore + MARGIN;
      if (!waived && (spent === null || !(replaces || over)))
        throw new Stop("unsure", say("unsure", { price: earlier.price }), { pay: true, anew: true });
      if (replaces) nonce = earlier.nonce;
    }
    const balance = await read(provider, asset, "0x70a08231", from);
    goesOn();
    if (balance !== null && balance < BigInt(amount)) {
      offerOnramp(from, option, network);
      const [has, needs] = [balance, amount].map((amount) => money(option, amount, true));
      throw new Stop("low-balance", say("low-balance-help", { has, needs, network: option.network }));
    }
    const validBefore = Math.floor(now()) + accepted.maxTimeoutSeconds;
    const authorization = {
      from,
      to: accepted.payTo,
      value: amount,
      validAfter: "0",
      validBefore: `${validBefore}`,
      nonce,
    };
    step("signing");
    let signature = await provider.request({
      method: "eth_signTypedData_v4",
      params: [from, JSON.stringify(typedData(accepted, authorization))],
    });
    if (!/^0x([0-9a-f]{2})+$/i.test(signature)) throw new Stop("failed", say("no-signature"), { pay: true });
    // Some hardware wallets write the recovery bit as it is.
    if (/^0x.{128}0[01]$/.test(signature)) signature = signature.slice(0, -2) + (signature.endsWith("0") ? "1b" : "1c");
    const header = encode(answer(offer, accepted, { signature, authorization }, "pay_" + random(16)));
    const price = say("amount", { amount: money(option, amount), network: option.network });
    return {
      v: FORMAT,
      header,
      option: accepted,
      from,
      nonce,
      validBefore,
      signedAt: Date.now(),
      price,
      explorer: option.explorer,
    };
  }

  /** @param {string} address @param {Option} option @param {string} network */
  async function offerOnramp(address, { symbol }, network) {
    if (!data.onramp) return;
    const body = JSON.stringify({ address, network });
    const response = await fetch(data.onramp, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      mode: "same-origin",
    }).catch(() => null);
    const token = (await response?.json().catch(() => null))?.token;
    if (!token || main.dataset.state !== "low-balance") return;
    link("onramp").href = "https://pay.coinbase.com/buy/select-asset?sessionToken=" + encodeURIComponent(token);
    $("onramp").textContent = say("onramp", { token: symbol });
    $("onramp").hidden = false;
  }

  // ---- The purchase

  /** One at a time, in this tab and in others. */
  async function alone(/** @type {() => Promise<void>} */ task) {
    if (busy) return;
    busy = true;
    try {
      const { locks } = navigator;
      if (!locks) return await task();
      const free = await locks.request(key, { ifAvailable: true }, async (lock) => lock && (await task(), true));
      if (free) return;
      show("elsewhere");
      await locks.request(key, task);
    } catch (caught) {
      const error = /** @type {any} */ (caught);
      const code = String(error?.code ?? error);
      const again = Boolean(standing());
      if (error instanceof Stop) show(error.state, { alert: error.message, ...error.more });
      else if (code === "4001" || code === "ACTION_REJECTED") show("rejected");
      else
        show("failed", {
          alert: say(code === "-32002" ? "wallet-open" : "wallet-trouble", { code: plain(code) }),
          pay: !again,
          retry: again,
        });
    } finally {
      busy = false;
    }
  }

  const buy = () =>
    alone(async () => {
      if (!standing()) {
        const run = { cancelled: false };
        const cancelled = new Promise((_, stop) => {
          $("cancel").onclick = () => {
            run.cancelled = true;
            stop(new Stop("idle", "", { status: say("cancelled") }));
          };
        });
        const payment = /** @type {Payment} */ (await Promise.race([sign(load(), run), cancelled]));
        // Without locks another tab may have been faster; then what was signed here goes nowhere.
        if (!standing()) save(payment);
      }
      await deliver();
    });

  const again = () => alone(async () => (standing() ? deliver() : rest()));

  /** Sends the stored payment until the server says what became of it. Never signs. */
  async function deliver() {
    const payment = /** @type {Payment} */ (standing());
    showPayment(payment);
    show("settling");
    for (let attempt = 0; ; attempt++) {
      const abort = new AbortController();
      const limit = (/** @type {number} */ time) => setTimeout(() => abort.abort(), time);
      let timer = limit(LONGEST_REQUEST);
      const here = location.origin + location.pathname + location.search;
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
      const signal = AbortSignal.timeout(LONGEST_READ);
      if (!response && !abort.signal.aborted)
        payment.lost = Boolean(await fetch(here, { ...ours, method: "HEAD", signal }).catch(() => null));
      const header = (/** @type {string} */ name) => response?.headers.get(name) ?? null;
      const status = response?.status ?? 503;
      /** @type {Settlement | null} */
      const settlement = decode(header("payment-response"));
      if (settlement?.transaction) payment.receipt = settlement;
      /** @type {Offer | null} */
      const next = decode(header("payment-required"));
      const type = header("content-type") ?? "";
      const json = status >= 400 && /json/.test(type) ? await body?.text() : undefined;
      const error = parse(json)?.error;
      let verdict = judge({ status, settlement, offer: next, html: /html/.test(type), error });
      const expired = now() > payment.validBefore + MARGIN;
      if (verdict === "unseen") verdict = expired ? "refused" : "failed";
      if (verdict === "refused" && payment.paid) verdict = "used";
      // Without a receipt it may be somebody else's answer, like a hotel's network: then the payment still stands.
      if (settlement?.success || verdict === "used") payment.paid ??= Date.now();
      save({ ...payment, refused: verdict === "refused" });
      const code = String(settlement?.errorReason ?? error ?? next?.error ?? status);
      if (verdict === "paid") return take(/** @type {Response} */ (response), body, payment);
      if (payment.receipt || verdict === "used") showReceipt(payment);
      const lost = payment.lost ? say("lost") : "";
      if (verdict === "used") return show("used", { alert: lost, status: say("used") });
      const unpaid = settlement?.success === false && !settlement.transaction;
      if (verdict === "refused") return refused(/** @type {Offer} */ (next), payment, reason(code, "refused", unpaid));
      if (verdict === "failed")
        return show("failed", { alert: reason(code, "status", unpaid), retry: true, anew: expired });
      if (attempt >= REPEATS) return show("waiting", { alert: lost, status: say("waiting") });
      show("settling", { status: response ? say("still-settling") : lost || say("offline") });
      await new Promise((resolve) => setTimeout(resolve, 1000 * pause(header("retry-after"), attempt)));
    }
  }

  /** That nothing was paid is said only where the server says so by a settlement that failed. */
  function reason(/** @type {string} */ code, /** @type {string} */ otherwise, /** @type {boolean} */ unpaid) {
    const known = {
      "no-funds": /insufficient/,
      "too-late": /valid_before|expired/,
      "bad-signature": /signature/,
      "no-match": /match/,
      unseen: /^Payment required$/,
    };
    const [name] = Object.entries(known).find(([, pattern]) => pattern.test(code)) ?? [otherwise];
    const words = say("reason-" + name, { code: plain(code).slice(0, 120) });
    return unpaid ? `${words} ${say("unpaid")}` : words;
  }

  /** If the server asks for something else by now, the person is to look at it first. */
  function refused(/** @type {Offer} */ next, /** @type {Payment} */ payment, /** @type {string} */ words) {
    offer = next;
    accepts.forEach((old, index) => {
      const like = next.accepts.filter((offered) => alike(offered, old) && payable(offered));
      const input = /** @type {HTMLInputElement} */ (radio(index));
      const kept = like.find(({ payTo }) => same(payTo, old.payTo)) ?? like[0];
      if (!kept) input.disabled = !(input.checked = false);
      else accepts[index] = kept;
      const price = input.closest("label")?.querySelector(".row-price");
      if (price) price.textContent = money(data.options[index], accepts[index].amount);
    });
    showOption();
    const index = picked("option");
    if (!index) return show("failed", { alert: say("offer-gone") });
    const { amount, payTo, maxTimeoutSeconds } = accepts[+index];
    const was = payment.option;
    const changes = [
      amount !== was.amount && say("price-changed-help", { price: $("price").textContent ?? "", was: payment.price }),
      !same(payTo, was.payTo) && say("payee-changed", { payee: payTo, was: was.payTo }),
      maxTimeoutSeconds > was.maxTimeoutSeconds &&
        say("longer", { time: duration(maxTimeoutSeconds), was: duration(was.maxTimeoutSeconds) }),
    ].filter(Boolean);
    if (!changes.length) show("failed", { alert: words, pay: true });
    else show("price-changed", { alert: [say("changed"), ...changes].join(" ") });
  }

  // ---- What was bought, shown

  /** @param {Response} response @param {Blob | null} blob @param {Payment} payment */
  async function take(response, blob, payment) {
    const type = (response.headers.get("content-type") ?? "").toLowerCase();
    const mime = type.split(";")[0].trim();
    const disposition = response.headers.get("content-disposition");
    const attached = /^\s*attachment/i.test(disposition ?? "");
    if (payment.receipt) showReceipt(payment);
    if (!blob) return show("failed", { alert: say("broken"), retry: true });
    const text = async () => {
      const bytes = await blob.arrayBuffer();
      try {
        return new TextDecoder(/charset="?([^";\s]+)/.exec(type)?.[1] ?? "utf-8").decode(bytes);
      } catch {
        return new TextDecoder().decode(bytes);
      }
    };
    const policy = response.headers.get("content-security-policy");
    const box = mime === "text/html" && !attached ? sandbox(policies(policy)) : null;
    if (mime === "text/html" && !attached && !box) return replace(await text(), policy, payment);
    const file = link("download");
    file.href = URL.createObjectURL(blob);
    file.download = filename(disposition, new URL(response.url).pathname, mime);
    file.textContent = say("save", { name: file.download });
    file.hidden = !blob.size;
    const shows =
      box ||
      (!attached &&
        /^image\/|^application\/(.+\+)?json$|^(text|application)\/(.+\+)?xml$|^text\/(plain|markdown)$/.test(mime));
    if (box) {
      // What its service lets run only without its origin never runs with it.
      const frame = make("iframe", { title, srcdoc: stamp(await text(), nonce, policy) });
      frame.setAttribute("sandbox", box.join(" "));
      $("content").append(frame);
    } else if (shows && mime.startsWith("image/")) $("content").append(make("img", { src: file.href, alt: title }));
    else if (shows)
      $("content").append(
        make("pre", { tabIndex: 0, textContent: mime.endsWith("json") ? indent(await text()) : await text() }),
      );
    else if (blob.size) file.click();
    show("paid");
    $("purchase").hidden = true;
    $("bought").hidden = false;
    $("content").hidden = !shows;
    $("done").focus();
  }

  /** @param {string} html @param {string | null} policy @param {Payment} payment */
  function replace(html, policy, payment) {
    const words = inWords(payment);
    const stamped = stamp(html, nonce, policy);
    const done = () => payment.receipt && bar(payment, words);
    document.open();
    // It is the service's own answer, which the browser would have shown at this address had it come by itself.
    // eslint-disable-next-line no-unsanitized/method -- see above
    document.write(stamped);
    document.close();
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done);
    else done();
  }

  /** The receipt beside HTML that knows nothing of it. @param {Payment} payment @param {string} words */
  function bar(payment, words) {
    const { transaction = "", network = "", amount = "" } = payment.receipt ?? {};
    const host = make("div", { id: "x402-receipt" });
    Object.assign(host.dataset, { transaction, network, amount });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(data.bar);
    const root = host.attachShadow({ mode: "closed" });
    root.adoptedStyleSheets = [sheet];
    const told = make("span", { textContent: say("paid-bar", { amount: payment.price }) });
    const copies = make("button", { textContent: say("copy"), onclick: () => copy(words, copies, told) });
    const explorer = make("a", {
      href: explored(payment),
      target: "_blank",
      rel: "noopener noreferrer",
      textContent: say("explorer"),
      hidden: !explored(payment),
    });
    const close = make("button", { textContent: say("close"), onclick: () => host.remove() });
    root.append(make("aside", { lang: language, ariaLabel: say("receipt") }, told, copies, explorer, close));
    (document.body ?? document.documentElement).append(host);
  }

  // ---- What the person does

  $("pay").onclick = buy;
  $("retry").onclick = again;
  $("anew").onclick = () => {
    const payment = load();
    // What is spent is forgotten; of what merely ran out, the chain is asked before anything is signed, unless it was in vain.
    const waived = main.dataset.state === "unsure";
    save(payment && !payment.paid ? { ...payment, refused: true, waived } : null);
    $("receipt").hidden = true;
    rest();
  };
  document.addEventListener("change", () => {
    if (busy || standing()) return;
    showOption();
    rest();
  });

  showOption();
  look();
  tidy();
  $("unstarted").hidden = true;
  const left = standing();
  if (left) {
    showPayment(left);
    again();
  }
}

if (typeof document !== "undefined") start();
