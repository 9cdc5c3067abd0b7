// Judge HTML with html-validate: node html_validate.mjs [CONFIG.json] FILE... Prints one finding a line; exit 1 if any.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { HtmlValidate, StaticConfigLoader } from "html-validate";

const args = process.argv.slice(2);
const name = args[0].endsWith(".json") ? args.shift() : "html-validate.json";
const config = JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));
const validator = new HtmlValidate(new StaticConfigLoader(config));
for (const file of args) {
  const report = await validator.validateFile(file);
  const findings = report.results.flatMap((result) => result.messages);
  const where = args.length > 1 ? `${basename(file)}: ` : "";
  for (const f of findings) console.log(`${where}${f.ruleId} at ${f.line}:${f.column}: ${f.message}`);
  if (findings.length) process.exitCode = 1;
}
