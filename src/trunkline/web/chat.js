// The chat: a plain WebSocket, and what it takes to lose nothing with one.
//
// Reading: the position of the last message seen goes into the URL of the next connection, so the server sends
// exactly what was missed. Writing: a message keeps its id and stays in the outbox until its ack has come; whatever
// has none is sent again on the next connection, and the id keeps it from being stored twice.

/**
 * @typedef {{type: "message", room: string, offset: number, id: string, from: string | null, at: number, data: unknown}} Message
 * @typedef {{type: "gap", from: number, to: number, reason: string, next: string}} Gap
 * @typedef {{type: "joined", epoch: string, head: number}} Joined
 * @typedef {{type: "ack", id: string, offset: number}} Ack
 * @typedef {{type: "error", code: string, message: string, id?: string}} Refusal
 * @typedef {{type: "closing", retry_after_ms: number}} Closing
 * @typedef {Message | Gap | Joined | Ack | Refusal | Closing | {type: "welcome", user: string | null} | {type: "pong"}} Event
 */

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
const CONNECT_TIMEOUT_MS = 10_000;
const WELCOME_TIMEOUT_MS = 2_000;
const OUTBOX_MAX = 500;
const SHOWN_MAX = 1000;
// Close codes after which the same client would only be closed again (PROTOCOL.md, "Close codes").
const FATAL = new Set([1002, 1003, 1007, 1009, 1010]);
// Errors that pass: the message stays in the outbox and goes out again.
const TEMPORARY = new Set(["store_unavailable", "overloaded", "shutting_down", "rate_limited"]);

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

const page = {
  enter: element("enter", HTMLFormElement),
  name: element("name", HTMLInputElement),
  room: element("room", HTMLInputElement),
  talk: element("talk", HTMLElement),
  messages: element("messages", HTMLOListElement),
  compose: element("compose", HTMLFormElement),
  text: element("text", HTMLInputElement),
  state: element("state", HTMLSpanElement),
  where: element("where", HTMLSpanElement),
  leave: element("leave", HTMLButtonElement),
  identify: element("identify", HTMLFormElement),
  why: element("why", HTMLParagraphElement),
  token: element("token", HTMLInputElement),
};

class Chat {
  /** @param {string} name @param {string} room @param {Map<string, string>} outbox what waits to be sent */
  constructor(name, room, outbox) {
    this.name = name;
    this.room = room;
    this.epoch = "";
    /** Where reading goes on; empty until the first message or gap. */
    this.position = "";
    /** Messages without an ack, by id, in the order in which they were written. @type {Map<string, string>} */
    this.outbox = outbox;
    /** Rows of our own messages, by id, until they are seen in the log. @type {Map<string, HTMLLIElement>} */
    this.rows = new Map();
    this.failures = 0;
    this.retryAfterMs = 0;
    this.over = false;
    /** @type {WebSocket | undefined} */
    this.socket = undefined;
    /** @type {number | undefined} */
    this.timer = undefined;
    /** @type {number | undefined} */
    this.unwelcome = undefined;
    /** Who the server says we are. @type {string | null} */
    this.user = null;
    this.connect();
  }

  connect() {
    if (this.over) return;
    clearTimeout(this.timer);
    this.show("connecting", this.failures ? "reconnecting…" : "connecting…");
    const start = this.position ? `since=${this.position}` : "last=50";
    const address = new URL(`rooms/${encodeURIComponent(this.room)}?${start}`, document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    this.socket = socket;
    const timeout = setTimeout(() => socket.close(), CONNECT_TIMEOUT_MS);
    socket.addEventListener("open", () => {
      clearTimeout(timeout);
      // The token goes in the first message, never into an address: addresses end up in logs.
      if (token) socket.send(JSON.stringify({ type: "auth", token }));
      // Whoever need not say who they are is welcomed with the handshake.
      else this.unwelcome = setTimeout(() => this.identify("This server asks who you are."), WELCOME_TIMEOUT_MS);
    });
    socket.addEventListener("message", (event) => {
      if (socket === this.socket) this.receive(JSON.parse(event.data));
    });
    socket.addEventListener("close", (event) => {
      clearTimeout(timeout);
      if (socket === this.socket) this.closed(event.code, event.reason);
    });
  }

  /** @param {number} code @param {string} reason */
  closed(code, reason) {
    this.socket = undefined;
    clearTimeout(this.unwelcome);
    if (this.over) return;
    if (code >= 4100 && code < 4200) {
      this.identify(`${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`);
      return;
    }
    if (FATAL.has(code) || (code >= 4200 && code < 5000)) {
      this.show("closed", `closed for good: ${reason || code}`);
      return;
    }
    // Full jitter, from the first retry on: 10,000 clients of a server that died must not come back as one.
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.failures++);
    const delay = this.retryAfterMs + Math.random() * ceiling;
    this.retryAfterMs = 0;
    const waiting = this.outbox.size ? `, ${this.outbox.size} waiting to be sent` : "";
    this.show("closed", navigator.onLine ? `connection lost, trying again${waiting}` : `offline${waiting}`);
    this.timer = setTimeout(() => this.connect(), delay);
  }

  /** Ask for a token. @param {string} why */
  identify(why) {
    this.over = true;
    clearTimeout(this.unwelcome);
    this.socket?.close();
    this.show("closed", "not connected");
    identify(why, this.outbox);
  }

  /** The network or the page has come back: do not wait for the timer. */
  wake() {
    if (!this.over && !this.socket) {
      this.failures = 0;
      this.connect();
    }
  }

  /** @param {Event} event */
  receive(event) {
    switch (event.type) {
      case "welcome":
        clearTimeout(this.unwelcome);
        if (event.user) page.where.textContent = `${event.user} in ${this.room}`;
        this.user = event.user;
        break;
      case "joined":
        this.failures = 0;
        this.epoch = event.epoch;
        this.show("open", "connected");
        page.messages.querySelector(".loading")?.remove();
        if (event.head === 0 && !this.position && !this.rows.size) this.note("Nothing here yet. Say hello.", "empty");
        for (const [id, text] of this.outbox) this.transmit(id, text);
        break;
      case "message":
        this.position = `${this.epoch}.${event.offset}`;
        this.display(event);
        break;
      case "gap":
        this.position = event.next;
        this.note(gapText(event), "gap");
        break;
      case "ack":
        this.outbox.delete(event.id);
        this.settle(event.id, "stored", `stored (#${event.offset})`);
        break;
      case "error":
        if (event.id && TEMPORARY.has(event.code)) {
          setTimeout(() => this.retry(event.id ?? ""), 1000);
        } else if (event.id) {
          this.outbox.delete(event.id);
          this.settle(event.id, "refused", `refused: ${event.message}`);
        } else {
          page.messages.querySelector(".loading")?.remove();
          this.note(event.message, "gap");
        }
        break;
      case "closing":
        this.retryAfterMs = event.retry_after_ms;
        break;
    }
  }

  /** @param {string} text */
  send(text) {
    if (this.outbox.size >= OUTBOX_MAX) {
      this.note(`${OUTBOX_MAX} messages wait already: this one was not taken`, "gap");
      return;
    }
    const id = randomId();
    this.outbox.set(id, text);
    const row = this.row(this.user ?? this.name, text, true);
    this.rows.set(id, row);
    this.settle(id, "sending", "sending…");
    this.transmit(id, text);
  }

  /** @param {string} id */
  retry(id) {
    const text = this.outbox.get(id);
    if (text !== undefined) this.transmit(id, text);
  }

  /** @param {string} id @param {string} text */
  transmit(id, text) {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ type: "message", room: this.room, id, data: { name: this.name, text } }));
    }
  }

  /** @param {Message} message */
  display(message) {
    const own = this.rows.get(message.id);
    if (own) {
      this.settle(message.id, "stored", `stored (#${message.offset})`);
      this.rows.delete(message.id);
      this.outbox.delete(message.id);
      return;
    }
    const data = /** @type {{name?: unknown, text?: unknown} | null} */ (
      typeof message.data === "object" ? message.data : { text: message.data });
    const name = message.from ?? (typeof data?.name === "string" ? data.name : "someone");
    const text = typeof data?.text === "string" ? data.text : JSON.stringify(message.data);
    const row = this.row(name, text, message.from ? message.from === this.user : name === this.name);
    fate(row, "stored", `#${message.offset}`);
  }

  /** @param {string} who @param {string} text @param {boolean} mine */
  row(who, text, mine) {
    page.messages.querySelector(".empty")?.remove();
    const row = document.createElement("li");
    if (mine) row.className = "mine";
    row.append(part("span", "who", who), part("div", "text", text), part("span", "fate", ""));
    append(row);
    return row;
  }

  /** @param {string} text @param {string} kind */
  note(text, kind) {
    const row = part("li", `note ${kind}`, text);
    append(row);
  }

  /** @param {string} id @param {string} state @param {string} text */
  settle(id, state, text) {
    const row = this.rows.get(id);
    if (row) fate(row, state, text);
  }

  /** @param {string} state @param {string} text */
  show(state, text) {
    page.state.hidden = false;
    page.state.dataset.state = state;
    page.state.textContent = text;
  }

  close() {
    this.over = true;
    clearTimeout(this.timer);
    this.socket?.close();
    this.show("closed", "not connected");
  }
}

/** @param {Gap} gap */
function gapText(gap) {
  if (gap.reason === "epoch") return "The log was started anew; what was in the old one is gone.";
  if (gap.reason === "future") return "The log ends before what you have seen; it goes on from here.";
  return `Messages #${gap.from} to #${gap.to} are gone (${gap.reason}).`;
}

/** @param {HTMLElement} row @param {string} state @param {string} text */
function fate(row, state, text) {
  const span = row.querySelector(".fate");
  if (span instanceof HTMLElement) {
    span.dataset.fate = state;
    span.textContent = text;
  }
}

/** @param {string} tag @param {string} kind @param {string} text */
function part(tag, kind, text) {
  const made = document.createElement(tag);
  made.className = kind;
  made.textContent = text;
  return made;
}

/** @param {HTMLElement} row */
function append(row) {
  const list = page.messages;
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  list.append(row);
  while (list.childElementCount > SHOWN_MAX) list.firstElementChild?.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @type {Chat | undefined} */
let chat;

let token = sessionStorage.getItem("trunkline.token") ?? "";

/** @param {string} name @param {string} room @param {Map<string, string>} outbox */
function enter(name, room, outbox) {
  localStorage.setItem("trunkline.name", name);
  page.enter.hidden = page.identify.hidden = true;
  page.talk.hidden = page.leave.hidden = false;
  page.where.textContent = `${name} in ${room}`;
  page.messages.replaceChildren(part("li", "note loading", "Loading…"));
  page.text.focus();
  chat = new Chat(name, room, outbox);
  for (const [id, text] of outbox) {
    const row = chat.row(name, text, true);
    chat.rows.set(id, row);
    chat.settle(id, "sending", "sending…");
  }
}

/** Ask for a token, then go on with what was not sent. @param {string} why @param {Map<string, string>} outbox */
function identify(why, outbox) {
  page.talk.hidden = true;
  page.identify.hidden = false;
  page.why.textContent = why;
  page.token.value = "";
  page.token.focus();
  page.identify.onsubmit = (event) => {
    event.preventDefault();
    token = page.token.value.trim();
    sessionStorage.setItem("trunkline.token", token);
    enter(page.name.value, page.room.value, outbox);
  };
}

function leave() {
  chat?.close();
  chat = undefined;
  page.enter.hidden = false;
  page.talk.hidden = page.leave.hidden = page.identify.hidden = page.state.hidden = true;
  history.replaceState(null, "", " ");
  page.where.textContent = "";
  page.room.focus();
}

page.enter.addEventListener("submit", (event) => {
  event.preventDefault();
  page.room.value = page.room.value.trim();
  page.name.value = page.name.value.trim() || "someone";
  location.hash = page.room.value;
  enter(page.name.value, page.room.value, new Map());
});
page.compose.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = page.text.value.trim();
  if (text) chat?.send(text);
  page.text.value = "";
  page.text.focus();
});
page.leave.addEventListener("click", leave);
addEventListener("online", () => chat?.wake());
addEventListener("pageshow", () => chat?.wake());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") chat?.wake();
});

page.name.value = localStorage.getItem("trunkline.name") ?? "";
if (location.hash.length > 1) {
  page.room.value = decodeURIComponent(location.hash.slice(1));
  // Whoever comes back to a room goes straight in.
  if (page.name.value && page.room.checkValidity()) enter(page.name.value, page.room.value, new Map());
}
