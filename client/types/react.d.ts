import type { Client, JoinOptions, Member, Message, State } from "./trunkline.js";

/**
 * Follow a room for as long as the component is mounted. Mounting twice at once, as StrictMode does, joins once.
 * @param client made once, outside of components
 * @param options `max`: how many messages are kept, 1000 by default
 */
export function useRoom<T = any>(
  client: Client,
  name: string,
  options?: JoinOptions & { max?: number },
): {
  messages: Message<T>[];
  members: Member[];
  state: State;
  error: string | null;
  publish: (data: T) => Promise<number>;
  signal: (name: string, data?: any) => void;
  seen: (offset: number) => void;
};
