// What an operator looks at and does: a room, a user's connections, one client for a minute; kick and revoke.

import { ask } from "./ask.js";
import { button, cells, link, table } from "./board.js";
import { Corrections } from "./corrections.js";
import { element, into, part } from "./page.js";

/** @import { Client, Room } from "./client/trunkline.js" */

/** @typedef {{node: string, session: string, user: string | null, address: string, transport: string, seconds: number,
 *   messages: number, gaps: number, is_full: boolean, rooms: {room: string, offset: number, lag: number}[],
 *   rooms_count: number}} Connection */
/** @typedef {{at: number, direction?: string, kind: string, bytes?: number, room?: string, id?: string, offset?: number,
 *   to?: number, code?: number | string, reason?: string, count?: number, text?: string}} Followed */

const FOLLOW_S = 60;
const EVENTS_MAX = 500;
const TEXT_MAX = 200;

export class Inspector {
  /** @param {Client} client */
  constructor(client) {
    this.client = client;
    this.page = {
      look: element("look", HTMLFormElement), room: element("room", HTMLInputElement), roomFound: element("room-found", HTMLElement),
      find: element("find", HTMLFormElement), user: element("user", HTMLInputElement), userFound: element("user-found", HTMLElement),
      followed: element("followed", HTMLElement), who: element("follow-who", HTMLElement), left: element("follow-left", HTMLElement),
      contents: element("contents", HTMLInputElement), again: element("again", HTMLButtonElement), unfollow: element("unfollow", HTMLButtonElement),
      sure: element("sure", HTMLDialogElement), sureTitle: element("sure-title", HTMLElement), sureText: element("sure-text", HTMLElement), yes: element("yes", HTMLButtonElement),
    };
    /** @type {Followed[]} */
    this.events = [];
    this.session = "";
    this.until = 0;
    /** @type {Room | undefined} */
    this.following = undefined;
    const { look, room, find, user, again, unfollow, contents } = this.page;
    look.onsubmit = (event) => {
      event.preventDefault();
      void this.lookInto(room.value.trim());
    };
    find.onsubmit = (event) => {
      event.preventDefault();
      void this.findUser(user.value.trim());
    };
    again.onclick = () => void this.goOn();
    contents.onchange = () => void this.goOn();
    unfollow.onclick = () => this.stop();
    setInterval(() => this.showLeft(), 1000);
    this.corrections = new Corrections(this);
  }

  /** @param {string} name */
  async lookInto(name) {
    const { room, roomFound } = this.page;
    room.value = name;
    await into(roomFound, async () => {
      const found = await ask(`admin/rooms/${encodeURIComponent(name)}?last=20`);
      const said = part("p", "", `${found.head === 0 ? "No message was ever published here." : `Its newest message is ${found.head.toLocaleString("en")}`}${found.head ? ` of epoch ${found.epoch}.` : ""}`);
      const shown = document.createElement("table");
      shown.className = "stack";
      shown.append(...found.messages.toReversed().map((/** @type {any} */ message) => {
        const data = document.createElement("pre");
        const text = JSON.stringify(message.data);
        data.textContent = text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
        return cells([String(message.offset), message.from === null ? "–" : link(message.from, () => this.findUser(message.from)), new Date(message.at).toLocaleTimeString([], { hour12: false }), message.redacted ? part("span", "dim", "redacted") : data,
          message.redacted || name.startsWith("$") ? "" : button("Redact", () => this.corrections.redact(name, message, found.epoch), "danger")], "nl-l-");
      }));
      const messages = part("div", "scroll", "");
      messages.append(shown);
      const readers = this.connections(found.readers, "Nobody reads it by a stream.", found);
      const members = part("p", "dim", found.members_count ? `${found.members_count} members: ${found.members.slice(0, 20).map((/** @type {any} */ one) => one.member).join(", ")}` : "Nobody is shown as a member.");
      const actions = part("p", "actions", "");
      if (found.head && !name.startsWith("$")) actions.append(button("Delete the room", () => this.corrections.delete(name), "danger"));
      return [said, part("h3", "", "Readers"), ...readers, members, part("h3", "", "Newest messages"), messages, actions];
    });
    roomFound.scrollIntoView({ block: "nearest" });
  }

  /** @param {string} name */
  async findUser(name) {
    const { user, userFound } = this.page;
    user.value = name;
    await into(userFound, async () => {
      const found = await ask(`admin/connections?user=${encodeURIComponent(name)}`);
      const actions = part("p", "actions", "");
      if (found.connections.length) actions.append(button("Kick", () => this.kick(name), "danger"));
      actions.append(button("Revoke tokens", () => this.revoke(name), "danger"));
      actions.append(button("Erase", () => this.corrections.erase(name), "danger"));
      return [...this.connections(found.connections, `${name} has no stream open.`, found), actions];
    });
    userFound.scrollIntoView({ block: "nearest" });
  }

  /** @param {Connection[]} found @param {string} none @param {{missing_nodes: string[], has_more: boolean}} about */
  connections(found, none, { missing_nodes: missing, has_more: hasMore }) {
    const parts = [];
    if (!found.length) parts.push(part("p", "dim", none));
    else {
      const scroll = part("div", "scroll", "");
      const shown = document.createElement("table");
      shown.className = "stack";
      shown.append(...found.map((one) => cells([
        one.user === null ? one.address : link(one.user, () => this.findUser(one.user ?? "")), `${one.transport}, ${one.address}`, `${since(one.seconds)}, ${one.messages.toLocaleString("en")} messages`,
        one.rooms.map(({ room, lag }) => (lag ? `${room} (${lag.toLocaleString("en")} behind)` : room)).join(", ") + (one.rooms_count > one.rooms.length ? ` and ${one.rooms_count - one.rooms.length} more` : ""),
        button("Follow", () => this.follow(one.session, one.user ?? one.address)),
      ], "l--l-")));
      scroll.append(shown);
      parts.push(scroll);
    }
    if (hasMore) parts.push(part("p", "dim", "There are more than are listed here."));
    if (missing.length) parts.push(part("p", "bad", `Not known: what ${missing.join(", ")} would have said. ${missing.length === 1 ? "That node does" : "Those nodes do"} not answer.`));
    return parts;
  }

  // Doing.

  /** @param {string} user */
  async kick(user) {
    await this.sure(`Kick ${user}?`, "All their connections end now, on every node. Their tokens stay valid, so they can come back.", "Kick", async () => {
      const { connections, missing_nodes: missing } = await ask("disconnect", { user });
      return `${connections} connection${connections === 1 ? "" : "s"} of ${user} ended.${missing.length ? ` Not answered: ${missing.join(", ")}.` : ""}`;
    });
  }

  /** @param {string} user */
  async revoke(user) {
    await this.sure(`Revoke all tokens of ${user}?`, "Every token that they were issued until now is refused from now on, and their connections end. It cannot be undone: they must log in again.", "Revoke", async () => {
      const { connections } = await ask("revoke", { user });
      return `The tokens of ${user} are revoked; ${connections} connection${connections === 1 ? "" : "s"} ended.`;
    });
  }

  /** @param {string} title @param {string} text @param {string} verb @param {() => Promise<string>} act
   * @param {HTMLElement} [place] where the outcome is shown */
  async sure(title, text, verb, act, place = this.page.userFound) {
    const { sure, sureTitle, sureText, yes } = this.page;
    sureTitle.textContent = title;
    sureText.textContent = text;
    yes.textContent = verb;
    sure.returnValue = "no";
    sure.showModal();
    await new Promise((resolve) => sure.addEventListener("close", resolve, { once: true }));
    if (sure.returnValue !== "yes") return;
    await into(place, async () => [part("p", "", await act())]);
    place.scrollIntoView({ block: "nearest" });
  }

  // Following.

  /** @param {string} session @param {string} who */
  async follow(session, who) {
    this.stop();
    const { followed, contents } = this.page;
    this.session = session;
    this.page.who.textContent = `${who} (${session})`;
    this.events = [];
    contents.checked = false;
    followed.hidden = false;
    this.following = this.client.room(`$follow.${session}`, { since: "now" });
    this.following.on("signal", ({ data }) => {
      this.events.push(...data);
      if (data.some((/** @type {Followed} */ event) => event.kind === "ended")) {
        this.until = 0;
        this.page.left.textContent = "it has ended";
      }
      this.events.splice(0, this.events.length - EVENTS_MAX);
      this.showEvents();
    });
    this.showEvents();
    await this.goOn();
    followed.scrollIntoView({ block: "nearest" });
    this.page.unfollow.focus();
  }

  async goOn() {
    try {
      await ask("admin/follow", { session: this.session, contents: this.page.contents.checked });
      this.until = Date.now() + FOLLOW_S * 1000;
    } catch (error) {
      this.until = 0;
      this.page.left.textContent = error instanceof Error ? error.message : "";
    }
    this.showLeft();
  }

  stop() {
    this.following?.close();
    this.following = undefined;
    this.session = "";
    this.page.followed.hidden = true;
  }

  showLeft() {
    if (!this.session || !this.until) return;
    const left = Math.round((this.until - Date.now()) / 1000);
    this.page.left.textContent = left > 0 ? `for ${left} s` : "the minute is over";
  }

  showEvents() {
    table("events", ["time", "", "what", "room", "bytes", "more"], this.events.toReversed().map((event) => {
      const more = event.text === undefined ? part("span", "dim", "") : document.createElement("pre");
      more.textContent = event.text ?? ([event.id && `id ${event.id}`, event.code !== undefined && `code ${event.code}`, event.reason, event.count && `${event.count} events more than can be shown`].filter(Boolean).join(", "));
      const offsets = event.offset === undefined ? "" : event.to === undefined || event.to === event.offset ? ` ${event.offset}` : ` ${event.offset}–${event.to}`;
      const time = new Date(event.at);
      return cells([
        `${time.toLocaleTimeString([], { hour12: false })}.${String(time.getMilliseconds()).padStart(3, "0")}`,
        event.kind === "ended" ? "" : event.direction === "in" ? "← from it" : event.direction === "out" ? "→ to it" : "", event.kind + offsets, event.room ?? "", String(event.bytes || ""), more,
      ], "---lnl");
    }), "Nothing yet: whatever it sends or is sent stands here at once.", "---lnl");
  }
}

/** @param {number} seconds */
function since(seconds) {
  return seconds < 120 ? `${Math.round(seconds)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
