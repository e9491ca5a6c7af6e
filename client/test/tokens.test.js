// Tokens that end, and what they permit that changes. Needs a server that asks for them: `URL` and `SECRET` in the environment.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, test } from "node:test";
import { WebSocket } from "ws";
import { connect } from "../src/trunkline.js";
import { until } from "./until.js";

/** @import { Transport } from "../src/types.js" */

const url = String(process.env.URL);
const EVERYWHERE = { read: ["*"], write: ["*"], presence: ["*"], signal: ["*"] };

/** @param {string} user @param {number} seconds @param {object} [rooms] */
function token(user, seconds, rooms) {
  const part = (/** @type {object} */ value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Date.now() / 1000;
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now, exp: now + seconds, rooms: { ...EVERYWHERE, ...rooms } })}`;
  return `${body}.${createHmac("sha256", String(process.env.SECRET)).update(body).digest("base64url")}`;
}

/** @param {Transport} transport @param {() => string} getToken */
function open(transport, getToken) {
  return connect(url, { transports: [transport], WebSocket: /** @type {any} */ (WebSocket), pollMs: 50, getToken });
}

describe("tokens", { concurrency: 8 }, () => {
  for (const transport of /** @type {Transport[]} */ (["websocket", "sse", "longpoll", "shortpoll"])) {
    test(`whoever reads no room has a token that is good all the same (${transport})`, async () => {
      let asked = 0;
      const client = open(transport, () => { asked++; return token("ana", 3); });
      await until(() => client.state === "online", () => client.state);
      await until(() => asked >= 3, () => asked);
      const room = client.room(`published-${transport}`);
      assert.equal(await room.publish(1), 1);
      client.close();
    });

    test(`what one token does not permit, and the next one does, goes on where it ended (${transport})`, async () => {
      const name = `regained-${transport}`;
      const other = open("websocket", () => token("ben", 600));
      const watched = other.room(name, { presence: "watch" });
      await watched.publish(1);
      const permitted = [{}, { read: ["none"] }, { presence: ["none"] }, {}];
      let given = 0;
      const client = open(transport, () => token("ana", 3, permitted[Math.min(given++, 3)]));
      /** @type {any[]} */
      const told = [];
      const room = client.room(name, { since: "start", presence: { name: "Ana" } });
      room.on("message", ({ offset }) => told.push(offset));
      room.on("error", ({ code }) => told.push(code));
      await until(() => watched.members.has("ana"), () => told);
      await until(() => told.includes("forbidden"), () => told);
      await watched.publish(2);
      await until(() => told.includes(2), () => told);
      await until(() => given >= 4 && watched.members.has("ana"), () => [given, told, ...watched.members.keys()]);
      await until(() => room.members.has("ben") || room.members.has("ana"));
      await watched.publish(3);
      await until(() => told.includes(3), () => told);
      assert.deepEqual(told.filter((one) => typeof one === "number"), [1, 2, 3]);
      assert.equal(client.state, "online");
      client.close();
      other.close();
    });
  }
});
