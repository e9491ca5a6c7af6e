// The public types of the client for React Native.
import type { Client, Options } from "./trunkline.js";

export * from "./trunkline.js";

/** What `@react-native-community/netinfo` tells. */
export interface Network {
  type: string;
  isConnected: boolean | null;
  details?: any;
}

/** What the client needs of `@react-native-community/netinfo`. */
export interface NetInfo {
  addEventListener(listener: (network: Network) => void): () => void;
}

/** Connect to a server, and stay connected.
 * @param options `netInfo`: the package's export, to come back at once, too, when the phone changes networks */
export function connect(url: string | URL, options?: Options & { netInfo?: NetInfo }): Client;
