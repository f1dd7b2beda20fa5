/**
 * The viewer alone, for frames in pages of others: `/ui/embed/{id}`, with what to show in the fragment, as in links.
 *
 * Where the service asks for a key, the page around the frame sends it, once it is told that the viewer is ready:
 * `frame.contentWindow.postMessage({ type: "rise-serve:key", key }, origin)`. Who may be that page, the operator says.
 */

import "./components/map-viewer.js";
import "./components/notice-bar.js";
import "./components/pane-grid.js";
import "./components/run-progress.js";
import "./components/trust-card.js";
import "./components/viewer-controls.js";
import { setKey } from "./api.js";
import { openPanes } from "./panes.js";
import { readView } from "./permalink.js";
import { store } from "./state.js";

const id = decodeURIComponent(location.pathname.split("/").pop() ?? "");

function show() {
  const { display } = readView(location.hash);
  const target = Number.parseInt(new URLSearchParams(location.hash.slice(1)).get("target") ?? "0", 10) || 0;
  store.update({ display, notice: null, keyNeeded: false });
  openPanes([{ id, target, label: null, fill: null }]);
}

addEventListener("hashchange", show);
addEventListener("message", ({ source, data }) => {
  if (source !== parent || parent === window || data?.type !== "rise-serve:key") return;
  setKey(String(data.key));
  show();
});

show();
if (parent !== window) parent.postMessage({ type: "rise-serve:ready", id }, "*"); // it says nothing but that
