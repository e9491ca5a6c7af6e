// The transport lab: the same room by WebSocket, Server-Sent Events, long poll and short poll, side by side.
// Each lane is what one would write with what the browser has. Below them is our client, with a network that can be
// made worse.

import { randomId } from "./client/id.js";
import { Network } from "./network.js";
import { connectHere, element, showState, token as tokenOf } from "./page.js";

/** @typedef {{offset: number, data: {sent?: number} | null}} Message */

const PLOTTED = 60;
const KEPT = 2000;
const PAUSE_MS = 1000;

const room = `lab-${randomId().slice(0, 8)}`;
const address = new URL(`rooms/${room}`, document.baseURI);
// The chat keeps it here, if the server asks for one. It goes into headers, never into an address.
const token = tokenOf();
/** @type {Record<string, string>} */
const authorization = token ? { Authorization: `Bearer ${token}` } : {};
const controls = element("controls", HTMLFormElement);
const rate = element("rate", HTMLSelectElement);
const interval = element("interval", HTMLSelectElement);
const status = element("published", HTMLSpanElement);
const now = () => performance.timeOrigin + performance.now();
/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One lane: its figures and its plot. */
class Lane {
  /** @param {string} name @param {string} how */
  constructor(name, how) {
    this.requests = 0;
    this.bytes = 0;
    this.messages = 0;
    this.lastOffset = 0;
    this.wrong = 0;
    /** @type {number[]} */
    this.delays = [];
    this.card = document.createElement("section");
    this.card.className = "lane";
    this.card.dataset.lane = name;
    this.card.innerHTML = `
      <header><h2></h2><span class="state" data-state="connecting">connecting</span></header>
      <p class="empty"></p>
      <dl>
        <div><dt>messages</dt><dd data-figure="messages">0</dd></div>
        <div><dt>median delay</dt><dd data-figure="median">–</dd></div>
        <div><dt>worst delay</dt><dd data-figure="worst">–</dd></div>
        <div><dt>requests</dt><dd data-figure="requests">0</dd></div>
        <div><dt>bytes / message</dt><dd data-figure="bytes">–</dd></div>
        <div><dt>lost or repeated</dt><dd data-figure="wrong">0</dd></div>
      </dl>
      <svg role="img"></svg>`;
    const title = this.card.querySelector("h2");
    const text = this.card.querySelector(".empty");
    if (title) title.textContent = name;
    if (text) text.textContent = how;
    element("lanes", HTMLDivElement).append(this.card);
    this.draw();
  }

  /** @param {Message} message */
  saw(message) {
    if (message.offset !== this.lastOffset + 1) this.wrong++;
    this.lastOffset = message.offset;
    this.messages++;
    if (typeof message.data?.sent === "number") {
      this.delays.push(Math.max(0.1, now() - message.data.sent));
      if (this.delays.length > KEPT) this.delays.shift();
    }
  }

  /** @param {"open" | "connecting" | "closed"} state @param {string} text */
  state(state, text) {
    const shown = this.card.querySelector(".state");
    if (shown instanceof HTMLElement) {
      shown.dataset.state = state;
      shown.textContent = text;
    }
  }

  draw() {
    const sorted = this.delays.toSorted((a, b) => a - b);
    this.figure("messages", String(this.messages));
    this.figure("requests", String(this.requests));
    this.figure("wrong", String(this.wrong));
    this.figure("median", milliseconds(sorted[Math.floor(sorted.length / 2)]));
    this.figure("worst", milliseconds(sorted.at(-1)));
    this.figure("bytes", this.messages ? Math.round(this.bytes / this.messages).toLocaleString("en") : "–");
    const plot = this.card.querySelector("svg");
    if (!plot) return;
    const width = plot.clientWidth || 400;
    plot.setAttribute("viewBox", `0 0 ${width} 110`);
    const grid = [1, 10, 100, 1000, 10_000].map((ms) =>
      `<line class="grid" x1="48" x2="${width}" y1="${height(ms)}" y2="${height(ms)}"/>` +
      `<text x="0" y="${height(ms) + 3}">${ms < 1000 ? `${ms} ms` : `${ms / 1000} s`}</text>`);
    const shown = this.delays.slice(-PLOTTED);
    const dots = shown.map((ms, i) => `<circle r="2.4" cx="${56 + (i * (width - 64)) / PLOTTED}" cy="${height(ms)}"/>`);
    plot.innerHTML = grid.join("") + dots.join("");
    plot.setAttribute("aria-label", `delays of the last ${shown.length} messages, 1 ms to 10 s`);
  }

  /** @param {string} name @param {string} text */
  figure(name, text) {
    const shown = this.card.querySelector(`[data-figure="${name}"]`);
    if (shown) shown.textContent = text;
  }
}

/** @param {number} ms */
function height(ms) {
  return 100 - (Math.log10(Math.min(Math.max(ms, 1), 10_000)) / 4) * 90;
}

/** @param {number | undefined} ms */
function milliseconds(ms) {
  if (ms === undefined) return "–";
  return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** @param {Lane} lane */
function followByWebSocket(lane) {
  lane.requests++;
  const url = new URL(`${address}?since=${lane.lastOffset}`);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, token ? ["trunkline.v1", `trunkline.token.${token}`] : []);
  socket.addEventListener("open", () => lane.state("open", "connected"));
  socket.addEventListener("message", (event) => {
    const size = new Blob([event.data]).size;
    lane.bytes += size + (size < 126 ? 2 : size < 65_536 ? 4 : 10);
    const message = JSON.parse(event.data);
    if (message.type === "message") lane.saw(message);
  });
  socket.addEventListener("close", () => {
    lane.state("closed", "reconnecting");
    setTimeout(() => followByWebSocket(lane), PAUSE_MS * Math.random());
  });
}

/** @param {Lane} lane */
async function followByEvents(lane) {
  lane.requests++;
  let start = `since=${lane.lastOffset}`;
  if (token) {
    // An EventSource sets no headers: it gets a ticket, which is good once.
    const response = await fetch(new URL("tickets", document.baseURI), { method: "POST", headers: authorization });
    if (response.ok) start += `&ticket=${(await response.json()).ticket}`;
  }
  const source = new EventSource(`${address}?${start}`);
  source.addEventListener("open", () => lane.state("open", "connected"));
  source.addEventListener("message", (event) => {
    lane.bytes += new Blob([event.data]).size + event.lastEventId.length + "id: \ndata: \n\n".length;
    lane.saw(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    lane.requests++; // it comes back by itself, with the id of the last event
    lane.state("closed", "reconnecting");
    if (token || source.readyState === EventSource.CLOSED) {
      source.close();
      setTimeout(() => followByEvents(lane).catch(() => lane.state("closed", "stopped")), PAUSE_MS);
    }
  });
}

/** @param {Lane} lane @param {() => string} wait @param {() => number} rest */
async function followByPolls(lane, wait, rest) {
  let since = "0";
  for (;;) {
    try {
      lane.requests++;
      const url = `${address}?since=${since}&limit=1000${wait()}`;
      const response = await fetch(url, { headers: authorization });
      const body = await response.text();
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      let head = "HTTP/1.1 200 OK\r\n\r\n".length;
      for (const [name, value] of response.headers) head += name.length + value.length + 4;
      lane.bytes += head + new Blob([body]).size;
      const page = JSON.parse(body);
      since = page.next;
      page.messages.forEach((/** @type {Message} */ message) => lane.saw(message));
      lane.state("open", wait() ? "waiting for the next" : "between two polls");
      await pause(rest());
    } catch {
      lane.state("closed", "trying again");
      await pause(PAUSE_MS);
    }
  }
}

// The client, with what is on its way at the visitor's fingertips.

const card = element("fallback", HTMLElement);
const way = element("way", HTMLElement);
const changes = element("changes", HTMLOListElement);
const seen = { messages: 0, last: 0, wrong: 0 };

/** @param {string} name @param {string} text */
function figure(name, text) {
  const shown = card.querySelector(`[data-figure="${name}"]`);
  if (shown) shown.textContent = text;
}

function followByClient() {
  const network = new Network();
  const client = connectHere({ WebSocket: network.WebSocket, fetch: network.fetch, share: false, remember: false });
  client.on("state", (change) => {
    const { state, transport, reason, text, retryMs } = change;
    showState(way, change, client);
    way.textContent = state === "online" ? `by ${transport}` : state;
    figure("by", state === "online" ? transport : "–");
    const row = document.createElement("li");
    row.textContent = `${new Date().toLocaleTimeString()}  ${state}, ${transport} (${reason}): ${text}${retryMs === undefined ? "" : `, again in ${retryMs} ms`}`;
    changes.prepend(row);
    if (changes.childElementCount > 100) changes.lastElementChild?.remove();
  });
  client.room(room, { since: "start" }).on("message", ({ offset }) => {
    if (offset !== seen.last + 1) seen.wrong++;
    seen.last = offset;
    figure("messages", String(++seen.messages));
    figure("wrong", String(seen.wrong));
  });
  card.addEventListener("change", ({ target }) => {
    if (!(target instanceof HTMLInputElement)) return;
    const what = /** @type {"tunnel" | "noWebSocket" | "holdsStreams"} */ (target.dataset.trouble);
    network.set(what, target.checked);
    if (!target.checked) client.wake("the network has changed");
  });
}

let published = 0;
async function publish() {
  const data = { sent: now(), n: published + 1 };
  try {
    const response = await fetch(address, {
      method: "POST", headers: { "Content-Type": "application/json", ...authorization }, body: JSON.stringify({ data }),
    });
    if (response.status === 401) throw new Error("this server asks who you are; enter the chat with a token first");
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    status.textContent = `${++published} published to ${room}`;
  } catch (error) {
    status.textContent = `could not publish: ${error instanceof Error ? error.message : error}`;
  }
}

async function publishForEver() {
  for (;;) {
    const gap = Number(rate.value);
    if (gap && document.visibilityState === "visible") publish();
    await pause(gap || 200);
  }
}

const lanes = {
  websocket: new Lane("WebSocket", "one connection, both ways"),
  events: new Lane("Server-Sent Events", "one response that never ends; EventSource reconnects by itself"),
  longPoll: new Lane("Long poll", "each request waits for the next message, up to 25 s"),
  shortPoll: new Lane("Short poll", "asks again and again, mostly for nothing"),
};
controls.addEventListener("submit", (event) => {
  event.preventDefault();
  publish();
});
followByWebSocket(lanes.websocket);
followByEvents(lanes.events);
followByPolls(lanes.longPoll, () => "&wait=25", () => 0);
followByPolls(lanes.shortPoll, () => "", () => Number(interval.value));
followByClient();
publishForEver();
setInterval(() => Object.values(lanes).forEach((lane) => lane.draw()), 250);
