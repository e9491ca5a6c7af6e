// The chat, on the client: rooms with unread badges, who is there, who is typing, and of each message what became of it.

/** @import { Change, Gap, Message } from "./client/types.js" */
/** @import { Client, Room } from "./client/trunkline.js" */
import { randomId } from "./client/id.js";
import { redact } from "./client/redaction.js";
import { ROOM_NAME } from "./client/trunkline.js";
import { Network } from "./network.js";
import { clientId, connectHere, element, keepToken, nameOfAddress, part, showState } from "./page.js";

const SHOWN_MAX = 1000;
const EARLIER = 50;
const ROOMS_MAX = 20;
const TYPING_EVERY_MS = 2000;
const TYPING_FOR_MS = 4000;

const page = {
  enter: element("enter", HTMLFormElement),
  name: element("name", HTMLInputElement),
  room: element("room", HTMLInputElement),
  talk: element("talk", HTMLElement),
  rooms: element("rooms", HTMLUListElement),
  addRoom: element("add-room", HTMLFormElement),
  newRoom: element("new-room", HTMLInputElement),
  people: element("people", HTMLUListElement),
  peopleCount: element("people-count", HTMLElement),
  messages: element("messages", HTMLOListElement),
  below: element("below", HTMLButtonElement),
  typing: element("typing", HTMLElement),
  compose: element("compose", HTMLFormElement),
  text: element("text", HTMLInputElement),
  state: element("state", HTMLElement),
  where: element("where", HTMLElement),
  leave: element("leave", HTMLButtonElement),
  tunnel: element("tunnel", HTMLInputElement),
  identify: element("identify", HTMLFormElement),
  why: element("why", HTMLElement),
  token: element("token", HTMLInputElement),
};

/** @typedef {{room: Room, entries: (Message | Gap)[], head: number, seen: number, joined: boolean, error: string,
 *   loading: boolean, typing: Map<string, {name: string, until: number}>}} Talk */

class Chat {
  /** @param {string} name @param {string[]} rooms @param {string} room @param {string | undefined} id */
  constructor(name, rooms, room, id) {
    this.name = name;
    this.network = new Network();
    this.client = connectHere({ clientId: id, persist: true, WebSocket: this.network.WebSocket, fetch: this.network.fetch });
    /** @type {Map<string, Talk>} */
    this.talks = new Map();
    /** What we wrote and have not read yet, by id. @type {Map<string, {room: string, text: string, refused: string}>} */
    this.mine = new Map();
    this.more = part("button", "quiet", "");
    this.more.addEventListener("click", () => this.earlier());
    part("li", "note", "").append(this.more);
    /** Names that members were seen with. @type {Map<string, string>} */
    this.names = new Map();
    /** @type {number | undefined} */
    this.shown = undefined;
    this.toEnd = false;
    /** @type {Change} */
    this.change = { state: "connecting", reason: "", text: "", transport: "websocket" };
    for (const draft of this.client.drafts) this.wrote(draft.id, draft.room, draft.data?.text ?? "");
    this.client.on("state", (change) => this.changed(change));
    this.client.on("outbox", () => this.showState());
    this.client.on("refused", ({ id = "", code, message }) => {
      const draft = this.mine.get(id);
      if (draft && code !== "closed") draft.refused = message;
      this.show();
    });
    this.client.on("stored", () => this.show());
    this.active = room;
    for (const one of new Set([...rooms, room])) this.open(one);
    this.timer = setInterval(() => this.showTyping(), 1000);
    this.typedAt = 0;
    this.showRooms();
    this.show(true);
  }

  get talk() {
    return /** @type {Talk} */ (this.talks.get(this.active));
  }

  /** @param {string} name */
  open(name) {
    if (this.talks.has(name)) return;
    const room = this.client.room(name, { last: 50, presence: { name: this.name } });
    /** @type {Talk} */
    const talk = { room, entries: [], head: 0, seen: 0, joined: false, error: "", loading: false, typing: new Map() };
    this.talks.set(name, talk);
    /** @param {Message | Gap} entry */
    const add = (entry) => {
      talk.entries.push(entry);
      if (talk.entries.length > SHOWN_MAX) talk.entries.shift();
    };
    room.on("joined", ({ head }) => {
      talk.joined = true;
      talk.error = "";
      talk.head = Math.max(talk.head, head);
      this.refresh(name);
    });
    room.on("message", (message) => {
      add(message);
      talk.head = message.offset;
      this.mine.delete(message.id);
      const from = whoOf(message);
      for (const [member, typing] of talk.typing) if (typing.name === from) talk.typing.delete(member);
      this.refresh(name);
    });
    room.on("redacted", (redacted) => {
      talk.entries = talk.entries.map((entry) => ("reason" in entry ? entry : (redact([entry], redacted)[0] ?? entry)));
      talk.head = redacted.offset;
      this.refresh(name);
    });
    room.on("gap", (gap) => { add(gap); this.refresh(name); });
    room.on("error", ({ message }) => { talk.error = message; this.refresh(name); });
    room.on("presence", () => {
      for (const [member, { data }] of room.members) this.names.set(member, nameOf(member, data));
      if (name === this.active) this.showPeople();
    });
    room.on("seen", () => this.refresh(name));
    room.on("unread", ({ seen, head }) => {
      talk.seen = Math.max(talk.seen, seen);
      talk.head = Math.max(talk.head, head);
      this.showRooms();
    });
    room.on("signal", ({ name: kind, member, from, data }) => {
      if (kind !== "typing" || member === this.client.member) return;
      if (data === false) talk.typing.delete(member);
      else talk.typing.set(member, { name: from ?? this.names.get(member) ?? "someone", until: Date.now() + TYPING_FOR_MS });
      this.showTyping();
    });
  }

  /** @param {Change} change */
  changed(change) {
    this.change = change;
    this.showState();
    if (change.state === "online") {
      if (this.client.user) page.where.textContent = `${this.client.user} in ${this.active}`;
      this.client.unread([...this.talks.keys()]).then((counts) => {
        for (const { room, seen, head } of counts) {
          const talk = this.talks.get(room);
          if (talk) [talk.seen, talk.head] = [Math.max(talk.seen, seen), Math.max(talk.head, head)];
        }
        this.refresh(this.active);
      }, () => {}); // they are counted again when something is seen
    }
    if (change.state === "closed" && change.reason === "unauthorized") identify(`${change.text.charAt(0).toUpperCase()}${change.text.slice(1)}.`);
    else if (change.state === "closed" && change.reason === "replaced") this.talk.error = "This name is used in another window now.";
    else if (change.state === "closed" && change.reason !== "close") this.talk.error = `Closed for good: ${change.text}.`;
    if (change.state === "closed") this.show();
  }

  /** @param {string} text */
  send(text) {
    const id = randomId();
    if (this.typedAt) this.talk.room.signal("typing", false); // the one before may still be on its way
    this.typedAt = 0;
    this.wrote(id, this.active, text);
    this.talk.room.publish({ name: this.name, text }, { id }).catch((error) => {
      const draft = this.mine.get(id);
      if (draft) draft.refused = error.message;
      this.show();
    });
    this.show(true);
  }

  /** @param {string} id @param {string} room @param {string} text */
  wrote(id, room, text) {
    this.mine.set(id, { room, text, refused: "" });
  }

  typed() {
    if (Date.now() - this.typedAt < TYPING_EVERY_MS) return;
    this.typedAt = Date.now();
    this.talk.room.signal("typing", true);
  }

  /** @param {string} name */
  enter(name) {
    this.open(name);
    this.active = name;
    location.hash = name;
    page.where.textContent = `${this.client.user ?? this.name} in ${name}`;
    this.show(true);
    this.showPeople();
    this.showTyping();
    page.text.focus();
  }

  /** What is shown of a room may have changed. @param {string} name */
  refresh(name) {
    if (name === this.active) this.show();
    else this.showRooms();
  }

  /** What came before the first message that is shown. */
  async earlier() {
    const { talk } = this;
    const first = firstOf(talk);
    if (talk.loading || first <= 1) return;
    talk.loading = true;
    this.show();
    try {
      const found = await talk.room.before(first, EARLIER);
      talk.entries.unshift(...(found.length ? found : [lost(talk.room.name, first)]));
    } catch {} // the button stays
    talk.loading = false;
    this.show();
  }

  /** A reader who looks at the end of a room has seen it. */
  look() {
    const { talk } = this;
    if (document.visibilityState !== "visible" || !atEnd() || talk.head <= talk.seen) return;
    talk.seen = talk.head;
    talk.room.seen(talk.head);
  }

  /** @param {boolean} [toEnd] */
  show(toEnd = false) {
    this.shown ??= requestAnimationFrame(() => {
      this.shown = undefined;
      this.draw(this.toEnd);
      this.toEnd = false;
    });
    this.toEnd ||= toEnd;
    if (document.visibilityState !== "visible") { // nothing is drawn for those who do not look, but titles count
      this.showRooms();
    }
  }

  /** @param {boolean} toEnd */
  draw(toEnd) {
    const { talk } = this;
    const stay = !toEnd && !atEnd();
    const fromEnd = page.messages.scrollHeight - page.messages.scrollTop;
    const before = page.messages.querySelector("[data-offset]");
    const rows = talk.entries.map((entry) => ("reason" in entry ? part("li", "note gap", gapText(entry)) : this.row(entry)));
    for (const [id, { room, text, refused }] of this.mine) {
      if (room !== this.active) continue;
      const [kind, fate] = refused ? ["refused", `refused: ${refused}`] : this.change.state === "online" ? ["sending", "sending…"] : ["sending", "waiting for the network"];
      rows.push(message(this.client.user ?? this.name, text, true, kind, fate, Date.now()));
    }
    if (talk.error) rows.push(part("li", "note gap", talk.error));
    else if (!rows.length) rows.push(talk.joined ? part("li", "note empty", "Nothing here yet. Say hello.") : part("li", "note loading", "Loading…"));
    const top = page.messages.scrollTop;
    this.more.textContent = talk.loading ? "Loading…" : "Earlier messages";
    const row = /** @type {HTMLElement} */ (this.more.parentElement);
    // The button stays where it is while the rest is drawn anew: it may have the focus, or be under a finger.
    if (firstOf(talk) <= 1) row.remove();
    else if (!row.parentElement) page.messages.prepend(row);
    for (const old of [...page.messages.children]) if (old !== row) old.remove();
    page.messages.append(...rows);
    // What is put in front moves what is read; what comes behind does not.
    const moved = before && page.messages.querySelector("[data-offset]")?.getAttribute("data-offset") !== before.getAttribute("data-offset");
    page.messages.scrollTop = !stay ? page.messages.scrollHeight : moved ? page.messages.scrollHeight - fromEnd : top;
    this.look();
    const unread = atEnd() ? 0 : Math.max(0, talk.head - talk.seen);
    page.below.hidden = !unread;
    page.below.textContent = `${unread} new ↓`;
    this.showRooms();
  }

  /** @param {Message} entry */
  row(entry) {
    const data = typeof entry.data === "object" && entry.data ? entry.data : { text: entry.data };
    const text = entry.redacted ? "redacted" : typeof data.text === "string" ? data.text : JSON.stringify(entry.data);
    const mine = entry.from ? entry.from === this.client.user : whoOf(entry) === this.name;
    const readers = [...this.talk.room.marks].filter(([member, offset]) => offset >= entry.offset && member !== this.client.member);
    const names = readers.flatMap(([member]) => this.names.get(member) ?? []);
    const by = names.slice(0, 3).join(", ") + (readers.length > 3 ? ` and ${readers.length - 3} more` : "");
    const fate = mine && by ? ["seen", `seen by ${by}`] : ["stored", mine ? "stored" : ""];
    const row = message(whoOf(entry), text, mine, fate[0] ?? "", `${fate[1]}${fate[1] ? " · " : ""}#${entry.offset}`, entry.at);
    row.dataset.offset = String(entry.offset);
    row.classList.toggle("redacted", entry.redacted === true);
    return row;
  }

  showPeople() {
    const members = [...this.talk.room.members.values()];
    page.peopleCount.textContent = String(members.length);
    page.people.replaceChildren(...members.map(({ member, data }) => {
      const row = part("li", "", nameOf(member, data));
      row.title = row.textContent ?? "";
      if (member === this.client.member) row.append(part("span", "dim", " (you)"));
      return row;
    }));
  }

  showTyping() {
    const now = Date.now();
    const names = [...this.talk.typing.values()].filter(({ until }) => until > now).map(({ name }) => name);
    const text = names.length ? `${names.slice(0, 3).join(", ")} ${names.length > 1 ? "are" : "is"} typing…` : "";
    if (page.typing.textContent !== text) page.typing.textContent = text;
  }

  showRooms() {
    let all = 0;
    page.rooms.replaceChildren(...[...this.talks].map(([name, talk]) => {
      const row = document.createElement("li");
      const button = part("button", "", "");
      button.append(part("span", "name", name));
      button.title = name;
      if (name === this.active) button.setAttribute("aria-current", "true");
      const unread = Math.max(0, talk.head - talk.seen);
      if (unread) {
        all += unread;
        const badge = part("span", "badge", unread > 999 ? "999+" : String(unread));
        badge.setAttribute("aria-label", `, ${unread} unread`);
        button.append(badge);
      }
      button.addEventListener("click", () => this.enter(name));
      row.append(button);
      return row;
    }));
    document.title = all ? `(${all}) Trunkline chat` : "Trunkline chat";
    localStorage.setItem("trunkline.rooms", JSON.stringify([...this.talks.keys()].slice(0, ROOMS_MAX)));
  }

  showState() {
    showState(page.state, this.change, this.client);
    if (this.network.tunnel && this.change.state !== "online") page.state.textContent = `in the tunnel${this.client.waiting ? `, ${this.client.waiting} waiting` : ""}`;
  }

  close() {
    clearInterval(this.timer);
    this.client.close();
  }
}

/** @param {string} who @param {string} text @param {boolean} mine @param {string} kind @param {string} fate @param {number} at */
function message(who, text, mine, kind, fate, at) {
  const row = document.createElement("li");
  if (mine) row.className = "mine";
  const foot = part("span", "fate", fate);
  foot.dataset.fate = kind;
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  const time = document.createElement("time");
  time.dateTime = date.toISOString();
  time.title = date.toLocaleString();
  time.textContent = `${today ? "" : `${date.toLocaleDateString()} `}${date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
  row.append(part("span", "who", who), time, part("div", "text", text), foot);
  return row;
}

/** The offset of the first message that is shown, or behind a gap before it. @param {Talk} talk */
function firstOf({ entries }) {
  const [first] = entries;
  return first ? ("reason" in first ? first.from : first.offset) : 0;
}

/** What is not retained any more. @param {string} room @param {number} first @returns {Gap} */
function lost(room, first) {
  return { room, epoch: "", from: 1, to: first - 1, reason: "trimmed", next: "" };
}

/** @param {Message} entry */
function whoOf({ from, data }) {
  return from ?? (typeof data?.name === "string" ? data.name : "someone");
}

/** @param {string} member @param {any} data */
function nameOf(member, data) {
  if (!member.startsWith("~")) return member;
  return typeof data?.name === "string" && data.name ? data.name : "someone";
}

/** @param {Gap} gap */
function gapText(gap) {
  if (gap.reason === "epoch") return "The log was started anew; what was in the old one is gone.";
  if (gap.reason === "future") return "The log ends before what you have seen; it goes on from here.";
  return `Messages #${gap.from} to #${gap.to} are gone (${gap.reason}).`;
}

function atEnd() {
  const list = page.messages;
  return list.scrollHeight - list.scrollTop - list.clientHeight < 80;
}

/** @type {Chat | undefined} */
let chat;
const identity = clientId();

/** @param {string} name @param {string} room */
async function enter(name, room) {
  localStorage.setItem("trunkline.name", name); // what the next tab is offered
  sessionStorage.setItem("trunkline.name", name); // who this one is, also after a reload
  page.enter.hidden = page.identify.hidden = true;
  page.talk.hidden = page.leave.hidden = false;
  page.where.textContent = `${name} in ${room}`;
  page.tunnel.checked = false;
  page.text.focus();
  /** @type {string[]} */
  let rooms = [];
  try {
    rooms = JSON.parse(localStorage.getItem("trunkline.rooms") ?? "[]").filter((/** @type {string} */ one) => ROOM_NAME.test(one));
  } catch {} // of another page
  const id = await identity;
  chat?.close();
  chat = new Chat(name, rooms.slice(0, ROOMS_MAX - 1), room, id);
}

/** Ask for a token. @param {string} why */
function identify(why) {
  page.talk.hidden = true;
  page.identify.hidden = false;
  page.why.textContent = why;
  page.token.value = "";
  page.token.focus();
}

function leave() {
  chat?.close();
  chat = undefined;
  page.enter.hidden = false;
  page.talk.hidden = page.leave.hidden = page.identify.hidden = page.state.hidden = true;
  history.replaceState(null, "", " ");
  page.where.textContent = "";
  page.name.focus();
}

page.enter.addEventListener("submit", (event) => {
  event.preventDefault();
  page.room.value = page.room.value.trim();
  page.name.value = page.name.value.trim() || "someone";
  location.hash = page.room.value;
  enter(page.name.value, page.room.value);
});
page.identify.addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(page.token.value.trim());
  enter(page.name.value, chat?.active ?? page.room.value);
});
page.addRoom.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = page.newRoom.value.trim();
  if (name && chat && (chat.talks.has(name) || chat.talks.size < ROOMS_MAX)) chat.enter(name);
  page.newRoom.value = "";
});
page.compose.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = page.text.value.trim();
  if (text) chat?.send(text);
  page.text.value = "";
  page.text.focus();
});
page.text.addEventListener("input", () => { if (page.text.value) chat?.typed(); });
page.tunnel.addEventListener("change", () => {
  chat?.network.set("tunnel", page.tunnel.checked);
  if (!page.tunnel.checked) chat?.client.wake("out of the tunnel");
  chat?.showState();
  chat?.show();
});
page.leave.addEventListener("click", leave);
page.below.addEventListener("click", () => chat?.show(true));
page.messages.addEventListener("scroll", () => { if (atEnd() && !page.below.hidden) chat?.show(); });
document.addEventListener("visibilitychange", () => chat?.show());

addEventListener("hashchange", () => {
  const name = nameOfAddress();
  if (!chat || name === chat.active) return;
  if (ROOM_NAME.test(name) && (chat.talks.has(name) || chat.talks.size < ROOMS_MAX)) chat.enter(name);
  else location.hash = chat.active;
});

const own = sessionStorage.getItem("trunkline.name");
page.name.value = own ?? localStorage.getItem("trunkline.name") ?? "";
if (nameOfAddress()) {
  page.room.value = nameOfAddress();
  // A user who comes back to a room goes straight in.
  if (own && page.room.checkValidity()) enter(page.name.value, page.room.value);
}
