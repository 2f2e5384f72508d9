// The page's part in the browser: find a wallet, have one payment signed, send it, show what it bought.
// A payment is stored before it is sent, and sent again rather than signed again: see docs/paywall.md.

import { decodeText, filename, indent, policies, pour } from "./bought.js";
import { browsers, canonical, chainOf, codes, saysNo } from "./wallet.js";
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
  purchase,
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
/** When wallets are looked for once more, in milliseconds: many come into a page after its script. */
const LATE = [300, 1000, 3000];
/** How often a wallet is asked for its network after it has switched, and the pause between: some answer too early. */
const SWITCHING = 12;
const SWITCHED = 250;
/** Under which the wallet that was connected last is remembered. */
const LAST = "x402:wallet";
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
  const link = /** @type {(id: string) => HTMLAnchorElement} */ ($);
  const read = (/** @type {string} */ id) => $(id)?.textContent ?? "";
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
  const data = JSON.parse(read("offer"));
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
    receipt: read("receipt-title"),
    copy: read("copy-receipt"),
    explorer: read("receipt-link"),
    seller: read("receipt-seller"),
  };
  const address = location.pathname + location.search;
  const key = purchase(address, data.ignored);
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
  /** The wallet that the person chose. */
  let preferred = "";
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
      .map(([unit, count]) => count.toLocaleString(language, { style: "unit", unit: `${unit}`, unitDisplay: "long" }))
      .join(" ");

  const sleep = (/** @type {number} */ time) => new Promise((done) => setTimeout(done, time));

  const short = (/** @type {string} */ text) => `${text.slice(0, 6)}…${text.slice(-4)}`;

  // ---- What is shown

  const asks = ["idle", "choosing", "wrong-network", "low-balance", "rejected", "price-changed"];
  const works = ["connecting", "signing", "settling", "elsewhere"];
  /** Connect, sign, done: how far it is. @type {Record<string, number>} */
  const steps = { connecting: 0, "wrong-network": 0, signing: 1, settling: 2 };

  const wallet = () => wallets.get(picked("wallet") ?? "");

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
      cancel = busy && steps[state] < 2,
      risk = false,
      facts = [],
    } = {},
  ) {
    main.dataset.state = state;
    tell("status", status);
    tell("alert", alert);
    $("alert").className = risk ? "risk" : "";
    const values = { price: read("price"), wallet: plain(wallet()?.name ?? "").slice(0, 30) };
    tell("pay", say(busy ? "do-" + state : state === "price-changed" ? "accept" : "pay", values) || say("busy"));
    $("pay").ariaDisabled = String(busy);
    const step = busy ? steps[state] : undefined;
    hide("steps", step === undefined);
    Array.from($("steps").children, (item, at) => (item.ariaCurrent = at === step ? "step" : null));
    const lost = document.activeElement;
    for (const [id, shown] of Object.entries({ pay, retry, anew, cancel, onramp: false })) $(id).hidden = !shown;
    const none = state === "no-wallet";
    hide("no-wallet", !none);
    const index = picked("option");
    if (none && index) {
      const money = inWords(data.options[+index], accepts[+index].amount);
      tell("no-wallet-money", say("no-wallet-money", money));
    }
    if ($("alternative")) hide("alternative", !none && !["unpayable", "low-balance"].includes(state));
    tabulate(facts);
    // While a payment stands, there is no other way to pay.
    for (const [id, disabled] of Object.entries({ options: busy || standing(), wallets: busy }))
      if ($(id)) /** @type {HTMLFieldSetElement} */ ($(id)).disabled = !!disabled;
    // Whoever works with a keyboard keeps a place to be.
    if (lost?.closest("[hidden], :disabled"))
      (["pay", "retry", "anew"].map($).find((button) => !button.hidden) ?? $("status")).focus();
    // What is said is seen, on small screens as well.
    if (alert || busy || retry) $(alert ? "alert" : "status").scrollIntoView({ block: "nearest" });
  }

  /** Names and values; where a name has two values, they are compared, else the value can be copied. */
  function tabulate(/** @type {string[][]} */ facts) {
    const row = (/** @type {string[]} */ [name, ...values]) => {
      const cells = values.map((textContent) => make(name ? "td" : "th", { textContent }));
      if (values.length === 1)
        cells.push(
          make(
            "td",
            {},
            copier(name, () => values[0], cells[0]),
          ),
        );
      return make("tr", {}, make(name ? "th" : "td", { textContent: name }), ...cells);
    };
    $("facts").replaceChildren(...facts.map(row));
    hide("facts", !facts.length);
  }

  /** Before anything is asked for, or after it came to nothing. */
  function showStart() {
    showOption();
    if (!picked("option")) show("unpayable");
    else if (!wallets.size) show("no-wallet");
    else show(wallet() ? "idle" : "choosing");
    peek();
  }

  /** What was said of the wallet is no longer so. */
  function refreshStart() {
    const said = ["static", "no-wallet", "idle", "choosing", "wrong-network", "low-balance", "rejected"];
    if (!busy && !standing() && said.includes(main.dataset.state ?? "")) showStart();
  }

  /** Account and balance, where the wallet tells them without asking its owner. */
  async function peek() {
    const [now, known] = [displayed, wallet()];
    showAccount();
    if (!now || !known || busy || standing()) return;
    const { provider } = known;
    const { accepted, option } = now;
    const from = (await ask(provider, "eth_accounts"))?.[0];
    if (!ADDRESS.test(from)) return;
    const there = chainOf(await ask(provider, "eth_chainId")) === BigInt(accepted.network.slice(7));
    const balance = there ? await readContract(provider, accepted.asset, "0x70a08231", from) : null;
    if (displayed !== now || wallet() !== known || busy || standing()) return;
    showAccount(from, balance === null ? "" : money(option, balance, true));
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

  /** Of the wallet that is chosen, in its row. */
  function showAccount(account = "", balance = "") {
    tell("account", account && [say("account", { account: short(account) }), balance].filter(Boolean).join(" · "));
    $("account").title = account;
    hide("account", !account);
    const row = account && wallet()?.row;
    if (row) row.append($("account"));
    else $("wallets").after($("account"));
  }

  /** @param {Payment} payment */
  const explored = ({ receipt, explorer }) =>
    receipt?.transaction && explorer?.startsWith("https://") ? explorer + receipt.transaction : "";

  /** @param {Payment} payment */
  function showReceipt(payment) {
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
    link("receipt-link").href = explored(payment);
    hide("receipt-link", !explored(payment));
    $("copy-receipt").onclick = () => copy(receiptText(payment), $("copy-receipt"), $("receipt"));
  }

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

  async function copy(/** @type {string} */ text, /** @type {HTMLElement} */ button, /** @type {HTMLElement} */ shown) {
    try {
      await navigator.clipboard.writeText(text);
      const { textContent } = button;
      const done = say("copied");
      if (textContent === done) return;
      button.textContent = done;
      setTimeout(() => (button.textContent = textContent), 2000);
    } catch {
      getSelection()?.selectAllChildren(shown);
    }
  }

  /** A small button that copies one value. */
  function copier(/** @type {string} */ name, /** @type {() => string} */ value, /** @type {HTMLElement} */ shown) {
    const textContent = say("copy");
    const button = make("button", { className: "copy", textContent, ariaLabel: `${textContent}: ${name}` });
    button.onclick = () => copy(value(), button, shown);
    return button;
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

  /** What wallets throw stops nothing. */
  const quietly = (/** @type {() => void} */ task) => {
    try {
      task();
    } catch {
      // It is theirs.
    }
  };

  const remembered = () => {
    try {
      return localStorage.getItem(LAST);
    } catch {
      return null;
    }
  };

  /** @param {Announced} wallet */
  function addWallet({ id, name, rdns, icon, provider }) {
    const nameless = wallets.get("injected");
    if (Array.from(wallets.values()).some((old) => old.id === id || (old.provider === provider && old !== nameless)))
      return;
    if (nameless) {
      // It has a name now, or others are there that have one.
      wallets.delete("injected");
      nameless.row.closest("label")?.remove();
      if (preferred === "injected") preferred = nameless.provider === provider ? id : "";
    }
    const input = make("input", { type: "radio", name: "wallet", value: id });
    const title = plain(name).slice(0, 60);
    const image = make("img", { alt: "", hidden: !icon.startsWith("data:image/") });
    const hint = make("small", { textContent: plain(rdns).slice(0, 60), hidden: true });
    const row = make("span", { textContent: title }, hint);
    const label = make("label", {}, input, image, row);
    const drawn = () => (image.hidden = Boolean((label.dataset.glyph = Array.from(title)[0] ?? "?")));
    image.onerror = drawn;
    if (image.hidden) drawn();
    else image.src = icon;
    // Two of one name are told apart.
    for (const twin of wallets.values()) if (twin.name === name) hint.hidden = twin.hint.hidden = false;
    wallets.set(id, { id, name, rdns: rdns || id, provider, hint, row });
    $("wallets").append(label);
    hide("wallets", false);
    // Whoever has chosen keeps to it; else it is the only one there is, or the only one that says it was the last.
    const all = Array.from(wallets.values());
    const last = all.filter((other) => other.rdns === remembered());
    const only = all.length === 1 ? all : last.length === 1 ? last : [];
    const choice = wallets.has(preferred) ? preferred : only[0]?.id;
    for (const one of $("wallets").querySelectorAll("input")) one.checked = one.value === choice;
    const changed = (/** @type {any} */ accounts) => {
      // What was bought may have taken the page's place, and what is being signed is of the account that is shown.
      if (!main.isConnected || busy || standing() || picked("wallet") !== id) return;
      if (Array.isArray(accounts)) showAccount(ADDRESS.test(accounts[0]) ? accounts[0] : "");
      refreshStart();
    };
    for (const event of ["accountsChanged", "chainChanged"]) quietly(() => provider.on?.(event, changed));
    quietly(() => provider.on?.("disconnect", () => changed([])));
    refreshStart();
  }

  function discoverWallets() {
    addEventListener("eip6963:announceProvider", (event) =>
      quietly(() => {
        const { info, provider } = /** @type {CustomEvent} */ (event).detail ?? {};
        if (!info || !provider?.request) return;
        const word = (/** @type {unknown} */ text) => (typeof text === "string" ? text.trim() : "");
        const [id, rdns, icon] = [info.uuid, info.rdns, info.icon].map(word);
        const name = word(info.name) || rdns || say("injected");
        addWallet({ id: id || rdns || name, name, rdns, icon, provider });
      }),
    );
    const look = () => {
      if (!main.isConnected) return;
      dispatchEvent(new Event("eip6963:requestProvider"));
      quietly(() => {
        const provider = /** @type {{ethereum?: Provider}} */ (window).ethereum;
        if (!wallets.size && provider?.request)
          addWallet({ id: "injected", name: say("injected"), rdns: "", icon: "", provider });
      });
    };
    look();
    addEventListener("ethereum#initialized", look);
    addEventListener("focus", look);
    for (const time of LATE)
      setTimeout(() => {
        look();
        if (main.dataset.state === "static") showStart();
      }, time);
  }

  /** @param {Provider} provider @param {Option} option @param {bigint} chain @param {typeof show} step */
  async function switchTo(provider, option, chain, step) {
    const { network: chainName, coin, rpc, explorer } = option;
    const chainId = "0x" + chain.toString(16);
    const request = async (/** @type {string} */ method, /** @type {object[]} */ ...params) =>
      provider.request({ method, params });
    const current = async () => chainOf(await request("eth_chainId"));
    const change = () => request("wallet_switchEthereumChain", { chainId });
    if ((await current()) === chain) return;
    const told = { busy: true, status: say("switching", option) };
    step("wrong-network", told);
    /** Whether it can only be added by hand. */
    let unknown = false;
    try {
      await change().catch(async (error) => {
        unknown = [4902, 4200, -32601].some((code) => codes(error).includes(code));
        unknown ||= /unrecognized chain/i.test(error?.message);
        if (!unknown || !rpc) throw error;
        step("wrong-network", told);
        const nativeCurrency = { name: coin, symbol: coin, decimals: 18 };
        const blockExplorerUrls = explorer && [explorer.replace(/\/tx\/$/, "")];
        await request("wallet_addEthereumChain", {
          chainId,
          chainName,
          nativeCurrency,
          rpcUrls: [rpc],
          blockExplorerUrls,
        });
        if ((await current()) !== chain) await change();
      });
      for (let times = 0; times < SWITCHING && (await current()) !== chain; times++) await sleep(SWITCHED);
    } catch (error) {
      if (codes(error).includes(-32002)) throw error;
      unknown &&= !saysNo(error);
    }
    const now = await current();
    if (now === chain) return;
    const facts = [[say("chain-id"), `${chain}`], ...(rpc ? [[say("rpc"), rpc]] : [])];
    const words = say(now === null ? "no-network" : unknown ? "add-network" : "wrong-network-help", option);
    throw new Stop("wrong-network", words, { facts: unknown ? facts : [] });
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
    const answer = async () => provider.request({ method, params });
    return Promise.race([answer().catch(() => null), late]);
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
    quietly(() => localStorage.setItem(LAST, wallet()?.rdns ?? ""));
    const chain = BigInt(network.slice(7));
    await switchTo(provider, option, chain, step);
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
        throw new Stop("unsure", say("unsure", { price: earlier.price }), { pay: true, anew: true, risk: true });
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
    const given = await provider.request({
      method: "eth_signTypedData_v4",
      params: [from, JSON.stringify(typedData(accepted, authorization))],
    });
    let signature = canonical(given, chain);
    if (!signature) throw new Stop("failed", say("no-signature"), { pay: true });
    // What the bytes of a contract's signature mean is its own business. A plain account may have borrowed one (EIP-7702).
    if (signature !== given && /^0x(?!ef0100)./i.test(await ask(provider, "eth_getCode", from, "latest")))
      signature = given;
    goesOn();
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
      amount: option.dollar ? money(option, amount, true) : undefined,
      at: address,
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
      const again = Boolean(standing());
      const all = codes(error);
      const told = [error instanceof Object ? error.message : error, all[0]].filter(Boolean).join(", ");
      const message = plain(told).slice(0, 200) || "?";
      if (error instanceof Stop) show(error.state, { alert: error.message, ...error.more });
      else if (again) show("failed", { alert: say("reason-status", { code: message }), retry: true, risk: true });
      else if (saysNo(error)) show("rejected");
      else {
        const open = all.includes(-32002) && "wallet-open";
        const name = open || (all.includes(4100) ? "wallet-closed" : "wallet-trouble");
        const words = say(name, { message });
        show("failed", { alert: `${words} ${say("unpaid")}`, pay: true });
      }
    } finally {
      busy = false;
    }
  }

  function buy() {
    preferred = picked("wallet") ?? preferred;
    const wanted = displayed && { ...displayed, provider: wallet()?.provider };
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
      const works = settlement?.success || /^(settlement_pending|payment_in_progress)$/.test(code);
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
    const changes = [];
    if (amount !== was.amount) changes.push([say("price"), payment.price, read("price")]);
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
    const told = make("span", { textContent: say("paid-bar", { amount: payment.price }) });
    const summary = make("summary", {}, make("b", { textContent: "✓ " + labels.receipt }), told);
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
    const details = make("details", {}, summary, proof, copies, explorer);
    const aside = make("aside", { lang: language, ariaLabel: labels.receipt }, details, close);
    details.ontoggle = () => (aside.className = details.open ? "" : "pill");
    // It was seen; from now on it covers little of what was bought.
    setTimeout(() => details.open || (aside.className = "pill"), 6000);
    root.append(aside, news);
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
    for (const id of ["receipt", "bought"]) hide(id);
    showStart();
  };
  $("reload").onclick = () => location.reload();
  $("copy-link").onclick = () => copy(location.href, $("copy-link"), $("no-wallet"));
  for (const [name, href] of browsers(location.href.split("#")[0])) {
    const words = say("open-in", { wallet: name });
    $("browsers").append(make("a", { href, rel: "noopener noreferrer", textContent: words }));
  }
  for (const id of ["receipt-payee", "receipt-transaction", "receipt-evidence"]) {
    const name = $(id).closest("div")?.firstChild?.textContent ?? "";
    $(id).after(copier(name, () => read(id), $(id)));
  }
  document.addEventListener("change", ({ target }) => {
    const input = /** @type {HTMLInputElement} */ (target);
    if (input.name === "wallet") preferred = input.value;
    if (!busy && !standing()) showStart();
  });
  // Browsers put back what was chosen when a person was here before, and say so to nobody.
  addEventListener("pageshow", () => displayed && main.dataset.state !== "static" && refreshStart());

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
