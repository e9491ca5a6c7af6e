// The session alone: the exchanges that the Python client replays, too, and the table of states.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Calls } from "../src/calls.js";
import { TRANSITIONS, afterClose } from "../src/link.js";
import { Session } from "../src/session.js";

const folder = new URL("../../conformance/", import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
assert(names.length > 20);
for (const name of names) {
  const { says, options, steps } = JSON.parse(readFileSync(new URL(name, folder), "utf8"));
  test(`${name}: ${says}`, () => {
    const session = new Session({ ...options, random: () => 0.5 });
    for (const { at, input, effects } of steps) assert.deepEqual(JSON.parse(JSON.stringify(session.step(input, at))), effects, JSON.stringify(input));
  });
}

test("every state but the last has a way out, and every way leads to a state", () => {
  for (const [state, ways] of Object.entries(TRANSITIONS)) {
    assert.equal(Object.keys(ways).length > 0, state !== "closed");
    for (const next of Object.values(ways)) assert(next in TRANSITIONS);
  }
});

test("close codes come in ranges", () => {
  const after = (/** @type {number} */ code) => afterClose(code);
  assert.deepEqual([1001, 1006, 1012, 4000, 4099].map(after), Array(5).fill("retry"));
  assert.deepEqual([4100, 4101, 4199].map(after), Array(3).fill("refresh"));
  assert.deepEqual([1002, 1003, 1007, 1009, 4200, 4999].map(after), Array(6).fill("give up"));
});

test("the first retry is jittered over its whole range", () => {
  const delays = Array.from({ length: 200 }, () => {
    const session = new Session({ transports: ["websocket"], hasToken: false, random: Math.random });
    session.step({ type: "start" }, 0);
    session.step({ type: "event", event: { type: "welcome" } }, 1);
    const effects = session.step({ type: "down", down: { code: 1006, reason: "cut" } }, 2);
    return effects.flatMap((effect) => (effect.do === "timer" && effect.name === "retry" ? [effect.ms] : []))[0] ?? -1;
  });
  assert(Math.min(...delays) < 60 && Math.max(...delays) > 440 && Math.max(...delays) <= 500);
});

test("a thousand calls wait", () => {
  /** @type {import("../src/types.js").Effect[]} */
  const effects = [];
  const calls = new Calls(() => 0.5, (effect) => effects.push(effect));
  for (let n = 0; n <= 1000; n++) calls.add({ id: `${n}`, name: "add", data: n, timeoutMs: 1000 }, false, 0);
  const rejected = effects.flatMap((effect) => (effect.do === "rejected" ? [[effect.error.id, effect.error.code]] : []));
  assert.deepEqual(rejected, [["1000", "outbox_full"]]);
  calls.timer(1000);
  assert.equal(calls.waiting.size, 0);
});
