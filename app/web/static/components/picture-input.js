/** Where a picture comes from: dropped, pasted, chosen, taken, a sample, or an address. */

import { giveAddress, givePicture, giveSample } from "../actions.js";
import { Component } from "../component.js";
import { h } from "../dom.js";
import { SAMPLES, thumbnailAddress } from "../samples.js";

class PictureInput extends Component {
  build() {
    this.append(
      h("h2", {}, "Picture"),
      h(
        "label",
        { class: "drop" },
        h("strong", {}, "Drop, paste or choose"),
        h("span", { class: "hint" }, "JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP"),
        fileInput({ "aria-label": "Choose a picture" }),
      ),
      h("label", { class: "camera button" }, "Use the camera", fileInput({ capture: "environment", "aria-label": "Use the camera" })),
      h("ul", { class: "samples", "aria-label": "Samples" }, SAMPLES.map(sampleButton)),
      addressForm(),
    );
    listenForPictures();
  }
}

/** @param {Record<string, any>} properties */
function fileInput(properties) {
  return h("input", {
    type: "file",
    accept: "image/*",
    class: "visually-hidden",
    ...properties,
    onchange: (/** @type {Event} */ event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      const file = input.files?.[0];
      if (file) givePicture(file, file.name);
      input.value = "";
    },
  });
}

/** @param {import("../samples.js").Sample} sample */
function sampleButton(sample) {
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", title: `${sample.title}, for ${sample.model}`, "aria-label": `Sample: ${sample.title}`, onclick: () => giveSample(sample) },
      h("img", { src: thumbnailAddress(sample), alt: "", width: 48, height: 48, loading: "lazy" }),
    ),
  );
}

function addressForm() {
  const field = h("input", { type: "url", id: "picture-address", placeholder: "https://", required: true });
  return h(
    "details",
    {},
    h("summary", {}, "From an address"),
    h(
      "form",
      {
        class: "row",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          giveAddress(field.value);
        },
      },
      h("label", { for: "picture-address", class: "visually-hidden" }, "Address of a picture"),
      field,
      h("button", { type: "submit" }, "Fetch"),
    ),
    h("p", { class: "hint" }, "The service fetches it, from hosts that its operator allows."),
  );
}

/** Take pictures that are dropped or pasted anywhere on the page. */
function listenForPictures() {
  const root = document.documentElement;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    root.classList.add("is-dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && root.classList.remove("is-dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    root.classList.remove("is-dropping");
    if (event.target instanceof Element && event.target.closest("batch-gallery")) return;
    take(event.dataTransfer?.files);
  });
  addEventListener("paste", (event) => take(event.clipboardData?.files));
}

/** @param {FileList | undefined} files */
function take(files) {
  const file = files?.[0];
  if (file) givePicture(file, file.name);
}

customElements.define("picture-input", PictureInput);
