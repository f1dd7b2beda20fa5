/** The report of an annotated batch: which pictures a model decides alike, and outside of the objects. */

import { Problem, json, request } from "../api.js";
import { readFigures, savePart } from "../batches.js";
import { Component } from "../component.js";
import { fill, h } from "../dom.js";
import { Latest } from "../latest.js";
import { report } from "../reporting.js";
import { pause } from "../timing.js";
import { percent, readable } from "../words.js";
import "./fetched-image.js";

const POLL_MILLISECONDS = 1500;

/**
 * @typedef {object} Figures means over cases
 * @property {number} images
 * @property {number | null} inside share of the positive saliency inside the objects
 * @property {number | null} pointing_game
 * @property {number | null} background_alone share of the score that is left where only the background is visible
 * @property {boolean} suspicious
 * @property {string} sentence
 *
 * @typedef {Figures & {name: string}} LabelFigures
 * @typedef {Figures & {label: string, place: string, mean_map: string, members: string}} Cluster
 *
 * @typedef {object} Report
 * @property {string} status
 * @property {string[]} sentences
 * @property {LabelFigures[]} labels
 * @property {Cluster[]} clusters suspicious ones first
 * @property {{name: string, reason: string}[]} left_out
 * @property {{unexplained: number}} annotations
 */

/** Tells by events what it has: `figures` (shares inside the objects by picture), `members` (pictures to show; null: all). */
class SurveyReport extends Component {
  #id = "";
  #polls = new Latest();
  #members = new Latest();
  #shown = -1;

  build() {
    this.hidden = true;
    this.body = h("div", {});
    this.append(h("h3", {}, "Does it look at the objects?"), this.body);
  }

  /**
   * Show the report of a batch as soon as there is one.
   *
   * @param {string} id empty: of none
   */
  follow(id) {
    if (id === this.#id) return;
    this.#polls.end();
    this.#members.end();
    this.#id = id;
    this.#shown = -1;
    this.hidden = id === "";
    fill(this.body);
    if (id) this.#poll(id);
  }

  /** @param {string} id */
  async #poll(id) {
    const signal = this.#polls.next();
    while (!signal.aborted) {
      try {
        const found = await json(`v1/batches/${encodeURIComponent(id)}/report`, { signal });
        if (found.status !== "running") {
          this.#show(found);
          this.dispatchEvent(new CustomEvent("figures", { detail: await readFigures(id, { signal }) }));
          return;
        }
        fill(this.body, h("p", { role: "status" }, `${found.ended} of ${found.total} pictures explained, ${found.measured} measured.`));
      } catch (error) {
        if (signal.aborted) return;
        const again = error instanceof Problem && h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => this.#retry(id) }, "Try again"));
        fill(this.body, h("p", { role: "alert" }, report(error)), again);
        if (error instanceof Problem) return;
      }
      await pause(POLL_MILLISECONDS);
    }
  }

  /** @param {string} id */
  async #retry(id) {
    try {
      await request(`v1/batches/${encodeURIComponent(id)}/report`, { method: "POST" });
      await this.#poll(id);
    } catch (error) {
      report(error);
    }
  }

  /** @param {Report} found */
  #show(found) {
    const id = this.#id;
    const part = (/** @type {"report.html" | "report.csv"} */ name, /** @type {string} */ title) =>
      h("button", { type: "button", "data-key": name, onclick: () => savePart(id, name) }, title);
    const suspicious = [...found.clusters, ...found.labels].some((one) => one.suspicious);
    fill(
      this.body,
      h("div", { class: `verdict is-${suspicious ? "poor" : "good"}` }, found.sentences.map((text) => h("p", {}, readable(text)))),
      h("ol", { class: "clusters", "aria-label": "Pictures that are decided alike" }, found.clusters.map((cluster, place) => this.#card(cluster, place))),
      labelTable(found.labels),
      found.left_out.length > 0 && h("p", { class: "hint" }, `Without figures: ${found.left_out.map(({ name, reason }) => `${name} (${reason})`).join(", ")}.`),
      found.annotations.unexplained > 0 && h("p", { class: "hint" }, `Annotated objects beyond the 20 targets of an image, not explained: ${found.annotations.unexplained}.`),
      h("div", { class: "buttons" }, part("report.html", "Download the report"), part("report.csv", "Download figures (CSV)")),
    );
  }

  /**
   * @param {Cluster} cluster
   * @param {number} place
   */
  #card(cluster, place) {
    return h(
      "li",
      { class: cluster.suspicious ? "is-suspicious" : "" },
      h("fetched-image", { "data-paths": relative(cluster.mean_map), "data-alt": `Mean map of ${cluster.images} pictures of ${cluster.label}` }),
      h(
        "div",
        {},
        h("p", { class: "card-title" }, h("strong", {}, `${cluster.label}: ${cluster.place}`), cluster.suspicious && h("span", {}, "suspicious")),
        h("p", { class: "hint" }, readable(cluster.sentence)),
        h(
          "button",
          { type: "button", class: "quiet", "data-key": `cluster-${place}`, "aria-pressed": "false", onclick: () => this.#toggle(cluster, place) },
          `Show these ${cluster.images}`,
        ),
      ),
    );
  }

  /**
   * @param {Cluster} cluster
   * @param {number} place
   */
  async #toggle(cluster, place) {
    this.#shown = this.#shown === place ? -1 : place;
    this.querySelectorAll("[aria-pressed]").forEach((button, other) => button.setAttribute("aria-pressed", String(other === this.#shown)));
    const signal = this.#members.next();
    try {
      /** @type {{cases: {index: number}[]} | null} */
      const members = this.#shown < 0 ? null : await json(relative(cluster.members), { signal });
      this.dispatchEvent(new CustomEvent("members", { detail: members && new Set(members.cases.map(({ index }) => index)) }));
    } catch (error) {
      if (!signal.aborted) report(error);
    }
  }
}

/**
 * Return an address of the service as `request` takes it.
 *
 * @param {string} link
 */
function relative(link) {
  return link.slice(link.indexOf("v1/"));
}

/** @param {LabelFigures[]} labels */
function labelTable(labels) {
  const share = (/** @type {number | null} */ value) => h("td", {}, value === null ? "\u2013" : percent(value));
  const heads = ["Class", "Pictures", "Saliency inside", "Peak inside", "Score with the objects hidden"];
  return h(
    "div",
    { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Figures of each class" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h(
        "tbody",
        {},
        labels.map((label) =>
          h("tr", {}, h("th", { scope: "row" }, label.name), h("td", {}, label.images), share(label.inside), share(label.pointing_game), share(label.background_alone)),
        ),
      ),
    ),
  );
}

customElements.define("survey-report", SurveyReport);
