// The drivers of event streams and polls alone: the exchanges that the Python client replays, too.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { HttpLink } from "../src/http.js";
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

for (const body of [{}, null, 5, { next: "a=e.0", messages: null }]) {
  test(`an answer that makes no sense ends the connection: ${JSON.stringify(body)}`, () => {
    const driver = driverOf({ transport: "longpoll", joins: [{ room: "a", start: { since: "e.0" }, presence: false }] });
    const request = driver.step({ type: "start" }).find((effect) => effect.do === "request");
    const effects = driver.step({ type: "answer", id: request.id, body });
    assert.equal(effects.at(-1).down.reason, "internal");
  });
}

test("a session that cannot take an event gets a new connection", () => {
  const downs = [];
  const given = [];
  const driver = {
    step: ({ type }) => {
      given.push(type);
      return type === "close" ? [{ do: "cancel" }] : [{ do: "event", event: { type: "welcome" } }];
    },
  };
  const wire = {
    event() {
      throw new Error("cannot take it");
    },
    down: (down) => downs.push(down.reason),
  };
  new HttpLink(wire, driver).step({ type: "start" });
  assert.deepEqual([given, downs], [["start", "close"], ["internal"]]);
});
