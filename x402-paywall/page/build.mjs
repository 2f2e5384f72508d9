// Makes paywall.min.js, which is what the crate ships, of paywall.js: `node build.mjs`, or `--check` that it is up to date.
import { readFile, writeFile } from "node:fs/promises";
import { minify } from "terser";

const source = await readFile("paywall.js", "utf8");
// The exports are for tests.
const plain = source.replace(/^export /gm, "");
const { code } = await minify(plain, { module: true, ecma: 2020, compress: { passes: 3 }, format: { ascii_only: false } });
const made = `${code}\n`;
if (process.argv.includes("--check")) {
  if ((await readFile("paywall.min.js", "utf8")) !== made) {
    console.error("paywall.min.js is not what paywall.js makes: run `npm run build` and commit it");
    process.exit(1);
  }
} else {
  await writeFile("paywall.min.js", made);
}
