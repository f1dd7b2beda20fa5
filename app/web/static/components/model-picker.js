/** Which model is asked. */

import { chooseModel } from "../actions.js";
import { Component } from "../component.js";
import { fill, h } from "../dom.js";
import { chosenModel } from "../state.js";

/** @type {Record<string, string>} */
const TASKS = { classification: "classifier", detection: "detector", segmentation: "segmentation model" };

class ModelPicker extends Component {
  static reads = /** @type {any} */ (["models", "modelId"]);

  build() {
    this.select = h("select", { id: "model", onchange: () => chooseModel(this.select.value) });
    this.about = h("p", { class: "hint" });
    this.append(h("h2", {}, h("label", { for: "model" }, "Model")), this.select, this.about);
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    fill(
      this.select,
      state.models.map((model) =>
        h(
          "option",
          { value: model.id, disabled: model.state !== "ready", selected: model.id === state.modelId },
          model.state === "ready" ? model.id : `${model.id} (${model.state})`,
        ),
      ),
    );
    this.select.value = state.modelId;
    const model = chosenModel(state);
    this.about.textContent = model ? describe(model) : "No model is ready yet.";
  }
}

/** @param {import("../state.js").ModelCard} model */
function describe(model) {
  const size = model.input_size ? `, sees ${model.input_size[1]} \u00d7 ${model.input_size[0]} pixels` : "";
  const labels = model.labels.length === 1 ? "1 class" : `${model.labels.length.toLocaleString("en")} classes`;
  return `A ${TASKS[model.task ?? ""] ?? "model"} of ${labels}${size}.`;
}

customElements.define("model-picker", ModelPicker);
