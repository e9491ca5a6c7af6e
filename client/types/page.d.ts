// The public types of the page's client.
import type { Client } from "./trunkline.js";

/** The client of the page, whose application has said in it where the server is, and who asks. */
export const client: Client;
