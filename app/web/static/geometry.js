/** Where a picture lies in a viewer. All panes share one viewport; places are shares of the picture's width and height. */

/**
 * @typedef {{x: number, y: number, width: number, height: number}} Rectangle in pixels of the viewer
 * @typedef {import("./state.js").Viewport} Viewport
 */

export const MOST_ZOOM = 12;

/**
 * Return where the whole picture lies, of which the viewer may show a part.
 *
 * @param {{width: number, height: number}} picture
 * @param {{width: number, height: number}} viewer
 * @param {Viewport} viewport
 * @returns {Rectangle}
 */
export function placePicture(picture, viewer, viewport) {
  const fit = Math.min(viewer.width / picture.width, viewer.height / picture.height);
  const width = picture.width * fit * viewport.zoom;
  const height = picture.height * fit * viewport.zoom;
  return { x: viewer.width / 2 - viewport.x * width, y: viewer.height / 2 - viewport.y * height, width, height };
}

/**
 * Return a viewport that is zoomed, with one place kept where it is, and that never shows beyond the picture's edge.
 *
 * @param {Viewport} viewport
 * @param {number} factor
 * @param {{u: number, v: number}} place
 * @returns {Viewport}
 */
export function zoomed(viewport, factor, place) {
  const zoom = Math.min(Math.max(viewport.zoom * factor, 1), MOST_ZOOM);
  const kept = viewport.zoom / zoom;
  return within({ zoom, x: place.u + (viewport.x - place.u) * kept, y: place.v + (viewport.y - place.v) * kept });
}

/**
 * @param {Viewport} viewport
 * @returns {Viewport}
 */
export function within({ zoom, x, y }) {
  const half = 0.5 / zoom;
  const clamp = (/** @type {number} */ value) => Math.min(Math.max(value, half), 1 - half);
  return { zoom, x: clamp(x), y: clamp(y) };
}
