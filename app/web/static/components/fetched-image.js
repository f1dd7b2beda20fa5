/** A picture of the service: fetched with the key, which an `<img>` cannot send, when it comes into sight. */

import { request } from "../api.js";
import { h } from "../dom.js";

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) /** @type {FetchedImage} */ (target).load();
  }
}, { rootMargin: "200px" });

export class FetchedImage extends HTMLElement {
  #address = "";

  connectedCallback() {
    seen.observe(this);
  }

  disconnectedCallback() {
    seen.unobserve(this);
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = "";
  }

  async load() {
    seen.unobserve(this);
    for (const path of (this.dataset.paths ?? "").split(" ")) {
      try {
        const blob = await (await request(path)).blob();
        if (!this.isConnected) return;
        this.#address = URL.createObjectURL(blob);
        this.replaceChildren(h("img", { src: this.#address, alt: this.dataset.alt ?? "" }));
        return;
      } catch {
        // where there is no map, the picture itself is tried next
      }
    }
  }
}

customElements.define("fetched-image", FetchedImage);
