/** How far to believe a map: what the answer itself holds, in sentences with their figures. */

import { explain } from "../actions.js";
import { Component } from "../component.js";
import { fill, h } from "../dom.js";
import { audit, cancel } from "../panes.js";
import { activePane, isGradCam, paintOf, viewOf } from "../state.js";
import { percent, readable, settledness, targetName, withError } from "../words.js";

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
    const isOfAudit = viewOf(pane) !== paintOf(pane);
    const alarms = pane.explanation.audit?.verdict === "alarm"; // which matters more than whether the map has settled
    fill(
      this.body,
      alarms ? auditSection(pane) : null,
      isOfAudit
        ? h("p", { class: "hint" }, `This is a map of the audit, ${isGradCam(pane) ? "of the network\u2019s gradients" : "of few masks"}: compare it with the explanation\u2019s own.`)
        : h("p", { class: `verdict is-${settled.level}` }, h("strong", {}, settled.title), h("span", {}, settled.sentence)),
      list("What it found", findings(pane, target)),
      list("Evidence", evidenceOf(pane, target)),
      list("Warnings", target?.warnings ?? [], "is-warning"),
      alarms ? null : auditSection(pane),
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
  return h("section", { class: kind }, h("h3", {}, title), h("ul", { class: "sentences" }, sentences.map((text) => h("li", {}, readable(text)))));
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
  const own = painted && pane.label === null ? (target?.findings ?? []) : []; // of one fill, the finding is the peak
  return isGradCam(pane) ? spread : [strength, ...spread, ...own];
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").Target | null} target
 */
function evidenceOf(pane, target) {
  if (viewOf(pane) !== paintOf(pane)) return []; // it is about the explanation's own map
  const own = pane.explanation?.targets[pane.target];
  return pane.label === null ? (target?.evidence?.sentences ?? own?.evidence?.sentences ?? []) : [];
}

/** @param {import("../state.js").Pane} pane */
function auditSection(pane) {
  const explanation = /** @type {import("../state.js").Explanation} */ (pane.explanation);
  const found = explanation.audit;
  if (found?.status === "succeeded") return auditFindings(found);
  if (found?.status === "queued" || found?.status === "running") return auditProgress(pane, found);
  if (!explanation.audit_passes) return null;
  const failed = found?.error ? h("p", { role: "alert" }, `The audit failed: ${found.error.detail}`) : null;
  const passes = explanation.audit_passes.toLocaleString("en");
  return h(
    "section",
    {},
    h("h3", {}, "Audit"),
    h("p", {}, `Would other fills say the same, are the cells small enough, does the model react to masks as such? At most ${passes} more pictures.`),
    failed,
    h("button", { type: "button", "data-key": "audit", onclick: () => audit(pane.key) }, "Audit this map"),
  );
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").Audit} found
 */
function auditProgress(pane, found) {
  const { progress } = found;
  const asked = progress ? `${progress.masks.toLocaleString("en")} of at most ${progress.total.toLocaleString("en")} pictures.` : "Waiting for a worker.";
  return h(
    "section",
    {},
    h("h3", {}, "Audit"),
    h("p", { role: "status" }, asked),
    h("progress", { max: 1, value: progress ? progress.masks / progress.total : 0, "aria-label": "Pictures asked by the audit" }),
    h("button", { type: "button", "data-key": "audit", onclick: () => cancel(pane.key) }, "Stop the audit"),
  );
}

const VERDICTS = {
  "nothing-found": { level: "good", title: "The audit found nothing" },
  caution: { level: "fair", title: "The audit advises caution" },
  alarm: { level: "poor", title: "The audit raises an alarm" },
};

/** @param {import("../state.js").Audit} found */
function auditFindings(found) {
  const { level, title } = VERDICTS[found.verdict ?? "caution"];
  const worst = found.checks.find(({ verdict }) => verdict === found.verdict);
  const passes = `${found.checks.length} checks, ${(found.passes ?? 0).toLocaleString("en")} pictures.`;
  const reason = found.verdict === "nothing-found" ? null : worst;
  return h(
    "section",
    {},
    h("h3", {}, "Audit"),
    h("p", { class: `verdict is-${level}` }, h("strong", {}, title), h("span", {}, reason ? `${readable(reason.sentence)} ${passes}` : passes)),
    h("ul", { class: "sentences" }, found.checks.filter((check) => check !== reason).map(({ sentence }) => h("li", {}, readable(sentence)))),
    h("p", { class: "hint" }, found.limits ?? ""),
  );
}

/**
 * @param {import("../state.js").Pane} pane
 * @param {import("../state.js").Target | null} target
 * @param {import("../state.js").State} state
 */
function assumptions(pane, target, state) {
  const explanation = /** @type {import("../state.js").Explanation} */ (pane.explanation);
  if (explanation.method === "mc-rise" || isGradCam(pane)) return null;
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
  const grid = (made.grid ?? [parameters.grid].flat()).join(" \u00d7 ");
  const tiles = made.grid && made.tiles < made.grid[0] * made.grid[1] ? `, in ${made.tiles} tiles` : "";
  const rows = [
    ["Method", `${method}, ${grid} cells${tiles}, ${parameters.fill ?? parameters.colors?.length + " colours"}`],
    ["Masks", `${made.masks_used.toLocaleString("en")} in ${made.blocks} blocks`],
    ["Ended", made.stopped === "reliable" ? "as reliable as asked" : "after all masks"],
    ["Model", `${model.id}, ${model.digest}`],
    ["Picture", `${image.width} \u00d7 ${image.height}${image.scaled ? `. ${image.scaled}` : ""}`],
    ["Computed on", `${made.device}, ${made.precision}, version ${made.version}`],
  ];
  return h("details", { "data-key": "made" }, h("summary", { "data-key": "made-summary" }, "How it was made"), h("dl", {}, rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

customElements.define("trust-card", TrustCard);
