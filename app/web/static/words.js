/** Numbers as people read them. */

import { isGradCam, paintOf } from "./state.js";

/** @param {number} value */
export function rounded(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 10 ? 0 : size >= 1 ? 1 : size >= 0.0995 || size === 0 ? 2 : 3).replace("-", "\u2212");
}

/**
 * Return a value with its standard error, to the same digit.
 *
 * @param {number} value
 * @param {number | null} error
 */
export function withError(value, error) {
  if (error === null) return rounded(value);
  const digits = Math.abs(value) >= 10 ? 0 : Math.max(Math.abs(value), error) >= 0.0995 ? 2 : 3;
  return `${value.toFixed(digits)} \u00b1 ${error.toFixed(digits)}`.replace("-", "\u2212");
}

/**
 * Return a sentence of the service as this page writes: quotation marks, signs, and numbers without exponents.
 *
 * @param {string} text
 */
export function readable(text) {
  const said = text
    .replaceAll("+-", "\u00b1")
    .replaceAll(/(?<![^\s(])'(.+?)'(?![^\s.,;:)])/g, "\u201c$1\u201d") // and not the apostrophe of "the map's own"
    .replaceAll(/(\d) ?%/g, "$1\u00a0%")
    .replaceAll(/\d(\.\d+)?e\+\d+/g, (number) => Number(number).toLocaleString("en"));
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}${said.endsWith(".") ? "" : "."}`;
}

/** @param {number} share */
export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** @param {number} score 0..1 */
export function scoreText(score) {
  if (score >= 0.0095) return percent(score);
  return score >= 0.0005 ? `${(score * 100).toFixed(1)} %` : "< 0.1 %";
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** @param {string} moment ISO 8601 */
export function ago(moment) {
  const seconds = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  return seconds < 10 ? "just now" : `${duration(seconds)} ago`;
}

/**
 * Return what a value of a map says about a place.
 *
 * @param {{value: number, error: number | null}} read
 * @param {string} subject name of the target
 * @param {string | null} paint the colour that is painted; null where places are hidden
 */
export function effectSentence(read, subject, paint = null) {
  const act = paint === null ? "Hiding this place" : `Painting this place ${paint}`;
  const change = paint === null ? -read.value : read.value; // a map is of places that are visible, or painted
  if (read.error !== null && Math.abs(read.value) < 2 * read.error) {
    return `${act} changes \u201c${subject}\u201d by no more than chance would (${withError(change, read.error)}).`;
  }
  const moves = change < 0 ? "lowers" : "raises";
  return `${act} ${moves} \u201c${subject}\u201d by ${withError(Math.abs(read.value), read.error)}.`;
}

/**
 * Return what a value of Grad-CAM says about a place.
 *
 * @param {number} value
 * @param {number} strongest of the map
 * @param {string} subject name of the target
 */
export function gradCamSentence(value, strongest, subject) {
  const share = strongest > 0 ? percent(value / strongest) : "none";
  return `Grad-CAM gives this place ${share} of its strongest value for \u201c${subject}\u201d.`;
}

/**
 * Return the name of a target.
 *
 * @param {import("./state.js").Target | null | undefined} target
 */
export function targetName(target) {
  if (!target) return "the target";
  return target.name ?? (target.label === null ? "this box" : `class ${target.label}`);
}

/**
 * Return what a map's values are, which may be something else where an audit has made it.
 *
 * @param {import("./state.js").Pane} pane
 */
export function unitOf(pane) {
  if (isGradCam(pane)) return "activations, weighted by gradients";
  return `${changeOf(pane)} when the place is ${paintOf(pane) === null ? "visible" : "painted"}`;
}

/** @param {import("./state.js").Pane} pane */
function changeOf({ explanation, map }) {
  const score = map?.parameters?.score ?? explanation?.parameters.score;
  if (explanation?.method === "drise") return "change of the detection\u2019s score";
  return score && score !== "probability" ? `change of the ${score}` : "change of the probability";
}

/**
 * How far a map has settled, in words.
 *
 * @param {number | null} reliability
 * @returns {{level: "good" | "fair" | "poor" | "unknown", title: string, sentence: string}}
 */
export function settledness(reliability) {
  if (reliability === null) {
    return {
      level: "unknown",
      title: "No error bars yet",
      sentence: "One block of masks gives a map, but not how far it would change; the next block does.",
    };
  }
  const figure = `Expected correlation with the fully converged map: ${rounded(reliability)}.`;
  if (reliability >= 0.9) {
    return { level: "good", title: "The map has settled", sentence: `More masks would hardly change it. ${figure}` };
  }
  if (reliability >= 0.7) {
    return { level: "fair", title: "The coarse picture has settled", sentence: `Details may still be noise. ${figure}` };
  }
  return { level: "poor", title: "Mostly noise", sentence: `Do not read this map: ask for more masks. ${figure}` };
}
