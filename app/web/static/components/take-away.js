/** What a person takes along: a link to this view, files, and the request as a command or a program. */

import { explanationPath, mapPath, request } from "../api.js";
import { Component } from "../component.js";
import { save } from "../download.js";
import { fill, h } from "../dom.js";
import { report } from "../reporting.js";
import { asCurl, asPython } from "../snippets.js";
import { activePane, store, viewOf } from "../state.js";

/** @typedef {import("../state.js").Pane} Pane */

const FILES = /** @type {const} */ ([
  ["PNG", "overlay.png", "The picture with the map's colours"],
  ["NPZ", "npz", "Map, standard error and parameters as numbers"],
  ["COCO", "coco.json", "The region as a run-length encoded mask"],
  ["Report", "report.html", "One page to print: picture, figures, parameters, provenance"],
]);

class TakeAway extends Component {
  static reads = /** @type {any} */ (["panes", "activePane", "display", "methods", "models"]);
  /** @type {string} */ #shown = "";

  build() {
    this.body = h("div", {});
    this.append(h("h2", {}, "Take it away"), this.body);
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    const pane = activePane(state);
    const shown = pane?.map && pane.explanation ? `${pane.key} ${pane.id} ${pane.target} ${pane.label} ${pane.fill} ${pane.explanation.status}` : "";
    if (shown === this.#shown && this.body.childElementCount) return;
    this.#shown = shown;
    this.hidden = !shown;
    if (!pane?.explanation) return;
    const name = pane.picture?.name ?? "picture.jpg";
    fill(
      this.body,
      h("div", { class: "buttons" }, linkButton(), FILES.map(([title, ending, hint]) => fileButton(pane, title, ending, hint))),
      snippet("As curl", asCurl(pane.explanation, name, state)),
      snippet("As Python", asPython(pane.explanation, name, state)),
    );
  }
}

function linkButton() {
  return copyButton("Copy the link", () => location.href, "primary");
}

/**
 * @param {string} title
 * @param {() => string} text
 * @param {string} [kind]
 */
function copyButton(title, text, kind = "") {
  const button = h("button", { type: "button", class: kind, onclick: copy }, title);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copying is not allowed here";
    }
    setTimeout(() => (button.textContent = title), 1500);
  }
  return button;
}

/**
 * @param {Pane} pane
 * @param {string} title
 * @param {string} ending
 * @param {string} hint
 */
function fileButton(pane, title, ending, hint) {
  return h("button", { type: "button", title: hint, "aria-label": `Download as ${title}`, onclick: () => download(pane, ending) }, title);
}

/**
 * Save a file; fetched and not linked, because a link cannot carry a key.
 *
 * @param {Pane} pane
 * @param {string} ending
 */
async function download(pane, ending) {
  try {
    const { colors, signed, opacity, share } = store.state.display;
    const style = ending === "overlay.png" ? { alpha: opacity, signed, ...(signed ? {} : { cmap: colors }) } : {};
    const options = ending === "coco.json" ? { level: share } : style;
    const path = ending === "report.html" ? `${explanationPath(pane.id)}/report.html` : mapPath({ ...pane, fill: viewOf(pane) }, ending, options);
    const response = await request(path);
    const name = ending === "report.html" ? pane.id : `${pane.id}-${pane.label ?? pane.target}`;
    save(await response.blob(), `${name}.${ending}`);
  } catch (error) {
    report(error);
  }
}

/**
 * @param {string} title
 * @param {string} text
 */
function snippet(title, text) {
  return h(
    "details",
    { "data-key": title },
    h("summary", {}, title),
    h("pre", { tabindex: "0", "aria-label": title }, h("code", {}, text)),
    copyButton("Copy", () => text),
  );
}

customElements.define("take-away", TakeAway);
