// A line chart of a quarter of an hour as inline SVG: a hole where nothing is known, a crosshair for pointers and arrows.

const HEIGHT = 150;
const LEFT = 46;
const BOTTOM = 18;
const TOP = 8;
const NS = "http://www.w3.org/2000/svg";

/** One line: its name and, for each time, its value, or null where it is not known.
 * @typedef {{name: string, values: (number | null)[]}} Line */

/** @param {number} value @param {string} unit */
export function short(value, unit = "") {
  const size = Math.abs(value);
  if (unit === "s") return size < 1 ? `${Number((value * 1000).toPrecision(2))} ms` : `${Number(value.toPrecision(2))} s`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))} k`;
  return String(Number(value.toPrecision(3)));
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function node(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

export class Chart {
  /** @param {HTMLElement} parent @param {string} title @param {string} unit What its values are: "s", or nothing
   * @param {string} about One line about what is drawn */
  constructor(parent, title, unit, about) {
    this.unit = unit;
    this.card = document.createElement("figure");
    this.card.className = "chart card";
    const caption = document.createElement("figcaption");
    const heading = document.createElement("h3");
    heading.textContent = title;
    heading.title = about;
    this.legend = document.createElement("p");
    this.legend.className = "legend";
    caption.append(heading, this.legend);
    this.svg = node("svg", { role: "img", tabindex: 0 });
    this.empty = document.createElement("p");
    this.empty.className = "dim empty";
    this.empty.textContent = "Nothing in the last quarter of an hour.";
    this.card.append(caption, this.svg, this.empty);
    parent.append(this.card);
    /** @type {number[]} */
    this.times = [];
    /** @type {Line[]} */
    this.lines = [];
    /** Which time the crosshair is at. @type {number | undefined} */
    this.at = undefined;
    this.title = title;
    this.svg.addEventListener("pointermove", (event) => {
      if (!(event instanceof PointerEvent)) return;
      const box = this.svg.getBoundingClientRect();
      this.point((event.clientX - box.left - LEFT) / (box.width - LEFT));
    });
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("blur", () => this.leave());
    this.svg.addEventListener("keydown", (event) => {
      if (!(event instanceof KeyboardEvent) || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      event.preventDefault();
      const step = event.key === "ArrowLeft" ? -1 : 1;
      this.at = Math.min(this.times.length - 1, Math.max(0, (this.at ?? this.times.length) + step));
      this.draw();
    });
  }

  /** @param {number[]} times @param {Line[]} lines */
  show(times, lines) {
    this.times = times;
    this.lines = lines;
    this.draw();
  }

  /** The newest time of which something is known. */
  lastKnown() {
    for (let n = this.times.length - 1; n > 0; n--) if (this.lines.some(({ values }) => (values[n] ?? null) !== null)) return n;
    return this.times.length - 1;
  }

  leave() {
    this.at = undefined;
    this.draw();
  }

  /** @param {number} share Of the width */
  point(share) {
    this.at = Math.min(this.times.length - 1, Math.max(0, Math.round(share * (this.times.length - 1))));
    this.draw();
  }

  draw() {
    const known = this.lines.flatMap(({ values }) => values).filter((value) => value !== null);
    const top = Math.max(...known, 0);
    this.empty.hidden = known.length > 0;
    const width = this.svg.clientWidth || 400;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const x = (/** @type {number} */ n) => LEFT + (n * (width - LEFT - 2)) / Math.max(1, this.times.length - 1);
    const y = (/** @type {number} */ value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / (top || 1));
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const level = y(top * share);
      parts.push(node("line", { class: "grid", x1: LEFT, x2: width, y1: level, y2: level }));
      if (!known.length) continue;
      const text = node("text", { x: LEFT - 6, y: level + 3, "text-anchor": "end" });
      text.textContent = short(top * share, this.unit);
      parts.push(text);
    }
    for (const [n, anchor] of /** @type {[number, string][]} */ ([[0, "start"], [this.times.length - 1, "end"]])) {
      const text = node("text", { x: x(n), y: HEIGHT - 4, "text-anchor": anchor });
      text.textContent = clock(this.times[n]);
      parts.push(text);
    }
    this.lines.forEach((line, n) => parts.push(node("path", { class: `line s${n % 6}`, d: path(line.values, x, y) })));
    const at = this.at ?? this.lastKnown();
    if (this.at !== undefined) {
      parts.push(node("line", { class: "cross", x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    this.svg.replaceChildren(...parts);
    const named = this.lines.map((line, n) => ({ name: line.name, n, value: line.values[at] ?? null }));
    this.legend.replaceChildren(
      ...(this.at === undefined ? [] : [span("dim", clock(this.times[at]))]),
      ...named.map(({ name, n, value }) => span(`key s${n % 6}`, `${name} ${value === null ? "–" : short(value, this.unit)}`)),
    );
    const said = named.map(({ name, value }) => `${name} ${value === null ? "not known" : short(value, this.unit)}`);
    this.svg.setAttribute("aria-label", `${this.title}, ${clock(this.times[at])}: ${said.join(", ") || "nothing"}`);
  }
}

/** @param {(number | null)[]} values @param {(n: number) => number} x @param {(value: number) => number} y */
function path(values, x, y) {
  let drawn = "";
  let isDown = false;
  values.forEach((value, n) => {
    if (value === null) {
      isDown = false;
      return;
    }
    const isAlone = !isDown && (values[n + 1] ?? null) === null;
    drawn += `${isDown ? "L" : "M"}${x(n).toFixed(1)} ${y(value).toFixed(1)}${isAlone ? "h2" : ""}`;
    isDown = true;
  });
  return drawn;
}

/** @param {string} kind @param {string} text */
function span(kind, text) {
  const made = document.createElement("span");
  made.className = kind;
  made.textContent = text;
  return made;
}

/** @param {number | undefined} ms */
function clock(ms) {
  return ms === undefined ? "" : new Date(ms).toLocaleTimeString([], { hour12: false });
}
