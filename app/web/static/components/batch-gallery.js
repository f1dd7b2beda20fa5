/** Many pictures: a folder or a zip archive, explained with one model, as a gallery that can be sorted. */

import { reopen } from "../actions.js";
import { explanationPath, request } from "../api.js";
import { createBatch, droppedFiles, fetchPart, isPicture, readBatch } from "../batches.js";
import { Component } from "../component.js";
import { fill, h, labelled } from "../dom.js";
import { report } from "../reporting.js";
import { store } from "../state.js";
import { percent, rounded, targetName } from "../words.js";
import { save } from "./take-away.js";
import "./fetched-image.js";

/** @typedef {import("../batches.js").BatchItem} BatchItem */

const POLL_MILLISECONDS = 1500;

/** @type {Record<string, {title: string, of: (item: BatchItem) => number | string}>} */
const ORDERS = {
  index: { title: "order of upload", of: (item) => item.index },
  low: { title: "score, lowest first", of: (item) => item.explanation?.targets[0]?.score ?? 2 },
  high: { title: "score, highest first", of: (item) => -(item.explanation?.targets[0]?.score ?? -1) },
  unreliable: { title: "reliability, lowest first", of: (item) => item.explanation?.targets[0]?.reliability ?? 2 },
  label: { title: "class", of: (item) => targetName(item.explanation?.targets[0]) },
};

class BatchGallery extends Component {
  static reads = /** @type {any} */ (["view", "models", "batchId"]);
  /** @type {BatchItem[]} */ #items = [];
  /** @type {Map<number, {text: string, card: HTMLElement}>} */ #cards = new Map();
  #timer = 0;

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
    this.list = h("ul", { class: "gallery" });
    this.append(
      h("h2", { class: "headline" }, "Many pictures"),
      h("div", { class: "filters" }, labelled("Model", this.model), labelled("Sort by", this.order)),
      this.#dropArea(),
      this.state,
      this.meter,
      this.tools,
      this.list,
    );
  }

  #dropArea() {
    const input = (/** @type {Record<string, any>} */ properties) =>
      h("input", {
        type: "file",
        class: "visually-hidden",
        ...properties,
        onchange: (/** @type {Event} */ event) => {
          const chosen = [...(/** @type {HTMLInputElement} */ (event.target).files ?? [])].filter(isPicture);
          this.#begin(chosen);
        },
      });
    const area = h(
      "div",
      { class: "drop" },
      h("strong", {}, "Drop a folder, a zip archive or many pictures"),
      h(
        "span",
        { class: "row centred" },
        h("label", { class: "button" }, "Choose files or a zip", input({ multiple: true, accept: "image/*,.zip", "aria-label": "Choose files or a zip archive" })),
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
    else clearTimeout(this.#timer);
  }

  /** @returns {never[]} */
  #forget() {
    this.#items = [];
    this.#cards.clear();
    return [];
  }

  /** @param {File[]} files */
  async #begin(files) {
    if (files.length === 0) return;
    this.state.textContent = `Uploading ${files.length === 1 ? files[0].name : `${files.length} pictures`}.`;
    this.meter.hidden = false;
    try {
      const batch = await createBatch(files, this.model.value, (share) => (this.meter.value = share));
      store.update({ batchId: batch.id });
    } catch (error) {
      this.state.textContent = report(error);
      this.meter.hidden = true;
    }
  }

  /** @param {string} id */
  async #poll(id) {
    clearTimeout(this.#timer);
    try {
      const { batch, items } = await readBatch(id);
      if (store.state.batchId !== id) return;
      this.#items = items;
      this.#showState(batch);
      this.#showItems();
      if (batch.progress >= 1) return;
    } catch (error) {
      this.state.textContent = report(error);
      if (error instanceof Error && error.name === "Problem") return;
    }
    this.#timer = setTimeout(() => this.#poll(id), POLL_MILLISECONDS);
  }

  /** @param {import("../batches.js").Batch} batch */
  #showState(batch) {
    const counts = Object.entries(batch.counts).filter(([, count]) => count > 0);
    this.state.textContent = `${batch.total} pictures for ${batch.model.id}: ${counts.map(([status, count]) => `${count} ${status}`).join(", ")}.`;
    this.meter.value = batch.progress;
    this.meter.hidden = batch.progress >= 1;
    const part = (/** @type {"archive" | "coco.json"} */ name, /** @type {string} */ title, /** @type {string} */ ending) =>
      h("button", { type: "button", "data-key": name, onclick: () => savePart(batch.id, name, ending) }, title);
    const stop = h("button", { type: "button", "data-key": "stop", onclick: () => stopBatch(batch.id) }, "Stop");
    fill(this.tools, batch.progress < 1 && stop, part("archive", "Download maps", "zip"), part("coco.json", "Download COCO", "coco.json"));
  }

  #showItems() {
    const of = ORDERS[this.order.value].of;
    const sorted = [...this.#items].sort((a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : a.index - b.index));
    const cards = sorted.map((item) => this.#cardOf(item));
    if (cards.some((card, place) => this.list.children[place] !== card)) fill(this.list, cards);
  }

  /** @param {BatchItem} item */
  #cardOf(item) {
    const text = JSON.stringify([item.status, item.explanation?.targets[0]?.reliability]);
    const known = this.#cards.get(item.index);
    if (known?.text === text) return known.card;
    const made = card(item);
    this.#cards.set(item.index, { text, card: made });
    return made;
  }
}

/** @param {BatchItem} item */
function card(item) {
  const { explanation, name, status, error } = item;
  const target = explanation?.targets[0];
  const path = explanation ? explanationPath(explanation.id) : "";
  const figures = target && target.score !== null ? `${targetName(target)} ${percent(target.score)}` : status;
  const trust = target?.reliability ? `reliability ${rounded(target.reliability)}` : "";
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
    h("p", { class: "hint" }, error?.detail ?? explanation?.error?.detail ?? trust),
  );
}

/**
 * @param {string} id
 * @param {"archive" | "coco.json"} part
 * @param {string} ending
 */
async function savePart(id, part, ending) {
  try {
    save(await fetchPart(id, part), `batch-${id}.${ending}`);
  } catch (error) {
    report(error);
  }
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
