// The client of a page that was made by an application, which has said in the page where the server is, and who asks:
//
//   <script type="application/json" id="trunkline">{"url": "/realtime", "token": "…", "token_url": "/token"}</script>
//   <script type="module">
//     import { client } from "/realtime/client/page.js";

import { ClientError, connect } from "./trunkline.js";

/** @typedef {{url: string, token?: string, token_url?: string}} Settings */

/** @returns {Settings} */
function settings() {
  const text = document.getElementById("trunkline")?.textContent;
  if (!text) throw new ClientError({ code: "config", message: 'the page has no <script type="application/json" id="trunkline">' });
  return JSON.parse(text);
}

const { url, token: first, token_url } = settings();
let token = first;

/** The token of the page, and then those that the application gives. */
async function getToken() {
  const given = token;
  token = undefined; // a second time it is asked for because the first has ended
  if (given || !token_url) return given ?? null;
  const response = await fetch(token_url, { credentials: "same-origin", cache: "no-store" });
  if (!response.ok) throw Object.assign(new Error(`the application gives no token: HTTP ${response.status}`), { status: response.status });
  return (await response.json()).token;
}

/** The page's client. */
export const client = connect(url, first || token_url ? { getToken } : {});
