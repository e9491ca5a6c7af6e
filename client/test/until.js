import assert from "node:assert/strict";

const WAIT_MS = 20_000;

/** Wait for a fact. @param {() => unknown} fact @param {() => unknown} [shown] what is shown if it never comes true */
export async function until(fact, shown = () => fact) {
  for (const end = Date.now() + WAIT_MS; !(await fact()); await new Promise((resolve) => setTimeout(resolve, 10))) {
    if (Date.now() > end) assert.fail(`in vain: ${JSON.stringify(shown())}`);
  }
}
