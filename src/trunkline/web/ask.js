// What the dashboard asks the server, as the administrator of this tab.

import { token } from "./page.js";

/** An answer of the server that says no. */
export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Ask the server something as the administrator of this tab. @param {string} path @param {object} [body]
 * @returns {Promise<any>} */
export async function ask(path, body) {
  const response = await fetch(new URL(path, document.baseURI), {
    method: body ? "POST" : "GET",
    headers: { ...(token() ? { Authorization: `Bearer ${token()}` } : {}), ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : null,
    cache: "no-store",
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.error?.message ?? `the server answered ${response.status}`);
  return answer;
}
