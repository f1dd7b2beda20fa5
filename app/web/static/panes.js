/** Panes: each shows one map, of an explanation that may still run. */

import { Problem, Unreachable, explanationPath, follow, json, mapPath, post, request } from "./api.js";
import { Latest } from "./latest.js";
import { decodePicture } from "./pictures.js";
import { report, untilBack } from "./reporting.js";
import { SaliencyMap } from "./saliency_map.js";
import { store, updatePane, viewOf } from "./state.js";

/**
 * @typedef {import("./state.js").Pane} Pane
 * @typedef {import("./state.js").Explanation} Explanation
 */

const MAP_SIDE = 192; // maps are smooth between cells: more samples show nothing more
export const MOST_PANES = 4;

// each by the key of a pane
const followed = new Latest();
const refreshed = new Latest();
const maps = new Latest();
const ofPanes = [followed, refreshed, maps];
/** @type {Set<string>} */
const refreshing = new Set();
let panesMade = 0;

/**
 * Return a pane without content.
 *
 * @param {Partial<Pane>} given
 * @returns {Pane}
 */
export function newPane(given) {
  panesMade += 1;
  return {
    key: `pane-${panesMade}`,
    id: "",
    target: 0,
    label: null,
    fill: null,
    explanation: null,
    picture: null,
    map: null,
    error: null,
    ...given,
  };
}

/**
 * Show one pane alone.
 *
 * @param {Pane} pane
 */
export function showAlone(pane) {
  for (const requests of ofPanes) requests.endAll();
  store.update({ panes: [pane], activePane: pane.key, viewport: { zoom: 1, x: 0.5, y: 0.5 }, probe: null });
}

/**
 * Show one more pane beside the others.
 *
 * @param {Pane} pane
 */
export function showBeside(pane) {
  store.update({ panes: [...store.state.panes, pane], activePane: pane.key });
}

/**
 * Show panes again that an address names.
 *
 * @param {import("./permalink.js").PaneAddress[]} addresses
 */
export async function openPanes(addresses) {
  const panes = addresses.map((address) => newPane(address));
  for (const requests of ofPanes) requests.endAll();
  store.update({ panes, activePane: panes[0]?.key ?? "", viewport: { zoom: 1, x: 0.5, y: 0.5 }, probe: null });
  await Promise.all(panes.map((pane) => loadPane(pane.key)));
}

/**
 * Show the map of each colour beside the others.
 *
 * @param {Pane} pane
 */
export async function showColors(pane) {
  const { id, target, explanation, picture } = pane;
  /** @type {string[]} */
  const colors = explanation?.parameters.colors ?? [];
  const panes = colors.map((fill) => newPane({ id, target, fill, explanation, picture }));
  store.update({ panes, activePane: panes[0]?.key ?? "" });
  await Promise.all(panes.map((made) => loadPane(made.key)));
}

/**
 * Show another of an explanation's maps beside the one that a pane shows.
 *
 * @param {Pane} pane
 * @param {Partial<Pane>} subject
 */
export async function showMapBeside({ id, target, explanation, picture }, subject) {
  const made = newPane({ id, target, explanation, picture, ...subject });
  showBeside(made);
  await loadPane(made.key);
}

/**
 * Take a pane away.
 *
 * @param {string} key
 */
export function closePane(key) {
  for (const requests of ofPanes) requests.end(key);
  const panes = store.state.panes.filter((pane) => pane.key !== key);
  const active = panes.some((pane) => pane.key === store.state.activePane);
  store.update({ panes, activePane: active ? store.state.activePane : (panes[0]?.key ?? "") });
}

/** @param {string} key */
function paneOf(key) {
  return store.state.panes.find((pane) => pane.key === key) ?? null;
}

/**
 * Fetch what a pane shows, and follow it to its end.
 *
 * @param {string} key
 */
export async function loadPane(key) {
  const pane = paneOf(key);
  if (!pane) return;
  try {
    /** @type {Explanation} */
    const explanation = pane.explanation ?? (await json(explanationPath(pane.id)));
    updatePane(key, { explanation });
    if (!pane.picture) await loadPicture(key, explanation);
    if (explanation.status === "queued" || explanation.status === "running") await followPane(key);
    else await refresh(key, explanation);
  } catch (error) {
    if (error instanceof Unreachable) {
      await untilBack();
      await loadPane(key);
    } else {
      updatePane(key, { error: report(error) });
    }
  }
}

/**
 * @param {string} key
 * @param {Explanation} explanation
 */
async function loadPicture(key, explanation) {
  const response = await request(`${explanationPath(explanation.id)}/image`);
  const { bitmap } = await decodePicture(await response.blob());
  const { width, height } = explanation.image;
  updatePane(key, { picture: { bitmap, width, height, name: "picture", imageId: null } });
}

/** @param {string} key */
async function followPane(key) {
  const pane = paneOf(key);
  if (!pane) return;
  const signal = followed.next(key);
  const events = follow(explanationPath(pane.id), {
    signal,
    onAway: () => store.update({ connection: "away" }),
    onBack: () => store.update({ connection: "ok" }),
  });
  for await (const { event, data } of events) {
    const explanation = paneOf(key)?.explanation;
    if (!explanation) return;
    if (event === "progress" || event === "preview" || event === "running") {
      updatePane(key, { explanation: { ...explanation, status: "running", progress: data.progress } });
    }
    if (event === "preview") refresh(key).catch(() => {});
  }
  if (signal.aborted) return;
  await refresh(key, undefined, { last: true });
}

/**
 * Fetch the explanation as it is now, and its map; while one is being fetched, others are not.
 *
 * @param {string} key
 * @param {Explanation} [known]
 * @param {{last?: boolean}} [options]
 */
async function refresh(key, known, { last = false } = {}) {
  if (refreshing.has(key) && !last) return;
  refreshing.add(key);
  const signal = refreshed.next(key);
  try {
    const id = paneOf(key)?.id;
    if (!id) return;
    /** @type {Explanation} */
    const explanation = known ?? (await json(explanationPath(id), { signal }));
    const pane = paneOf(key);
    if (!pane) return;
    updatePane(key, { explanation, error: explanation.error?.detail ?? null });
    const target = explanation.targets[pane.target];
    if (pane.label === null && target?.error) updatePane(key, { error: target.error.detail });
    else if (!explanation.error) await loadMap(key);
    if (explanation.audit) followAudit(key).catch(report);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    refreshing.delete(key);
  }
}

/** @param {string} key */
async function loadMap(key) {
  const pane = paneOf(key);
  if (!pane) return;
  const signal = maps.next(key);
  try {
    const response = await request(mapPath({ ...pane, fill: viewOf(pane) }, "npz", { max_side: MAP_SIDE }), { signal });
    const map = await SaliencyMap.fromNpz(await response.arrayBuffer());
    if (!signal.aborted) updatePane(key, { map, error: null });
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Problem && error.code === "not-ready" && pane.explanation?.status !== "cancelled") return;
    throw error;
  }
}

/**
 * Show another target of a pane's explanation.
 *
 * @param {string} key
 * @param {{target?: number, label?: string | null, fill?: string | null}} subject
 */
export async function showTarget(key, subject) {
  updatePane(key, { target: 0, label: null, map: null, error: null, ...subject });
  try {
    await loadMap(key);
  } catch (error) {
    updatePane(key, { error: report(error) });
  }
}

/**
 * Stop a pane's explanation.
 *
 * @param {string} key
 */
export async function cancel(key) {
  const pane = paneOf(key);
  if (!pane?.id) return;
  try {
    await request(`${explanationPath(pane.id)}/cancel`, { method: "POST" });
  } catch (error) {
    report(error);
  }
}

/**
 * Ask for the audit of a pane's explanation, and follow it to its end.
 *
 * @param {string} key
 */
export async function audit(key) {
  const pane = paneOf(key);
  if (!pane?.explanation) return;
  try {
    showAudit(pane.id, await post(`${explanationPath(pane.id)}/audit`, {}));
    await followAudit(key);
  } catch (error) {
    report(error);
  }
}

/** Explanations whose audits are followed. @type {Set<string>} */
const audited = new Set();

/**
 * Follow the audit of a pane's explanation to its end.
 *
 * @param {string} key
 */
async function followAudit(key) {
  const { id, explanation } = paneOf(key) ?? { id: "", explanation: null };
  if (!isUnderWay(explanation?.audit) || audited.has(id)) return;
  const path = `${explanationPath(id)}/audit`;
  const controller = new AbortController();
  audited.add(id);
  try {
    const events = follow(path, {
      signal: controller.signal,
      onAway: () => store.update({ connection: "away" }),
      onBack: () => store.update({ connection: "ok" }),
    });
    for await (const { event, data } of events) {
      const known = store.state.panes.find((pane) => pane.id === id)?.explanation?.audit;
      if (!known) return;
      if (event === "progress") showAudit(id, { ...known, status: "running", progress: data.progress });
    }
    showAudit(id, await json(path));
  } finally {
    controller.abort();
    audited.delete(id);
  }
}

/** @param {import("./state.js").Audit | null | undefined} known */
function isUnderWay(known) {
  return known?.status === "queued" || known?.status === "running";
}

/**
 * @param {string} id of the explanation
 * @param {import("./state.js").Audit} found
 */
function showAudit(id, found) {
  const panes = store.state.panes.map((pane) => (pane.id === id && pane.explanation ? { ...pane, explanation: { ...pane.explanation, audit: found } } : pane));
  store.update({ panes });
}
