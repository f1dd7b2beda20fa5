/** One picture with its map: drawn from numbers, zoomed and moved together with all other panes. */

import { explainPrediction } from "../actions.js";
import { Component } from "../component.js";
import { h } from "../dom.js";
import { placePicture, within, zoomed } from "../geometry.js";
import { Layer } from "../layer.js";
import { outline, paintColors, paintShade } from "../painter.js";
import { displayOf, isGradCam, paintOf, scaleOf, store } from "../state.js";
import { effectSentence, gradCamSentence, targetName } from "../words.js";

/** @typedef {import("../state.js").Box} Box */

const LONGEST_PAINTED = 1024; // samples of the painted map; the screen interpolates between them
const STEP = 0.02; // of the probe, as a share of the picture, for each press of an arrow key
const SHADE = 0.78;
const GRAD_CAM_HINT = "Grad-CAM reads gradients and hides nothing: it says where, not by how much, and has no error bars.";

export class MapViewer extends Component {
  static reads = /** @type {any} */ (["panes", "display", "viewport", "probe", "predictions", "drawing", "rectangle"]);

  /** @type {{map: any, display: any, strongest: number, layer: OffscreenCanvas | HTMLCanvasElement, path: Path2D | null} | null} */
  #painted = null;
  /** @type {Map<number, {x: number, y: number}>} */
  #pointers = new Map();
  /** @type {{u: number, v: number} | null} */
  #corner = null;
  #moved = false;
  #frame = 0;
  #scaled = new Layer();
  canvas = document.createElement("canvas");

  build() {
    this.canvas.setAttribute("aria-hidden", "true");
    this.surface = h(
      "div",
      {
        class: "surface",
        tabindex: "0",
        role: "group",
        "data-key": "surface",
        onpointerdown: (/** @type {PointerEvent} */ event) => this.#press(event),
        onpointermove: (/** @type {PointerEvent} */ event) => this.#move(event),
        onpointerup: (/** @type {PointerEvent} */ event) => this.#release(event),
        onpointercancel: (/** @type {PointerEvent} */ event) => this.#pointers.delete(event.pointerId),
        onpointerleave: () => this.#pointers.size === 0 && store.update({ probe: null }),
        ondblclick: (/** @type {MouseEvent} */ event) => this.#zoom(event.shiftKey ? 0.5 : 2, this.#placeOf(event)),
        onwheel: (/** @type {WheelEvent} */ event) => this.#wheel(event),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
      },
      this.canvas,
    );
    this.reading = h("p", { class: "reading", "aria-live": "polite" });
    this.message = h("p", { class: "pane-message" });
    this.append(this.surface, this.message, this.reading);
    new ResizeObserver(() => this.#schedule()).observe(this.surface);
  }

  get pane() {
    return store.state.panes.find((pane) => pane.key === this.dataset.pane) ?? null;
  }

  update() {
    const pane = this.pane;
    if (!pane) return;
    const { picture } = pane;
    if (picture?.width) this.surface.style.aspectRatio = `${picture.width} / ${picture.height}`;
    const about = pane.map ? `why the model said ${targetName(this.target)}` : "no map yet";
    const help = "Arrow keys move the place that is read, plus and minus zoom, 0 shows all, P goes to the peak.";
    this.surface.setAttribute("aria-label", `Picture and map: ${about}. ${help}`);
    this.surface.classList.toggle("is-drawing", store.state.drawing);
    this.surface.classList.toggle("is-zoomed", store.state.viewport.zoom > 1);
    this.message.textContent = pane.error ?? (picture && !picture.bitmap ? "This browser cannot show this file; the service can read it." : "");
    this.message.hidden = this.message.textContent === "";
    this.reading.textContent = this.#words();
    this.#schedule();
  }

  /** The target that the map is of. */
  get target() {
    const pane = this.pane;
    return pane?.map?.target ?? pane?.explanation?.targets[pane.target] ?? null;
  }

  #peak() {
    const pane = this.pane;
    return pane?.map?.peak(paintOf(pane) !== null) ?? null;
  }

  #words() {
    const { probe } = store.state;
    const pane = this.pane;
    if (!pane?.map) return "";
    const paint = paintOf(pane);
    const { u, v } = probe ?? pane.map.peak(paint !== null);
    const [read, name] = [pane.map.at(u, v), targetName(this.target)];
    if (isGradCam(pane)) return probe ? gradCamSentence(read.value, pane.map.strongest(false), name) : GRAD_CAM_HINT;
    const sentence = effectSentence(read, name, paint);
    return probe ? sentence : `At the peak: ${lowered(sentence)}`;
  }

  #schedule() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const pane = this.pane;
    const ratio = devicePixelRatio || 1;
    const size = { width: this.surface.clientWidth, height: this.surface.clientHeight };
    if (!pane || size.width === 0) return;
    this.canvas.width = Math.round(size.width * ratio);
    this.canvas.height = Math.round(size.height * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    if (!pane.picture?.width) return;
    const place = placePicture(pane.picture, size, store.state.viewport);
    context.drawImage(this.#picture(place, ratio), 0, 0);
    context.scale(ratio, ratio);
    if (pane.map && store.state.display.style !== "original") this.#drawMap(context, place);
    this.#drawMarks(context, place);
  }

  /**
   * Return the picture at the screen's resolution, because scaling a large one takes longer than a frame.
   *
   * @param {import("../geometry.js").Rectangle} place
   * @param {number} ratio
   */
  #picture({ x, y, width, height }, ratio) {
    const bitmap = this.pane?.picture?.bitmap;
    return this.#scaled.get(this.canvas, [bitmap, x, y, width, height, ratio], (context) => {
      context.imageSmoothingQuality = "high";
      context.scale(ratio, ratio);
      if (bitmap) context.drawImage(bitmap, x, y, width, height);
    });
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {import("../geometry.js").Rectangle} place
   */
  #drawMap(context, place) {
    const { display } = store.state;
    const { layer, path } = this.#paint();
    if (display.style === "overlay") {
      context.save();
      context.globalAlpha = 0.65 * display.opacity;
      context.globalCompositeOperation = "saturation";
      context.fillStyle = "#808080";
      context.fillRect(place.x, place.y, place.width, place.height);
      context.restore();
    }
    if (display.style !== "outline") {
      context.globalAlpha = display.style === "region" ? SHADE : display.style === "map" ? 1 : display.opacity;
      context.drawImage(layer, place.x, place.y, place.width, place.height);
      context.globalAlpha = 1;
    }
    if (path && (display.style === "outline" || display.style === "region")) strokePath(context, path, place);
  }

  /** Return the map's layer, painted anew where map or display have changed. */
  #paint() {
    const pane = /** @type {import("../state.js").Pane} */ (this.pane);
    const map = /** @type {import("../saliency_map.js").SaliencyMap} */ (pane.map);
    const display = displayOf(pane, store.state.display);
    const strongest = scaleOf(pane, store.state);
    const before = this.#painted;
    const same = before?.map === map && before.strongest === strongest && sameColors(before.display, display);
    if (this.#painted && same) return this.#painted;
    const picture = pane.picture ?? { width: map.width, height: map.height };
    const scale = Math.min(1, LONGEST_PAINTED / Math.max(picture.width, picture.height));
    const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
    const layer = document.createElement("canvas");
    [layer.width, layer.height] = [width, height];
    const level = display.style === "region" || display.style === "outline" ? map.levelOf(display.share) : null;
    const image =
      display.style === "region"
        ? paintShade(map, level ?? Infinity, width, height)
        : paintColors(map, display, strongest, width, height);
    layer.getContext("2d")?.putImageData(image, 0, 0);
    this.#painted = { map, display, strongest, layer, path: level === null ? null : outline(map, level) };
    return this.#painted;
  }

  /**
   * Draw boxes, the rectangle that is being drawn, the peak and the place that is read.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {import("../geometry.js").Rectangle} place
   */
  #drawMarks(context, place) {
    const { probe, rectangle, drawing, display } = store.state;
    for (const { box, name, strong } of this.#boxes()) this.#drawBox(context, place, box, name, strong);
    if (drawing && rectangle) this.#drawBox(context, place, rectangle, "", true);
    const map = this.pane?.map;
    const painted = this.pane !== null && paintOf(this.pane) !== null;
    if (map && display.style !== "original" && map.strongest(painted) > 0) {
      const { u, v } = map.peak(painted);
      ring(context, place.x + u * place.width, place.y + v * place.height, 5);
    }
    if (probe) cross(context, place.x + probe.u * place.width, place.y + probe.v * place.height);
  }

  /** Return the boxes to show: of the target, or of all that the model sees while there is no map. */
  #boxes() {
    const { target, pane } = this;
    if (store.state.drawing) return [];
    if (target?.box) return [{ box: target.box, name: "", strong: true }];
    if (pane?.map || pane?.picture !== store.state.picture) return [];
    return (store.state.predictions ?? []).flatMap(({ box, name }) => (box ? [{ box, name, strong: false }] : []));
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {import("../geometry.js").Rectangle} place
   * @param {Box} box
   * @param {string} name
   * @param {boolean} strong
   */
  #drawBox(context, place, box, name, strong) {
    const picture = /** @type {import("../state.js").Picture} */ (this.pane?.picture);
    const [x, y] = [place.x + (box[0] / picture.width) * place.width, place.y + (box[1] / picture.height) * place.height];
    const width = ((box[2] - box[0]) / picture.width) * place.width;
    const height = ((box[3] - box[1]) / picture.height) * place.height;
    for (const [color, line] of /** @type {[string, number][]} */ ([["#000", strong ? 4 : 3], ["#fff", strong ? 2 : 1]])) {
      context.strokeStyle = color;
      context.lineWidth = line;
      context.strokeRect(x, y, width, height);
    }
    if (name) label(context, name, x, y);
  }

  // --- Pointers, wheel and keys -------------------------------------------------------------------------------------

  /** @param {MouseEvent} event */
  #placeOf(event) {
    const bounds = this.surface.getBoundingClientRect();
    const picture = this.pane?.picture ?? { width: 1, height: 1 };
    const place = placePicture(picture, bounds, store.state.viewport);
    const clamp = (/** @type {number} */ value) => Math.min(Math.max(value, 0), 1);
    return {
      u: clamp((event.clientX - bounds.left - place.x) / place.width),
      v: clamp((event.clientY - bounds.top - place.y) / place.height),
    };
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (this.pane) store.update({ activePane: this.pane.key });
    this.surface.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.#moved = false;
    if (store.state.drawing) this.#corner = this.#placeOf(event);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (before && (Math.abs(event.clientX - before.x) > 3 || Math.abs(event.clientY - before.y) > 3)) this.#moved = true;
    if (before && this.#corner) return this.#stretch(this.#corner, this.#placeOf(event));
    if (before && this.#pointers.size === 2) return this.#pinch(event, before);
    if (before && store.state.viewport.zoom > 1 && this.#moved) return this.#pan(event, before);
    store.update({ probe: this.#placeOf(event) });
  }

  /** @param {PointerEvent} event */
  #release(event) {
    this.#pointers.delete(event.pointerId);
    if (this.#corner) {
      this.#corner = null;
      return;
    }
    if (!this.#moved) this.#choose(this.#placeOf(event));
  }

  /**
   * Explain the smallest box at a place, where boxes are shown.
   *
   * @param {{u: number, v: number}} place
   */
  #choose(place) {
    const picture = this.pane?.picture;
    if (!picture || this.pane?.picture !== store.state.picture) return;
    const [x, y] = [place.u * picture.width, place.v * picture.height];
    const inside = (store.state.predictions ?? []).filter(
      ({ box }) => box && x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3],
    );
    const area = (/** @type {any} */ { box }) => (box[2] - box[0]) * (box[3] - box[1]);
    const [smallest] = inside.sort((a, b) => area(a) - area(b));
    if (smallest) explainPrediction(smallest);
  }

  /**
   * @param {{u: number, v: number}} from
   * @param {{u: number, v: number}} to
   */
  #stretch(from, to) {
    const { width, height } = /** @type {import("../state.js").Picture} */ (this.pane?.picture);
    const [x0, x1] = [from.u * width, to.u * width].sort((a, b) => a - b);
    const [y0, y1] = [from.v * height, to.v * height].sort((a, b) => a - b);
    store.update({ rectangle: /** @type {Box} */ ([x0, y0, x1, y1].map((side) => Math.round(side))) });
  }

  /**
   * @param {PointerEvent} event
   * @param {{x: number, y: number}} before
   */
  #pan(event, before) {
    const { viewport } = store.state;
    const bounds = this.surface.getBoundingClientRect();
    const place = placePicture(this.pane?.picture ?? bounds, bounds, viewport);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const x = viewport.x - (event.clientX - before.x) / place.width;
    const y = viewport.y - (event.clientY - before.y) / place.height;
    store.update({ viewport: within({ zoom: viewport.zoom, x, y }) });
  }

  /**
   * @param {PointerEvent} event
   * @param {{x: number, y: number}} before
   */
  #pinch(event, before) {
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return;
    const distance = (/** @type {{x: number, y: number}} */ at) => Math.hypot(at.x - other.x, at.y - other.y) || 1;
    const now = { x: event.clientX, y: event.clientY };
    this.#pointers.set(event.pointerId, now);
    this.#zoom(distance(now) / distance(before), this.#placeOf(event));
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey && store.state.viewport.zoom === 1) return; // the page scrolls
    event.preventDefault();
    this.#zoom(Math.exp(-event.deltaY / 300), this.#placeOf(event));
  }

  /**
   * @param {number} factor
   * @param {{u: number, v: number}} place
   */
  #zoom(factor, place) {
    store.update({ viewport: zoomed(store.state.viewport, factor, place) });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const probe = store.state.probe ?? this.#peak() ?? { u: 0.5, v: 0.5 };
    const step = event.shiftKey ? STEP * 4 : STEP;
    const clamp = (/** @type {number} */ value) => Math.min(Math.max(value, 0), 1);
    const moved = (/** @type {number} */ x, /** @type {number} */ y) =>
      store.update({ probe: { u: clamp(probe.u + x * step), v: clamp(probe.v + y * step) } });
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => moved(-1, 0),
      ArrowRight: () => moved(1, 0),
      ArrowUp: () => moved(0, -1),
      ArrowDown: () => moved(0, 1),
      "+": () => this.#zoom(1.5, probe),
      "=": () => this.#zoom(1.5, probe),
      "-": () => this.#zoom(1 / 1.5, probe),
      0: () => store.update({ viewport: { zoom: 1, x: 0.5, y: 0.5 } }),
      p: () => store.update({ probe: this.#peak() }),
      Escape: () => store.update({ probe: null, drawing: false, rectangle: null }),
    };
    const act = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

/** @param {string} text */
function lowered(text) {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/**
 * @param {import("../state.js").Display} a
 * @param {import("../state.js").Display} b
 */
function sameColors(a, b) {
  return a.style === b.style && a.colors === b.colors && a.signed === b.signed && a.share === b.share;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Path2D} path in shares of width and height
 * @param {import("../geometry.js").Rectangle} place
 */
function strokePath(context, path, place) {
  const scaled = new Path2D();
  scaled.addPath(path, new DOMMatrix([place.width, 0, 0, place.height, place.x, place.y]));
  context.lineCap = "round";
  context.strokeStyle = "rgb(0 0 0 / 70%)";
  context.lineWidth = 4;
  context.stroke(scaled);
  context.strokeStyle = "#fff";
  context.lineWidth = 1.75;
  context.stroke(scaled);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 */
function ring(context, x, y, radius) {
  for (const [color, line] of /** @type {[string, number][]} */ ([["#000", 3.5], ["#fff", 1.5]])) {
    context.strokeStyle = color;
    context.lineWidth = line;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 */
function cross(context, x, y) {
  for (const [color, line] of /** @type {[string, number][]} */ ([["#000", 3], ["#fff", 1]])) {
    context.strokeStyle = color;
    context.lineWidth = line;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * 4, y + dy * 4);
      context.lineTo(x + dx * 12, y + dy * 12);
    }
    context.stroke();
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} x
 * @param {number} y
 */
function label(context, text, x, y) {
  context.font = "500 12px system-ui, sans-serif";
  const width = context.measureText(text).width + 8;
  const top = Math.max(y - 18, 0);
  context.fillStyle = "rgb(0 0 0 / 75%)";
  context.fillRect(x, top, width, 17);
  context.fillStyle = "#fff";
  context.fillText(text, x + 4, top + 12.5);
}

customElements.define("map-viewer", MapViewer);
