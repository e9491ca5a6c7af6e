// What an operator corrects: messages are redacted, rooms deleted, users erased; and the list of rooms.

import { ask } from "./ask.js";
import { button, cells, link } from "./board.js";
import { element, into, part } from "./page.js";

/** @import { Inspector } from "./inspector.js" */

/** @typedef {{room: string, epoch: string, first: number, head: number, messages: number, bytes: number, at: number,
 *   readers: number, members: number}} ListedRoom */

const LOOK_MS = 500;
const ROOMS_AT_ONCE = 50;

export class Corrections {
  /** @param {Inspector} inspector */
  constructor(inspector) {
    this.inspector = inspector;
    this.page = {
      browse: element("browse", HTMLFormElement), prefix: element("prefix", HTMLInputElement), found: element("rooms-found", HTMLElement),
      examine: element("examine", HTMLButtonElement), backup: element("backup", HTMLButtonElement), epochs: element("epochs", HTMLButtonElement),
      logFound: element("log-found", HTMLElement), roomFound: element("room-found", HTMLElement), userFound: element("user-found", HTMLElement),
    };
    this.page.browse.onsubmit = (event) => {
      event.preventDefault();
      void this.list(this.page.prefix.value.trim());
    };
    this.page.examine.onclick = () => void this.examine();
    this.page.backup.onclick = () => void this.backUp();
    this.page.epochs.onclick = () => void this.beginEpochs();
  }

  async examine() {
    await into(this.page.logFound, async () => {
      /** @type {{node: string, findings: {level: string, what: string, text: string, advice?: string}[]}} */
      const { node, findings } = await ask("admin/doctor");
      const shown = part("ul", "problems", "");
      shown.append(...findings.map(({ level, what, text, advice }) => {
        const row = part("li", level === "fault" ? "worst" : level === "ok" ? "well" : "", `${what}: ${text}`);
        if (advice) row.append(part("span", "dim", advice));
        return row;
      }));
      return [part("p", "dim", `What node ${node} finds about its machine. \`trunkline doctor --url\` also looks at the store and at proxies.`), shown];
    });
  }

  async backUp() {
    await into(this.page.logFound, async () => {
      const { path, rooms, messages, bytes } = await ask("admin/backups", {});
      return [part("p", "", `${path} is written: ${rooms.toLocaleString("en")} rooms, ${messages.toLocaleString("en")} messages, ${bytes.toLocaleString("en")} bytes.`)];
    });
  }

  async beginEpochs() {
    await this.inspector.sure("Begin new epochs?", "For a log that is an older copy of itself and could not find that out. Readers that have read further than what is left are told with a gap; the others notice nothing. It cannot be undone.", "Begin", async () => {
      await ask("admin/epochs", {});
      return "Each room goes on in a new epoch.";
    }, this.page.logFound);
  }

  /** @param {string} prefix @param {string} [after] */
  async list(prefix, after = "") {
    await into(this.page.found, async () => {
      const query = new URLSearchParams({ prefix, after, limit: String(ROOMS_AT_ONCE) });
      /** @type {{rooms: ListedRoom[], next: string | null, missing_nodes: string[]}} */
      const { rooms, next, missing_nodes: missing } = await ask(`admin/rooms?${query}`);
      if (!rooms.length) return [part("p", "dim", prefix ? `No room's name begins with ${prefix}.` : "There is no room yet.")];
      const shown = document.createElement("table");
      const head = document.createElement("tr");
      for (const name of ["room", "newest", "messages", "bytes", "last publish", "readers", "members"]) head.append(part("th", ["room", "last publish"].includes(name) ? "" : "number", name));
      shown.append(head, ...rooms.map((room) => cells([
        link(room.room, () => this.inspector.lookInto(room.room)), room.head.toLocaleString("en"), room.messages.toLocaleString("en"), room.bytes.toLocaleString("en"),
        new Date(room.at).toLocaleString([], { hour12: false }), String(room.readers), String(room.members),
      ], "lnnn-nn")));
      const scroll = part("div", "scroll", "");
      scroll.append(shown);
      const parts = [scroll];
      const turn = part("p", "actions", "");
      if (after) turn.append(button("First page", () => this.list(prefix)));
      if (next !== null) turn.append(button("Next page", () => this.list(prefix, next)));
      if (turn.childElementCount) parts.push(turn);
      if (missing.length) parts.push(part("p", "bad", `Not counted: the readers of ${missing.join(", ")}, which did not answer.`));
      return parts;
    });
  }

  /** @param {string} room @param {{offset: number, from: string | null}} message @param {string} epoch */
  async redact(room, { offset, from }, epoch) {
    const whose = from === null ? `Message ${offset}` : `Message ${offset} of ${from}`;
    await this.inspector.sure(`Redact message ${offset}?`, `${whose} in ${room} loses its data: for all readers, on every node, and in the log's files. It keeps its place. It cannot be undone.`, "Redact", async () => {
      const done = await ask(`rooms/${encodeURIComponent(room)}/redactions`, { offset, epoch });
      return `${done.redacted.length ? `Message ${offset} is redacted.` : "There was nothing to redact."}${left(done)}`;
    }, this.page.roomFound);
  }

  /** @param {string} room */
  async delete(room) {
    await this.inspector.sure(`Delete ${room}?`, "All its messages go, for all readers and from the log's files, and its read marks with them. What is published later begins at 1. It cannot be undone.", "Delete", async () => {
      const done = await ask(`admin/rooms/${encodeURIComponent(room)}`, undefined, "DELETE");
      return `${room} is deleted, with ${done.messages.toLocaleString("en")} messages.${left(done)}`;
    }, this.page.roomFound);
  }

  /** @param {string} user */
  async erase(user) {
    await this.inspector.sure(`Erase ${user}?`, "All that they ever sent loses its data and its sender, in all rooms; their connections end, and their read marks go. What others wrote of them stays. It cannot be undone.", "Erase", async () => {
      let job = await ask("admin/erasures", { user });
      while (job.state !== "done") {
        this.page.userFound.replaceChildren(part("p", "dim", `Erasing: ${job.messages.toLocaleString("en")} messages in ${job.rooms.toLocaleString("en")} rooms until now. It goes on if you leave.`));
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        job = await ask(`admin/erasures/${job.id}`);
      }
      return `Erased: ${job.messages.toLocaleString("en")} messages in ${job.rooms.toLocaleString("en")} rooms, and ${job.marks} read marks. In the audit log: ${job.user_hash}.${left(job)}`;
    });
  }
}

/** What is not done yet. @param {{missing_nodes: string[], unpurged: string[]}} done */
function left({ missing_nodes: missing, unpurged }) {
  const nodes = missing.length ? ` Nodes that did not answer may show it until they do: ${missing.join(", ")}.` : "";
  return nodes + (unpurged.length ? ` Still there: ${unpurged.join("; ")}.` : "");
}
