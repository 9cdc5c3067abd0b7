// What the scripts of our pages keep to: ESLint's recommended rules, names that we use on purpose, and nothing that makes code or
// markup out of text. A page has no script but these, so each of them is a classic script of its own.
import js from "@eslint/js";

// Whatever else a browser has is unknown here, storage and dialogs first of all: what a script needs more is added in sight.
const browser = [
  ...["document", "window", "location", "history", "navigator", "fetch", "innerHeight", "innerWidth"],
  ...["setTimeout", "clearTimeout", "setInterval", "atob", "btoa"],
  ...["AbortController", "CustomEvent", "DataTransfer", "Event", "File", "Response", "XMLHttpRequest", "createImageBitmap"],
  ...["DOMParser", "FormData", "HTMLFormElement", "IntersectionObserver", "Node", "RadioNodeList", "URL", "URLSearchParams"],
];
const markup = ["innerHTML", "outerHTML", "insertAdjacentHTML", "setHTMLUnsafe", "parseHTMLUnsafe", "createContextualFragment", "srcdoc"];
const kept = ["localStorage", "sessionStorage", "indexedDB", "cookie", "caches"];
const asked = ["alert", "confirm", "prompt", "eval", "Function"];
const refused = [
  ...markup.map((property) => ({ property, message: "Text never becomes markup: use textContent, or move nodes of the server's page." })),
  ...kept.map((property) => ({ property, message: "A page keeps nothing in the browser." })),
  ...asked.map((property) => ({ property, message: "Neither code out of text nor a dialog of the browser." })),
  ...["write", "writeln"].map((property) => ({ object: "document", property, message: "Text never becomes markup." })),
];

export default [
  js.configs.recommended,
  {
    languageOptions: {
      ecmaVersion: 2022,
      sourceType: "script",
      globals: Object.fromEntries(browser.map((name) => [name, "readonly"])),
    },
    linterOptions: { reportUnusedDisableDirectives: "error", noInlineConfig: true },
    rules: {
      "array-callback-return": "error",
      "consistent-return": "off",
      curly: ["error", "multi-line"],
      eqeqeq: "error",
      "no-alert": "error",
      "no-console": "error",
      "no-eval": "error",
      "no-extend-native": "error",
      "no-implied-eval": "error",
      "no-loop-func": "error",
      "no-new-func": "error",
      "no-restricted-properties": ["error", ...refused],
      "no-restricted-syntax": [
        "error",
        { selector: "Literal[value=/^https?:/i]", message: "A page speaks with its own site alone, by paths." },
        { selector: "TemplateElement[value.raw=/https?:/i]", message: "A page speaks with its own site alone, by paths." },
        { selector: "CallExpression[callee.property.name='setAttribute'][arguments.0.value=/^(on|srcdoc|style)/i]", message: "No script, page or style within an attribute." },
      ],
      "no-script-url": "error",
      "no-self-compare": "error",
      "no-shadow": "error",
      "no-template-curly-in-string": "error",
      "no-throw-literal": "error",
      "no-unused-expressions": "error",
      "no-use-before-define": ["error", { functions: false, variables: false }],
      "no-var": "error",
      "prefer-const": "error",
      radix: "error",
      "require-atomic-updates": ["error", { allowProperties: true }],
      strict: ["error", "global"],
    },
  },
];
