// Judge a mail's HTML with the data of caniemail: node can_i_email.mjs FILE. Prints what a client of ours does
// not support and the allow-list (caniemail.json) does not argue away, one feature a line; exit 1 if any.
import { readFileSync } from "node:fs";
import { caniemail } from "caniemail";

const { clients, allowed } = JSON.parse(readFileSync(new URL("caniemail.json", import.meta.url), "utf8"));
const { issues } = caniemail({ clients, html: readFileSync(process.argv[2], "utf8") });
const without = new Map();
for (const [client, found] of issues.errors) {
  for (const { title } of found) {
    if (title in allowed) continue;
    without.set(title, (without.get(title) ?? new Set()).add(client));
  }
}
for (const [title, names] of without) console.log(`${title}: not in ${[...names].sort().join(", ")}`);
process.exitCode = without.size ? 1 : 0;
