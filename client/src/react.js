// A React hook: `const { messages, publish } = useRoom(client, "general")`.

/** @import { Change, JoinOptions, Member, Message } from "./types.js" */
/** @import { Client, Room } from "./trunkline.js" */
import { useCallback, useEffect, useRef, useState } from "react";
import { redact } from "./redaction.js";

const SHOWN_MAX = 1000;

/** How many components use a room of a client: it is left with the last one. @type {WeakMap<Room, number>} */
const users = new WeakMap();

/**
 * Follow a room for as long as the component is mounted. Mounting twice at once, as StrictMode does, joins once.
 * @param {Client} client made once, outside of components @param {string} name
 * @param {JoinOptions & {max?: number}} [options] `max`: messages that are kept, 1000 by default
 * @returns {{messages: Message[], members: Member[], state: Change["state"], error: string | null,
 *   publish: (data: any) => Promise<number>, signal: (name: string, data?: any) => void, seen: (offset: number) => void}}
 */
export function useRoom(client, name, options = {}) {
  const [messages, setMessages] = useState(/** @type {Message[]} */ ([]));
  const [members, setMembers] = useState(/** @type {Member[]} */ ([]));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const [state, setState] = useState(client.state);
  const wanted = useRef(options);
  wanted.current = options;
  useEffect(() => {
    const { max = SHOWN_MAX, ...join } = wanted.current;
    /** @type {Room} */
    let room;
    try {
      room = client.room(name, { ...join, keep: max });
    } catch (refused) {
      setError(/** @type {Error} */ (refused).message);
      return undefined;
    }
    users.set(room, (users.get(room) ?? 0) + 1);
    setMessages(room.history.slice(-max));
    setMembers([...room.members.values()]);
    setError(null);
    setState(client.state);
    const stops = [
      room.on("message", (message) => setMessages((before) => [...before, message].slice(-max))),
      room.on("redacted", (redacted) => setMessages((before) => redact(before, redacted))),
      room.on("presence", () => setMembers([...room.members.values()])),
      room.on("error", ({ about, message }) => about !== "signal" && setError(message)),
      client.on("state", (change) => setState(change.state)),
    ];
    return () => {
      stops.forEach((stop) => stop());
      // Not at once: a component that mounts again in the same breath reads on.
      setTimeout(() => {
        const left = (users.get(room) ?? 1) - 1;
        users.set(room, left);
        if (!left) room.close();
      });
    };
  }, [client, name]);
  return {
    messages, members, state, error,
    publish: useCallback(async (data) => client.room(name).publish(data), [client, name]),
    signal: useCallback((kind, data) => client.room(name).signal(kind, data), [client, name]),
    seen: useCallback((offset) => client.room(name).seen(offset), [client, name]),
  };
}
