// What a wallet's extension leaves in a page: announcements and a provider, which passes everything on to the wallet
// itself, outside of the page.
((wallets, fallback, late, tell) => {
  if (window !== window.top) return;
  const waiting = new Map();
  const listeners = wallets.map(() => new Map());
  let last = 0;

  const provider = (wallet) => ({
    request({ method, params }) {
      return new Promise((resolve, reject) => {
        const id = ++last;
        waiting.set(id, { resolve, reject });
        tell(JSON.stringify({ wallet, id, method, params: params ?? [] }));
      });
    },
    on(event, listener) {
      const all = listeners[wallet];
      all.set(event, [...(all.get(event) ?? []), listener]);
      return this;
    },
    removeListener(event, listener) {
      const all = listeners[wallet];
      all.set(event, (all.get(event) ?? []).filter((other) => other !== listener));
      return this;
    },
  });

  const hidden = (name, value) => Object.defineProperty(window, name, { value });
  hidden("__walletAnswers", (id, error, result) => {
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (!error) return resolve?.(result);
    reject?.(Object.assign(new Error(error.message), { code: error.code }));
  });
  hidden("__walletTells", (wallet, event, data) => {
    for (const listener of listeners[wallet].get(event) ?? []) listener(data);
  });

  const providers = wallets.map((_, index) => provider(index));
  const appear = () => {
    if (fallback) {
      window.ethereum = providers[0];
      return;
    }
    const announce = () =>
      wallets.forEach((info, index) => {
        const detail = Object.freeze({ info: Object.freeze(info), provider: providers[index] });
        window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
      });
    window.addEventListener("eip6963:requestProvider", announce);
    announce();
  };
  if (late) setTimeout(appear, late);
  else appear();
})
