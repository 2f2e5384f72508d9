import js from "@eslint/js";
import noUnsanitized from "eslint-plugin-no-unsanitized";
import globals from "globals";

export default [
  { ignores: ["paywall.min.js"] },
  js.configs.recommended,
  noUnsanitized.configs.recommended,
  { files: ["*.test.js", "eslint.config.js", "build.mjs"], languageOptions: { globals: globals.node } },
  {
    files: ["paywall.js", "wire.js", "wallet.js", "bought.js"],
    languageOptions: { globals: globals.browser, ecmaVersion: 2024 },
  },
  {
    files: ["paywall.js", "wire.js", "wallet.js", "bought.js"],
    rules: {
      eqeqeq: ["error", "always"],
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-script-url": "error",
      "prefer-const": "error",
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "outerHTML"].map((property) => ({ property, message: "Text is text: use textContent." })),
      ],
    },
  },
];
