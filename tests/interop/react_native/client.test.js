// The client on a phone: React Native's own WebSocket, fetch and AppState, and a real server (URL).
import { AppState } from "react-native";
import http from "http";
import { ClientError, connect } from "trunkline";

const url = process.env.URL;
const clients = [];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(fact, ms = 20_000) {
  for (const end = Date.now() + ms; !fact(); await sleep(10)) if (Date.now() > end) throw new Error(`not in ${ms} ms: ${fact}`);
}

const publish = (room, data) => new Promise((done, failed) => {
  const request = http.request(`${url}/rooms/${room}`, { method: "POST", headers: { "Content-Type": "application/json" } }, (answer) => {
    answer.resume().on("end", () => (answer.statusCode < 300 ? done() : failed(new Error(`HTTP ${answer.statusCode}`))));
  });
  request.on("error", failed).end(JSON.stringify({ data }));
});

function follow(room, options = {}) {
  const heard = [];
  const client = connect(url, { netInfo: NetInfo, ...options });
  clients.push(client);
  client.room(room, { since: "start" }).on("message", ({ data }) => heard.push(data));
  return { client, heard };
}

async function online(room, options) {
  const following = follow(room, options);
  await until(() => following.client.state === "online");
  return following;
}

afterAll(() => phone.turnOff());

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

afterEach(() => {
  jest.restoreAllMocks();
  phone.isDown = phone.isMute = false;
  for (const client of clients.splice(0)) client.close();
  phone.say("active");
});

test("this is React Native's own world", () => {
  expect(WebSocket).toBe(require("react-native/Libraries/WebSocket/WebSocket").default);
  expect(AppState.addEventListener._isMockFunction).toBeUndefined();
  expect(require.resolve("trunkline")).toMatch(/src\/react-native\.js$/);
  expect([typeof crypto, typeof TextDecoder, typeof document, typeof localStorage]).toEqual(Array(4).fill("undefined"));
});

test("it reads, publishes and scrolls back", async () => {
  const { client, heard } = await online("plain");
  expect(client.transport).toBe("websocket");
  for (const n of numbers(1, 5)) await publish("plain", n);
  expect(await client.room("plain").publish("é 💬")).toBe(6);
  await until(() => heard.length === 6);
  expect(heard).toEqual([1, 2, 3, 4, 5, "é 💬"]);
  expect((await client.room("plain").before(3)).map(({ data }) => data)).toEqual([1, 2]);
});

test.each(["takeSockets", "freezeSockets"])("in the background (%s), and in front again: each message once", async (what) => {
  const { heard } = await online(`background-${what}`);
  phone.say("background");
  phone[what]();
  for (const n of numbers(1, 20)) await publish(`background-${what}`, n);
  phone.say("inactive");
  const opened = phone.opened;
  phone.say("active");
  await until(() => heard.length === 20);
  expect(heard).toEqual(numbers(1, 20));
  expect(phone.opened - opened).toBeLessThanOrEqual(1);
});

test("in front again it does not wait for its next attempt", async () => {
  const random = Math.random;
  let drawn; // the client keeps Math.random from its beginning
  jest.spyOn(Math, "random").mockImplementation(() => drawn ?? random());
  const { client, heard } = await online("patience");
  drawn = 0.99; // the longest pauses: half a second, 1.5, 3.5, …
  phone.isDown = true;
  phone.say("background");
  phone.takeSockets();
  await publish("patience", 1);
  const waits = [];
  client.on("state", ({ retryMs }) => retryMs && waits.push(retryMs));
  await until(() => waits.some((ms) => ms > 1500));
  phone.isDown = false;
  const began = Date.now();
  phone.say("active");
  await until(() => heard.length === 1);
  expect(Date.now() - began).toBeLessThan(1000);
});

test("another network: the socket of the one before is given up at once, and nothing is lost", async () => {
  const { client, heard } = await online("network");
  phone.freezeSockets();
  await publish("network", 1);
  const stored = client.room("network").publish(2); // into a socket that leads nowhere
  const reasons = [];
  client.on("state", ({ text }) => reasons.push(text));
  phone.changeNetwork({ type: "none", isConnected: false, details: null });
  phone.changeNetwork({ type: "cellular", isConnected: true, details: {} });
  await until(() => heard.length === 2);
  expect(await stored).toBe(2);
  expect(heard).toEqual([1, 2]);
  expect(reasons[0]).toBe("the network has changed");
});

test("another network in the middle of an attempt: it stays with WebSocket", async () => {
  const { client, heard } = await online("middle");
  phone.isMute = true;
  phone.takeSockets();
  await until(() => client.state === "connecting");
  await publish("middle", 1);
  phone.isMute = false;
  phone.changeNetwork({ type: "wifi", isConnected: true, details: { ipAddress: "10.0.0.9" } });
  await until(() => heard.length === 1);
  expect(client.transport).toBe("websocket");
});

test("long away: what was there is not asked any more", async () => {
  const { client, heard } = await online("long");
  phone.say("background");
  phone.freezeSockets();
  await publish("long", 1);
  const now = Date.now;
  jest.spyOn(Date, "now").mockImplementation(() => now() + 3_600_000);
  const states = [];
  client.on("state", ({ state }) => states.push(state));
  phone.say("active");
  expect(states).toEqual(["waiting", "connecting"]);
  await until(() => heard.length === 1);
});

test("without a WebSocket it polls by React Native's fetch", async () => {
  const { client, heard } = await online("poll", { transports: ["longpoll"] });
  await publish("poll", 1);
  expect(await client.room("poll").publish("é 💬")).toBe(2);
  await until(() => heard.length === 2);
  expect(heard).toEqual([1, "é 💬"]);
});

test("headers go with the WebSocket and with requests", async () => {
  const seen = [];
  const proxy = http.createServer((request, response) => { seen.push(request.headers["x-app"]); response.writeHead(503).end(); });
  proxy.on("upgrade", (request, socket) => { seen.push(request.headers["x-app"]); socket.destroy(); });
  await new Promise((done) => proxy.listen(0, "127.0.0.1", done));
  const client = connect(`http://127.0.0.1:${proxy.address().port}`, { headers: { "X-App": "7" } });
  clients.push(client);
  await until(() => seen.length >= 3);
  expect(new Set(seen)).toEqual(new Set(["7"]));
  client.close();
  await new Promise((done) => proxy.close(done));
});

test("a closed client hears of nothing any more", async () => {
  const { client } = await online("end");
  client.close();
  const opened = phone.opened;
  phone.say("background");
  phone.say("active");
  phone.changeNetwork({ type: "wifi", isConnected: true, details: { ipAddress: "10.0.0.10" } });
  expect([phone.opened, phone.listeners.size]).toEqual([opened, 0]);
  await expect(client.room("end").publish(1)).rejects.toBeInstanceOf(ClientError);
});
