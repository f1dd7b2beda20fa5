/** How far the explanation is, and how to stop it. */

import { Component } from "../component.js";
import { h } from "../dom.js";
import { cancel } from "../panes.js";
import { activePane, store } from "../state.js";
import { duration, rounded, targetName } from "../words.js";

class RunProgress extends Component {
  static reads = /** @type {any} */ (["panes", "activePane", "connection", "models", "picture"]);

  build() {
    this.headline = h("h2", { class: "headline" });
    this.detail = h("p", { class: "detail" });
    this.meter = h("progress", { max: 1, value: 0, "aria-label": "Masks evaluated" });
    this.stop = h("button", { type: "button", onclick: () => this.#cancel() }, "Stop");
    this.append(h("div", { class: "headline-row" }, this.headline, this.stop), this.meter, this.detail);
  }

  #cancel() {
    const pane = activePane(store.state);
    if (pane) cancel(pane.key);
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    const pane = activePane(state);
    const explanation = pane?.explanation ?? null;
    const running = explanation?.status === "queued" || explanation?.status === "running";
    this.stop.hidden = !running;
    this.meter.hidden = !running;
    this.headline.textContent = headline(state, pane);
    const progress = explanation?.progress;
    this.meter.value = progress ? progress.masks / progress.total : 0;
    this.detail.textContent = running ? runningSentence(explanation) : endedSentence(pane);
    this.detail.hidden = this.detail.textContent === "";
  }
}

/**
 * @param {import("../state.js").State} state
 * @param {import("../state.js").Pane | null} pane
 */
function headline(state, pane) {
  const explanation = pane?.explanation;
  if (!pane || (!explanation && !pane.error)) {
    if (!state.modelId && state.models.length) return "The models are loading";
    return pane?.picture ? "Looking" : "Where did the model look?";
  }
  if (pane.error || !explanation) return "No map of this picture";
  const target = pane.map?.target ?? explanation.targets[pane.target];
  const name = target ? `\u201c${targetName(target)}\u201d` : "what it sees";
  return `Why ${explanation.model.id} says ${name}`;
}

/** @param {import("../state.js").Explanation | null | undefined} explanation */
function runningSentence(explanation) {
  const progress = explanation?.progress;
  if (!explanation || !progress) {
    const before = explanation?.queue_position;
    return before ? `${before} before this one in the queue.` : "Waiting for a worker.";
  }
  const parts = [`${progress.masks.toLocaleString("en")} of at most ${progress.total.toLocaleString("en")} masks`];
  if (progress.reliability !== null) parts.push(`reliability ${rounded(progress.reliability)}`);
  if (progress.masks_per_second) parts.push(`${Math.round(progress.masks_per_second)} masks per second`);
  if (progress.eta_seconds !== null) parts.push(`at most ${duration(progress.eta_seconds)} more`);
  return `${parts.join(", ")}.`;
}

/** @param {import("../state.js").Pane | null} pane */
function endedSentence(pane) {
  const explanation = pane?.explanation;
  if (!explanation) return "";
  if (explanation.status === "cancelled") return "Stopped before its end; the map is of the masks so far.";
  const target = pane?.map?.target ?? explanation.targets[pane?.target ?? 0];
  const score = target?.score ?? null;
  return score === null ? "" : `Score of the whole picture: ${rounded(score)}.`;
}

customElements.define("run-progress", RunProgress);
