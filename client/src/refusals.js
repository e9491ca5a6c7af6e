// Refusals: which of them pass, and when the same is sent again.

/** @import { Refusal } from "./types.js" */

const RESEND_MS = 1000;
/** Codes of refusals that have changed nothing, and that pass; of `network` it is not known what was done. */
export const TEMPORARY = new Set(["store_unavailable", "overloaded", "shutting_down", "rate_limited", "too_many_calls", "too_many_connections", "server_full", "network"]);

/** Whether a message, a read mark or a room may be taken later. @param {Refusal} error */
export function passes({ code, retry_after_ms }) {
  return TEMPORARY.has(code) || code === "internal" || Boolean(retry_after_ms);
}

/** How long to wait before the same is sent again. @param {Refusal} error @param {() => number} random */
export function pauseMs({ retry_after_ms = RESEND_MS }, random) {
  return Math.round(retry_after_ms * (1 + random()));
}
