/** What went wrong, and whether the service answers. */

import { Component } from "../component.js";
import { fill, h } from "../dom.js";
import { store } from "../state.js";

class NoticeBar extends Component {
  static reads = /** @type {any} */ (["notice", "connection"]);

  build() {
    this.setAttribute("role", "status");
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    fill(
      this,
      state.connection === "away" &&
        h("p", { class: "notice is-error" }, "The service does not answer. This page goes on when it is back."),
      state.notice &&
        h(
          "p",
          { class: `notice is-${state.notice.kind}` },
          state.notice.text,
          h("button", { type: "button", class: "quiet", onclick: () => store.update({ notice: null }) }, "Close"),
        ),
    );
  }
}

customElements.define("notice-bar", NoticeBar);
