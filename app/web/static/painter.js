/** Maps to pixels and lines. Scaling to the strongest value happens here and nowhere else. */

import { colorTable } from "./colormaps.js";

/**
 * @typedef {import("./saliency_map.js").SaliencyMap} SaliencyMap
 * @typedef {import("./state.js").Display} Display
 */

const FULL_AT = 0.5; // share of the strongest value from which colours are opaque, as in the service's own overlays

/**
 * Return a map's colours, transparent where its effect is 0, or opaque everywhere in the style `map`.
 *
 * @param {SaliencyMap} map
 * @param {Display} display
 * @param {number} strongest value that has the last colour
 * @param {number} width
 * @param {number} height
 */
export function paintColors(map, display, strongest, width, height) {
  const { signed, colors, style } = display;
  const table = colorTable(colors, signed);
  const values = map.resampled(width, height);
  const image = new ImageData(width, height);
  const pixels = image.data;
  const scale = strongest > 0 ? 1 / strongest : 0;
  for (let index = 0, place = 0; index < values.length; index += 1, place += 4) {
    const share = Math.min(Math.max(values[index] * scale, signed ? -1 : 0), 1);
    const color = Math.round((signed ? (share + 1) / 2 : share) * 255) * 3;
    pixels[place] = table[color];
    pixels[place + 1] = table[color + 1];
    pixels[place + 2] = table[color + 2];
    pixels[place + 3] = style === "map" ? 255 : Math.min(Math.abs(share) / FULL_AT, 1) * 255;
  }
  return image;
}

/**
 * Return black, transparent where a map reaches a level.
 *
 * @param {SaliencyMap} map
 * @param {number} level
 * @param {number} width
 * @param {number} height
 */
export function paintShade(map, level, width, height) {
  const values = map.resampled(width, height);
  const image = new ImageData(width, height);
  for (let index = 0; index < values.length; index += 1) image.data[index * 4 + 3] = values[index] >= level ? 0 : 255;
  return image;
}

/**
 * Return the outline of where a map reaches a level, in shares of width and height (marching squares).
 *
 * @param {SaliencyMap} map
 * @param {number} level
 */
export function outline(map, level) {
  const path = new Path2D();
  const { width, height, values } = map;
  const at = (/** @type {number} */ x, /** @type {number} */ y) =>
    x < 0 || y < 0 || x >= width || y >= height ? level - 1e-6 : values[y * width + x];
  const cut = (/** @type {number} */ from, /** @type {number} */ to) => (level - from) / (to - from || 1);
  for (let y = -1; y < height; y += 1) {
    for (let x = -1; x < width; x += 1) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      /** @type {[number, number][]} */
      const ends = [];
      if (a >= level !== b >= level) ends.push([x + cut(a, b), y]);
      if (b >= level !== c >= level) ends.push([x + 1, y + cut(b, c)]);
      if (c >= level !== d >= level) ends.push([x + 1 - cut(c, d), y + 1]);
      if (d >= level !== a >= level) ends.push([x, y + 1 - cut(d, a)]);
      for (let end = 0; end + 1 < ends.length; end += 2) {
        path.moveTo((ends[end][0] + 0.5) / width, (ends[end][1] + 0.5) / height);
        path.lineTo((ends[end + 1][0] + 0.5) / width, (ends[end + 1][1] + 0.5) / height);
      }
    }
  }
  return path;
}
