// A live score ticker and a notification bell: two rooms, over Server-Sent Events. What was read is kept by the server.

import { clientId, connectHere, element, part, showState } from "./page.js";

/** @import { Change } from "./client/types.js" */

const SHOWN_MAX = 50;
const MATCHES = [["Ajax", "Porto"], ["Celtic", "Lyon"], ["Basel", "Roma"], ["Malmö", "Gent"]];

const page = {
  state: element("state", HTMLElement),
  scores: element("scores", HTMLTableSectionElement),
  noScores: element("no-scores", HTMLElement),
  clock: element("clock", HTMLElement),
  play: element("play", HTMLButtonElement),
  bell: element("bell", HTMLButtonElement),
  unreadSaid: element("unread-said", HTMLElement),
  news: element("news", HTMLUListElement),
  noNews: element("no-news", HTMLElement),
  read: element("read", HTMLButtonElement),
  notify: element("notify", HTMLFormElement),
  what: element("what", HTMLInputElement),
  trouble: element("trouble", HTMLElement),
};

const client = connectHere({ clientId: await clientId(), persist: true, transports: ["sse", "longpoll", "shortpoll"] });
/** @type {Change | undefined} */
let last;
client.on("outbox", () => {
  if (last) showState(page.state, last, client);
  showWaiting();
});
client.on("state", (change) => {
  last = change;
  showState(page.state, change, client);
  showWaiting();
  if (change.state === "online") client.unread(["notifications"]).then(([count]) => count && moved(count.seen), () => {});
  if (change.state === "closed") page.trouble.textContent = `Not connected: ${change.text}. A server that asks who you are wants a token: enter the chat with one first.`;
});

// The ticker.

/** @type {Map<string, HTMLTableRowElement>} */
const rows = new Map();
const scores = client.room("scores", { last: 100 });
scores.on("message", ({ data, at }) => {
  if (typeof data?.home !== "string" || typeof data.away !== "string") return;
  page.noScores.hidden = true;
  const name = `${data.home} ${data.away}`;
  let row = rows.get(name);
  if (!row) {
    row = page.scores.insertRow();
    rows.set(name, row);
  }
  row.replaceChildren(part("td", "", data.home), part("td", "score", `${Number(data.score?.[0])} : ${Number(data.score?.[1])}`), part("td", "", data.away), part("td", "dim", `${Number(data.minute)}′`));
  row.className = "";
  void row.offsetWidth; // so that the animation begins again
  if (data.goal) row.className = "goal";
  page.clock.textContent = new Date(at).toLocaleTimeString();
});

page.play.addEventListener("click", async () => {
  page.play.disabled = true;
  const games = MATCHES.map(([home, away]) => ({ home, away, score: [0, 0], minute: 0, goal: false }));
  for (let minute = 5; minute <= 90; minute += 5) {
    for (const game of games) {
      const side = Math.random() < 0.12 ? (Math.random() < 0.5 ? 0 : 1) : -1;
      if (side >= 0) game.score[side] = (game.score[side] ?? 0) + 1;
      Object.assign(game, { minute, goal: side >= 0 });
      if (side >= 0 || minute === 5 || minute === 90) scores.publish({ ...game }).catch(trouble);
    }
    page.play.textContent = `Minute ${minute}`;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  page.play.textContent = "Play a match day";
  page.play.disabled = false;
});

// The bell.

let head = 0;
let seen = 0;
const notifications = client.room("notifications", { last: SHOWN_MAX });
notifications.on("joined", (joined) => { head = Math.max(head, joined.head); show(); });
notifications.on("unread", (count) => moved(count.seen));
notifications.on("message", ({ offset, at, data }) => {
  head = offset;
  const row = part("li", "", typeof data?.text === "string" ? data.text : JSON.stringify(data));
  row.dataset.offset = String(offset);
  row.append(part("div", "dim", new Date(at).toLocaleString()));
  page.news.prepend(row);
  showWaiting();
  if (page.news.childElementCount > SHOWN_MAX) page.news.lastElementChild?.remove();
  page.noNews.hidden = true;
  show();
});

/** What was written and is not stored yet stays to be seen: on top, until its message comes. */
function showWaiting() {
  for (const row of [...page.news.querySelectorAll(".waiting")]) row.remove();
  const drafts = client.drafts.filter(({ room }) => room === "notifications");
  page.news.prepend(...drafts.reverse().map(({ data }) => {
    const row = part("li", "waiting", typeof data?.text === "string" ? data.text : JSON.stringify(data));
    row.append(part("div", "dim", client.state === "online" ? "sending…" : "waiting for the network"));
    return row;
  }));
  page.noNews.hidden = page.news.childElementCount > 0;
}

/** @param {number} to */
function moved(to) {
  seen = Math.max(seen, to);
  show();
}

function show() {
  const unread = Math.max(0, head - seen);
  const said = unread ? `${unread} unread` : "nothing new";
  if (page.unreadSaid.textContent !== said) page.unreadSaid.textContent = said;
  page.read.disabled = !unread;
  document.title = unread ? `(${unread}) Trunkline: ticker and bell` : "Trunkline: ticker and bell";
  for (const row of page.news.children) if (row instanceof HTMLElement) row.classList.toggle("new", Number(row.dataset.offset) > seen);
}

page.read.addEventListener("click", () => {
  notifications.seen(head);
  page.bell.focus(); // a button that is switched off would drop the focus
  moved(head);
});
page.bell.addEventListener("click", () => {
  page.news.hidden = !page.news.hidden;
  page.bell.setAttribute("aria-expanded", String(!page.news.hidden));
});
page.notify.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = page.what.value.trim();
  if (!text) return;
  notifications.publish({ text }).catch((error) => {
    trouble(error);
    page.what.value ||= text; // it was refused, and need not be written again
  });
  page.what.value = "";
});

/** @param {Error} error */
function trouble(error) {
  page.trouble.textContent = error.message;
}
