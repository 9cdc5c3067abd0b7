// Judge a mail's HTML with html-validate: node html_validate.mjs FILE. Prints one finding a line; exit 1 if any.
import { readFileSync } from "node:fs";
import { HtmlValidate, StaticConfigLoader } from "html-validate";

const config = JSON.parse(readFileSync(new URL("html-validate.json", import.meta.url), "utf8"));
const validator = new HtmlValidate(new StaticConfigLoader(config));
const report = await validator.validateFile(process.argv[2]);
const findings = report.results.flatMap((result) => result.messages);
for (const f of findings) console.log(`${f.ruleId} at ${f.line}:${f.column}: ${f.message}`);
process.exitCode = findings.length ? 1 : 0;
