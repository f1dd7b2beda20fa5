/** Many pictures: a folder or a zip archive, explained with one model, as a gallery that can be sorted; with annotations, its report. */

import { reopen } from "../actions.js";
import { Problem, explanationPath, request } from "../api.js";
import { createBatch, droppedFiles, isAnnotations, isOfUse, readBatch, savePart } from "../batches.js";
import { Component } from "../component.js";
import { fill, h, labelled } from "../dom.js";
import { Latest } from "../latest.js";
import { report } from "../reporting.js";
import { store } from "../state.js";
import { pause } from "../timing.js";
import { percent, rounded, targetName } from "../words.js";
import "./fetched-image.js";
import "./survey-report.js";

/** @typedef {import("../batches.js").BatchItem} BatchItem */

const POLL_MILLISECONDS = 1500;

/** @type {Record<string, {title: string, of: (item: BatchItem, inside: Map<number, number>) => number | string}>} */
const ORDERS = {
  index: { title: "order of upload", of: (item) => item.index },
  low: { title: "score, lowest first", of: (item) => item.explanation?.targets[0]?.score ?? 2 },
  high: { title: "score, highest first", of: (item) => -(item.explanation?.targets[0]?.score ?? -1) },
  unreliable: { title: "reliability, lowest first", of: (item) => item.explanation?.targets[0]?.reliability ?? 2 },
  inside: { title: "share inside the objects, lowest first", of: (item, inside) => inside.get(item.index) ?? 2 },
  label: { title: "class", of: (item) => targetName(item.explanation?.targets[0]) },
};

class BatchGallery extends Component {
  static reads = /** @type {any} */ (["view", "models", "batchId"]);
  /** @type {BatchItem[]} */ #items = [];
  /** @type {Map<number, {text: string, card: HTMLElement}>} */ #cards = new Map();
  /** Share of the saliency inside the objects, by picture. @type {Map<number, number>} */ #inside = new Map();
  /** Pictures to show; null: all. @type {Set<number> | null} */ #members = null;
  #begun = new Latest();
  #polls = new Latest();

  build() {
    this.model = h("select", {});
    this.order = h(
      "select",
      { onchange: () => this.#showItems() },
      Object.entries(ORDERS).map(([name, { title }]) => h("option", { value: name }, title)),
    );
    this.state = h("p", { role: "status" });
    this.meter = h("progress", { max: 1, value: 0, "aria-label": "Pictures that are explained", hidden: true });
    this.tools = h("div", { class: "buttons" });
    this.survey = h("survey-report", { onfigures: (/** @type {CustomEvent} */ { detail }) => this.#setFigures(detail), onmembers: (/** @type {CustomEvent} */ { detail }) => this.#setMembers(detail) });
    this.list = h("ul", { class: "gallery" });
    this.append(
      h("h2", { class: "headline" }, "Many pictures"),
      h("div", { class: "filters" }, labelled("Model", this.model), labelled("Sort by", this.order)),
      this.#dropArea(),
      this.state,
      this.meter,
      this.tools,
      this.survey,
      this.list,
    );
    this.#setFigures(new Map());
  }

  /** @param {Map<number, number>} inside */
  #setFigures(inside) {
    this.#inside = inside;
    const option = /** @type {HTMLOptionElement} */ (this.order.querySelector('[value="inside"]'));
    option.hidden = option.disabled = inside.size === 0;
    if (option.disabled && option.selected) this.order.value = "index";
    this.#showItems();
  }

  /** @param {Set<number> | null} members */
  #setMembers(members) {
    this.#members = members;
    this.#showItems();
  }

  #dropArea() {
    const input = (/** @type {Record<string, any>} */ properties) =>
      h("input", {
        type: "file",
        class: "visually-hidden",
        ...properties,
        onchange: (/** @type {Event} */ event) => {
          this.#begin([...(/** @type {HTMLInputElement} */ (event.target).files ?? [])].filter(isOfUse));
        },
      });
    const area = h(
      "div",
      { class: "drop" },
      h("strong", {}, "Drop a folder, a zip archive or many pictures"),
      h("span", { class: "hint" }, "With a COCO file of the objects in them (.json), you are told where the model looks beside the objects."),
      h(
        "span",
        { class: "row centred" },
        h("label", { class: "button" }, "Choose files or a zip", input({ multiple: true, accept: "image/*,.zip,.json", "aria-label": "Choose files or a zip archive" })),
        h("label", { class: "button" }, "Choose a folder", input({ webkitdirectory: true, "aria-label": "Choose a folder" })),
      ),
    );
    area.addEventListener("drop", async (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      if (event.dataTransfer) this.#begin(await droppedFiles(event.dataTransfer));
    });
    return area;
  }

  /**
   * @param {import("../state.js").State} state
   * @param {Set<string>} changed
   */
  update(state, changed) {
    if (changed.has("models")) {
      const chosen = this.model.value || state.modelId;
      fill(
        this.model,
        state.models.filter((model) => model.state === "ready").map(({ id }) => h("option", { value: id, selected: id === chosen }, id)),
      );
    }
    if (changed.has("batchId")) fill(this.list, ...this.#forget());
    if (state.view === "batch" && state.batchId) this.#poll(state.batchId);
    else this.#polls.end();
  }

  /** @returns {never[]} */
  #forget() {
    this.#items = [];
    this.#cards.clear();
    this.#members = null;
    this.survey.follow("");
    this.#setFigures(new Map());
    return [];
  }

  /** @param {File[]} files */
  async #begin(files) {
    const [annotations, ...others] = files.filter(isAnnotations);
    const pictures = files.filter((file) => !isAnnotations(file));
    if (files.length === 0) return;
    if (others.length > 0 || pictures.length === 0) {
      this.state.textContent = others.length > 0 ? "Drop one file of annotations, not several." : "Annotations need their pictures: drop them together.";
      return;
    }
    this.state.textContent = `Uploading ${pictures.length === 1 ? pictures[0].name : `${pictures.length} pictures`}${annotations ? ` and ${annotations.name}` : ""}.`;
    this.meter.hidden = false;
    const signal = this.#begun.next();
    try {
      const batch = await createBatch(pictures, annotations ?? null, this.model.value, { signal, onUploaded: (share) => (this.meter.value = share) });
      store.update({ batchId: batch.id });
    } catch (error) {
      if (signal.aborted) return;
      this.state.textContent = report(error);
      this.meter.hidden = true;
    }
  }

  /** @param {string} id */
  async #poll(id) {
    const signal = this.#polls.next();
    while (!signal.aborted) {
      try {
        const { batch, items } = await readBatch(id, { signal });
        this.#items = items;
        this.#showState(batch);
        this.survey.follow(batch.links.report ? id : "");
        this.#showItems();
        if (batch.progress >= 1) return;
      } catch (error) {
        if (signal.aborted) return;
        this.state.textContent = report(error);
        if (error instanceof Problem) return;
      }
      await pause(POLL_MILLISECONDS);
    }
  }

  /** @param {import("../batches.js").Batch} batch */
  #showState(batch) {
    const counts = Object.entries(batch.counts).filter(([, count]) => count > 0);
    this.state.textContent = `${batch.total} pictures for ${batch.model.id}: ${counts.map(([status, count]) => `${count} ${status}`).join(", ")}.`;
    this.meter.value = batch.progress;
    this.meter.hidden = batch.progress >= 1;
    const part = (/** @type {"archive" | "coco.json" | "targets.csv"} */ name, /** @type {string} */ title) =>
      h("button", { type: "button", "data-key": name, onclick: () => savePart(batch.id, name) }, title);
    const stop = h("button", { type: "button", "data-key": "stop", onclick: () => stopBatch(batch.id) }, "Stop");
    fill(this.tools, batch.progress < 1 && stop, part("archive", "Download maps"), part("targets.csv", "Download table"), part("coco.json", "Download COCO"));
  }

  #showItems() {
    const of = (/** @type {BatchItem} */ item) => ORDERS[this.order.value].of(item, this.#inside);
    const sorted = this.#items.filter(({ index }) => this.#members?.has(index) ?? true).sort((a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : a.index - b.index));
    const cards = sorted.map((item) => this.#cardOf(item));
    if (cards.length !== this.list.children.length || cards.some((card, place) => this.list.children[place] !== card)) fill(this.list, cards);
  }

  /** @param {BatchItem} item */
  #cardOf(item) {
    const inside = this.#inside.get(item.index);
    const text = JSON.stringify([item.status, item.explanation?.targets[0]?.reliability, inside]);
    const known = this.#cards.get(item.index);
    if (known?.text === text) return known.card;
    const made = card(item, inside);
    this.#cards.set(item.index, { text, card: made });
    return made;
  }
}

/**
 * @param {BatchItem} item
 * @param {number | undefined} inside share of the saliency inside the objects
 */
function card(item, inside) {
  const { explanation, name, status, error } = item;
  const target = explanation?.targets[0];
  const path = explanation ? explanationPath(explanation.id) : "";
  const figures = target && target.score !== null ? `${targetName(target)} ${percent(target.score)}` : status;
  const trust = [target?.reliability ? `reliability ${rounded(target.reliability)}` : "", inside === undefined ? "" : `${percent(inside)} inside the objects`];
  const open = () => explanation && reopen([{ id: explanation.id, target: 0, label: null, fill: null }]);
  const image = status === "succeeded" ? `${path}/maps/0.overlay.png?max_side=320 ${path}/image` : `${path}/image`;
  return h(
    "li",
    { class: "card" },
    h(
      "button",
      { type: "button", class: "open", disabled: !explanation, "aria-label": `Open ${name}`, onclick: open },
      explanation && h("fetched-image", { "data-paths": image }),
    ),
    h("p", { class: "card-title" }, h("strong", {}, figures), h("span", {}, name)),
    h("p", { class: "hint" }, error?.detail ?? explanation?.error?.detail ?? trust.filter(Boolean).join(", ")),
  );
}

/** @param {string} id */
async function stopBatch(id) {
  try {
    await request(`v1/batches/${id}/cancel`, { method: "POST" });
  } catch (error) {
    report(error);
  }
}

customElements.define("batch-gallery", BatchGallery);
