/** What all components share: they are built once, and updated where what they read has changed. */

import { store } from "./state.js";

/** @typedef {import("./state.js").State} State */

export class Component extends HTMLElement {
  /** Members of the state whose change calls `update`. @type {(keyof State)[]} */
  static reads = [];
  /** @type {(() => void) | null} */ #unsubscribe = null;

  connectedCallback() {
    if (this.#unsubscribe) return;
    const reads = /** @type {typeof Component} */ (this.constructor).reads;
    this.build();
    this.#unsubscribe = store.subscribe((state, changed) => {
      if (reads.some((name) => changed.has(name))) this.update(state, changed);
    });
    this.update(store.state, new Set(reads));
  }

  disconnectedCallback() {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
  }

  /** Make the children that stay. */
  build() {}

  /**
   * Show the state.
   *
   * @param {State} _state
   * @param {Set<string>} _changed
   */
  update(_state, _changed) {}
}
