// The page's part in the browser: find a wallet, have one payment signed, send it, show what it bought. A payment is stored
// before it is sent, and sent again rather than signed again: see docs/paywall.md.

import { $, Stop, hide, key, main, make, picked, read, say, tell } from "./dom.js";
import { deliver } from "./delivery.js";
import { discoverWallets, prefer, refreshStart, showStart } from "./finding.js";
import { sign, waive } from "./signing.js";
import { load, save, standing, tidy } from "./store.js";
import { copier, copy, displayed, occupied, occupy, show, showOption, showPayment, wallet } from "./view.js";
import { browsers, codes, saysNo, words } from "./wallet.js";
import { plain } from "./wire.js";

/** @import { Payment } from "./types" */

/** One at a time, in this tab and in others. */
async function alone(/** @type {(waited: boolean) => Promise<unknown>} */ task) {
  if (occupied) return;
  occupy(true);
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
    const code = typeof all[0] === "object" ? "" : all[0];
    const message = plain([words(error), code].filter(Boolean).join(", ")).slice(0, 200) || "?";
    if (error instanceof Stop) show(error.state, { alert: error.message, ...error.more });
    else if (again) show("failed", { alert: say("reason-status", { code: message }), retry: true, risk: true });
    else if (saysNo(error)) show("rejected");
    else {
      const open = all.includes(-32002) && "wallet-open";
      const name = open || (all.includes(4100) ? "wallet-closed" : "wallet-trouble");
      show("failed", { alert: `${say(name, { message })} ${say("unpaid")}`, pay: true });
    }
  } finally {
    occupy(false);
  }
}

function buy() {
  prefer(picked("wallet"));
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

// ---- What the person does

$("pay").onclick = buy;
$("retry").onclick = checkAgain;
$("anew").onclick = () => {
  const payment = load();
  // What surely was paid is forgotten. Of all else the token is asked before anything is signed, unless that was in vain.
  const known = payment?.spent || payment?.receipt?.success;
  waive(main.dataset.state === "unsure" ? payment?.nonce : "");
  save(payment && !known ? { ...payment, paid: undefined, refused: true } : null);
  for (const id of ["receipt", "bought"]) hide(id);
  showStart();
};
$("reload").onclick = () => location.reload();
$("copy-link").onclick = () => copy(location.href, $("copy-link"), $("no-wallet"));
for (const [name, href] of browsers(location.href.split("#")[0])) {
  const textContent = say("open-in", { wallet: name });
  $("browsers").append(make("a", { href, rel: "noreferrer", textContent }));
}
for (const id of ["receipt-payee", "receipt-transaction", "receipt-evidence"]) {
  const name = $(id).closest("div")?.firstChild?.textContent ?? "";
  $(id).after(copier(name, () => read(id), $(id)));
}
document.addEventListener("change", ({ target }) => {
  const input = /** @type {HTMLInputElement} */ (target);
  if (input.name === "wallet") prefer(input.value);
  if (!occupied && !standing()) showStart();
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
