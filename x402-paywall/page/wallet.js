// What wallets answer, and how they say no: each in words of its own.

import { textOf } from "./wire.js";

/** All codes of an error, and of those inside it, whatever realm they are of. @returns {unknown[]} */
export function codes(/** @type {any} */ error, depth = 4) {
  if (!depth || !error || typeof error !== "object") return [];
  const inside = [error.data, error.originalError, error.cause, error.error, error.info];
  return [error.code, ...inside.flatMap((other) => codes(other, depth - 1))].filter((code) => code !== undefined);
}

const NO = "reject|denied|deny|declin|cancel|abort";
const OWNER_SAYS_NO = new RegExp(`\\buser\\b.*(${NO})|(${NO}).*\\buser\\b`, "i");

/** What an error says; what is thrown as a string says itself. */
export function words(/** @type {any} */ error) {
  return textOf(error) || textOf(error?.message);
}

/** Whether its owner said no: EIP-1193's 4001, WalletConnect's 5000 to 5002, or words alone. */
export function saysNo(/** @type {any} */ error) {
  const known = [4001, 5000, 5001, 5002, "4001", "ACTION_REJECTED"];
  if (codes(error).some((code) => known.includes(/** @type {any} */ (code)))) return true;
  // What is thrown as a string has no code, and is short.
  return (textOf(error) ? new RegExp(NO, "i") : OWNER_SAYS_NO).test(words(error));
}

/** A chain's id, as a wallet writes it; null where that is none. */
export function chainOf(/** @type {unknown} */ id) {
  try {
    const known = typeof id === "number" ? id : textOf(id);
    return known === "" ? null : BigInt(known);
  } catch {
    return null;
  }
}

/**
 * A plain account's signature as the protocol has it: r, s, and v of 27 or 28. It comes as 64 bytes (EIP-2098), with the
 * parity alone, and with the chain's id in v (EIP-155). What is none of these stays as it is; null where it is no bytes.
 * @param {any} signature @param {bigint} chain
 */
export function canonical(signature, chain) {
  const text = textOf(signature).toLowerCase();
  const [, digits] = /^(?:0x)?((?:[0-9a-f]{2})+)$/.exec(text) ?? [];
  if (!digits) return null;
  const [r, s, v] = [digits.slice(0, 64), digits.slice(64, 128), digits.slice(128)];
  const word = BigInt("0x0" + s);
  const written = (/** @type {bigint} */ parity, rest = s) => "0x" + r + rest + (27n + parity).toString(16);
  if (digits.length === 128) return written(word >> 255n, BigInt.asUintN(255, word).toString(16).padStart(64, "0"));
  const parity = v && v.length <= 16 ? BigInt("0x" + v) : -1n;
  for (const offset of [0n, 35n + 2n * chain])
    if (parity === offset || parity === offset + 1n) return written(parity - offset);
  return "0x" + digits;
}

/**
 * Wallets that open an address in a browser of their own, on phones, as each documents it:
 * - MetaMask, which takes the address without its scheme, and not encoded:
 *   https://docs.metamask.io/metamask-connect/evm/guides/metamask-exclusive/use-deeplinks/
 * - Coinbase Wallet, now the Base app:
 *   https://docs.cdp.coinbase.com/coinbase-wallet/developer-guidance/mobile-dapp-integration
 * - Trust Wallet, where 60 is Ethereum: https://developer.trustwallet.com/developer/develop-for-trust/deeplinking
 * @returns {[string, string][]}
 */
export const browsers = (/** @type {string} */ url) => [
  ["MetaMask", "https://link.metamask.io/dapp/" + url.replace(/^https?:\/\//, "")],
  ["Coinbase Wallet", "https://go.cb-w.com/dapp?cb_url=" + encodeURIComponent(url)],
  ["Trust Wallet", "https://link.trustwallet.com/open_url?coin_id=60&url=" + encodeURIComponent(url)],
];
