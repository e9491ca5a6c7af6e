// An application's code, for the type checker alone: what must compile does, and what must not does not.
import { connect, type Client, type ClientError, type Room } from "../types/trunkline.js";

type Chat = { text: string };

const client: Client = connect("https://rooms.example.com", { getToken: async () => "token", transports: ["websocket", "sse"] });
const room: Room<Chat> = client.room<Chat>("general", { last: 50, presence: { name: "Ana" } });
const stop: () => void = room.on("message", ({ offset, from, data }) => console.log(offset.toFixed(), from?.length, data.text));
room.on("redacted", ({ redacts, erased }) => console.log(redacts.includes(3), erased === true));
room.on("gap", ({ from, to, reason }) => console.log(to - from, reason === "trimmed"));
client.on("state", ({ state, retryMs }) => console.log(state === "online", retryMs ?? 0));
room.publish({ text: "Hello!" }).then((offset: number) => offset, (error: ClientError) => error.code);
room.signal("typing");
room.seen(3);
const placed: Promise<{ order: number }> = client.call<{ order: number }>("order.place", { cups: 2 }, { timeoutMs: 5000, id: "order-7", signal: AbortSignal.timeout(1000) });
const counts: Promise<{ room: string; unread: number }[]> = client.unread(["general"]);

// @ts-expect-error there is no such transport
connect("/", { transports: ["carrier pigeon"] });
// @ts-expect-error nor such an event
room.on("massage", () => {});
// @ts-expect-error a position is no object
client.room("general", { since: {} });
// @ts-expect-error its data is something else
room.publish("Hello!");
// @ts-expect-error internals are none of the application's business
client.step({ type: "start" });
// @ts-expect-error a time-out is a number
client.call("add", [1, 2], { timeoutMs: "5 s" });
// @ts-expect-error an offset is a number
room.seen("3");

export { counts, placed, stop };
