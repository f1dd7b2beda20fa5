/** The view as a fragment of the address, so that a link opens it again. Keys are never in it. */

import { DEFAULT_DISPLAY } from "./state.js";

/**
 * @typedef {{id: string, target: number, label: string | null, fill: string | null}} PaneAddress
 * @typedef {{view: "explain" | "batch" | "history", panes: PaneAddress[], display: import("./state.js").Display,
 *   batchId: string | null}} View
 */

const LABEL = "label-";
const STYLES = ["overlay", "region", "outline", "original", "map"];

/**
 * Return the fragment of a view, without `#`.
 *
 * @param {import("./state.js").State} state
 */
export function writeView(state) {
  const query = new URLSearchParams();
  if (state.view === "history") query.set("view", "history");
  if (state.view === "batch") {
    query.set("view", "batch");
    if (state.batchId) query.set("batch", state.batchId);
  }
  if (state.view === "explain") {
    for (const pane of state.panes) if (pane.id) query.append("pane", writePane(pane));
    const names = /** @type {(keyof import("./state.js").Display)[]} */ (Object.keys(DEFAULT_DISPLAY));
    for (const name of names) {
      if (state.display[name] !== DEFAULT_DISPLAY[name]) query.set(name, String(state.display[name]));
    }
  }
  return query.toString();
}

/** @param {string} part of a pane's address, whose parts have dots between them */
function escaped(part) {
  return encodeURIComponent(part).replaceAll(".", "%2E");
}

/** @param {PaneAddress} pane */
function writePane(pane) {
  const subject = pane.label === null ? String(pane.target) : `${LABEL}${pane.label}`;
  return [pane.id, subject, ...(pane.fill === null ? [] : [pane.fill])].map(escaped).join(".");
}

/**
 * Read a fragment; what makes no sense in it is left at its default.
 *
 * @param {string} fragment
 * @returns {View}
 */
export function readView(fragment) {
  const query = new URLSearchParams(fragment.replace(/^#/, ""));
  const view = query.get("view");
  const style = query.get("style") ?? "";
  return {
    view: view === "history" || view === "batch" ? view : "explain",
    batchId: query.get("batch"),
    panes: query.getAll("pane").slice(0, 16).map(readPane).filter((pane) => /^[\w-]+$/.test(pane.id)),
    display: {
      style: /** @type {import("./state.js").Display["style"]} */ (
        STYLES.includes(style) ? style : DEFAULT_DISPLAY.style
      ),
      colors: query.get("colors") ?? DEFAULT_DISPLAY.colors,
      signed: query.get("signed") === "true",
      opacity: share(query.get("opacity"), DEFAULT_DISPLAY.opacity),
      share: share(query.get("share"), DEFAULT_DISPLAY.share),
    },
  };
}

/**
 * @param {string} text
 * @returns {PaneAddress}
 */
function readPane(text) {
  const [id = "", subject = "0", fill = null] = text.split(".").map(decodeURIComponent);
  const label = subject.startsWith(LABEL) ? subject.slice(LABEL.length) : null;
  return { id, target: label === null ? Number.parseInt(subject, 10) || 0 : 0, label, fill };
}

/**
 * @param {string | null} text
 * @param {number} fallback
 */
function share(text, fallback) {
  const value = Number(text ?? Number.NaN);
  return value >= 0 && value <= 1 ? value : fallback;
}
