// The page's part in the browser: find a wallet, have one payment signed, send it, show what it bought.
// A payment is stored before it is sent, and sent again rather than signed again: see docs/paywall.md.

import { decodeText, filename, indent, policies, pour } from "./bought.js";
import {
  ADDRESS,
  answer,
  decode,
  encode,
  figure,
  FORMAT,
  judge,
  offered,
  parse,
  pause,
  payable,
  plain,
  size,
  stored,
  typedData,
} from "./wire.js";

/**
 * @import { Announced, Data, Offer, Option, Payment, Provider, Requirements, Settlement, Shown, Wallet } from "./types"
 */

const REPEATS = 8;
const LONGEST_REQUEST = 90_000;
const LONGEST_BODY = 300_000;
const LONGEST_READ = 10_000;
const MARGIN = 60;
const DAY = 86_400_000;
/** How far two clocks may be apart that go right. */
const APART = 600;

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
  const tell = (/** @type {string} */ id, /** @type {string | null} */ text) => ($(id).textContent = text);
  const hide = (/** @type {string} */ id, hidden = true) => ($(id).hidden = hidden);
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
  let offer = typeof data.required === "string" ? decode(data.required) : data.required;
  const accepts = offer.accepts.slice();
  const nonceOf = (/** @type {string} */ kind) =>
    /** @type {HTMLScriptElement | null} */ (document.querySelector(`${kind}[nonce]`))?.nonce ?? "";
  /** @type {Record<string, string>} */
  const nonces = { script: nonceOf("script"), style: nonceOf("style") };
  const language = document.documentElement.lang;
  const title = document.querySelector("h1")?.textContent ?? "";
  /** Words that the document has already. */
  const labels = {
    receipt: $("receipt-title").textContent,
    copy: $("copy-receipt").textContent,
    explorer: $("receipt-link").textContent,
  };
  const key = "x402:" + location.pathname + location.search;
  // An article's policy may ask for types of what is written; a site's may forbid ours, and then no HTML takes this page's place.
  /** @type {any} */
  let typed = /** @type {any} */ (window).trustedTypes;
  try {
    typed = typed?.createPolicy("x402", { createHTML: (/** @type {string} */ text) => text });
  } catch {
    typed = null;
  }
  const began = { date: Date.now(), time: performance.now() };
  /** @type {Map<string, Wallet>} */
  const wallets = new Map();
  let busy = false;
  /** The person pays anew, though nobody could say whether it was paid before: for one try. */
  let waived = false;
  /** @type {Payment | null | undefined} */
  let unstored;
  /** What is on display, which is what can be signed. @type {{ accepted: Requirements, option: Option } | null} */
  let displayed = null;

  /** What time it is, in seconds: by the site's clock, by the same and this computer's since, by this computer's alone. */
  const clocks = () => {
    const date = Date.now();
    return [data.now + (performance.now() - began.time) / 1000, data.now + (date - began.date) / 1000, date / 1000];
  };

  /** A text, with these values in it, and with other texts. */
  const say = (/** @type {string} */ name, /** @type {Record<string, string>} */ values = {}) =>
    (data.texts[name] ?? "").replace(/\{(\w+)\}/g, (_, value) => values[value] ?? data.texts[value] ?? "");

  const money = (
    /** @type {Option} */ { dollar, symbol, decimals },
    /** @type {string | bigint} */ amount,
    inToken = !dollar,
  ) => {
    const text = figure(amount, decimals, language);
    if (inToken) return `${text}\u00a0${symbol}`;
    return language === "de" ? `${text}\u00a0$` : `$${text}`;
  };

  /** As it stands alone: a long one may be broken before its token. */
  const priceOf = (/** @type {Option} */ option, /** @type {string} */ amount) =>
    option.dollar ? money(option, amount) : money(option, amount).replace("\u00a0", " ");

  /** An amount of a token, and where it is. */
  const inWords = (/** @type {Option} */ option, /** @type {string | bigint} */ amount) => ({
    amount: money(option, amount, true),
    network: option.network,
  });

  /** A duration, like `1 hour 30 minutes`. */
  const duration = (/** @type {number} */ seconds) =>
    Object.entries({ hour: seconds / 3600, minute: (seconds / 60) % 60, second: seconds % 60 })
      .map(([unit, count]) => [unit, Math.floor(count)])
      .filter(([, count]) => count)
      .map(([unit, count]) => say(count === 1 ? `${unit}` : `${unit}s`, { count: `${count}` }))
      .join(" ");

  const short = (/** @type {string} */ text) => `${text.slice(0, 6)}…${text.slice(-4)}`;

  // ---- What is shown

  /** The chosen way to pay, in words. */
  const chosen = () => {
    const index = picked("option");
    return index ? inWords(data.options[+index], accepts[+index].amount) : {};
  };

  const asks = ["idle", "choosing", "wrong-network", "low-balance", "rejected", "price-changed"];
  const works = ["connecting", "signing", "settling", "elsewhere"];

  /** @param {string} state @param {Shown} [more] */
  function show(
    state,
    {
      alert = "",
      status = alert ? "" : say(state, chosen()),
      busy = works.includes(state),
      pay = busy || asks.includes(state),
      retry = state === "waiting",
      anew = state === "used",
      cancel = busy && ["connecting", "signing", "wrong-network"].includes(state),
    } = {},
  ) {
    main.dataset.state = state;
    tell("status", status);
    tell("alert", alert);
    tell("pay", busy ? say("busy") : say("pay", { price: $("price").textContent ?? "" }));
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
  function showStart() {
    showOption();
    if (!picked("option")) show("unpayable");
    else if (!wallets.size) show("no-wallet");
    else show(picked("wallet") ? "idle" : "choosing");
  }

  /** What was said of the wallet is no longer so. */
  function refreshStart() {
    const said = ["static", "no-wallet", "idle", "choosing", "wrong-network", "low-balance", "rejected"];
    if (!busy && said.includes(main.dataset.state ?? "")) showStart();
  }

  /** What would be signed, or what was. */
  function showOption(/** @type {Requirements | undefined} */ signed = undefined) {
    const index = picked("option");
    displayed = null;
    if (!index) return;
    const option = data.options[+index];
    if (!signed) displayed = { accepted: accepts[+index], option };
    const { amount, payTo, maxTimeoutSeconds } = signed ?? accepts[+index];
    showPrice(priceOf(option, amount), say(option.dollar ? "amount" : "place", inWords(option, amount)));
    tell("payee", short(payTo));
    tell("payee-full", payTo);
    tell("valid", duration(maxTimeoutSeconds));
  }

  function showPrice(/** @type {string} */ price, /** @type {string} */ amount) {
    tell("price", price);
    $("price").className = size(price);
    tell("amount", amount);
  }

  const radio = (/** @type {number} */ index) =>
    /** @type {HTMLInputElement | null} */ (document.querySelector(`input[name="option"][value="${index}"]`));

  const same = (/** @type {string} */ one, /** @type {string} */ other) => one.toLowerCase() === other.toLowerCase();

  const alike = (/** @type {Requirements} */ one, /** @type {Requirements} */ other) =>
    one.scheme === other.scheme && one.network === other.network && same(one.asset, other.asset);

  /** Of these ways to pay, the one that is most like this one. @param {Requirements[]} ways @param {Requirements} way */
  const nearest = (ways, way) => {
    const like = ways.filter((other) => payable(other) && alike(other, way));
    const payee = like.filter(({ payTo }) => same(payTo, way.payTo));
    return payee.find(({ amount }) => amount === way.amount) ?? payee[0] ?? like[0];
  };

  /** A payment that was signed is what the page is about. @param {Payment} payment */
  function showPayment({ option, price, from }) {
    const input = radio(accepts.indexOf(/** @type {Requirements} */ (nearest(accepts, option))));
    if (input) input.checked = true;
    showOption(option);
    if (!input) showPrice(price, "");
    showAccount(from);
  }

  function showAccount(account = "") {
    tell("account", account && say("account", { account: short(account) }));
    $("account").title = account;
  }

  /** @param {Payment} payment */
  const explored = ({ receipt, explorer }) =>
    receipt?.transaction && explorer?.startsWith("https://") ? explorer + receipt.transaction : "";

  /** @param {Payment} payment */
  function showReceipt(payment) {
    const transaction = payment.receipt?.transaction ?? "";
    hide("receipt", false);
    tell("receipt-amount", payment.price);
    tell("receipt-transaction", transaction);
    tell("receipt-evidence", evidence(payment));
    const rows = { "receipt-transaction": transaction, "receipt-evidence": !transaction };
    for (const [id, shown] of Object.entries(rows)) {
      const row = $(id).closest("div");
      if (row) row.hidden = !shown;
    }
    link("receipt-link").href = explored(payment);
    hide("receipt-link", !explored(payment));
    $("copy-receipt").onclick = () => copy(receiptText(payment), $("copy-receipt"), $("receipt"));
  }

  /** By what the site finds a payment whose transaction is not known. @param {Payment} payment */
  const evidence = ({ from, nonce, signedAt }) =>
    say("evidence", { account: from, nonce, time: new Date(signedAt).toISOString() });

  /** @param {Payment} payment */
  const receiptText = (payment) =>
    [title, location.href, payment.price, payment.receipt?.transaction, explored(payment), evidence(payment)]
      .filter(Boolean)
      .join("\n");

  async function copy(/** @type {string} */ text, /** @type {HTMLElement} */ button, /** @type {HTMLElement} */ shown) {
    try {
      await navigator.clipboard.writeText(text);
      const { textContent } = button;
      button.textContent = say("copied");
      setTimeout(() => (button.textContent = textContent), 2000);
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

  /** Answered payments are kept for a day, all others until something is known of them. What is nobody's is others'. */
  function tidy() {
    try {
      for (const name of Object.keys(localStorage)) {
        if (!name.startsWith("x402:/")) continue;
        const payment = stored(localStorage.getItem(name));
        const over = payment ? payment.paid && Date.now() - payment.paid > DAY : name === key;
        if (over) localStorage.removeItem(name);
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

  /** @param {Announced} wallet */
  function addWallet({ id, name, rdns, icon, provider }) {
    const known = Array.from(wallets.values());
    if (known.some((wallet) => wallet.id === id || wallet.provider === provider)) return;
    if (wallets.delete("injected")) document.querySelector('[value="injected"]')?.closest("label")?.remove();
    const input = make("input", { type: "radio", name: "wallet", value: id });
    const image = make("img", { alt: "", hidden: !icon.startsWith("data:image/") });
    image.onerror = () => (image.hidden = true);
    if (!image.hidden) image.src = icon;
    const title = plain(name).slice(0, 60);
    const hint = make("small", { textContent: plain(rdns).slice(0, 60), hidden: true });
    wallets.set(id, { id, name, provider, hint });
    // Two of one name are told apart.
    for (const twin of known.filter((wallet) => wallet.name === name)) hint.hidden = twin.hint.hidden = false;
    $("wallets").append(make("label", {}, input, image, make("span", { textContent: title }, hint)));
    hide("wallets", false);
    const inputs = $("wallets").querySelectorAll("input");
    inputs[0].checked = inputs.length === 1;
    const changed = (/** @type {any} */ accounts) => {
      // What was bought may have taken the page's place, and what is being signed is of the account that is shown.
      if (!main.isConnected || busy || standing() || picked("wallet") !== id) return;
      if (Array.isArray(accounts)) showAccount(ADDRESS.test(accounts[0]) ? accounts[0] : "");
      refreshStart();
    };
    for (const event of ["accountsChanged", "chainChanged"]) provider.on?.(event, changed);
    provider.on?.("disconnect", () => changed([]));
    refreshStart();
  }

  function discoverWallets() {
    addEventListener("eip6963:announceProvider", (event) => {
      const { info, provider } = /** @type {CustomEvent} */ (event).detail ?? {};
      if (info && provider?.request)
        addWallet({
          id: String(info.uuid),
          name: String(info.name),
          rdns: String(info.rdns),
          icon: String(info.icon),
          provider,
        });
    });
    const injected = () => {
      const provider = /** @type {{ethereum?: Provider}} */ (window).ethereum;
      if (!wallets.size && provider?.request)
        addWallet({ id: "injected", name: say("injected"), rdns: "", icon: "", provider });
    };
    dispatchEvent(new Event("eip6963:requestProvider"));
    injected();
    addEventListener("ethereum#initialized", injected);
    setTimeout(() => {
      if (main.dataset.state !== "static") return;
      injected();
      showStart();
    }, 300);
  }

  /** @param {Provider} provider @param {Option} option @param {string} chainId @param {typeof show} step */
  async function switchTo(provider, option, chainId, step) {
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
        step("wrong-network", { busy: true, status: say("switching", option) });
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
   * Reads a number from a contract; what cannot be read, or not in time, or is no word of the chain's, is null.
   * @param {Provider} provider @param {string[]} words
   */
  async function readContract(provider, /** @type {string} */ to, /** @type {string} */ selector, ...words) {
    const call = { to, data: selector + words.map((word) => word.slice(2).padStart(64, "0")).join("") };
    const word = await ask(provider, "eth_call", call, "latest");
    return /^0x[0-9a-f]{64}$/i.test(word) ? BigInt(word) : null;
  }

  /** What a wallet says without asking its owner; null where it says nothing, or not in time. @param {Provider} provider */
  async function ask(provider, /** @type {string} */ method, /** @type {unknown[]} */ ...params) {
    const late = new Promise((done) => setTimeout(done, LONGEST_READ, null));
    return Promise.race([Promise.resolve(provider.request({ method, params })).catch(() => null), late]);
  }

  /** The time to sign by. Where the clocks differ, the chain's own has to agree with one of them. @param {Provider} provider */
  async function agreed(provider) {
    const all = clocks();
    if (Math.max(...all) - Math.min(...all) < APART) return Math.max(all[0], all[1]);
    const block = Number((await ask(provider, "eth_getBlockByNumber", "latest", false))?.timestamp ?? NaN);
    const right = all.find((clock) => Math.abs(clock - block) < APART);
    if (!right) throw new Stop("failed", say("clocks"), { pay: true });
    return right;
  }

  const random = (/** @type {number} */ length) =>
    Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  /**
   * What comes of a run that was cancelled meanwhile goes nowhere.
   * @param {{ accepted: Requirements, option: Option, provider: Provider | undefined }} chosen
   * @param {Payment | null} earlier @param {{ cancelled: boolean }} run @returns {Promise<Payment>}
   */
  async function sign({ accepted, option, provider }, earlier, run) {
    const goesOn = () => {
      if (run.cancelled) throw new Stop("idle", "");
    };
    /** @type {typeof show} */
    const step = (state, more) => (goesOn(), show(state, more));
    const { network, asset, amount } = accepted;
    if (!provider) {
      $("wallets").querySelector("input")?.focus();
      throw new Stop("choosing", say("choosing"));
    }
    if (!payable(accepted)) throw new Stop("unpayable", say("unpayable"));
    step("connecting");
    const from = (await provider.request({ method: "eth_requestAccounts" }))?.[0];
    if (!ADDRESS.test(from)) throw new Stop("failed", say("no-account"), { pay: true });
    goesOn();
    showAccount(from);
    await switchTo(provider, option, "0x" + BigInt(network.slice(7)).toString(16), step);
    let nonce = "0x" + random(32);
    if (earlier) {
      // The server refused it; the token has the last word on whether it is spent (`authorizationState`).
      const { option: was, from: payer, until = earlier.validBefore } = earlier;
      const risk = waived;
      waived = false;
      const spent =
        was.network === network ? await readContract(provider, was.asset, "0xe94a0102", payer, earlier.nonce) : null;
      goesOn();
      if (spent) {
        const paid = { ...earlier, refused: false, paid: Date.now(), spent: true };
        save(paid);
        showReceipt(paid);
        throw new Stop("used", "", { status: say("spent") });
      }
      // With the nonce of the earlier one, the token takes one of the two at most.
      const replaces = was.network === network && same(was.asset, asset) && same(payer, from);
      const over = Math.min(...clocks()) > until + MARGIN;
      if (!risk && (spent === null || !(replaces || over)))
        throw new Stop("unsure", say("unsure", { price: earlier.price }), { pay: true, anew: true });
      if (replaces) nonce = earlier.nonce;
    }
    const balance = await readContract(provider, asset, "0x70a08231", from);
    goesOn();
    if (balance !== null && balance < BigInt(amount)) {
      offerOnramp(from, option, network);
      const [has, needs] = [balance, amount].map((amount) => inWords(option, amount).amount);
      throw new Stop("low-balance", say("low-balance-help", { has, needs, network: option.network }));
    }
    const validBefore = Math.floor(await agreed(provider)) + accepted.maxTimeoutSeconds;
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
      // What has the same nonce can be spent until the last of them is over.
      until: nonce === earlier?.nonce ? Math.max(validBefore, earlier.until ?? earlier.validBefore) : validBefore,
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
    tell("onramp", say("onramp", { token: symbol }));
    hide("onramp", false);
  }

  // ---- The purchase

  /** One at a time, in this tab and in others. */
  async function alone(/** @type {(waited: boolean) => Promise<unknown>} */ task) {
    if (busy) return;
    busy = true;
    try {
      const { locks } = navigator;
      if (!locks) return void (await task(false));
      const free = await locks.request(key, { ifAvailable: true }, async (lock) => lock && (await task(false), true));
      if (free) return;
      show("elsewhere");
      await locks.request(key, () => task(true));
    } catch (caught) {
      const error = /** @type {any} */ (caught);
      const code = String(error?.code ?? error);
      const again = Boolean(standing());
      if (error instanceof Stop) show(error.state, { alert: error.message, ...error.more });
      else if (code === "4001" || code === "ACTION_REJECTED") show("rejected");
      else if (again) show("failed", { alert: say("reason-status", { code: plain(code) }), retry: true });
      else {
        const message = plain(String(error?.message ?? "")).slice(0, 200);
        const words = say(code === "-32002" ? "wallet-open" : "wallet-trouble", { message, code: plain(code) });
        show("failed", { alert: `${words} ${say("unpaid")}`, pay: true });
      }
    } finally {
      busy = false;
    }
  }

  function buy() {
    const wanted = displayed && { ...displayed, provider: wallets.get(picked("wallet") ?? "")?.provider };
    return alone(async (waited) => {
      if (!standing()) {
        // Who had to wait looks first, and presses again.
        if (!wanted || waited) {
          showStart();
          if (waited) tell("status", say("waited"));
          return;
        }
        const run = { cancelled: false };
        const cancelled = new Promise((_, stop) => {
          $("cancel").onclick = () => {
            run.cancelled = true;
            stop(new Stop("idle", "", { status: say("cancelled") }));
          };
        });
        const payment = /** @type {Payment} */ (await Promise.race([sign(wanted, load(), run), cancelled]));
        // Without locks another tab may have been faster; then what was signed here goes nowhere.
        if (!standing()) save(payment);
      }
      await deliver();
    });
  }

  const checkAgain = () => alone(async () => (standing() ? deliver() : showStart()));

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
      if (!response && !abort.signal.aborted) {
        const signal = AbortSignal.timeout?.(LONGEST_READ);
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
      if (verdict === "paid") return showBought(/** @type {Response} */ (response), body, payment);
      // A transaction that failed is no receipt.
      if (payment.receipt?.success || ["used", "pending"].includes(verdict)) showReceipt(payment);
      const lost = payment.lost ? say("lost") : "";
      if (verdict === "used") return show("used", { alert: lost, status: say("used") });
      const unpaid = settlement?.success === false && !settlement.transaction;
      if (verdict === "refused") return refused(/** @type {Offer} */ (next), payment, reason(code, "refused", unpaid));
      if (verdict === "failed")
        return show("failed", { alert: reason(code, "status", unpaid), retry: true, anew: expired });
      if (attempt >= REPEATS) return show("waiting", { alert: lost, status: say("waiting") });
      show("settling", { status: say(response || lost ? "still-settling" : "offline") });
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
      unseen: /^(Payment|X-PAYMENT header is) required$/,
    };
    const [name] = Object.entries(known).find(([, pattern]) => pattern.test(code)) ?? [otherwise];
    const words = say("reason-" + name, { code: plain(code).slice(0, 120) });
    return unpaid ? `${words} ${say("unpaid")}` : words;
  }

  /** If the server asks for something else by now, the person is to look at it first. */
  function refused(/** @type {Offer} */ next, /** @type {Payment} */ payment, /** @type {string} */ words) {
    offer = next;
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
  async function showBought(response, blob, payment) {
    const type = (response.headers.get("content-type") ?? "").toLowerCase();
    const mime = type.split(";")[0].trim();
    const disposition = response.headers.get("content-disposition");
    const attached = /^\s*attachment/i.test(disposition ?? "");
    if (payment.receipt?.success) showReceipt(payment);
    else hide("receipt");
    if (!blob) return show("failed", { alert: say("broken"), retry: true });
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
    const shows =
      box ||
      (!attached &&
        /^image\/|^application\/(.+\+)?json$|^(text|application)\/(.+\+)?xml$|^text\/(plain|markdown)$/.test(mime));
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
    show("paid", proven ? {} : { status: say("unproven"), retry: true });
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

  /** The receipt beside HTML that knows nothing of it. @param {Payment} payment */
  function bar(payment) {
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
    const told = make("summary", { textContent: say("paid-bar", { amount: payment.price }) });
    const proof = make("code", { textContent: transaction });
    const copies = make("button", { textContent: labels.copy, onclick: () => copy(words, copies, proof) });
    const explorer = make("a", {
      href: explored(payment),
      target: "_blank",
      rel: "noopener noreferrer",
      textContent: labels.explorer,
      hidden: !explored(payment),
    });
    const close = make("button", { textContent: "×", ariaLabel: say("close"), onclick: () => host.remove() });
    // What is there from the beginning is not read out; what comes into it is.
    const news = make("p", { role: "status" });
    const { setTimeout } = window;
    const tell = () => (host.isConnected ? (news.textContent = told.textContent) : setTimeout(tell, 500));
    setTimeout(tell, 500);
    const details = make("details", {}, told, proof, copies, explorer);
    root.append(make("aside", { lang: language, ariaLabel: labels.receipt }, details, close), news);
    return host;
  }

  // ---- What the person does

  $("pay").onclick = buy;
  $("retry").onclick = checkAgain;
  $("anew").onclick = () => {
    const payment = load();
    // What surely was paid is forgotten. Of all else the token is asked before anything is signed, unless that was in vain.
    const known = payment?.spent || payment?.receipt?.success;
    waived = main.dataset.state === "unsure";
    save(payment && !known ? { ...payment, paid: undefined, refused: true } : null);
    hide("receipt");
    showStart();
  };
  const restart = () => busy || standing() || showStart();
  document.addEventListener("change", restart);
  // Browsers put back what was chosen when a person was here before, and say so to nobody.
  addEventListener("pageshow", () => displayed && refreshStart());

  const logo = document.querySelector("header img");
  if (logo instanceof HTMLImageElement) {
    const gone = () => (logo.hidden = true);
    logo.onerror = gone;
    if (logo.complete && !logo.naturalWidth) gone();
  }
  showOption();
  discoverWallets();
  tidy();
  hide("unstarted");
  const left = standing();
  if (left) {
    showPayment(left);
    checkAgain();
  }
}

start();
