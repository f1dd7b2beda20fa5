/** Name, views, key, documentation. */

import { forgetKey, useKey } from "../actions.js";
import { ROOT, hasKey } from "../api.js";
import { Component } from "../component.js";
import { h } from "../dom.js";
import { store } from "../state.js";

const VIEWS = /** @type {const} */ ([
  ["explain", "Explain"],
  ["batch", "Many pictures"],
  ["history", "Recent"],
]);

class AppHeader extends Component {
  static reads = /** @type {any} */ (["view", "keyNeeded"]);
  /** @type {HTMLButtonElement[]} */ tabs = [];

  build() {
    this.tabs = VIEWS.map(([view, title]) =>
      h("button", { type: "button", "data-key": view, onclick: () => store.update({ view }) }, title),
    );
    this.keyButton = h("button", { type: "button", class: "quiet", onclick: () => forgetKey() }, "Forget the key");
    this.field = h("input", { type: "password", id: "api-key", autocomplete: "off", required: true });
    this.dialog = h(
      "form",
      { class: "key-form", onsubmit: (/** @type {Event} */ event) => this.#submit(event) },
      h("label", { for: "api-key" }, "This service asks for an API key"),
      this.field,
      h("button", { type: "submit", class: "primary" }, "Use it"),
      h("p", { class: "hint" }, "It is kept for this tab only. The operator makes one with ", h("code", {}, "rise-serve keys add NAME"), "."),
    );
    this.append(
      h(
        "header",
        { class: "top" },
        h("h1", {}, h("span", { class: "mark", "aria-hidden": "true" }), "rise-serve"),
        h("nav", { "aria-label": "Views" }, this.tabs),
        h("span", { class: "spacer" }),
        this.keyButton,
        h("a", { href: new URL("docs", ROOT).href }, "API"),
      ),
      this.dialog,
    );
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    VIEWS.forEach(([view], place) => {
      if (view === state.view) this.tabs[place].setAttribute("aria-current", "page");
      else this.tabs[place].removeAttribute("aria-current");
    });
    this.keyButton.hidden = !hasKey();
    const opened = this.dialog.hidden && state.keyNeeded;
    this.dialog.hidden = !state.keyNeeded;
    if (opened) this.field.focus();
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    useKey(this.field.value.trim());
    this.field.value = "";
  }
}

customElements.define("app-header", AppHeader);
