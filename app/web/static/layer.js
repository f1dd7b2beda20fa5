/** A picture that is drawn once and shown often. */

export class Layer {
  /** @type {HTMLCanvasElement} */ #canvas = document.createElement("canvas");
  /** @type {unknown[]} */ #key = [];

  /**
   * Return the layer, drawn anew where its size, or anything that its content depends on, is another than before.
   *
   * @param {HTMLCanvasElement} like has the size
   * @param {unknown[]} key what the content depends on
   * @param {(context: CanvasRenderingContext2D) => void} draw
   */
  get(like, key, draw) {
    const now = [like.width, like.height, ...key];
    if (now.length === this.#key.length && now.every((part, place) => part === this.#key[place])) return this.#canvas;
    this.#key = now;
    [this.#canvas.width, this.#canvas.height] = [like.width, like.height];
    draw(/** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d")));
    return this.#canvas;
  }
}
