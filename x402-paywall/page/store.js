// The payment that was signed, which is stored before it is sent. See docs/paywall.md, "One signature for a purchase".

import { key } from "./dom.js";
import { stored } from "./wire.js";

/** @import { Payment } from "./types" */

const DAY = 86_400_000;
/** Under which the wallet that was connected last is remembered. */
export const LAST = "x402:wallet";

/** What found no room. @type {Payment | null | undefined} */
let unstored;

const item = (/** @type {string} */ name) => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
};

export const load = () => (unstored === undefined ? stored(item(key)) : unstored);

/** Where there is no room, what this tab remembers counts, and nothing older is left for others to find. */
export function save(/** @type {Payment | null} */ payment) {
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
export function tidy() {
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
export const standing = () => {
  const payment = load();
  return payment?.refused ? null : payment;
};

export const remembered = () => item(LAST);
