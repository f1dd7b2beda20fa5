/** What went wrong, told once and in a sentence. */

import { Problem, Unreachable } from "./api.js";
import { store } from "./state.js";

/**
 * Show an error, and return its sentence.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function report(error) {
  if (error instanceof Unreachable) {
    store.update({ connection: "away" });
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

/** @param {string} text */
function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
