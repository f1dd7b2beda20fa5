/** What went wrong, told once and in a sentence. */

import { Problem, Unreachable, request } from "./api.js";
import { store } from "./state.js";
import { pause } from "./timing.js";

/**
 * Show an error, and return its sentence.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function report(error) {
  if (error instanceof Unreachable) {
    untilBack();
    return "The service does not answer.";
  }
  if (error instanceof Problem && error.status === 401) {
    store.update({ keyNeeded: true });
    return "The service asks for a key.";
  }
  const text = sentence(error instanceof Error ? error.message : String(error));
  store.update({ notice: { text, kind: "error" } });
  return text;
}

const PAUSE_MILLISECONDS = 2000;
/** @type {Promise<void> | null} */
let waiting = null;

/** Say that the service does not answer, and return when it does. */
export function untilBack() {
  store.update({ connection: "away" });
  waiting ??= answered().finally(() => (waiting = null));
  return waiting;
}

async function answered() {
  for (;;) {
    await pause(PAUSE_MILLISECONDS);
    try {
      await request("livez");
      store.update({ connection: "ok" });
      return;
    } catch (error) {
      if (!(error instanceof Unreachable)) return;
    }
  }
}

/** @param {string} text */
function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
