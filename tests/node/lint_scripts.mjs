// Judge scripts of pages with ESLint: node lint_scripts.mjs FILE... Prints one finding a line; exit 1 if any.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { ESLint } from "eslint";
import config from "./eslint.config.mjs";

const linter = new ESLint({ overrideConfigFile: true, overrideConfig: config });
for (const file of process.argv.slice(2)) {
  const [result] = await linter.lintText(readFileSync(file, "utf8"), { filePath: basename(file) });
  for (const { ruleId, line, column, message } of result.messages) {
    console.log(`${basename(file)}:${line}:${column}: ${ruleId ?? "cannot be read"}: ${message}`);
  }
  if (result.messages.length) process.exitCode = 1;
}
