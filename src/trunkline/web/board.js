// What the dashboard shows of all nodes: what is wrong, figures, charts and lists.

import { Chart, short } from "./chart.js";
import { element, part } from "./page.js";

/** @import { Inspector } from "./inspector.js" */

/** Five seconds of all nodes.
 * @typedef {{at: number, nodes: number, connections: Record<string, number>, published: number, delivered: number,
 *   connects: number, closes: number, gaps: Record<string, number>, refusals: Record<string, number>,
 *   publish: (number | null)[], delivery: (number | null)[]}} Step */
/** A process. @typedef {{name: string, host: string, pid: number, version: string, started: number, heard_ms: number,
 *   end: "" | "left" | "died", is_draining: boolean, connections: Record<string, number>, sockets: number, rooms: number,
 *   readers: number, stalled: number, in_flight: number, unreadable: string, unwritable: string,
 *   store_waiting_s: number, loop_delay_s: number | null, cpu_share: number | null, memory_bytes: number | null}} Node */
/** @typedef {{session: string, user: string | null, address: string, transport: string, room: string, lag: number,
 *   behind_ms: number | null}} SlowReader */
/** A durable consumer, on all nodes. @typedef {{name: string, instances: number, rooms: number, lag: number,
 *   failures: number, set_aside: number}} Consumer */
/** Somebody's share: of a user, or of an address. @typedef {{who: string, count: number, is_user: boolean}} Share */
/** `counted_s`: over how many seconds the lists behind it go; 0 if nothing was counted yet.
 * @typedef {{now: number, node: string, sample_s: number, nodes: Node[], steps: Step[], slow_readers: SlowReader[], counted_s: number,
 *   busy_rooms: {room: string, messages: number, readers: number}[], publishers: Share[],
 *   refused: Share[], consumers?: Consumer[]}} Overview */

const STEP_MS = 5000;
const STEPS = 180;
const SILENT_MS = 7000; // three samples
const DIED_MS = 300_000; // for so long a process that is gone is something that is wrong
const LAG_MANY = 100;
const LOOP_LATE_S = 0.25;
const WAITING_S = 2;
const NODE_COLUMNS = "ll--nnnnn";
const RECENT = 3; // steps: what is said to be wrong has been so within 15 s

export class Board {
  /** @param {Inspector} inspector */
  constructor(inspector) {
    this.inspector = inspector;
    this.problems = element("problems", HTMLUListElement);
    this.figures = element("figures", HTMLElement);
    this.nodesSaid = element("nodes-said", HTMLElement);
    /** By when it began. @type {Map<number, Step>} */
    this.steps = new Map();
    const charts = element("charts", HTMLElement);
    charts.replaceChildren();
    this.charts = {
      connections: new Chart(charts, "Connections", "", "Streams, and polls that wait, by transport"),
      messages: new Chart(charts, "Messages a second", "", "Published, and delivered: messages times readers"),
      publish: new Chart(charts, "Time to publish", "s", "From when a message is received until it is stored"),
      delivery: new Chart(charts, "Time to deliver", "s", "From when a message is stored until a reader's socket has it"),
      gaps: new Chart(charts, "Gaps", "", "Readers that were told of lost messages, by reason, in five seconds"),
      refusals: new Chart(charts, "Refusals", "", "Requests, commands and connections that were refused, by code, in five seconds"),
    };
    this.hasHistory = false;
    addEventListener("resize", () => Object.values(this.charts).forEach((chart) => chart.draw()));
  }

  /** @param {Overview} overview */
  show(overview) {
    this.hasHistory = true;
    for (const step of overview.steps) this.steps.set(step.at, step);
    for (const at of this.steps.keys()) if (at < overview.now - STEPS * STEP_MS || at > overview.now) this.steps.delete(at);
    this.showProblems(overview);
    this.showFigures(overview);
    this.showCharts(overview.now);
    this.showNodes(overview);
    this.showLists(overview);
  }

  /** Nothing new is known. @param {string} why */
  unknown(why) {
    const last = this.problems.querySelector(".unknown");
    const said = `What is shown is old: ${why}.`;
    if (last) last.textContent = said;
    else this.problems.prepend(part("li", "worst unknown", said));
  }

  /** @param {Overview} overview */
  showProblems({ nodes, slow_readers: slow, refused, now }) {
    /** @type {[string, string, string][]} */
    const found = [];
    for (const node of nodes) {
      const who = `Node ${node.name} (${node.host}, process ${node.pid})`;
      if (node.end === "left" || (node.end === "died" && node.heard_ms > DIED_MS)) continue;
      if (node.heard_ms > SILENT_MS) {
        const why = node.end === "died" ? "it has died, or hangs; a supervisor may have put another one in its place" : "it has died, hangs, or cannot reach the others";
        found.push(["worst", `${who} is silent`, `last heard ${ago(node.heard_ms)}: ${why}`]);
        continue;
      }
      if (node.unwritable) found.push(["worst", `${who}: nothing can be stored`, node.unwritable]);
      if (node.unreadable) found.push(["worst", `${who} cannot read the log`, node.unreadable]);
      if (!node.unreadable && !node.unwritable && node.store_waiting_s > WAITING_S) {
        found.push(["worst", `${who} waits for the log`, `for ${node.store_waiting_s} s: publishers and readers wait with it`]);
      }
      if ((node.loop_delay_s ?? 0) > LOOP_LATE_S) found.push(["", `${who} is overloaded`, `its event loop is late by ${short(node.loop_delay_s ?? 0, "s")}`]);
      if (node.is_draining) found.push(["", `${who} is stopping`, "its clients are sent to others"]);
    }
    const far = slow.filter(({ lag }) => lag >= LAG_MANY);
    if (far.length) {
      const worst = far[0];
      found.push(["", `${far.length === 1 ? "A reader is" : `${far.length} readers are`} far behind`, `${worst?.user ?? worst?.address} in ${worst?.room}, by ${worst?.lag.toLocaleString("en")} messages`]);
    }
    const unstored = this.recent(now, "refusals", ["store_unavailable"]);
    if (unstored && !found.some(([, text]) => text.includes("can be stored"))) {
      found.push(["worst", "Some messages could not be stored", `${unstored.toLocaleString("en")} refused within 15 s: a disk is nearly full, or Redis refuses writes`]);
    }
    const gaps = this.recent(now, "gaps");
    if (gaps) found.push(["", "Readers have lost messages", `${gaps} gaps within 15 s: retention is shorter than some are away or slow`]);
    const limited = this.recent(now, "refusals", ["rate_limited", "overloaded", "too_many_connections", "server_full"]);
    if (limited) {
      const who = refused.slice(0, 3).map((share) => share.who).join(", ");
      found.push(["", "Somebody asks too often", `${limited.toLocaleString("en")} refusals within 15 s${who && `; most of ${who}`}`]);
    }
    if (!found.length) found.push(["well", "All is well.", ""]);
    this.problems.parentElement?.classList.toggle("wrong", found.some(([kind]) => kind !== "well"));
    this.problems.replaceChildren(...found.map(([kind, text, more]) => {
      const row = part("li", kind, text);
      if (more) row.append(part("span", "dim", more));
      return row;
    }));
    const count = found.filter(([kind]) => kind !== "well").length;
    document.title = count ? `(${count}) Trunkline: operations` : "Trunkline: operations";
  }

  /** How many there were within 15 s. @param {number} now @param {"gaps" | "refusals"} what @param {string[]} [names] */
  recent(now, what, names) {
    let sum = 0;
    for (const step of this.steps.values()) {
      if (step.at < now - RECENT * STEP_MS) continue;
      for (const [name, count] of Object.entries(step[what])) if (!names || names.includes(name)) sum += count;
    }
    return sum;
  }

  /** @param {Overview} overview */
  showFigures({ nodes, now }) {
    const expected = nodes.filter((node) => !node.end || (node.end === "died" && node.heard_ms < DIED_MS));
    const here = expected.filter((node) => node.heard_ms <= SILENT_MS);
    const of = (/** @type {number} */ sum) => `${here.length < expected.length ? "≥ " : ""}${sum.toLocaleString("en")}`;
    const sum = (/** @type {(node: Node) => number} */ of) => here.reduce((total, node) => total + of(node), 0);
    const step = this.steps.get(now - (now % STEP_MS) - STEP_MS);
    const streams = sum((node) => Object.values(node.connections).reduce((a, b) => a + b, 0));
    /** @type {[string, string][]} */
    const shown = [
      ["connections", of(streams)],
      ["processes", here.length < expected.length ? `${here.length} of ${expected.length}` : String(here.length)],
      ["published / s", step ? short(step.published / 5) : "–"],
      ["delivered / s", step ? short(step.delivered / 5) : "–"],
      ["to publish, 99 %", duration(step?.publish[1])],
      ["to deliver, 99 %", duration(step?.delivery[1])],
      ["stalled readers", of(sum((node) => node.stalled))],
      ["waiting for the log", of(sum((node) => node.in_flight))],
    ];
    this.figures.replaceChildren(...shown.map(([name, value]) => {
      const box = part("div", "", "");
      box.append(part("div", "name", name), part("div", "value", value));
      return box;
    }));
  }

  /** @param {number} now */
  showCharts(now) {
    const last = now - (now % STEP_MS);
    const times = Array.from({ length: STEPS }, (_, n) => last - (STEPS - 1 - n) * STEP_MS);
    const steps = times.map((at) => this.steps.get(at));
    // The newest step is not over: what is counted by the second would seem to fall.
    const whole = steps.map((step) => (step?.at === last ? undefined : step));
    const of = (/** @type {(Step | undefined)[]} */ list, /** @type {(step: Step) => number | null | undefined} */ value) =>
      list.map((step) => (step ? value(step) ?? null : null));
    this.charts.connections.show(times, ["websocket", "sse", "longpoll", "socketio"].map((name) => ({ name, values: of(whole, (step) => step.connections[name] ?? 0) })));
    this.charts.messages.show(times, [
      { name: "published", values: of(whole, (step) => step.published / 5) },
      { name: "delivered", values: of(whole, (step) => step.delivered / 5) },
    ]);
    for (const name of /** @type {("publish" | "delivery")[]} */ (["publish", "delivery"])) {
      this.charts[name].show(times, [
        { name: "half below", values: of(whole, (step) => step[name][0]) },
        { name: "99 % below", values: of(whole, (step) => step[name][1]) },
      ]);
    }
    for (const what of /** @type {("gaps" | "refusals")[]} */ (["gaps", "refusals"])) {
      const total = new Map();
      for (const step of steps) for (const [name, count] of Object.entries(step?.[what] ?? {})) total.set(name, (total.get(name) ?? 0) + count);
      const names = [...total.keys()].toSorted((a, b) => total.get(b) - total.get(a)).slice(0, 6);
      this.charts[what].show(times, names.map((name) => ({ name, values: of(steps, (step) => step[what][name] ?? 0) })));
    }
  }

  /** @param {Overview} overview */
  showNodes({ nodes, node: own, sample_s: everyS }) {
    const rows = nodes.toSorted((a, b) => a.started - b.started).map((node) => {
      const isSilent = node.heard_ms > SILENT_MS;
      const state = part("span", "state", node.end === "left" ? "has stopped" : isSilent ? `silent, ${ago(node.heard_ms)}` : node.is_draining ? "stopping" : node.unwritable || node.unreadable || ((node.loop_delay_s ?? 0) > LOOP_LATE_S ? "late" : "well"));
      const isBad = isSilent || node.unwritable || node.unreadable;
      const isBusy = node.is_draining || (node.loop_delay_s ?? 0) > LOOP_LATE_S;
      state.dataset.state = node.end === "left" ? "left" : isBad ? "closed" : isBusy ? "connecting" : "open";
      const unknown = node.end !== "" || isSilent;
      const row = cells([
        node.name + (node.name === own ? " (this one)" : ""), state, `${node.host} · ${node.pid}`, node.version,
        unknown ? "–" : Object.values(node.connections).reduce((a, b) => a + b, 0).toLocaleString("en"),
        unknown ? "–" : node.rooms.toLocaleString("en"),
        unknown ? "–" : duration(node.loop_delay_s),
        unknown || node.cpu_share === null ? "–" : `${Math.round(node.cpu_share * 100)} %`,
        unknown || node.memory_bytes === null ? "–" : `${Math.round(node.memory_bytes / 2 ** 20)} MB`,
      ], NODE_COLUMNS);
      if (unknown) row.className = "gone";
      return row;
    });
    table("nodes", ["node", "state", "host · process", "version", "connections", "rooms", "loop late", "CPU", "memory"], rows, "", NODE_COLUMNS);
    this.nodesSaid.textContent = `each tells of itself every ${everyS} s`;
  }

  /** @param {Overview} overview */
  showLists({ slow_readers: slow, busy_rooms: busy, publishers, refused, counted_s: countedS, consumers = [] }) {
    const { inspector } = this;
    element("consumers-card", HTMLElement).hidden = !consumers.length;
    table("consumers", ["consumer", "behind", "rooms", "instances", "failures", "set aside"], consumers.map((consumer) => cells([
      consumer.name, ...[consumer.lag, consumer.rooms, consumer.instances, consumer.failures].map((n) => n.toLocaleString("en")),
      consumer.set_aside ? link(consumer.set_aside.toLocaleString("en"), () => inspector.lookInto(`$aside.${consumer.name}`)) : "0",
    ], "lnnnnn")), "", "lnnnnn");
    const rate = (/** @type {number} */ count) => short(count / Math.max(1, countedS));
    const none = (/** @type {string} */ text) => (countedS ? text : "Counting…");
    table("slow", ["reader", "room", "behind", "", ""], slow.map((reader) => cells([
      reader.user === null ? `${reader.address} (${reader.transport})` : link(reader.user, () => inspector.findUser(reader.user ?? "")),
      link(reader.room, () => inspector.lookInto(reader.room)),
      `${reader.lag.toLocaleString("en")}${reader.behind_ms === null ? "" : `, ${duration(reader.behind_ms / 1000)}`}`,
      button("Follow", () => inspector.follow(reader.session, reader.user ?? reader.address)),
      reader.user === null ? "" : button("Kick", () => inspector.kick(reader.user ?? "")),
    ], "lln--")), "Everybody takes what they are sent.", "lln--");
    table("busy", ["room", "messages a second", "readers"], busy.map(({ room, messages, readers }) => cells([
      link(room, () => inspector.lookInto(room)), rate(messages), readers.toLocaleString("en"),
    ], "lnn")), none("Nothing was published in the last seconds."), "lnn");
    for (const [id, shares, nobody] of /** @type {[string, Share[], string][]} */ ([
      ["publishers", publishers, "No user has published in the last seconds."], ["refused", refused, "Nobody was refused in the last seconds."],
    ])) {
      table(id, [id === "refused" ? "user, or address" : "user", "a second", ""], shares.map(({ who, count, is_user: isUser }) => cells([
        isUser ? link(who, () => inspector.findUser(who)) : who, rate(count), isUser ? button("Kick", () => inspector.kick(who)) : "",
      ], "ln-")), none(nobody), "ln-");
    }
  }
}

/** @param {number | null | undefined} seconds */
function duration(seconds) {
  return seconds === null || seconds === undefined ? "–" : short(seconds, "s");
}

/** @param {number} ms */
function ago(ms) {
  return ms < 120_000 ? `${Math.round(ms / 1000)} s ago` : `${Math.round(ms / 60_000)} min ago`;
}

/** What is in each column of a table: `l`, a long text, which may be broken; `n`, a number; `-`, something short. */
const KINDS = { l: "long", n: "number", "-": "" };

/** @param {string} columns @param {number} n */
const kindOf = (columns, n) => KINDS[/** @type {"l" | "n" | "-"} */ (columns[n])] ?? "";

/** A row. @param {(string | HTMLElement)[]} contents @param {string} columns Of KINDS */
export function cells(contents, columns) {
  const row = document.createElement("tr");
  contents.forEach((content, n) => {
    const cell = part("td", kindOf(columns, n), "");
    cell.append(content);
    row.append(cell);
  });
  return row;
}

/** @param {string} id @param {string[]} heads @param {HTMLTableRowElement[]} rows @param {string} none What is said
 * without a row @param {string} columns Of KINDS */
export function table(id, heads, rows, none, columns) {
  const shown = element(id, HTMLTableElement);
  const focused = shown.contains(document.activeElement) && document.activeElement instanceof HTMLElement ? document.activeElement.dataset.key : undefined;
  if (!rows.length) {
    const cell = part("td", "dim", none);
    const row = document.createElement("tr");
    row.append(cell);
    shown.replaceChildren(row);
    return;
  }
  const head = document.createElement("thead");
  const line = document.createElement("tr");
  heads.forEach((text, n) => {
    const cell = part("th", kindOf(columns, n), text);
    cell.setAttribute("scope", "col");
    line.append(cell);
  });
  head.append(line);
  const body = document.createElement("tbody");
  body.append(...rows);
  shown.replaceChildren(head, body);
  // The table is drawn anew every two seconds, and who uses the keyboard stays where they are.
  if (focused) for (const one of shown.querySelectorAll("button")) if (one.dataset.key === focused) one.focus();
}

/** @param {string} text @param {() => void} act */
export function link(text, act) {
  return button(text, act, "link");
}

/** @param {string} text @param {() => void} act @param {string} [kind] */
export function button(text, act, kind = "quiet") {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.textContent = text;
  made.addEventListener("click", act);
  queueMicrotask(() => {
    const row = made.closest("tr");
    made.dataset.key = `${row?.cells[0]?.textContent ?? ""} ${row?.cells[1]?.textContent ?? ""} ${text}`;
  });
  return made;
}
