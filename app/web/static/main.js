/** The page: its components, and the address that follows what they show. */

import "./components/app-header.js";
import "./components/batch-gallery.js";
import "./components/compare-bar.js";
import "./components/history-list.js";
import "./components/map-viewer.js";
import "./components/model-picker.js";
import "./components/notice-bar.js";
import "./components/pane-grid.js";
import "./components/picture-input.js";
import "./components/prediction-list.js";
import "./components/request-options.js";
import "./components/run-progress.js";
import "./components/take-away.js";
import "./components/trust-card.js";
import "./components/viewer-controls.js";
import { reopen, start } from "./actions.js";
import { readView, writeView } from "./permalink.js";
import { store } from "./state.js";

let written = location.hash.replace(/^#/, "");

store.subscribe((state) => {
  for (const view of document.querySelectorAll("[data-view]")) {
    /** @type {HTMLElement} */ (view).hidden = view.getAttribute("data-view") !== state.view;
  }
  const fragment = state.ready ? writeView(state) : written;
  if (fragment === written) return;
  written = fragment;
  history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
});

addEventListener("hashchange", () => {
  if (location.hash.replace(/^#/, "") === written) return;
  written = location.hash.replace(/^#/, "");
  const { view, batchId, display, panes } = readView(location.hash);
  store.update({ view, batchId, display });
  if (panes.length) reopen(panes);
});

start();
