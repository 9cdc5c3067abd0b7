// Judge mails' HTML with the data of caniemail: node can_i_email.mjs FILE... Prints what a client of ours does
// not support and the allow-list (caniemail.json) does not argue away, one feature a line; exit 1 if any.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { caniemail } from "caniemail";

const { clients, allowed } = JSON.parse(readFileSync(new URL("caniemail.json", import.meta.url), "utf8"));
const files = process.argv.slice(2);
for (const file of files) {
  const { issues } = caniemail({ clients, html: readFileSync(file, "utf8") });
  const without = new Map();
  for (const [client, found] of issues.errors) {
    for (const { title } of found) {
      if (title in allowed) continue;
      without.set(title, (without.get(title) ?? new Set()).add(client));
    }
  }
  const where = files.length > 1 ? `${basename(file)}: ` : "";
  for (const [title, names] of without) console.log(`${where}${title}: not in ${[...names].sort().join(", ")}`);
  if (without.size) process.exitCode = 1;
}
