/** @typedef {keyof typeof DRIVERS} Kind */
/** @param {Kind} transport @returns {(wire: Wire, joins: Join[]) => Driver} */
export function shared(transport: Kind): (wire: Wire, joins: Join[]) => Driver;
export type Kind = keyof typeof DRIVERS;
import type { Wire } from "./websocket.js";
import type { Join } from "./types.js";
import type { Driver } from "./websocket.js";
import { DRIVERS } from "./requests.js";
