// What the pages share: their elements, and a client with the visitor's token.

import { randomId } from "./client/id.js";
import { connect } from "./client/trunkline.js";

/** @import { Change } from "./client/types.js" */
/** @import { Client, Options } from "./client/trunkline.js" */

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

/** @param {string} tag @param {string} kind @param {string} text */
export function part(tag, kind, text) {
  const made = document.createElement(tag);
  made.className = kind;
  made.textContent = text;
  return made;
}

/** Show what is found, or why it was not. @param {HTMLElement} place @param {() => Promise<HTMLElement[]>} find */
export async function into(place, find) {
  place.replaceChildren(part("p", "dim", "looking…"));
  try {
    place.replaceChildren(...(await find()));
  } catch (error) {
    place.replaceChildren(part("p", "bad", error instanceof Error ? error.message : String(error)));
  }
}

const TOKEN = "trunkline.token";

/** A token of a few minutes that the page has for its cookie; it is kept nowhere else. */
let lent = "";
/** @param {string} text */
export const lend = (text) => void (lent = text);

/** The token of this tab. It goes into headers and first messages, never into an address. */
export const token = () => lent || (sessionStorage.getItem(TOKEN) ?? "");
/** @param {string} text */
export const keepToken = (text) => sessionStorage.setItem(TOKEN, text);

/** A client of this page's server. A token that the server refuses is not brought again: `unauthorized` ends the client.
 * @param {Options} [options] @returns {Client} */
export function connectHere(options = {}) {
  let online = false;
  let asked = false;
  let trouble = "";
  const client = connect(document.baseURI, {
    ...options,
    ...(token() ? {
      getToken: () => {
        if (asked && !online && trouble) throw Object.assign(new Error(trouble), { status: 401 });
        asked = true;
        return options.getToken ? options.getToken() : token();
      },
    } : {}),
  });
  client.on("state", (change) => {
    online = change.state === "online";
    // What is refused for a moment only, the client tries again by itself.
    const refused = change.state === "waiting" && /token|JWT|signature|revoked|expired|issuer/i.test(change.text);
    trouble = refused && !/\byet\b/.test(change.text) ? change.text : "";
  });
  return client;
}

/** A name for this tab that is the same after a reload, and no other tab's.
 * @returns {Promise<string | undefined>} */
export async function clientId() {
  if (!navigator.locks) return undefined; // a page that is not over https
  for (let n = 1; n <= 50; n++) {
    const free = await new Promise((resolve) => {
      navigator.locks.request(`trunkline.tab ${n}`, { ifAvailable: true }, (lock) => {
        resolve(Boolean(lock));
        return lock ? new Promise(() => {}) : undefined; // held until the tab is closed
      });
    });
    if (!free) continue;
    const key = `trunkline.client ${n}`;
    const known = localStorage.getItem(key) ?? randomId();
    localStorage.setItem(key, known);
    return known;
  }
  return undefined;
}

/** Say how the connection is; where it is waiting, offer not to. @param {HTMLElement} pill @param {Change} change @param {Client} client */
export function showState(pill, change, client) {
  const { waiting } = client;
  pill.hidden = false;
  pill.dataset.state = change.state === "online" ? "open" : change.state === "connecting" ? "connecting" : "closed";
  const outbox = waiting ? `, ${waiting} waiting to be sent` : "";
  pill.textContent = {
    idle: "connecting…", connecting: `connecting…${outbox}`, online: waiting ? `connected${outbox}` : "connected",
    waiting: `${navigator.onLine ? "connection lost, trying again" : "offline"}${outbox}`, closed: "not connected",
  }[change.state];
  pill.title = `${change.text} (${change.transport})`;
  const next = pill.nextElementSibling;
  if (next instanceof HTMLButtonElement && next.className.includes("now")) {
    next.hidden = change.state !== "waiting";
    next.onclick = () => client.wake("asked to try now");
  }
}

/** What an address names behind its #, if it can be read. */
export function nameOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // a % that begins nothing
  }
}
