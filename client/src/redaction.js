// What is left of messages that were redacted.

/** @import { Message, Redacted } from "./types.js" */

/** What an event says, and no more. @param {Redacted} event @returns {Redacted} */
export function redactedOf({ room, offset, at, redacts, erased }) {
  return erased ? { room, offset, at, redacts, erased } : { room, offset, at, redacts };
}

/** Take the data of messages away. @param {Message[]} messages @param {Redacted} event @returns {Message[]} */
export function redact(messages, { redacts, erased }) {
  const offsets = new Set(redacts);
  return messages.map((message) => {
    if (!offsets.has(message.offset)) return message;
    const { room, offset, id, from, at } = message;
    return { room, offset, id: erased ? "" : id, from: erased ? null : from, at, data: null, redacted: true };
  });
}
