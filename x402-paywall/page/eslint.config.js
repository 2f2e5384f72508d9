import js from "@eslint/js";
import noUnsanitized from "eslint-plugin-no-unsanitized";
import globals from "globals";

const tools = ["*.test.js", "eslint.config.js", "build.mjs"];

export default [
  { ignores: ["paywall.min.js"] },
  js.configs.recommended,
  noUnsanitized.configs.recommended,
  { files: tools, languageOptions: { globals: globals.node } },
  {
    files: ["*.js"],
    ignores: tools,
    languageOptions: { globals: globals.browser, ecmaVersion: 2024 },
  },
  {
    files: ["*.js"],
    ignores: tools,
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
