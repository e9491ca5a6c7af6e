// The drivers of event streams and polls alone: the exchanges that the Python client replays, too.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { driverOf } from "./driver_of.js";

const folder = new URL("../../conformance/http/", import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
assert(names.length >= 12);
for (const name of names) {
  const { says, options, steps } = JSON.parse(readFileSync(new URL(name, folder), "utf8"));
  test(`${name}: ${says}`, () => {
    const driver = driverOf(options);
    for (const { input, effects } of steps) assert.deepEqual(JSON.parse(JSON.stringify(driver.step(input))), effects, JSON.stringify(input));
  });
}
