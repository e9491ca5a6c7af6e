// The driver that an exchange of conformance/http is about.
import { EventStreamDriver, PollDriver } from "../src/http_driver.js";

/** @param {{transport: string, token?: string, joins: any[], pollMs?: number}} options */
export function driverOf({ transport, ...options }) {
  let attempts = 0;
  const all = { ...options, waitS: transport === "longpoll" ? 25 : 0, attempt: () => `life.${++attempts}`, random: () => 0.5 };
  return transport === "sse" ? new EventStreamDriver(all) : new PollDriver(all);
}
