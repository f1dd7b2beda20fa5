/** A value that changes in steps and tells who listens, once for all changes of one task. */

/** @template {object} State */
export class Store {
  /** @type {State} */ state;
  /** @type {Set<(state: State, changed: Set<string>) => void>} */ #listeners = new Set();
  /** @type {Set<string>} */ #changed = new Set();

  /** @param {State} state */
  constructor(state) {
    this.state = state;
  }

  /**
   * Replace some members of the state; those that stay the same tell nobody.
   *
   * @param {Partial<State>} patch
   */
  update(patch) {
    const before = /** @type {any} */ (this.state);
    const names = Object.keys(patch).filter((name) => before[name] !== /** @type {any} */ (patch)[name]);
    if (names.length === 0) return;
    this.state = { ...this.state, ...patch };
    if (this.#changed.size === 0) queueMicrotask(() => this.#tell());
    for (const name of names) this.#changed.add(name);
  }

  /**
   * Call a function after each change; the answer ends that.
   *
   * @param {(state: State, changed: Set<string>) => void} listener
   * @returns {() => void}
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell() {
    const changed = this.#changed;
    this.#changed = new Set();
    for (const listener of [...this.#listeners]) listener(this.state, changed);
  }
}
