// Makes paywall.min.js, which is what the crate ships, of the modules: `node build.mjs`, or `--check` that it is up to date.
import { readFile, writeFile } from "node:fs/promises";
import { minify } from "terser";

// In this order, in which each imports those before it alone.
const names = [
  ...["wire.js", "wallet.js", "bought.js", "dom.js", "store.js", "provider.js", "view.js", "receipt.js", "finding.js"],
  ...["signing.js", "delivery.js", "paywall.js"],
];
const modules = await Promise.all(names.map((name) => readFile(name, "utf8")));
modules.forEach((module, at) => {
  for (const [, name] of module.matchAll(/^(?:import .*|}) from "\.\/(.*)";$/gm))
    if (!names.slice(0, at).includes(name)) throw new Error(`${names[at]} imports ${name}, which does not come before it`);
});
// In one module there is nothing to import.
const plain = modules
  .join("\n")
  .replace(/^import [^;]*;$/gm, "")
  .replace(/^export /gm, "")
  // Shorter, and nobody assigns to them here any more.
  .replace(/^const /gm, "let ");
// A name of the browser's that is used often is shortened by being an argument.
const long = [
  ...["document", "window", "Object", "Promise", "location", "Array", "String", "Boolean", "Number", "BigInt", "Math"],
  ...["TextDecoder", "addEventListener", "setTimeout"],
].join();
const { code } = await minify(`((${long})=>{${plain}})(${long})`, {
  module: true,
  ecma: 2020,
  // Nothing asks an arrow function for `this` or its length, or an object for its own copy of a method, or reads what it
  // does not use.
  compress: { passes: 6, keep_fargs: false, pure_getters: true, unsafe_arrows: true, unsafe_methods: true },
  format: { ascii_only: false },
});
const made = `${code}\n`;
if (process.argv.includes("--check")) {
  if ((await readFile("paywall.min.js", "utf8")) !== made) {
    console.error("paywall.min.js is not what the modules make: run `npm run build` and commit it");
    process.exit(1);
  }
} else {
  await writeFile("paywall.min.js", made);
}
