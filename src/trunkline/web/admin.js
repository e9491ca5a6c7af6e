// The dashboard: what the nodes tell in the room $overview, drawn; and what an operator does about it.

import { ask, borrow, Refused, signIn, signOut } from "./ask.js";
import { Board } from "./board.js";
import { Inspector } from "./inspector.js";
import { connectHere, element, keepToken, showState, token } from "./page.js";

/** @import { Overview } from "./board.js" */

const SILENT_MS = 6000;
const ASK_MS = 2000;
const RENEW_MS = 30_000;
let isLent = false; // the token is one for the browser's cookie

const page = {
  state: element("state", HTMLElement),
  answered: element("answered", HTMLElement),
  leave: element("leave", HTMLButtonElement),
  enter: element("enter", HTMLFormElement),
  token: element("token", HTMLInputElement),
  why: element("why", HTMLElement),
  nobody: element("nobody", HTMLElement),
  board: element("board", HTMLElement),
};

/** @param {string} why */
function showEntrance(why) {
  page.board.hidden = true;
  page.nobody.hidden = true;
  page.leave.hidden = true;
  page.enter.hidden = false;
  page.why.textContent = why;
  page.token.focus();
}

async function start() {
  if (document.body.classList.contains("open")) {
    page.nobody.hidden = false; // without authentication there is no administrator
    return;
  }
  const isOfCookie = !token() || isLent;
  if (isOfCookie) {
    try {
      await borrow();
      isLent = true;
    } catch (error) {
      showEntrance(error instanceof Refused && error.status === 401 ? "" : String(error instanceof Error ? error.message : error));
      return;
    }
  }
  const client = connectHere(isOfCookie ? { getToken: borrow } : {});
  const timerOfToken = isOfCookie ? setInterval(() => void borrow().catch(() => {}), RENEW_MS) : undefined;
  const inspector = new Inspector(client);
  const board = new Board(inspector);
  let heardAt = 0;

  /** @param {Overview} overview */
  const show = (overview) => {
    page.enter.hidden = true;
    page.board.hidden = false;
    page.leave.hidden = false;
    board.show(overview);
    page.answered.textContent = `${new Date(overview.now).toLocaleTimeString([], { hour12: false })}, as node ${overview.node} knows it`;
  };

  // Signals are quick; where they do not come (a node that hangs, a proxy that buffers), the page asks.
  const askAll = async () => {
    try {
      show(await ask("admin/overview"));
    } catch (error) {
      if (!(error instanceof Refused)) board.unknown("the server does not answer");
      else if (error.status === 401) void stop(`Not accepted: ${error.message}`);
      else if (error.status === 403) void stop("That token is not an administrator's: make one with --admin.");
      else board.unknown(error.message);
    }
  };
  const timer = setInterval(() => {
    if (Date.now() - heardAt > SILENT_MS && !document.hidden) void askAll();
  }, ASK_MS);

  /** Show the entrance; returns when the cookie is taken away. @param {string} why */
  const stop = (why) => {
    clearInterval(timer);
    clearInterval(timerOfToken);
    isLent = false;
    const signedOut = signOut();
    client.close();
    keepToken("");
    page.state.hidden = true;
    page.answered.textContent = "";
    showEntrance(why);
    return signedOut;
  };
  page.leave.onclick = async () => {
    await stop("");
    location.reload(); // what was shown is to be gone
  };

  let was = "";
  client.on("state", (change) => {
    showState(page.state, change, client);
    if (change.state === "online" && was !== "online") void askAll(); // another node may know another past
    was = change.state;
  });
  client.room("$overview", { since: "now" }).on("signal", ({ name, data }) => {
    if (name !== "overview") return;
    heardAt = Date.now();
    if (board.hasHistory) show(data);
  });
  void askAll();
}

page.enter.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = page.token.value.trim();
  page.token.value = "";
  if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(text)) keepToken(text); // a JWT; a code has no two dots
  else {
    try {
      await signIn(text);
      isLent = true;
    } catch (error) {
      showEntrance(`Not accepted: ${error instanceof Error ? error.message : error}`);
      return;
    }
  }
  await start();
});

void start();
