/** How maps are drawn: style, opacity, colours, region; and the colour bar. */

import { colorTable, SEQUENTIAL } from "../colormaps.js";
import { Component } from "../component.js";
import { fill, h, labelled } from "../dom.js";
import { zoomed } from "../geometry.js";
import { activePane, displayOf, paintOf, scaleOf, store } from "../state.js";
import { percent, rounded, unitOf } from "../words.js";

const STYLES = /** @type {const} */ ([
  ["overlay", "Colours"],
  ["region", "Region"],
  ["outline", "Outline"],
  ["map", "Map"],
  ["original", "Original"],
]);

/** @param {Partial<import("../state.js").Display>} patch */
function show(patch) {
  store.update({ display: { ...store.state.display, ...patch } });
}

class ViewerControls extends Component {
  static reads = /** @type {any} */ (["display", "panes", "activePane", "viewport"]);
  /** @type {HTMLButtonElement[]} */ styles = [];
  opacity = slider("Opacity", (value) => show({ opacity: value }));
  share = slider("Share of the saliency", (value) => show({ share: value }));

  build() {
    this.styles = STYLES.map(([style, title]) =>
      h("button", { type: "button", onclick: () => show({ style }) }, title),
    );
    this.colors = h(
      "select",
      { onchange: () => show({ colors: this.colors.value }) },
      SEQUENTIAL.map((name) => h("option", { value: name }, name)),
    );
    this.colorField = labelled("Colour map", this.colors);
    this.signed = h("input", { type: "checkbox", onchange: () => show({ signed: this.signed.checked }) });
    this.signedField = h("label", { class: "check" }, this.signed, "Show what speaks against it");
    this.bar = h("canvas", { width: 256, height: 1, "aria-hidden": "true" });
    this.barText = h("div", { class: "bar-text" });
    this.barField = h("div", { class: "color-bar" }, this.bar, this.barText);
    this.append(
      h(
        "div",
        { class: "toolbar" },
        h("div", { class: "segments", role: "group", "aria-label": "How the map is drawn" }, this.styles),
        h("div", { class: "segments zoom", role: "group", "aria-label": "Zoom" }, zoomButtons()),
      ),
      this.barField,
      this.opacity.field,
      this.share.field,
      this.colorField,
      this.signedField,
    );
  }

  /** @param {import("../state.js").State} state */
  update(state) {
    const { display } = state;
    const pane = activePane(state);
    this.hidden = !pane?.map;
    STYLES.forEach(([style], place) => this.styles[place].setAttribute("aria-pressed", String(style === display.style)));
    const colored = display.style === "overlay" || display.style === "map";
    const region = display.style === "region" || display.style === "outline";
    this.opacity.field.hidden = display.style !== "overlay";
    this.share.field.hidden = !region;
    const painted = pane !== null && paintOf(pane) !== null;
    this.colorField.hidden = !colored || display.signed || painted;
    this.signedField.hidden = !colored || painted;
    this.barField.hidden = !colored;
    this.opacity.set(display.opacity, percent(display.opacity));
    this.colors.value = display.colors;
    this.signed.checked = display.signed;
    if (!pane?.map) return;
    const level = pane.map.levelOf(display.share);
    const area = level === null ? "nothing" : `${percent(pane.map.areaAbove(level))} of the picture`;
    if (region) this.share.set(display.share, `${percent(display.share)}: ${area}`);
    if (colored) this.#showBar(display, pane);
  }

  /**
   * @param {import("../state.js").Display} display
   * @param {import("../state.js").Pane} pane
   */
  #showBar(display, pane) {
    const { signed } = displayOf(pane, display);
    const table = colorTable(display.colors, signed);
    const image = new ImageData(256, 1);
    for (let index = 0; index < 256; index += 1) {
      image.data.set([table[index * 3], table[index * 3 + 1], table[index * 3 + 2], 255], index * 4);
    }
    this.bar.getContext("2d").putImageData(image, 0, 0);
    const strongest = scaleOf(pane, store.state);
    const ends = signed ? [-strongest, 0, strongest] : [0, strongest];
    fill(
      this.barText,
      ends.map((end) => h("span", {}, rounded(end))),
      h("span", { class: "unit" }, unitOf(pane)),
    );
  }
}

/**
 * @param {string} title
 * @param {(value: number) => void} onchange
 */
function slider(title, onchange) {
  const input = h("input", { type: "range", min: "0.02", max: "1", step: "0.01" });
  const value = h("output", {});
  input.addEventListener("input", () => onchange(Number(input.value)));
  const field = labelled(title, input);
  field.firstChild.after(value);
  const set = (/** @type {number} */ number, /** @type {string} */ text) => {
    input.value = String(number);
    input.setAttribute("aria-valuetext", text);
    value.textContent = text;
  };
  return { field, set };
}

function zoomButtons() {
  const by = (/** @type {number} */ factor) => {
    const { viewport, probe } = store.state;
    const peak = viewport.zoom === 1 ? activePane(store.state)?.map?.peak(false) : null;
    store.update({ viewport: zoomed(viewport, factor, probe ?? peak ?? { u: viewport.x, v: viewport.y }) });
  };
  return [
    h("button", { type: "button", "aria-label": "Zoom out", onclick: () => by(1 / 1.5) }, "\u2212"),
    h("button", { type: "button", "aria-label": "Zoom in", onclick: () => by(1.5) }, "+"),
    h("button", { type: "button", onclick: () => store.update({ viewport: { zoom: 1, x: 0.5, y: 0.5 } }) }, "All"),
  ];
}

customElements.define("viewer-controls", ViewerControls);
