/** The maps, side by side. */

import { GRAD_CAM } from "../api.js";
import { Component } from "../component.js";
import { fill, h } from "../dom.js";
import { MOST_PANES, closePane, showColors, showMapBeside, showTarget } from "../panes.js";
import { isGradCam, paintOf, store } from "../state.js";
import { scoreText, targetName } from "../words.js";

class PaneGrid extends Component {
  static reads = /** @type {any} */ (["panes", "activePane"]);
  /** @type {Map<string, any>} */ #cells = new Map();

  /** @param {import("../state.js").State} state */
  update(state) {
    this.dataset.count = String(state.panes.length);
    for (const key of [...this.#cells.keys()]) {
      if (!state.panes.some((pane) => pane.key === key)) {
        this.#cells.get(key).remove();
        this.#cells.delete(key);
      }
    }
    for (const pane of state.panes) {
      const cell = this.#cells.get(pane.key) ?? this.#addCell(pane.key);
      cell.classList.toggle("is-active", state.panes.length > 1 && pane.key === state.activePane);
      const head = cell.querySelector(".pane-head");
      const text = JSON.stringify(headOf(pane, state));
      if (head.dataset.shown !== text) {
        head.dataset.shown = text;
        fill(head, heading(pane, state), targetChips(pane), colorChips(pane), auditChips(pane));
      }
    }
  }

  /** @param {string} key */
  #addCell(key) {
    const viewer = h("map-viewer", { "data-pane": key });
    const cell = h("section", { class: "pane", "aria-label": "Map", onfocusin: () => store.update({ activePane: key }) });
    cell.append(h("div", { class: "pane-head" }), viewer);
    this.#cells.set(key, cell);
    this.append(cell);
    return cell;
  }
}

/**
 * Return what the head of a pane depends on.
 *
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").State} state
 */
function headOf(pane, state) {
  const { target, label, fill: shown, explanation } = pane;
  return [state.panes.length, Boolean(pane.map), target, label, shown, pane.map?.target?.name, explanation?.id, explanation?.status, explanation?.targets.length, explanation?.audit?.fills.length];
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").State} state
 */
function heading(pane, state) {
  const { explanation } = pane;
  if (state.panes.length < 2 || !explanation) return null;
  const { fill: own, estimator } = explanation.parameters;
  const hides = nameOfView(pane.fill ?? own, explanation.audit);
  const target = pane.map?.target ?? explanation.targets[pane.target];
  const paint = paintOf(pane);
  const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = paint ?? "";
  const method = paint === null && !isGradCam(pane) ? explanation.method : null;
  const how = [method, paint === null ? hides : null, estimator === "paper" ? "as published" : null].filter(Boolean).join(", ");
  return h(
    "p",
    { class: "pane-title" },
    paint === null ? null : swatch,
    h("strong", {}, paint === null ? `${explanation.model.id}: ${targetName(target)}` : `Painted ${paint}`),
    h("span", { class: "how" }, how),
    h(
      "button",
      { type: "button", class: "quiet", "aria-label": "Close this map", onclick: () => closePane(pane.key) },
      "Close",
    ),
  );
}

/** @param {import("../state.js").Pane} pane */
function targetChips(pane) {
  const targets = pane.explanation?.targets ?? [];
  if (targets.length < 2) return null;
  const names = targets.map(targetName);
  const told = (/** @type {string} */ name, /** @type {number | null} */ score) =>
    score === null || names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} ${scoreText(score)}`;
  return h(
    "div",
    { class: "chips", role: "group", "aria-label": "Target" },
    targets.map((target) =>
      h(
        "button",
        {
          type: "button",
          "data-key": `target-${target.index}`,
          "aria-pressed": String(pane.label === null && target.index === pane.target),
          onclick: () => showTarget(pane.key, { target: target.index }),
        },
        told(targetName(target), target.score),
      ),
    ),
  );
}

/** @param {import("../state.js").Pane} pane */
function colorChips(pane) {
  const colors = pane.explanation?.method === "mc-rise" ? pane.explanation.parameters.colors : [];
  if (colors.length < 2 || store.state.panes.length > 1) return null;
  return h(
    "div",
    { class: "chips", role: "group", "aria-label": "Painted colour" },
    colors.map((/** @type {string} */ color) => {
      const chip = h("span", { class: "swatch", "aria-hidden": "true" });
      chip.style.backgroundColor = color;
      const pressed = (pane.fill ?? colors[0]) === color;
      return h(
        "button",
        { type: "button", "data-key": `color-${color}`, "aria-pressed": String(pressed), onclick: () => showTarget(pane.key, { target: pane.target, fill: color }) },
        chip,
        color,
      );
    }),
    pane.map && h("button", { type: "button", "data-key": "all-colors", onclick: () => showColors(pane) }, "All colours side by side"),
  );
}

/** @param {import("../state.js").Pane} pane */
function auditChips(pane) {
  const found = pane.explanation?.audit;
  if (found?.status !== "succeeded" || found.fills.length < 2) return null;
  const [own, ...others] = found.fills;
  const gradCam = pane.label === null ? found.methods : []; // of the targets that were asked for, and of no other class
  const views = [null, ...others, ...(found.opacity === null ? [] : ["opacity"]), ...gradCam];
  const beside = gradCam.length > 0 && store.state.panes.length < MOST_PANES && !isGradCam(pane);
  return h(
    "div",
    { class: "chips", role: "group", "aria-label": "Maps of the audit" },
    views.map((view) =>
      h(
        "button",
        {
          type: "button",
          "data-key": `view-${view}`,
          "aria-pressed": String(pane.fill === view),
          onclick: () => showTarget(pane.key, { target: pane.target, label: pane.label, fill: view }),
        },
        nameOfView(view ?? own, found),
      ),
    ),
    beside && h("button", { type: "button", "data-key": "beside", onclick: () => showMapBeside(pane, { fill: gradCam[0] }) }, "Grad-CAM beside it"),
  );
}

/**
 * Return the name of one of an explanation's maps.
 *
 * @param {any} view a fill, several of them, or what an audit has tried
 * @param {import("../state.js").Audit | null | undefined} found
 */
function nameOfView(view, found) {
  if (view === GRAD_CAM) return "Grad-CAM";
  return view === "opacity" ? `${(found?.opacity ?? 0) * 100} % hidden` : String(view ?? "");
}

customElements.define("pane-grid", PaneGrid);
