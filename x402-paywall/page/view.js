// What the page shows: its state, the way to pay, the wallet's account, and tables whose values can be copied.

import {
  $,
  accepts,
  data,
  duration,
  hide,
  inWords,
  link,
  main,
  make,
  picked,
  priceOf,
  read,
  say,
  short,
  tell,
} from "./dom.js";
import { standing } from "./store.js";
import { payable, size } from "./wire.js";

/** @import { Option, Payment, Requirements, Shown, Wallet } from "./types" */

/** Where nothing is signed, and what is said is of the wallet. */
export const starts = ["idle", "choosing", "wrong-network", "low-balance", "rejected"];
const works = ["connecting", "signing", "settling", "elsewhere"];
/** Connect, sign, done: how far it is. @type {Record<string, number>} */
const steps = { connecting: 0, "wrong-network": 0, signing: 1, settling: 2 };
/** The operator's own link to where tokens are sold. */
const onramp = { href: link("onramp").href, textContent: read("onramp") };

/** Whether this tab is buying. */
export let occupied = false;
export const occupy = (/** @type {boolean} */ now) => (occupied = now);

/** Those that were found, by their ids. @type {Map<string, Wallet>} */
export const wallets = new Map();
export const wallet = () => wallets.get(picked("wallet") ?? "");

/** @param {string} state @param {Shown} [more] */
export function show(
  state,
  {
    alert = "",
    status = alert ? "" : say(state),
    busy = works.includes(state),
    pay = busy || state === "price-changed" || starts.includes(state),
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
  const values = { price: read("price"), wallet: wallet()?.name.slice(0, 30) ?? "" };
  tell("pay", say((busy ? "do-" : "pay-") + state, values) || say(busy ? "busy" : "pay", values));
  $("pay").ariaDisabled = String(busy);
  const step = busy ? steps[state] : undefined;
  hide("steps", step === undefined);
  Array.from($("steps").children, (item, at) => (item.ariaCurrent = at === step ? "step" : null));
  const lost = document.activeElement;
  const none = state === "no-wallet";
  const poor = state === "low-balance";
  Object.assign(link("onramp"), onramp);
  for (const [id, shown] of Object.entries({ pay, retry, anew, cancel, onramp: onramp.href && (none || poor) }))
    $(id).hidden = !shown;
  hide("no-wallet", !none);
  const index = picked("option");
  if (none && index) {
    const money = inWords(data.options[+index], accepts[+index].amount);
    tell("no-wallet-money", say("no-wallet-money", money));
  }
  if ($("alternative")) hide("alternative", !none && !poor && state !== "unpayable");
  tabulate(facts);
  // While a payment stands, there is no other way to pay.
  for (const [id, disabled] of Object.entries({ options: busy || standing(), wallets: busy }))
    if ($(id)) /** @type {HTMLFieldSetElement} */ ($(id)).disabled = !!disabled;
  // Whoever works with a keyboard keeps a place to be.
  if (lost?.closest("[hidden], :disabled"))
    (["pay", "retry", "anew"].map($).find((button) => !button.hidden) ?? $("status")).focus();
  // What is said is seen, on small screens as well; what is said from the beginning can wait.
  const said = alert ? "alert" : status && !["choosing", "unpayable"].includes(state) && "status";
  if (said) $(said).scrollIntoView({ block: "nearest" });
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

export async function copy(
  /** @type {string} */ text,
  /** @type {HTMLElement} */ button,
  /** @type {HTMLElement} */ shown,
) {
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
export function copier(
  /** @type {string} */ name,
  /** @type {() => string} */ value,
  /** @type {HTMLElement} */ shown,
) {
  const textContent = say("copy");
  const button = make("button", { className: "copy", textContent, ariaLabel: `${textContent}: ${name}` });
  button.onclick = () => copy(value(), button, shown);
  return button;
}

// ---- The way to pay

/** What is on display, which is what can be signed. @type {{ accepted: Requirements, option: Option } | null} */
export let displayed = null;

/** What would be signed, or what was. */
export function showOption(/** @type {Requirements | undefined} */ signed = undefined) {
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

export const radio = (/** @type {number} */ index) =>
  /** @type {HTMLInputElement | null} */ (document.querySelector(`input[name="option"][value="${index}"]`));

export const same = (/** @type {string} */ one, /** @type {string} */ other) =>
  one.toLowerCase() === other.toLowerCase();

const alike = (/** @type {Requirements} */ one, /** @type {Requirements} */ other) =>
  one.scheme === other.scheme && one.network === other.network && same(one.asset, other.asset);

/** Of these ways to pay, the one that is most like this one. @param {Requirements[]} ways @param {Requirements} way */
export const nearest = (ways, way) => {
  const like = ways.filter((other) => payable(other) && alike(other, way));
  const payee = like.filter(({ payTo }) => same(payTo, way.payTo));
  return payee.find(({ amount }) => amount === way.amount) ?? payee[0] ?? like[0];
};

/** A payment that was signed is what the page is about. @param {Payment} payment */
export function showPayment({ option, price, from }) {
  const input = radio(accepts.indexOf(/** @type {Requirements} */ (nearest(accepts, option))));
  if (input) input.checked = true;
  showOption(option);
  if (!input) showPrice(price, "");
  showAccount(from);
}

/** Of the wallet that is chosen, in its row. */
export function showAccount(account = "", balance = "") {
  tell("account", account && [say("account", { account: short(account) }), balance].filter(Boolean).join(" · "));
  $("account").title = account;
  hide("account", !account);
  const row = account && wallet()?.row;
  if (row) row.append($("account"));
  else $("wallets").after($("account"));
}
