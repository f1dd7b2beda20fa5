/** Another map beside the one that is shown: of another class, fill, model or estimator. */

import { explain } from "../actions.js";
import { Component } from "../component.js";
import { fill, h, labelled } from "../dom.js";
import { MOST_PANES, showMapBeside } from "../panes.js";
import { activePane } from "../state.js";

/** @typedef {{title: string, show: () => void}} Choice */

class CompareBar extends Component {
  static reads = /** @type {any} */ (["panes", "activePane", "predictions", "fills", "models", "picture"]);
  /** @type {Choice[]} */ #choices = [];
  #shown = "";

  build() {
    this.select = h("select", { onchange: () => this.#choose() });
    this.append(labelled("Compare with", this.select));
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    const pane = activePane(state);
    const possible = pane?.map && pane.explanation && state.picture?.imageId && pane.picture === state.picture;
    this.hidden = !possible || state.panes.length >= MOST_PANES;
    if (this.hidden || !pane) return;
    const groups = choicesOf(pane, state);
    this.#choices = groups.flatMap(([, choices]) => choices);
    const shown = JSON.stringify(groups);
    if (shown === this.#shown) return;
    this.#shown = shown;
    let place = 0;
    fill(
      this.select,
      h("option", { value: "" }, "choose another map"),
      groups
        .filter(([, choices]) => choices.length)
        .map(([title, choices]) => {
          const group = h("optgroup", { label: title });
          for (const choice of choices) group.append(h("option", { value: String(place++) }, choice.title));
          return group;
        }),
    );
  }

  #choose() {
    const choice = this.#choices[Number(this.select.value)];
    const chosen = this.select.value !== "";
    this.select.value = "";
    if (chosen && choice) choice.show();
  }
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").State} state
 * @returns {[string, Choice[]][]}
 */
function choicesOf(pane, state) {
  const explanation = /** @type {import("../state.js").Explanation} */ (pane.explanation);
  const { method, parameters, model } = explanation;
  const target = pane.map?.target ?? explanation.targets[pane.target];
  const spec = target?.box ? { label: target.label, box: target.box } : { label: target?.label };
  const asked = target && target.label !== null ? [spec] : null;
  const beside = (/** @type {Record<string, any>} */ changed) =>
    explain(asked, { beside: true, method, parameters: { ...parameters, ...changed }, model: model.id });
  const fills = method === "mc-rise" ? [] : state.fills.filter((name) => name !== parameters.fill);
  const task = state.models.find(({ id }) => id === model.id)?.task;
  const others = state.models.filter((other) => other.id !== model.id && other.task === task && other.state === "ready");
  const classes = method === "rise" ? (state.predictions ?? []).filter(({ label, box }) => !box && label !== target?.label) : [];
  const gradCam = (explanation.audit?.methods ?? []).filter((name) => pane.label === null && pane.fill !== name);
  return [
    ["Another class", classes.slice(0, 5).map(({ label, name }) => ({ title: name, show: () => showMapBeside(pane, { target: 0, label: String(label) }) }))],
    ["Another fill", fills.map((name) => ({ title: name, show: () => beside({ fill: name }) }))],
    ["Another model", others.map(({ id }) => ({ title: id, show: () => explain(null, { beside: true, model: id }) }))],
    ["Gradients", gradCam.map((name) => ({ title: "Grad-CAM", show: () => showMapBeside(pane, { fill: name }) }))],
    [
      "Another estimator",
      parameters.estimator === "paper" ? [] : [{ title: "as published", show: () => beside({ estimator: "paper", until: 1, masks: 2000 }) }],
    ],
  ];
}

customElements.define("compare-bar", CompareBar);
