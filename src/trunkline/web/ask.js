// What the dashboard asks the server, as the administrator of this tab.

import { lend, token } from "./page.js";

/** An answer of the server that says no. */
export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Ask the server something as the administrator of this tab. @param {string} path @param {object} [body]
 * @param {string} [method] @returns {Promise<any>} */
export async function ask(path, body, method = body ? "POST" : "GET") {
  const response = await fetch(new URL(path, document.baseURI), {
    method,
    headers: { ...(token() ? { Authorization: `Bearer ${token()}` } : {}), ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : null,
    cache: "no-store",
  });
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.error?.message ?? `the server answered ${response.status}`);
  return answer;
}

const EARLY_MS = 60_000;
let lentUntil = 0;

/** Get a token for the cookie of this browser, if it has one; returns it. @returns {Promise<string>} */
export async function borrow() {
  if (Date.now() > lentUntil - EARLY_MS) {
    lend("");
    const { token: text, expires_in_s: seconds } = await ask("admin/token");
    if (!text) throw new Refused(401, "");
    lend(text);
    lentUntil = Date.now() + seconds * 1000;
  }
  return token();
}

/** Sign in with a one-time code. @param {string} code */
export async function signIn(code) {
  await ask("admin/login", { code });
  lentUntil = 0;
  await borrow();
}

/** Have the cookie taken away. */
export async function signOut() {
  lentUntil = 0;
  lend("");
  await ask("admin/logout", {}).catch(() => {}); // a server that is away takes nothing; the cookie ends by itself
}
