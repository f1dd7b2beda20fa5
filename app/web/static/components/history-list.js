/** Recent explanations: filter, open, delete. */

import { reopen } from "../actions.js";
import { explanationPath, request } from "../api.js";
import { Component } from "../component.js";
import { fill, h, labelled } from "../dom.js";
import { Latest } from "../latest.js";
import { report } from "../reporting.js";
import { ago } from "../words.js";
import "./fetched-image.js";

const STATUSES = ["queued", "running", "succeeded", "failed", "cancelled"];
const PAGE = 24;

class HistoryList extends Component {
  static reads = /** @type {any} */ (["view", "models"]);
  #next = "";
  #pages = new Latest();

  build() {
    this.model = h("select", { onchange: () => this.load() });
    this.status = h(
      "select",
      { onchange: () => this.load() },
      h("option", { value: "" }, "all"),
      STATUSES.map((status) => h("option", { value: status }, status)),
    );
    this.list = h("ul", { class: "gallery" });
    this.empty = h("p", { class: "hint" });
    this.more = h("button", { type: "button", onclick: () => this.loadMore() }, "Show more");
    this.append(
      h("h2", { class: "headline" }, "Recent explanations"),
      h(
        "div",
        { class: "filters" },
        labelled("Model", this.model),
        labelled("Status", this.status),
      ),
      this.list,
      this.empty,
      this.more,
    );
  }

  /**
   * @param {import("../state.js").State} state
   * @param {Set<string>} changed
   */
  update(state, changed) {
    if (changed.has("models")) {
      const chosen = this.model.value;
      fill(this.model, h("option", { value: "" }, "all"), state.models.map(({ id }) => h("option", { value: id }, id)));
      this.model.value = chosen;
    }
    if (changed.has("view") && state.view === "history") this.load();
  }

  async load() {
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (this.model.value) query.set("model", this.model.value);
    if (this.status.value) query.set("status", this.status.value);
    fill(this.list);
    this.#next = `v1/explanations?${query}`;
    await this.loadMore();
  }

  async loadMore() {
    const signal = this.#pages.next();
    try {
      const response = await request(this.#next, { signal });
      /** @type {any[]} */
      const found = await response.json();
      const cursor = /[?&]after=([^&>]+)/.exec(response.headers.get("Link") ?? "")?.[1];
      const query = new URLSearchParams(this.#next.split("?")[1]);
      if (cursor) query.set("after", decodeURIComponent(cursor));
      this.#next = cursor ? `v1/explanations?${query}` : "";
      this.list.append(...found.map((summary) => card(summary, () => this.#count())));
    } catch (error) {
      if (signal.aborted) return;
      report(error);
      this.#next = "";
    }
    this.more.hidden = this.#next === "";
    this.#count();
  }

  #count() {
    this.empty.textContent = this.list.childElementCount ? "" : "There is none.";
  }
}

/**
 * @param {any} summary
 * @param {() => void} onRemoved
 */
function card(summary, onRemoved) {
  const { id, status, model, method, created_at: created, error } = summary;
  const path = explanationPath(id);
  const item = h(
    "li",
    { class: "card" },
    h(
      "button",
      { type: "button", class: "open", "aria-label": `Open: ${model.id}, ${status}`, onclick: () => reopen([{ id, target: 0, label: null, fill: null }]) },
      h("fetched-image", { "data-paths": `${path}/maps/0.overlay.png?max_side=320 ${path}/image` }),
    ),
    h("p", { class: "card-title" }, h("strong", {}, model.id), h("span", {}, `${method}, ${ago(created)}`)),
    status !== "succeeded" && h("p", { class: "hint" }, error ? `${status}: ${error.detail}` : status),
    h("button", { type: "button", class: "quiet", "aria-label": `Delete: ${model.id}, ${ago(created)}`, onclick: remove }, "Delete"),
  );
  async function remove() {
    try {
      await request(path, { method: "DELETE" });
      item.remove();
      onRemoved();
    } catch (problem) {
      report(problem);
    }
  }
  return item;
}

customElements.define("history-list", HistoryList);
