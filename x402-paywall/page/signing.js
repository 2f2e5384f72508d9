// One payment is signed: rules 2, 4 and 9 of docs/paywall.md, "One signature for a purchase".

import {
  $,
  MARGIN,
  Stop,
  address,
  clocks,
  data,
  hide,
  inWords,
  link,
  main,
  offer,
  priceThere,
  quietly,
  say,
  tell,
} from "./dom.js";
import { agreed, ask, balanceOf, readContract, switchTo } from "./provider.js";
import { showReceipt } from "./receipt.js";
import { LAST, save } from "./store.js";
import { same, show, showAccount, wallet } from "./view.js";
import { canonical } from "./wallet.js";
import { ADDRESS, FORMAT, answer, encode, payable, typedData } from "./wire.js";

/** @import { Option, Payment, Provider, Requirements } from "./types" */

/** The nonce of the payment that is paid anew, though nobody could say whether it was made: for one try. */
let waived = "";
export const waive = (/** @type {string | undefined} */ nonce) => (waived = nonce ?? "");

const random = (/** @type {number} */ length) =>
  Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * What comes of a run that was cancelled meanwhile goes nowhere.
 * @param {{ accepted: Requirements, option: Option, provider: Provider | undefined }} chosen
 * @param {Payment | null} earlier @param {{ cancelled: boolean }} run @returns {Promise<Payment>}
 */
export async function sign({ accepted, option, provider }, earlier, run) {
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
  const nonce = earlier ? await nonceAfter(earlier, { accepted, provider, from }, goesOn) : "0x" + random(32);
  const balance = await balanceOf(provider, asset, from);
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
  return {
    v: FORMAT,
    header: encode(answer(offer, accepted, { signature, authorization }, "pay_" + random(16))),
    option: accepted,
    from,
    nonce,
    validBefore,
    // What has the same nonce can be spent until the last of them is over.
    until: nonce === earlier?.nonce ? Math.max(validBefore, earlier.until ?? earlier.validBefore) : validBefore,
    signedAt: Date.now(),
    price: priceThere(option, amount),
    amount: option.dollar ? inWords(option, amount).amount : undefined,
    at: address,
    explorer: option.explorer,
  };
}

/**
 * The nonce to sign with after a payment that the server refused: the token has the last word on whether that one is spent
 * (`authorizationState` of EIP-3009). With its nonce, the token takes one of the two at most.
 * @param {Payment} earlier @param {{ accepted: Requirements, provider: Provider, from: string }} now @param {() => void} goesOn
 */
async function nonceAfter(earlier, { accepted: { network, asset }, provider, from }, goesOn) {
  const { option: was, from: payer, nonce, until = earlier.validBefore } = earlier;
  const risk = waived === nonce;
  waived = "";
  const spent = was.network === network ? await readContract(provider, was.asset, "0xe94a0102", payer, nonce) : null;
  goesOn();
  if (spent) {
    const paid = { ...earlier, refused: false, paid: Date.now(), spent: true };
    save(paid);
    showReceipt(paid);
    throw new Stop("used", "", { status: say("spent") });
  }
  const replaces = was.network === network && same(was.asset, asset) && same(payer, from);
  const over = Math.min(...clocks()) > until + MARGIN;
  if (!risk && (spent === null || !(replaces || over)))
    throw new Stop("unsure", say("unsure", { price: earlier.price }), { pay: true, anew: true, risk: true });
  return replaces ? nonce : "0x" + random(32);
}

/** A link to buy tokens for this account, in the place of the operator's. @param {string} account @param {Option} option */
async function offerOnramp(account, { symbol }, /** @type {string} */ network) {
  if (!data.onramp) return;
  const body = JSON.stringify({ address: account, network });
  const response = await fetch(data.onramp, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    mode: "same-origin",
  }).catch(() => null);
  const token = (await response?.json().catch(() => null))?.token;
  if (!token || main.dataset.state !== "low-balance" || $("account").title !== account) return;
  link("onramp").href = "https://pay.coinbase.com/buy/select-asset?sessionToken=" + encodeURIComponent(token);
  tell("onramp", say("onramp", { token: symbol }));
  hide("onramp", false);
}
