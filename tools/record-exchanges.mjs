// Writes into conformance/ what the session and the drivers do now. Read the difference before you commit it: these files
// say what both clients must do.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { driverOf } from "../client/test/driver_of.js";
import { Session } from "../client/src/session.js";

/** @param {string} folder @param {(options: any) => {step: (input: any, at: number) => any[]}} make */
function record(folder, make) {
  const url = new URL(`../conformance/${folder}`, import.meta.url);
  for (const name of readdirSync(url).filter((name) => name.endsWith(".json"))) {
    const { says, options, steps } = JSON.parse(readFileSync(new URL(name, url), "utf8"));
    const machine = make(options);
    const lines = steps.map(({ at, input }) => JSON.stringify({ at, input, effects: machine.step(input, at) }));
    writeFileSync(new URL(name, url), `{"says": ${JSON.stringify(says)},\n"options": ${JSON.stringify(options)},\n"steps": [\n${lines.join(",\n")}\n]}\n`);
  }
}

record("", (options) => new Session({ ...options, random: () => 0.5 }));
record("http/", driverOf);
