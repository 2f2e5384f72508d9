// What was bought: its name, its words, and HTML that takes the page's place. See docs/paywall.md, "The policy".

/** The name to save it under: of RFC 6266's two, the one that can be any text wins. */
export function filename(/** @type {string | null} */ disposition, /** @type {string} */ path, mime = "") {
  const header = disposition ?? "";
  const extended = /;\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^;\s]+)/i.exec(header);
  const plain = /;\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))/i.exec(header);
  let name = plain?.[1]?.replace(/\\(.)/g, "$1") ?? plain?.[2] ?? path.split("/").pop() ?? "";
  try {
    if (extended) name = /^u/i.test(extended[1]) ? decodeURIComponent(extended[2]) : unescape(extended[2]);
    else if (!plain) name = decodeURIComponent(name);
    // A header is read byte by byte; many servers write UTF-8 there.
    else if (!/[^\0-\xff]/.test(name)) name = decodeURIComponent(escape(name));
  } catch {
    // What is no percent-encoding stays as it is.
  }
  // What a file's name must not have, and what shows it in another order.
  const unfit = /[\p{Cc}<>:"|?*\u202a-\u202e\u2066-\u2069]/gu;
  name = name
    .replace(/^.*[/\\]/, "")
    .replace(unfit, "_")
    .replace(/^\.+/, "");
  name = name.slice(0, 150) || "download";
  // Without an ending nobody's computer knows what to open it with.
  const ending = /^(?:text|image|application)\/(?:.*\+)?([a-z]{2,8})$/.exec(mime.replace("svg+xml", "svg"))?.[1];
  return name.includes(".") || !ending ? name : `${name}.${{ plain: "txt", markdown: "md" }[ending] ?? ending}`;
}

/** JSON on several lines, its numbers as they came. What is none stays as it is, and all does where a browser cannot. */
export function indent(/** @type {string} */ json) {
  const { parse, rawJSON, stringify } = /** @type {any} */ (JSON);
  const exact = (
    /** @type {string} */ _,
    /** @type {unknown} */ value,
    /** @type {{ source: string }} */ { source },
  ) => (typeof value === "number" ? rawJSON(source) : value);
  try {
    return stringify(parse(json, exact), null, 2);
  } catch {
    return json;
  }
}

/** The policies of a Content-Security-Policy: a header joins several with commas, and each holds. */
export function policies(/** @type {string | null | undefined} */ header) {
  const read = (/** @type {string} */ policy) => {
    /** @type {Map<string, string[]>} */
    const directives = new Map();
    for (const directive of policy.split(";")) {
      const [name, ...values] = directive.split(/[\t\n\f\r ]+/).filter(Boolean);
      // What is not ASCII is skipped, and of two with one name the first holds.
      if (!name || /[^\0-\x7f]/.test(directive) || directives.has(name.toLowerCase())) continue;
      directives.set(name.toLowerCase(), values);
    }
    return directives;
  };
  return (header ?? "")
    .split(",")
    .map(read)
    .filter(({ size }) => size);
}

const NONCE = /^'nonce-([\w+/-]+={0,2})'$/i;

/** The directive that says what an element may: of scripts, or of styles. @param {Map<string, string[]>} policy */
const directive = (policy, /** @type {string} */ kind) =>
  [`${kind}-src-elem`, `${kind}-src`, "default-src"].find((name) => policy.has(name));

/**
 * Whether an element with this nonce of its own is to have ours. Where a policy has nonces for its kind, only what carries
 * one of them; else every element, and the policy, which goes along, decides about it.
 * @param {Map<string, string[]>[]} all @param {string} kind @param {string} own
 */
export function trusted(all, kind, own) {
  return all.every((policy) => {
    const sources = policy.get(directive(policy, kind) ?? "") ?? [];
    const nonces = sources.flatMap((source) => NONCE.exec(source)?.[1] ?? []);
    return !nonces.length || nonces.includes(own);
  });
}

/**
 * A policy in words, where our nonces are as good as its own.
 * @param {Map<string, string[]>} policy @param {Record<string, string>} nonces
 */
export function withNonces(policy, nonces) {
  const more = new Map(policy);
  for (const [kind, nonce] of Object.entries(nonces)) {
    const name = directive(policy, kind) ?? "";
    const sources = more.get(name) ?? [];
    if (policy.get(name)?.some((source) => NONCE.test(source))) more.set(name, [...sources, `'nonce-${nonce}'`]);
  }
  return Array.from(more, ([name, values]) => [name, ...values].join(" ")).join("; ");
}

/** What stands before everything else in HTML, to the end of its type; nothing where it has none. */
export function prologue(/** @type {string} */ html) {
  const skipped = /\s+|<!-{2}[^]*?-->|<\?[^>]*>/y;
  const type = /<!doctype[^>]*>/iy;
  while (skipped.test(html)) type.lastIndex = skipped.lastIndex;
  return type.test(html) ? html.slice(0, type.lastIndex) : "";
}

/** HTML, cut where the parser is to stop: before and behind the beginning of what may be the end of a script or a style. */
export const cut = (/** @type {string} */ html) => html.split(/(<\/(?:script|style)[\s/>])/i);

/**
 * The text of these bytes: as their first three say, or a header, or in HTML a `<meta>` among the first 1024. What nobody
 * says is UTF-8, unless it cannot be.
 * @param {Uint8Array} bytes @param {string | undefined} charset the header's
 */
export function decodeText(bytes, charset, html = false) {
  const begins = (/** @type {number[]} */ ...mark) => mark.every((byte, at) => bytes[at] === byte);
  const mark = begins(0xef, 0xbb, 0xbf)
    ? "utf-8"
    : begins(0xfe, 0xff)
      ? "utf-16be"
      : begins(0xff, 0xfe)
        ? "utf-16le"
        : "";
  const start = html ? new TextDecoder("latin1").decode(bytes.slice(0, 1024)).replace(/<!-{2}[^]*?(-->|$)/g, "") : "";
  const meta = /<meta[\s/][^>]*?charset\s*=\s*["']?\s*([^\s"'>/;]+)/i.exec(start)?.[1];
  for (const label of [mark, charset, meta?.replace(/^utf-16.*/i, "utf-8")]) {
    try {
      if (label) return new TextDecoder(label).decode(bytes);
    } catch {
      // There is no such encoding.
    }
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

/** When an element has loaded, or will not. */
const ends = (/** @type {Element} */ element) =>
  new Promise((done) => ["load", "error"].forEach((event) => element.addEventListener(event, done, { once: true })));

/** Whether a style sheet is on its way, and scripts wait for it. */
const loads = (/** @type {HTMLLinkElement} */ { href, type, sheet, disabled, media }) =>
  href && /^(text\/css)?$/i.test(type) && !sheet && !disabled && matchMedia(media || "all").matches;

/** Whether the parser waits for a script to load. */
function blocks(/** @type {HTMLScriptElement} */ script) {
  const has = (/** @type {string} */ name) => script.hasAttribute(name);
  const language = script.getAttribute("language");
  const type = script.getAttribute("type") ?? (language ? "text/" + language : "");
  return (
    has(script.namespaceURI?.endsWith("svg") ? "href" : "src") &&
    !["async", "defer", "nomodule", "for"].some(has) &&
    /^((text|application)\/(x-)?(java|ecma)script)?$/i.test(type.trim())
  );
}

/**
 * Gives HTML to a document's parser, as it came: nothing reads it but the browser. What has become a script or a style gets
 * our nonce before its end is read; about the rest the browser decides, by our policy and by the article's own.
 * @param {Document | null} doc @param {string} html @param {string | null} header
 * @param {Record<string, string>} nonces @param {any} typed a policy of Trusted Types, where there is one
 */
export async function pour(doc, html, header, nonces, typed, runs = true) {
  if (!doc) return;
  // By themselves, since an article can give its elements their names.
  const { write, close, createElement, querySelectorAll } = Document.prototype;
  const within = Element.prototype.querySelectorAll;
  const root = Object.getOwnPropertyDescriptor(Document.prototype, "documentElement")?.get;
  const { setTimeout } = window;
  const sleep = (/** @type {number} */ time) => new Promise((done) => setTimeout(done, time));
  const put = (/** @type {string} */ text) => write.call(doc, typed?.createHTML(text) ?? text);
  const all = policies(header);
  const kinds = ["script", "style"].map((kind) => doc.getElementsByTagName(kind));
  const seen = new WeakSet();
  const settled = new WeakSet();

  const stamp = (/** @type {Element | null | undefined} */ element) => {
    if (!element || seen.has(element) || !["script", "style"].includes(element.localName)) return null;
    seen.add(element);
    const made = /** @type {HTMLScriptElement} */ (element);
    if (trusted(all, made.localName, made.nonce ?? "")) made.nonce = nonces[made.localName];
    return made;
  };
  /** What the parser is in the middle of, in an open shadow root as well. @returns {HTMLScriptElement | null} */
  const inside = (/** @type {Element | null} */ element) => {
    for (let at = element; at; at = at.lastElementChild) {
      const found = (at.shadowRoot && inside(at.shadowRoot.lastElementChild)) ?? stamp(at);
      if (found) return found;
    }
    return null;
  };
  const newest = () => {
    const late = kinds.flatMap((elements) => Array.from({ length: 50 }, (_, at) => elements[elements.length - 1 - at]));
    return late.map(stamp).find(Boolean) ?? inside(root?.call(doc));
  };

  doc.open();
  /** @type {(name: string, value: Function) => void} */
  const replaced = (name, value) =>
    void Object.defineProperty(doc, name, { value, configurable: true, writable: true });
  // By itself the article could not end its own reading, and its scripts make styles that are in force at once.
  replaced("close", () => {});
  replaced("createElement", (/** @type {[string]} */ ...words) => {
    const made = createElement.apply(doc, words);
    if (made.localName === "style" && trusted(all, "style", "")) made.nonce = nonces.style;
    return made;
  });
  for (const event of ["load", "error"])
    doc.addEventListener(event, ({ target }) => target && settled.add(target), true);
  // Where the parser goes on by itself after all, it lets this look before it runs a script. A style of the article's own
  // scripts comes too late, and is read once more.
  const watch = new MutationObserver((records) => {
    for (const { addedNodes } of records)
      for (const node of addedNodes)
        if (node.nodeType === 1) {
          const element = /** @type {Element} */ (node);
          for (const made of [element, ...within.call(element, "script,style")])
            if (stamp(made)?.localName === "style" && !(/** @type {any} */ (made).sheet)) made.append("");
        }
  });
  watch.observe(doc, { childList: true, subtree: true });
  const type = prologue(html);
  put(type);
  if (all.length) {
    put("<head>");
    for (const policy of all) {
      const meta = createElement.call(doc, "meta");
      Object.assign(meta, { httpEquiv: "Content-Security-Policy", content: withNonces(policy, nonces) });
      querySelectorAll.call(doc, "head")[0].append(meta);
      // It holds on, and no style can read our nonces in it.
      meta.remove();
    }
  }
  for (const part of cut(html.slice(type.length))) {
    const element = /^<\/s/i.test(part) ? newest() : null;
    const script = runs && part.endsWith(">") && element?.localName === "script" ? element : null;
    // The parser waits for style sheets before it runs a script, and for a script from elsewhere: so do we.
    const sheets = script ? Array.from(querySelectorAll.call(doc, 'link[rel~="stylesheet" i]')) : [];
    for (const sheet of sheets) {
      if (settled.has(sheet) || !loads(/** @type {HTMLLinkElement} */ (sheet))) continue;
      await Promise.race([ends(sheet), sleep(10_000)]);
      settled.add(sheet);
    }
    const loaded = script && blocks(script) && ends(script);
    put(part);
    if (loaded) await Promise.race([loaded, sleep(30_000)]);
  }
  Reflect.deleteProperty(doc, "close");
  close.call(doc);
  return /** @type {Element | undefined} */ (root?.call(doc));
}
