/** Requests of which only the last one counts: what an earlier one answers late is not shown. */

export class Latest {
  /** @type {Map<string, AbortController>} */ #controllers = new Map();

  /**
   * Abort the request before, and return the signal of the next; one that counts no more has an aborted signal.
   *
   * @param {string} [key] what the request is for; others stay as they are
   * @returns {AbortSignal}
   */
  next(key = "") {
    this.end(key);
    const controller = new AbortController();
    this.#controllers.set(key, controller);
    return controller.signal;
  }

  /** @param {string} [key] */
  end(key = "") {
    this.#controllers.get(key)?.abort();
    this.#controllers.delete(key);
  }

  endAll() {
    for (const key of [...this.#controllers.keys()]) this.end(key);
  }
}
