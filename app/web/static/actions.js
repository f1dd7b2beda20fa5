/** What a person does: give a picture, choose a model, ask. */

import { Problem, Unreachable, json, post, request, setKey, upload } from "./api.js";
import { Latest } from "./latest.js";
import { loadPane, newPane, openPanes, showAlone, showBeside, showTarget } from "./panes.js";
import { decodePicture } from "./pictures.js";
import { readView } from "./permalink.js";
import { report, untilBack } from "./reporting.js";
import { SAMPLES, sampleAddress } from "./samples.js";
import { activePane, chosenModel, isGradCam, store, updatePane } from "./state.js";
import { pause } from "./timing.js";

/**
 * @typedef {import("./state.js").Picture} Picture
 * @typedef {import("./state.js").Box} Box
 */

// of what a person does, the last counts
const given = new Latest(); // a picture
const asked = new Latest(); // a question
const predicted = new Latest();

const POLL_MILLISECONDS = 2000;
const PREDICT_MILLISECONDS = 700; // because a worker that explains first predicts last
const FIRST = ["imagenet", "shapes"];

/** Load what the service offers; show what the address names, or a sample. */
export async function start() {
  await loadCatalogue();
  if (store.state.keyNeeded) return;
  const { view: named, batchId, display, panes } = readView(location.hash);
  const view = store.state.view === "explain" ? named : store.state.view; // who has chosen one meanwhile
  store.update({ view, batchId, display, ready: true });
  if (view === "explain" && panes.length) await reopen(panes);
  else if (view === "explain") await showFirstSample();
}

/**
 * Show explanations that exist, and make the picture of the first the one that is asked about.
 *
 * @param {import("./permalink.js").PaneAddress[]} addresses
 */
export async function reopen(addresses) {
  const signal = given.next();
  asked.end();
  store.update({ view: "explain", predictions: null, rectangle: null, drawing: false });
  await openPanes(addresses);
  if (signal.aborted) return;
  const { explanation, picture } = activePane(store.state) ?? {};
  if (!explanation || !picture) return;
  const model = store.state.models.find(({ id }) => id === explanation.model.id);
  if (model?.state === "ready") store.update({ modelId: model.id });
  await adopt(explanation, picture, signal);
}

/**
 * Upload the picture of an explanation once more, so that more can be asked about it.
 *
 * @param {import("./state.js").Explanation} explanation
 * @param {Picture} picture
 * @param {AbortSignal} signal
 */
async function adopt(explanation, picture, signal) {
  try {
    const blob = await (await request(`v1/explanations/${explanation.id}/image`, { signal })).blob();
    const { id } = await upload(blob, "picture", { signal });
    const adopted = { ...picture, imageId: id };
    const panes = store.state.panes.map((pane) => (pane.explanation?.image.sha256 === explanation.image.sha256 ? { ...pane, picture: adopted } : pane));
    store.update({ picture: adopted, panes });
    await predict();
  } catch (error) {
    if (!signal.aborted && !(error instanceof Problem)) throw error; // a key may read and not ask; what is shown stays
  }
}

/** Load models, methods and fills, as soon as the service answers. */
export async function loadCatalogue() {
  for (;;) {
    try {
      const [models, methods, fills] = await Promise.all(["v1/models", "v1/methods", "v1/fills"].map((path) => json(path)));
      store.update({ models, methods, fills, connection: "ok", keyNeeded: false });
      if (!chosenModel(store.state)) chooseModelFrom(FIRST);
      if (models.length === 0 || models.some((/** @type {any} */ model) => model.state === "loading")) watchModels();
      return;
    } catch (error) {
      if (!(error instanceof Unreachable)) {
        report(error);
        return;
      }
      await untilBack();
    }
  }
}

/** Look again until no model loads any more. */
async function watchModels() {
  for (;;) {
    await pause(POLL_MILLISECONDS);
    try {
      /** @type {import("./state.js").ModelCard[]} */
      const models = await json("v1/models");
      if (JSON.stringify(models) !== JSON.stringify(store.state.models)) store.update({ models, connection: "ok" });
      if (!chosenModel(store.state)) chooseModelFrom(FIRST);
      if (models.length && models.every((model) => model.state !== "loading")) return;
    } catch (error) {
      if (!(error instanceof Unreachable)) return;
    }
  }
}

/** @param {string[]} wanted */
function chooseModelFrom(wanted) {
  const ready = store.state.models.filter((model) => model.state === "ready");
  const chosen = wanted.map((id) => ready.find((model) => model.id === id)).find(Boolean) ?? ready[0];
  store.update({ modelId: chosen?.id ?? "" });
}

/** Explain a sample, so that the first thing to be seen is a map: a photograph, also where its model still loads. */
async function showFirstSample() {
  const signal = given.next();
  while (!store.state.modelId) await pause(POLL_MILLISECONDS);
  await untilLoaded(FIRST[0]);
  if (signal.aborted || store.state.view !== "explain") return; // something else is wanted
  chooseModelFrom(FIRST);
  const sample = SAMPLES.find(({ model }) => model === store.state.modelId) ?? SAMPLES[0];
  await giveSample(sample);
}

/** @param {string} id of a model */
async function untilLoaded(id) {
  const loads = () => store.state.models.some((model) => model.id === id && model.state === "loading");
  if (loads()) store.update({ notice: { text: `${id} is loading; it is asked when it is ready.`, kind: "info" } });
  while (loads()) await pause(POLL_MILLISECONDS);
  store.update({ notice: null });
}

/** @param {import("./samples.js").Sample} sample */
export async function giveSample(sample) {
  const signal = given.next();
  await untilLoaded(sample.model);
  if (signal.aborted) return;
  const model = store.state.models.find(({ id, state }) => id === sample.model && state === "ready");
  if (model) store.update({ modelId: model.id });
  try {
    const response = await fetch(sampleAddress(sample), { signal });
    await givePicture(await response.blob(), sample.file);
  } catch (error) {
    if (!signal.aborted) report(error);
  }
}

/**
 * Show a picture at once, keep it, and explain what the chosen model sees first in it.
 *
 * @param {Blob} blob
 * @param {string} name
 */
export async function givePicture(blob, name) {
  const signal = given.next();
  const decoded = await decodePicture(blob);
  if (signal.aborted) return;
  const picture = { ...decoded, name, imageId: null };
  showPicture(picture);
  try {
    const { id, width, height } = await upload(blob, name, { signal });
    await seePicture({ ...picture, imageId: id, width, height });
  } catch (error) {
    if (!signal.aborted) refuse(error);
  }
}

/**
 * Have the service fetch a picture.
 *
 * @param {string} url
 */
export async function giveAddress(url) {
  const signal = given.next();
  const name = url.split("/").pop() || "picture";
  try {
    const { images } = await post("v1/images", { image: { url } }, { signal });
    const { id, width, height } = images[0];
    const picture = { bitmap: null, width, height, name, imageId: id };
    showPicture(picture);
    await seePicture(picture);
  } catch (error) {
    if (!signal.aborted) report(error);
  }
}

/** @param {Picture} picture */
function showPicture(picture) {
  asked.end();
  store.update({ picture, predictions: null, rectangle: null, drawing: false, notice: null, view: "explain" });
  showAlone(newPane({ picture }));
}

/** @param {unknown} error */
function refuse(error) {
  const text = report(error);
  const pane = activePane(store.state);
  if (pane) updatePane(pane.key, { error: text });
}

/** @param {Picture} picture */
async function seePicture(picture) {
  store.update({ picture });
  const pane = activePane(store.state);
  if (pane) updatePane(pane.key, { picture });
  await ask();
}

/** See what the chosen model sees, then why; without a wait for a worker that is busy. */
async function ask() {
  const signal = asked.next();
  const seen = predict();
  await Promise.race([seen, pause(PREDICT_MILLISECONDS)]);
  if (!signal.aborted) await Promise.all([seen, explain(null)]);
}

/** Ask the chosen model what it sees. */
export async function predict() {
  const { picture, modelId } = store.state;
  if (!picture?.imageId || !modelId) return;
  const signal = predicted.next();
  store.update({ predicting: true });
  try {
    const predictions = await post(`v1/models/${encodeURIComponent(modelId)}/predict`, { image: { id: picture.imageId } }, { signal });
    if (store.state.picture?.imageId === picture.imageId && store.state.modelId === modelId) store.update({ predictions });
  } catch (error) {
    if (!signal.aborted) report(error);
  } finally {
    if (!signal.aborted) store.update({ predicting: false });
  }
}

/** @param {string} id */
export async function chooseModel(id) {
  store.update({ modelId: id, predictions: null, rectangle: null, drawing: false, question: { method: "", parameters: {} } });
  if (store.state.picture?.imageId) await ask();
}

/**
 * Ask for an explanation of the picture.
 *
 * @param {object[] | string | null} targets null for the default: the top class, or all detections
 * @param {{beside?: boolean, method?: string, parameters?: Record<string, any>, model?: string}} [options]
 */
export async function explain(targets, { beside = false, method, parameters = {}, model } = {}) {
  const { picture, modelId, question } = store.state;
  if (!picture?.imageId || !(model ?? modelId)) return;
  const pane = newPane({ picture });
  if (beside) showBeside(pane);
  else {
    asked.end();
    showAlone(pane);
  }
  const chosen = method ?? question.method;
  const body = {
    image: { id: picture.imageId },
    model: model ?? modelId,
    ...(chosen ? { method: chosen } : {}),
    ...(targets === null ? {} : { targets }),
    ...question.parameters,
    ...parameters,
  };
  try {
    const explanation = await post("v1/explanations", body);
    updatePane(pane.key, { id: explanation.id, explanation });
    await loadPane(pane.key);
  } catch (error) {
    updatePane(pane.key, { error: report(error) });
  }
}

/**
 * Show why the model saw a class or a detection: at once where its effects were kept, else by a new explanation.
 *
 * @param {import("./state.js").Prediction} prediction
 */
export async function explainPrediction(prediction) {
  const signal = asked.next();
  const pane = activePane(store.state);
  const explanation = pane?.explanation;
  const same = explanation?.model.id === store.state.modelId && pane?.picture === store.state.picture;
  if (pane && explanation && same && explanation.status === "succeeded") {
    const target = explanation.targets.find((known) => isTarget(known, prediction));
    if (target) return showTarget(pane.key, { target: target.index });
    const kept = await isKept(explanation, prediction);
    if (signal.aborted) return;
    if (kept) return showTarget(pane.key, { label: String(prediction.label), fill: isGradCam(pane) ? null : pane.fill });
  }
  const { label, box } = prediction;
  return explain([box ? { label, box } : { label }]);
}

/**
 * @param {import("./state.js").Target} target
 * @param {import("./state.js").Prediction} prediction
 */
export function isTarget(target, prediction) {
  if (target.label !== prediction.label) return false;
  const [box, other] = [target.box, prediction.box ?? null];
  return box && other ? box.every((side, place) => Math.abs(side - other[place]) < 2) : box === other;
}

/**
 * @param {import("./state.js").Explanation} explanation
 * @param {import("./state.js").Prediction} prediction
 */
async function isKept(explanation, prediction) {
  if (explanation.method !== "rise" || explanation.parameters.estimator !== "contrast" || prediction.box) return false;
  try {
    await request(`v1/explanations/${explanation.id}/maps/label/${prediction.label}.npz?max_side=8`);
    return true;
  } catch (error) {
    if (error instanceof Problem) return false;
    throw error;
  }
}

/**
 * Ask about a rectangle: of an object that the model missed, or of a region.
 *
 * @param {Box} box
 * @param {number | null} label
 */
export async function explainRectangle(box, label) {
  store.update({ drawing: false, rectangle: null });
  await explain([label === null ? { box } : { box, label }]);
}

/** @param {string} key */
export async function useKey(key) {
  setKey(key);
  store.update({ keyNeeded: false, notice: null });
  await start();
}

export function forgetKey() {
  setKey("");
  location.reload();
}
