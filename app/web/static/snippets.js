/** The request of an explanation, to send again from a shell or a program. */

import { ROOT, hasKey } from "./api.js";
import { defaultOf } from "./state.js";

/** @typedef {import("./state.js").State} State */

/**
 * Return what differs from a method's defaults.
 *
 * @param {import("./state.js").Explanation} explanation
 * @param {State} state
 * @returns {[string, any][]}
 */
function fields(explanation, { methods, models }) {
  const method = methods.find((card) => card.id === explanation.method);
  const model = models.find((card) => card.id === explanation.model.id);
  return Object.entries(explanation.parameters).filter(
    ([name, value]) => JSON.stringify(defaultOf(model, method, name)) !== JSON.stringify(value),
  );
}

/**
 * @param {import("./state.js").Explanation} explanation
 * @param {string} name of the picture's file
 * @param {State} state
 */
export function asCurl(explanation, name, state) {
  const parts = [
    "curl",
    ...(hasKey() ? ['-H "Authorization: Bearer $KEY"'] : []),
    `-F image=@${quoted(name)}`,
    `-F model=${quoted(explanation.model.id)}`,
    `-F method=${quoted(explanation.method)}`,
    ...targets(explanation).map((text) => `-F targets=${quoted(text)}`),
    ...fields(explanation, state).map(
      ([key, value]) => `-F ${key}=${quoted(typeof value === "string" ? value : JSON.stringify(value))}`,
    ),
    "-H 'Prefer: wait=60'",
    quoted(`${ROOT.href}v1/explanations`),
  ];
  return parts.join(" \\\n  ");
}

/**
 * @param {import("./state.js").Explanation} explanation
 * @param {string} name of the picture's file
 * @param {State} state
 */
export function asPython(explanation, name, state) {
  const requested = targets(explanation).map((text) => `targets=${python(JSON.parse(text))}`);
  const options = [
    `model=${python(explanation.model.id)}`,
    `method=${python(explanation.method)}`,
    ...requested,
    ...fields(explanation, state).map(([key, value]) => `${key}=${python(value)}`),
  ];
  const key = hasKey() ? ', key=os.environ["KEY"]' : "";
  return [
    ...(hasKey() ? ["import os", ""] : []),
    "from rise_client import Client",
    "",
    `with Client(${python(ROOT.href.replace(/\/$/, ""))}${key}) as client:`,
    "    explanation = client.explain(",
    ...[python(name), ...options].map((argument) => `        ${argument},`),
    "    ).wait()",
    "    explanation.map, explanation.standard_error  # [H, W] each, float32",
  ].join("\n");
}

/**
 * @param {import("./state.js").Explanation} explanation
 * @returns {string[]}
 */
function targets(explanation) {
  const specs = explanation.targets.map(({ label, box }) => ({
    ...(label === null ? {} : { label }),
    ...(box ? { box: box.map((side) => Math.round(side * 10) / 10) } : {}),
  }));
  return specs.length ? [JSON.stringify(specs)] : [];
}

/** @param {string} text */
function quoted(text) {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * @param {any} value
 * @returns {string}
 */
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, part]) => `${python(key)}: ${python(part)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}
