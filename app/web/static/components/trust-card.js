/** How far to believe a map: what the answer itself holds, in sentences with their figures. */

import { explain } from "../actions.js";
import { Component } from "../component.js";
import { fill, h } from "../dom.js";
import { activePane, paintOf } from "../state.js";
import { percent, settledness, targetName, withError } from "../words.js";

class TrustCard extends Component {
  static reads = /** @type {any} */ (["panes", "activePane", "picture"]);

  build() {
    this.body = h("div", {});
    this.append(h("h2", {}, "How far to believe it"), this.body);
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    const pane = activePane(state);
    if (!pane?.map || !pane.explanation) {
      fill(this.body, h("p", { class: "hint" }, "The figures come with the map."));
      return;
    }
    const target = pane.map.target ?? pane.explanation.targets[pane.target] ?? null;
    const settled = settledness(pane.map.reliability);
    fill(
      this.body,
      h("p", { class: `verdict is-${settled.level}` }, h("strong", {}, settled.title), h("span", {}, settled.sentence)),
      list("What it found", findings(pane, target)),
      list("Evidence", evidenceOf(pane, target)),
      list("Warnings", target?.warnings ?? [], "is-warning"),
      audit(pane.explanation),
      assumptions(pane, target, state),
      provenance(pane.explanation),
    );
  }
}

/**
 * @param {string} title
 * @param {string[]} sentences
 * @param {string} [kind]
 */
function list(title, sentences, kind = "") {
  if (sentences.length === 0) return null;
  return h("section", { class: kind }, h("h3", {}, title), h("ul", { class: "sentences" }, sentences.map((text) => h("li", {}, text))));
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").Target | null} target
 */
function findings(pane, target) {
  const map = /** @type {import("../saliency_map.js").SaliencyMap} */ (pane.map);
  const painted = paintOf(pane) !== null;
  if (map.strongest(painted) <= 0) return ["Nothing in this picture speaks for it."];
  const { u, v } = map.peak(painted);
  const { value, error } = map.at(u, v);
  const half = painted ? null : map.levelOf(0.5);
  const times = error ? `, ${Math.round(Math.abs(value) / error)} times its standard error` : "";
  const strength = `The strongest place changes \u201c${targetName(target)}\u201d by ${withError(Math.abs(value), error)}${times}.`;
  const spread = half === null ? [] : [`Half of the positive saliency lies on ${percent(map.areaAbove(half))} of the picture.`];
  const own = painted && pane.label === null ? (target?.findings ?? []).map(readable) : []; // of one fill, the finding is the peak
  return [strength, ...spread, ...own];
}

/** @param {string} text */
function readable(text) {
  const said = text.replace("+-", "\u00b1").replaceAll(/'([^']*)'/g, "\u201c$1\u201d");
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}${said.endsWith(".") ? "" : "."}`;
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").Target | null} target
 */
function evidenceOf(pane, target) {
  const own = pane.explanation?.targets[pane.target];
  return pane.label === null ? (target?.evidence?.sentences ?? own?.evidence?.sentences ?? []) : [];
}

/** @param {import("../state.js").Explanation} explanation */
function audit(explanation) {
  if (!explanation.audit?.checks) return null;
  const sentences = [...explanation.audit.checks.map(({ sentence }) => sentence), explanation.audit.limits ?? ""];
  const alarm = explanation.audit.verdict === "alarm" ? "is-warning" : "";
  return list(`Audit: ${(explanation.audit.verdict ?? "").replaceAll("-", " ")}`, sentences.filter(Boolean), alarm);
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").Target | null} target
 * @param {import("../state.js").State} state
 */
function assumptions(pane, target, state) {
  const explanation = /** @type {import("../state.js").Explanation} */ (pane.explanation);
  if (explanation.method === "mc-rise") return null;
  const hides = String(explanation.parameters.fill);
  const other = hides === "blur" ? "black" : "blur";
  const spec = target?.box ? { label: target.label, box: target.box } : { label: target?.label };
  const possible = state.panes.length === 1 && state.picture?.imageId && target && target.label !== null;
  return h(
    "section",
    {},
    h("h3", {}, "What these figures cannot say"),
    h("p", {}, `Hiding is assumed to say nothing, but ${hides} is itself something to see. Compare another fill before you believe a map.`),
    possible &&
      h(
        "button",
        { type: "button", "data-key": "other-fill", onclick: () => explain([spec], { beside: true, method: explanation.method, parameters: { fill: other } }) },
        `Compare with ${other}`,
      ),
  );
}

/** @param {import("../state.js").Explanation} explanation */
function provenance(explanation) {
  const { provenance: made, parameters, method, model, image } = explanation;
  if (!made) return null;
  const grid = parameters.grid === "auto" ? "auto" : Array.isArray(parameters.grid) ? parameters.grid.join(" \u00d7 ") : `${parameters.grid} \u00d7 ${parameters.grid}`;
  const rows = [
    ["Method", `${method}, ${grid} cells, ${parameters.fill ?? parameters.colors?.length + " colours"}`],
    ["Masks", `${made.masks_used.toLocaleString("en")} in ${made.blocks} blocks`],
    ["Ended", made.stopped === "reliable" ? "as reliable as asked" : "after all masks"],
    ["Model", `${model.id}, ${model.digest}`],
    ["Picture", `${image.width} \u00d7 ${image.height}${image.scaled ? `. ${image.scaled}` : ""}`],
    ["Computed on", `${made.device}, ${made.precision}, version ${made.version}`],
  ];
  return h("details", { "data-key": "made" }, h("summary", { "data-key": "made-summary" }, "How it was made"), h("dl", {}, rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

customElements.define("trust-card", TrustCard);
