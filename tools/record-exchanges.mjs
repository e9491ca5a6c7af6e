// Writes into conformance/*.json what the session does now. Read the difference before you commit it: these files say
// what both clients must do.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { Session } from "../client/src/session.js";

const folder = new URL("../conformance/", import.meta.url);
for (const name of readdirSync(folder).filter((name) => name.endsWith(".json"))) {
  const exchange = JSON.parse(readFileSync(new URL(name, folder), "utf8"));
  const session = new Session({ ...exchange.options, random: () => 0.5 });
  const steps = exchange.steps.map(({ at, input }) => JSON.stringify({ at, input, effects: session.step(input, at) }));
  const { says, options } = exchange;
  writeFileSync(new URL(name, folder), `{"says": ${JSON.stringify(says)},\n"options": ${JSON.stringify(options)},\n"steps": [\n${steps.join(",\n")}\n]}\n`);
}
