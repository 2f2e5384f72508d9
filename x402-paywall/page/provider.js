// What a wallet is asked that its owner need not answer: for its network, and for what stands on the chain.

import { APART, Stop, clocks, say, sleep } from "./dom.js";
import { chainOf, codes, saysNo, words } from "./wallet.js";

/** @import { Option, Provider, Shown } from "./types" */

const LONGEST_READ = 10_000;
/** How often a wallet is asked for its network after it has switched, and the pause between: some answer too early. */
const SWITCHING = 12;
const SWITCHED = 250;

/** What a wallet says without asking its owner; null where it says nothing, or not in time. @param {Provider} provider */
export async function ask(provider, /** @type {string} */ method, /** @type {unknown[]} */ ...params) {
  const late = new Promise((done) => setTimeout(done, LONGEST_READ, null));
  const answer = async () => provider.request({ method, params });
  return Promise.race([answer().catch(() => null), late]);
}

/**
 * Reads a number from a contract; what cannot be read, or not in time, or is no word of the chain's, is null.
 * @param {Provider} provider @param {string[]} words
 */
export async function readContract(provider, /** @type {string} */ to, /** @type {string} */ selector, ...words) {
  const call = { to, data: selector + words.map((word) => word.slice(2).padStart(64, "0")).join("") };
  const word = await ask(provider, "eth_call", call, "latest");
  return /^0x[0-9a-f]{64}$/i.test(word) ? BigInt(word) : null;
}

/** How much of a token (ERC-20) an account has. */
export const balanceOf = (
  /** @type {Provider} */ provider,
  /** @type {string} */ token,
  /** @type {string} */ account,
) => readContract(provider, token, "0x70a08231", account);

/** The time to sign by. Where the clocks differ, the chain's own has to agree with one of them. @param {Provider} provider */
export async function agreed(provider) {
  const all = clocks();
  if (Math.max(...all) - Math.min(...all) < APART) return Math.max(all[0], all[1]);
  const block = Number((await ask(provider, "eth_getBlockByNumber", "latest", false))?.timestamp ?? NaN);
  const right = all.find((clock) => Math.abs(clock - block) < APART);
  if (!right) throw new Stop("failed", say("clocks"), { pay: true });
  return right;
}

/**
 * Has a wallet switch to a chain, or add it.
 * @param {Provider} provider @param {Option} option @param {bigint} chain @param {(state: string, more: Shown) => void} step
 */
export async function switchTo(provider, option, chain, step) {
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
      unknown ||= /unrecognized chain/i.test(words(error));
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
  const help = say(now === null ? "no-network" : unknown ? "add-network" : "wrong-network-help", option);
  throw new Stop("wrong-network", help, { facts: unknown ? facts : [] });
}
