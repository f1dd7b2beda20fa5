/** What the model sees: classes with bars, or detections; each can be explained, and so can a rectangle. */

import { explain, explainPrediction, explainRectangle, isTarget } from "../actions.js";
import { Component } from "../component.js";
import { fill, h } from "../dom.js";
import { activePane, chosenModel, store } from "../state.js";
import { scoreText } from "../words.js";

const MOST = 6;

class PredictionList extends Component {
  static reads = /** @type {any} */ (["predictions", "predicting", "panes", "activePane", "modelId", "drawing", "rectangle", "picture"]);
  /** @type {any} */ #shown = undefined;

  build() {
    this.list = h("ol", { class: "predictions" });
    this.empty = h("p", { class: "hint" });
    this.tools = h("div", { class: "rectangle-tools" });
    this.append(h("h2", {}, "What the model sees"), this.list, this.empty, this.tools);
  }

  /**
   * @param {import("../state.js").State} state
   * @param {Set<string>} changed
   */
  update(state, changed) {
    if (this.#shown !== state.predictions) {
      this.#shown = state.predictions;
      fill(this.list, (state.predictions ?? []).slice(0, MOST).map(row));
    }
    this.#markExplained(state);
    this.empty.textContent = emptySentence(state);
    this.empty.hidden = this.empty.textContent === "";
    if (["drawing", "rectangle", "modelId", "picture", "predictions"].some((name) => changed.has(name))) {
      fill(this.tools, tools(state));
    }
  }

  /** @param {import("../state.js").State} state */
  #markExplained(state) {
    const pane = activePane(state);
    const target = pane?.explanation?.targets[pane.target];
    const rows = this.list.querySelectorAll("button");
    (state.predictions ?? []).slice(0, MOST).forEach((prediction, place) => {
      const shown = pane?.label !== null && pane?.label !== undefined
        ? pane.label === String(prediction.label) || pane.label === prediction.name
        : Boolean(target && isTarget(target, prediction));
      rows[place]?.setAttribute("aria-pressed", String(shown));
    });
  }
}

/**
 * @param {import("../state.js").Prediction} prediction
 * @param {number} place
 */
function row(prediction, place) {
  const bar = h("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", String(prediction.score));
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", "data-key": `prediction-${place}`, title: "Explain this one", onclick: () => explainPrediction(prediction) },
      h("span", { class: "name" }, prediction.name),
      h("span", { class: "number" }, scoreText(prediction.score)),
      bar,
    ),
  );
}

/** @param {import("../state.js").State} state */
function emptySentence(state) {
  if (state.predicting && !state.predictions) return "Asking the model.";
  if (state.predictions?.length === 0) return "The model sees nothing here.";
  if (!state.predictions) return state.picture ? "" : "Give a picture, and the model says what it sees.";
  return "";
}

/** @param {import("../state.js").State} state */
function tools(state) {
  const model = chosenModel(state);
  if (!model || !state.picture?.imageId) return [];
  if (model.task === "classification") return (state.predictions?.length ?? 0) > 2 ? [topThree()] : [];
  const buttons = [
    h(
      "button",
      {
        type: "button",
        "data-key": "draw",
        "aria-pressed": String(state.drawing),
        onclick: () => store.update({ drawing: !state.drawing, rectangle: state.drawing ? null : middle(state.picture) }),
      },
      state.drawing ? "Put the rectangle away" : "Ask about a missed object",
    ),
    (state.predictions?.length ?? 0) > 1 &&
      h("button", { type: "button", "data-key": "all", onclick: () => explain(null) }, "Explain all"),
  ];
  return state.drawing && state.rectangle ? [...buttons, rectangleForm(state.rectangle, model)] : buttons;
}

function topThree() {
  return h("button", { type: "button", "data-key": "top", onclick: () => explain("top:3") }, "Explain the first three");
}

/**
 * Return a rectangle to begin with.
 *
 * @param {import("../state.js").Picture | null} picture
 * @returns {import("../state.js").Box}
 */
function middle(picture) {
  const { width, height } = picture ?? { width: 1, height: 1 };
  return [Math.round(width * 0.35), Math.round(height * 0.35), Math.round(width * 0.65), Math.round(height * 0.65)];
}

/**
 * @param {import("../state.js").Box} rectangle
 * @param {import("../state.js").ModelCard} model
 */
function rectangleForm(rectangle, model) {
  const sides = ["left", "top", "right", "bottom"].map((name, place) =>
    h(
      "label",
      {},
      name,
      h("input", {
        type: "number",
        value: String(rectangle[place]),
        min: "0",
        "data-key": `side-${place}`,
        onchange: (/** @type {Event} */ event) => {
          const changed = /** @type {import("../state.js").Box} */ ([...rectangle]);
          changed[place] = Number(/** @type {HTMLInputElement} */ (event.target).value);
          store.update({ rectangle: changed });
        },
      }),
    ),
  );
  const select = h(
    "select",
    { "aria-label": "Class of the object" },
    h("option", { value: "" }, "any class"),
    model.labels.map((name, index) => h("option", { value: String(index) }, name)),
  );
  return h(
    "form",
    {
      class: "rectangle-form",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        explainRectangle(rectangle, select.value === "" ? null : Number(select.value));
      },
    },
    h("p", { class: "hint" }, "Draw a rectangle on the picture, or type its sides in pixels."),
    h("div", { class: "sides" }, sides),
    select,
    h("button", { type: "submit", class: "primary" }, "Explain it"),
  );
}

customElements.define("prediction-list", PredictionList);
