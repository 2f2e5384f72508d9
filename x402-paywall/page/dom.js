// The document's elements, what the server wrote into it for the script, and how money and time are told.

import { decode, figure, purchase } from "./wire.js";

/** @import { Data, Offer, Option } from "./types" */

/** A stop that is told in words. */
export class Stop extends Error {
  /** @param {string} state @param {string} words @param {object} [more] */
  constructor(state, words, more) {
    super(words);
    this.state = state;
    this.more = more;
  }
}

// ---- Elements

export const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
export const link = /** @type {(id: string) => HTMLAnchorElement} */ ($);
export const read = (/** @type {string} */ id) => $(id)?.textContent ?? "";
export const tell = (/** @type {string} */ id, /** @type {string | null} */ text) => ($(id).textContent = text);
export const hide = (/** @type {string} */ id, hidden = true) => ($(id).hidden = hidden);
export const picked = (/** @type {string} */ name) =>
  /** @type {HTMLInputElement | null} */ (document.querySelector(`input[name="${name}"]:checked`))?.value;
/** @type {(tag: string, properties: object, ...children: Node[]) => any} */
export const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

export const main = $("paywall");

// ---- What the server says

/** @type {Data} */
export const data = JSON.parse(read("offer"));
/** The newest offer. @type {Offer} */
export let offer = typeof data.required === "string" ? decode(data.required) : data.required;
/** The ways to pay, in the order of the page's rows. */
export const accepts = offer.accepts.slice();
export const renewOffer = (/** @type {Offer} */ next) => (offer = next);

const nonceOf = (/** @type {string} */ kind) =>
  /** @type {HTMLScriptElement | null} */ (document.querySelector(`${kind}[nonce]`))?.nonce ?? "";
/** @type {Record<string, string>} */
export const nonces = { script: nonceOf("script"), style: nonceOf("style") };
export const language = document.documentElement.lang;
export const title = document.querySelector("h1")?.textContent ?? "";
/** Words that the document has already. */
export const labels = {
  receipt: read("receipt-title"),
  copy: read("copy-receipt"),
  explorer: read("receipt-link"),
  seller: read("receipt-seller"),
};
export const address = location.pathname + location.search;
/** Under which this purchase is stored. */
export const key = purchase(address, data.ignored);

// ---- Time

/** How far two clocks may be apart that go right. */
export const APART = 600;
export const MARGIN = 60;

const began = { date: Date.now(), time: performance.now() };

/** What time it is, in seconds: by the site's clock, by the same and this computer's since, by this computer's alone. */
export const clocks = () => {
  const date = Date.now();
  return [data.now + (performance.now() - began.time) / 1000, data.now + (date - began.date) / 1000, date / 1000];
};

export const sleep = (/** @type {number} */ time) => new Promise((done) => setTimeout(done, time));

/** A duration, like `1 hour 30 minutes`. */
export const duration = (/** @type {number} */ seconds) =>
  Object.entries({ hour: seconds / 3600, minute: (seconds / 60) % 60, second: seconds % 60 })
    .map(([unit, count]) => [unit, Math.floor(count)])
    .filter(([, count]) => count)
    .map(([unit, count]) => count.toLocaleString(language, { style: "unit", unit: `${unit}`, unitDisplay: "long" }))
    .join(" ");

// ---- Words

/** A text, with these values in it, and with other texts. */
export const say = (/** @type {string} */ name, /** @type {Record<string, string>} */ values = {}) =>
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
export const priceOf = (/** @type {Option} */ option, /** @type {string} */ amount) =>
  option.dollar ? money(option, amount) : money(option, amount).replace("\u00a0", " ");

/** An amount of a token, and where it is. */
export const inWords = (/** @type {Option} */ option, /** @type {string | bigint} */ amount) => ({
  amount: money(option, amount, true),
  network: option.network,
});

/** A price, and where it is paid. */
export const priceThere = (/** @type {Option} */ option, /** @type {string} */ amount) =>
  say("amount", { amount: money(option, amount), network: option.network });

export const short = (/** @type {string} */ text) => `${text.slice(0, 6)}…${text.slice(-4)}`;

/** What wallets throw, or a browser that stores nothing, stops nothing. */
export const quietly = (/** @type {() => void} */ task) => {
  try {
    task();
  } catch {
    // It is theirs.
  }
};
