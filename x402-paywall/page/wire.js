// What is written on the wire, and what an answer to it means.

/** @import { Answer, Offer, Payment, Requirements } from "./types" */

export const FORMAT = 1;
const LONGEST_PAUSE = 10;
const LONGEST_SIGNATURE = 86_400;
export const ADDRESS = /^0x[0-9a-f]{40}$/i;

/** A foreign value where it is a text, else none. @param {unknown} value */
export const textOf = (value) => (typeof value === "string" ? value : "");

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
  const fields = (/** @type {string} */ words) =>
    words.split(", ").map((field) => ({ type: field.split(" ")[0], name: field.split(" ")[1] }));
  return {
    types: {
      EIP712Domain: fields("string name, string version, uint256 chainId, address verifyingContract"),
      TransferWithAuthorization: fields(
        "address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce",
      ),
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

/** The words of whoever is still at it. */
export const PENDING = /^(settlement_pending|payment_in_progress)$/;

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
  if (settlement?.success || PENDING.test(code)) return "pending";
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

/** An offer, if it is one. @returns {Offer | null} */
export const offered = (/** @type {any} */ value) =>
  Array.isArray(value?.accepts) && value.accepts.every((/** @type {unknown} */ way) => way instanceof Object)
    ? value
    : null;

/** Whether it can be signed here: `exact` by EIP-3009 on an EVM chain. */
export function payable(
  /** @type {Requirements} */ { scheme, network, amount, asset, payTo, maxTimeoutSeconds, extra },
) {
  return (
    scheme === "exact" &&
    /^eip155:[1-9]\d*$/.test(network) &&
    Number.isSafeInteger(Number(network.slice(7))) &&
    /^\d+$/.test(amount) &&
    [asset, payTo].every((text) => ADDRESS.test(text)) &&
    Number.isSafeInteger(maxTimeoutSeconds) &&
    maxTimeoutSeconds > 0 &&
    maxTimeoutSeconds <= LONGEST_SIGNATURE &&
    [extra?.name, extra?.version].every(textOf) &&
    [undefined, null, "eip3009"].includes(/** @type {any} */ (extra?.assetTransferMethod))
  );
}

/** Whether a header carries this authorization, and can be sent. */
function carries(/** @type {string} */ header, /** @type {any} */ { from, nonce, validBefore }) {
  const signed = /^[\w+/]+={0,2}$/.test(header) ? decode(header)?.payload?.authorization : null;
  return signed?.from === from && signed.nonce === nonce && signed.validBefore === `${validBefore}`;
}

/**
 * A stored payment. What is of another format, or of nobody's, is none. What cannot be sent any more, and may have been,
 * counts as refused: before anything else is signed, the token is asked about it.
 * @returns {Payment | null}
 */
export function stored(/** @type {string | null} */ text) {
  const payment = parse(text);
  const { v, header, option, from, nonce, validBefore, signedAt, price } = payment ?? {};
  const { until = validBefore, at = "", amount = "", explorer = "" } = payment ?? {};
  const whole =
    v === FORMAT &&
    [header, price, at, amount, explorer].every((text) => typeof text === "string") &&
    payable(option ?? {}) &&
    ADDRESS.test(from) &&
    /^0x[0-9a-f]{64}$/i.test(nonce) &&
    [validBefore, until, signedAt].every(Number.isFinite) &&
    signedAt > 0 &&
    signedAt < 8e15;
  if (!whole) return null;
  return payment.paid || carries(header, payment) ? payment : { ...payment, refused: true };
}

/** What a purchase is stored under: its path and query, without the parameters that do not count. */
export function purchase(/** @type {string} */ address, /** @type {string[]} */ ignored = []) {
  const at = address.indexOf("?");
  if (at < 0 || !ignored.length) return "x402:" + address;
  const counts = (/** @type {string} */ name) =>
    !ignored.some((other) => (other.endsWith("*") ? name.startsWith(other.slice(0, -1)) : name === other));
  const kept = address
    .slice(at + 1)
    .split("&")
    .filter((part) => part && counts(part.split("=")[0]));
  return "x402:" + address.slice(0, at) + (kept.length ? "?" + kept.join("&") : "");
}

/** How large a price can be written so that no number in it is broken on a phone: `src/page.rs` has the same. */
export function size(/** @type {string} */ price) {
  const longest = Math.max(...price.split(" ").map(({ length }) => length));
  return longest > 17 ? "longer" : longest > 11 ? "long" : "";
}

/** A foreign text without what nobody sees: what shows it in another order, or makes it look like another one. */
export const plain = (/** @type {string} */ text) => text.replace(/\p{Cf}/gu, "");
