/** How the next explanation is computed; what is left alone has the method's default. */

import { explain } from "../actions.js";
import { Component } from "../component.js";
import { fill, h, labelled } from "../dom.js";
import { chosenModel, defaultOf, store } from "../state.js";

/** @typedef {{name: string, title: string, kind: "number" | "fill" | "choice"}} Field */

/** @type {Field[]} */
const FIELDS = [
  { name: "fill", title: "What hides", kind: "fill" },
  { name: "masks", title: "Masks at most", kind: "number" },
  { name: "until", title: "Stop at reliability", kind: "number" },
  { name: "grid", title: "Cells along each side", kind: "number" },
  { name: "keep", title: "Share kept visible", kind: "number" },
  { name: "score", title: "Score", kind: "choice" },
  { name: "explain", title: "What of a detection", kind: "choice" },
  { name: "estimator", title: "Estimator", kind: "choice" },
  { name: "seed", title: "Seed", kind: "number" },
];

class RequestOptions extends Component {
  static reads = /** @type {any} */ (["methods", "fills", "modelId", "models", "question", "picture"]);

  build() {
    this.form = h("form", {
      class: "options",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        document.getElementById("stage")?.scrollIntoView({ block: "nearest" });
        explain(null);
      },
    });
    this.append(h("details", {}, h("summary", {}, "Method and options"), this.form));
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    const task = chosenModel(state)?.task ?? "";
    const methods = state.methods.filter((method) => method.tasks.includes(task));
    const chosen =
      methods.find((method) => method.id === state.question.method) ??
      methods.find((method) => method.default_for.includes(task));
    fill(
      this.form,
      methodField(methods, chosen?.id ?? ""),
      chosen && h("p", { class: "hint" }, chosen.summary),
      FIELDS.filter(({ name }) => chosen && name in chosen.parameters.properties).map((field) =>
        parameterField(field, /** @type {import("../state.js").MethodCard} */ (chosen), state),
      ),
      h("button", { type: "submit", "data-key": "ask", disabled: !state.picture?.imageId }, "Explain again"),
    );
  }
}

/**
 * @param {import("../state.js").MethodCard[]} methods
 * @param {string} chosen
 */
function methodField(methods, chosen) {
  return labelled(
    "Method",
    h(
      "select",
      {
        "data-key": "method",
        onchange: (/** @type {Event} */ event) =>
          store.update({ question: { method: /** @type {HTMLSelectElement} */ (event.target).value, parameters: {} } }),
      },
      methods.map(({ id }) => h("option", { value: id, selected: id === chosen }, id)),
    ),
  );
}

/**
 * @param {Field} field
 * @param {import("../state.js").MethodCard} method
 * @param {import("../state.js").State} state
 */
function parameterField({ name, title, kind }, method, state) {
  const schema = method.parameters.properties[name];
  const usual = defaultOf(chosenModel(state), method, name);
  const value = state.question.parameters[name] ?? usual;
  const set = (/** @type {any} */ changed) => {
    const parameters = { ...state.question.parameters, [name]: changed };
    if (changed === usual || changed === "") delete parameters[name];
    store.update({ question: { ...state.question, parameters } });
  };
  const onchange = (/** @type {Event} */ event) => {
    const text = /** @type {HTMLInputElement} */ (event.target).value;
    set(kind === "number" && text !== "" ? Number(text) : text);
  };
  if (kind === "number") {
    const numeric = schema.anyOf?.find((/** @type {any} */ part) => part.type === "integer") ?? schema;
    const { minimum, maximum } = numeric;
    const step = numeric.type === "integer" ? "1" : "0.01";
    const text = typeof value === "number" ? String(value) : "";
    const input = { type: "number", value: text, placeholder: String(usual), min: String(minimum ?? ""), max: String(maximum ?? ""), step };
    return labelled(title, h("input", { ...input, "data-key": name, onchange }), schema.description);
  }
  const choices = kind === "fill" ? state.fills : choicesOf(schema);
  const options = choices.map((choice) => h("option", { value: choice, selected: choice === value }, choice));
  return choices.length ? labelled(title, h("select", { "data-key": name, onchange }, options), schema.description) : null;
}

/**
 * @param {any} schema
 * @returns {string[]}
 */
function choicesOf(schema) {
  return schema.enum ?? schema.anyOf?.find((/** @type {any} */ part) => part.enum)?.enum ?? [];
}

customElements.define("request-options", RequestOptions);
