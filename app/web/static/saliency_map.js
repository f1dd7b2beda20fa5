/** A map as numbers: change of the score when a place becomes visible, with its standard error. */

import { parseNpz } from "./npy.js";

export class SaliencyMap {
  /**
   * @param {Float32Array} values row by row, `[height, width]`
   * @param {Float32Array | null} standardError likewise; null before the second block
   * @param {number} width
   * @param {number} height
   * @param {{reliability?: number | null, target?: import("./state.js").Target | null,
   *   parameters?: Record<string, any> | null}} [about]
   */
  constructor(values, standardError, width, height, about = {}) {
    this.values = values;
    this.standardError = standardError;
    this.width = width;
    this.height = height;
    this.reliability = about.reliability ?? null;
    this.target = about.target ?? null;
    this.parameters = about.parameters ?? null;
    this.high = values.reduce((high, value) => Math.max(high, value), -Infinity);
    this.low = values.reduce((low, value) => Math.min(low, value), Infinity);
  }

  /**
   * Read a `.npz` of one fill.
   *
   * @param {ArrayBuffer} buffer
   */
  static async fromNpz(buffer) {
    const arrays = await parseNpz(buffer);
    const map = /** @type {import("./npy.js").NpyArray} */ (arrays.get("map"));
    const [height, width] = map.shape.slice(-2);
    const size = width * height;
    const values = /** @type {Float32Array} */ (map.data).subarray(0, size);
    const errors = /** @type {Float32Array | undefined} */ (arrays.get("standard_error")?.data);
    const target = arrays.get("target")?.data[0];
    const parameters = arrays.get("parameters")?.data[0];
    return new SaliencyMap(values, errors?.subarray(0, size) ?? null, width, height, {
      reliability: /** @type {number | undefined} */ (arrays.get("reliability")?.data[0]),
      target: target === undefined ? null : JSON.parse(String(target)),
      parameters: parameters === undefined ? null : JSON.parse(String(parameters)),
    });
  }

  /** The largest value, or with `signed` the largest of either sign. @param {boolean} signed */
  strongest(signed) {
    return Math.max(this.high, signed ? -this.low : 0, 0);
  }

  /**
   * Return value and standard error at a place.
   *
   * @param {number} u share of the width, 0..1
   * @param {number} v share of the height
   */
  at(u, v) {
    const read = bilinear(this.width, this.height, u, v);
    return { value: read(this.values), error: this.standardError && read(this.standardError) };
  }

  /**
   * Return the place of the largest value, or of the largest of either sign.
   *
   * @param {boolean} signed
   */
  peak(signed) {
    const index = this.values.indexOf(signed && -this.low > this.high ? this.low : this.high);
    return { u: ((index % this.width) + 0.5) / this.width, v: (Math.floor(index / this.width) + 0.5) / this.height };
  }

  /**
   * Return the value from which on the smallest region holds a share of the positive saliency; null if there is none.
   *
   * @param {number} share 0..1
   */
  levelOf(share) {
    const positive = this.values.filter((value) => value > 0).sort().reverse();
    const wanted = share * positive.reduce((sum, value) => sum + value, 0);
    let sum = 0;
    for (const value of positive) {
      sum += value;
      if (sum >= wanted) return value;
    }
    return positive.length ? positive[positive.length - 1] : null;
  }

  /** Return the share of the picture's area whose value is at least so high. @param {number} level */
  areaAbove(level) {
    return this.values.reduce((count, value) => count + (value >= level ? 1 : 0), 0) / this.values.length;
  }

  /**
   * Return the values at another size.
   *
   * @param {number} width
   * @param {number} height
   */
  resampled(width, height) {
    const out = new Float32Array(width * height);
    const columns = taps(this.width, width);
    const rows = taps(this.height, height);
    for (let y = 0, place = 0; y < height; y += 1) {
      const [top, bottom, down] = [rows.first[y] * this.width, rows.second[y] * this.width, rows.weight[y]];
      for (let x = 0; x < width; x += 1, place += 1) {
        const [left, right, across] = [columns.first[x], columns.second[x], columns.weight[x]];
        const upper = this.values[top + left] * (1 - across) + this.values[top + right] * across;
        const lower = this.values[bottom + left] * (1 - across) + this.values[bottom + right] * across;
        out[place] = upper * (1 - down) + lower * down;
      }
    }
    return out;
  }
}

/**
 * Return between which samples each new one lies, and how far.
 *
 * @param {number} from
 * @param {number} to
 */
function taps(from, to) {
  const [first, second, weight] = [new Int32Array(to), new Int32Array(to), new Float32Array(to)];
  for (let index = 0; index < to; index += 1) {
    const place = Math.min(Math.max(((index + 0.5) * from) / to - 0.5, 0), from - 1);
    first[index] = Math.floor(place);
    second[index] = Math.min(first[index] + 1, from - 1);
    weight[index] = place - first[index];
  }
  return { first, second, weight };
}

/**
 * @param {number} width
 * @param {number} height
 * @param {number} u
 * @param {number} v
 * @returns {(values: Float32Array) => number}
 */
function bilinear(width, height, u, v) {
  const x = Math.min(Math.max(u * width - 0.5, 0), width - 1);
  const y = Math.min(Math.max(v * height - 0.5, 0), height - 1);
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, bottom] = [Math.min(left + 1, width - 1), Math.min(top + 1, height - 1)];
  const [a, b] = [x - left, y - top];
  return (values) =>
    (values[top * width + left] * (1 - a) + values[top * width + right] * a) * (1 - b) +
    (values[bottom * width + left] * (1 - a) + values[bottom * width + right] * a) * b;
}
