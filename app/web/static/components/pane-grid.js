/** The maps, side by side. */

import { Component } from "../component.js";
import { fill, h } from "../dom.js";
import { closePane, showColors, showTarget } from "../panes.js";
import { paintOf, store } from "../state.js";
import { targetName } from "../words.js";

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
  return [state.panes.length > 1, Boolean(pane.map), target, label, shown, pane.map?.target?.name, explanation?.id, explanation?.status, explanation?.targets.length, explanation?.audit?.fills.length];
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").State} state
 */
function heading(pane, state) {
  const { explanation } = pane;
  if (state.panes.length < 2 || !explanation) return null;
  const { fill: hides, estimator } = explanation.parameters;
  const target = pane.map?.target ?? explanation.targets[pane.target];
  const paint = paintOf(pane);
  const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = paint ?? "";
  const how = [paint === null ? explanation.method : null, hides, estimator === "paper" ? "as published" : null].filter(Boolean).join(", ");
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
        targetName(target),
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
  const partly = found.opacity === null ? [] : [{ view: "opacity", name: `${found.opacity * 100} % hidden` }];
  const views = [{ view: null, name: own }, ...others.map((name) => ({ view: name, name })), ...partly];
  return h(
    "div",
    { class: "chips", role: "group", "aria-label": "What hides" },
    views.map(({ view, name }) =>
      h(
        "button",
        {
          type: "button",
          "data-key": `view-${name}`,
          "aria-pressed": String(pane.fill === view),
          onclick: () => showTarget(pane.key, { target: pane.target, label: pane.label, fill: view }),
        },
        name,
      ),
    ),
  );
}

customElements.define("pane-grid", PaneGrid);
