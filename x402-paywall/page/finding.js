// Which wallets there are, which one is chosen, and what is known of it before its owner is asked for anything.

import { $, hide, inWords, main, make, picked, quietly, say } from "./dom.js";
import { ask, balanceOf } from "./provider.js";
import { remembered, standing } from "./store.js";
import { displayed, occupied, show, showAccount, showOption, starts, wallet, wallets } from "./view.js";
import { chainOf } from "./wallet.js";
import { ADDRESS, plain, textOf } from "./wire.js";

/** @import { Announced, Provider } from "./types" */

/** When wallets are looked for once more, in milliseconds: many come into a page after its script. */
const LATE = [300, 1000, 3000];

/** The wallet that the person chose. */
let preferred = "";
export const prefer = (/** @type {string | undefined} */ id) => (preferred = id ?? preferred);

/** Before anything is asked for, or after it came to nothing. */
export function showStart() {
  showOption();
  if (!picked("option")) show("unpayable");
  else if (!wallets.size) show("no-wallet");
  else show(wallet() ? "idle" : "choosing");
  peek();
}

/** What was said of the wallet is no longer so. */
export function refreshStart() {
  const said = ["static", "no-wallet", ...starts];
  if (!occupied && !standing() && said.includes(main.dataset.state ?? "")) showStart();
}

/** Account and balance, where the wallet tells them without asking its owner. */
async function peek() {
  const [now, known] = [displayed, wallet()];
  showAccount();
  if (!now || !known || occupied || standing()) return;
  const { provider } = known;
  const { accepted, option } = now;
  const from = (await ask(provider, "eth_accounts"))?.[0];
  if (!ADDRESS.test(from)) return;
  const there = chainOf(await ask(provider, "eth_chainId")) === BigInt(accepted.network.slice(7));
  const balance = there ? await balanceOf(provider, accepted.asset, from) : null;
  if (displayed !== now || wallet() !== known || occupied || standing()) return;
  showAccount(from, balance === null ? "" : inWords(option, balance).amount);
}

/** @param {Announced} wallet */
function addWallet({ id, name, rdns, icon, provider }) {
  const nameless = wallets.get("injected");
  if (Array.from(wallets.values()).some((old) => old.id === id || (old.provider === provider && old !== nameless)))
    return;
  if (nameless) {
    // It has a name now, or others are there that have one. What stands in its row stays on the page.
    wallets.delete("injected");
    $("wallets").after($("account"));
    nameless.row.closest("label")?.remove();
    if (preferred === "injected") preferred = nameless.provider === provider ? id : "";
  }
  const input = make("input", { type: "radio", name: "wallet", value: id });
  const image = make("img", { alt: "", hidden: !icon.startsWith("data:image/") });
  const hint = make("small", { textContent: plain(rdns).slice(0, 60), hidden: true });
  const row = make("span", { textContent: name }, hint);
  const label = make("label", {}, input, image, row);
  const drawn = () => (image.hidden = Boolean((label.dataset.glyph = Array.from(name)[0] ?? "?")));
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
    if (!main.isConnected || occupied || standing() || picked("wallet") !== id) return;
    if (Array.isArray(accounts)) showAccount(ADDRESS.test(accounts[0]) ? accounts[0] : "");
    refreshStart();
  };
  for (const event of ["accountsChanged", "chainChanged"]) quietly(() => provider.on?.(event, changed));
  quietly(() => provider.on?.("disconnect", () => changed([])));
  refreshStart();
}

/** Finds wallets by EIP-6963, and the one of `window.ethereum` where there are no others. */
export function discoverWallets() {
  addEventListener("eip6963:announceProvider", (event) =>
    quietly(() => {
      const { info, provider } = /** @type {CustomEvent} */ (event).detail ?? {};
      if (!info || !provider?.request) return;
      const word = (/** @type {unknown} */ text) => textOf(text).trim();
      const [id, rdns, icon] = [info.uuid, info.rdns, info.icon].map(word);
      const name = plain(word(info.name) || rdns || say("injected")).slice(0, 60);
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
