// The client for React Native. An application is one file there, so nothing is loaded later; what the page's visibility is
// in a browser, `AppState` is here; and its `fetch` gives no streams, so there are no event streams.

/** @import { Options } from "./client.js" */
import { AppState } from "react-native";
import { Client } from "./client.js";
import { DRIVERS } from "./http.js";

export { Client, ClientError, ROOM_NAME, Room, TrunklineError } from "./client.js";

const GONE_MS = 10_000; // in the background: phones have taken the sockets of an application by then

/**
 * What this needs of `@react-native-community/netinfo`.
 * @typedef {{type: string, isConnected: boolean | null, details?: any}} Network
 * @typedef {{addEventListener: (listener: (network: Network) => void) => () => void}} NetInfo
 */

/** Connect to a server, and stay connected.
 * @param {string | URL} url @param {Options & {netInfo?: NetInfo}} [options] `netInfo`: what
 *   `@react-native-community/netinfo` exports, to come back at once, too, when the phone changes networks */
export function connect(url, { netInfo, ...options } = {}) {
  return new Client(url, { transports: ["websocket", "longpoll", "shortpoll"], ...options }, {
    load: async (transport) => DRIVERS[transport],
    watch(wake) {
      const stops = [watchState(wake), netInfo?.addEventListener(networkListener(wake))];
      return () => stops.forEach((stop) => stop?.());
    },
  });
}

/** @param {(reason: string, stale?: boolean) => void} wake */
function watchState(wake) {
  let awaySince = AppState.currentState === "background" ? Date.now() : 0;
  const subscription = AppState.addEventListener("change", (state) => {
    if (state === "background") awaySince ||= Date.now();
    if (state !== "active" || !awaySince) return; // "inactive" is on the way, or a call that rings
    wake("the application is in front again", Date.now() - awaySince > GONE_MS);
    awaySince = 0;
  });
  return () => subscription.remove();
}

/** @param {(reason: string, stale?: boolean) => void} wake @returns {(network: Network) => void} */
function networkListener(wake) {
  /** @type {string | undefined} */
  let before;
  return ({ type, isConnected, details }) => {
    if (isConnected == null) return; // it is not known yet
    const now = isConnected ? `${type} ${details?.ipAddress ?? ""}` : "";
    if (now && before !== undefined && now !== before) wake("the network has changed", true); // its sockets are gone with it
    before = now;
  };
}
