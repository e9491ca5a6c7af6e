// The public types are those of the code: for the type checker alone.
import * as code from "../src/trunkline.js";
import { useRoom } from "../src/react.js";
import type * as types from "../types/trunkline.js";
import type * as react from "../types/react.js";
import * as native from "../src/react-native.js";
import type * as nativeTypes from "../types/react-native.js";

type Public<T> = { [K in keyof T]: T[K] };

const client: Public<types.Client> = code.connect("/");
const room: Public<types.Room> = code.connect("/").room("general");
const error: types.ClientError = new code.ClientError({ code: "closed", message: "" });
const make: (url: string | URL, options?: types.Options) => Public<types.Client> = code.connect;
const makeNative: (...given: Parameters<typeof nativeTypes.connect>) => Public<types.Client> = native.connect;
const hook: (client: code.Client, ...more: [string, (types.JoinOptions & { max?: number })?]) => ReturnType<typeof react.useRoom> = useRoom;

export { client, error, hook, make, makeNative, room };
