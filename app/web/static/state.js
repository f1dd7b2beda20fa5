/** The state of the page. Components read it and call functions of `actions.js`; nothing else changes it. */

import { GRAD_CAM } from "./api.js";
import { Store } from "./store.js";

/**
 * @typedef {[number, number, number, number]} Box x0, y0, x1, y1 in pixels of the upright image
 *
 * @typedef {object} ModelCard
 * @property {string} id
 * @property {"classification" | "detection" | "segmentation" | null} task
 * @property {string[]} labels
 * @property {[number, number] | null} input_size height and width
 * @property {"ready" | "loading" | "failed"} state
 * @property {string | null} reason
 * @property {string | null} [default_fill] what hides, where a request does not say
 *
 * @typedef {object} MethodCard
 * @property {string} id
 * @property {string} summary
 * @property {string[]} tasks
 * @property {string[]} default_for
 * @property {{properties: Record<string, any>}} parameters
 *
 * @typedef {object} Prediction
 * @property {number} label
 * @property {string} name
 * @property {number} score
 * @property {Box | null} [box]
 *
 * @typedef {object} Evidence
 * @property {string[]} [sentences]
 *
 * @typedef {object} Target
 * @property {number} index
 * @property {number | null} label
 * @property {string | null} name
 * @property {number | null} score
 * @property {Box | null} box
 * @property {number | null} reliability
 * @property {number | null} matched
 * @property {string[]} warnings
 * @property {string[]} findings
 * @property {{code: string, detail: string} | null} error
 * @property {[number, number] | null} peak
 * @property {Evidence | null} [evidence]
 *
 * @typedef {object} Progress
 * @property {number} masks
 * @property {number} total
 * @property {number | null} masks_per_second
 * @property {number | null} eta_seconds
 * @property {number | null} reliability
 *
 * @typedef {object} Audit
 * @property {"queued" | "running" | "succeeded" | "failed" | "cancelled"} status
 * @property {Progress | null} progress in pictures that the model was asked for
 * @property {number | null} passes
 * @property {"nothing-found" | "caution" | "alarm" | null} verdict
 * @property {{check: string, verdict: string, sentence: string}[]} checks
 * @property {string | null} limits
 * @property {string[]} fills of which there are maps
 * @property {number | null} opacity of which there is a map
 * @property {string[]} methods of which there are maps: `grad-cam`, or none
 * @property {{code: string, detail: string} | null} error
 *
 * @typedef {object} Explanation
 * @property {string} id
 * @property {"queued" | "running" | "succeeded" | "failed" | "cancelled"} status
 * @property {{id: string, digest: string}} model
 * @property {string} method
 * @property {Record<string, any>} parameters
 * @property {{width: number, height: number, sha256: string, scaled: string | null}} image
 * @property {Progress | null} progress
 * @property {Target[]} targets
 * @property {string} created_at
 * @property {string | null} finished_at
 * @property {string} expires_at
 * @property {number | null} queue_position
 * @property {{code: string, detail: string} | null} error
 * @property {Record<string, any> | null} provenance
 * @property {Audit | null} [audit]
 * @property {number | null} [audit_passes] pictures that an audit takes at most; null: not known, or none is possible
 *
 * @typedef {object} Picture
 * @property {ImageBitmap | null} bitmap at most 2048 pixels wide and high; null where the browser cannot read the file
 * @property {number} width of the upright image, in its own pixels
 * @property {number} height
 * @property {string} name
 * @property {string | null} imageId of the upload
 *
 * @typedef {object} Pane one map beside others
 * @property {string} key of this pane in this page
 * @property {string} id of the explanation; empty before it is accepted
 * @property {number} target index
 * @property {string | null} label a class that was not asked for, drawn from kept effects
 * @property {string | null} fill one of several; or one that an audit has tried, `opacity`, or `grad-cam`
 * @property {Explanation | null} explanation
 * @property {Picture | null} picture
 * @property {import("./saliency_map.js").SaliencyMap | null} map
 * @property {string | null} error
 *
 * @typedef {object} Display how maps are drawn; the same for all panes
 * @property {"overlay" | "region" | "outline" | "original" | "map"} style
 * @property {string} colors name of a colour map
 * @property {boolean} signed
 * @property {number} opacity 0..1
 * @property {number} share of the positive saliency that the region holds
 *
 * @typedef {object} Viewport what part of the image all panes show
 * @property {number} zoom 1 shows all of it
 * @property {number} x centre, as a share of the width
 * @property {number} y centre, as a share of the height
 *
 * @typedef {object} Question
 * @property {string} method empty for the default
 * @property {Record<string, any>} parameters those that differ from the defaults
 *
 * @typedef {object} State
 * @property {"explain" | "batch" | "history"} view
 * @property {boolean} ready whether the view that the address names is shown
 * @property {"ok" | "away"} connection
 * @property {boolean} keyNeeded
 * @property {{text: string, kind: "info" | "error"} | null} notice
 * @property {ModelCard[]} models
 * @property {MethodCard[]} methods
 * @property {string[]} fills
 * @property {string} modelId
 * @property {Picture | null} picture
 * @property {Prediction[] | null} predictions
 * @property {boolean} predicting
 * @property {Question} question
 * @property {boolean} drawing whether a rectangle is being asked for
 * @property {Box | null} rectangle
 * @property {Pane[]} panes
 * @property {string} activePane key
 * @property {Display} display
 * @property {Viewport} viewport
 * @property {{u: number, v: number} | null} probe the place that is read, as shares of width and height
 * @property {string | null} batchId
 */

/** @type {Display} */
export const DEFAULT_DISPLAY = { style: "overlay", colors: "inferno", signed: false, opacity: 0.75, share: 0.5 };

/** @type {Store<State>} */
export const store = new Store(
  /** @type {State} */ ({
    view: "explain",
    ready: false,
    connection: "ok",
    keyNeeded: false,
    notice: null,
    models: [],
    methods: [],
    fills: [],
    modelId: "",
    picture: null,
    predictions: null,
    predicting: false,
    question: { method: "", parameters: {} },
    drawing: false,
    rectangle: null,
    panes: [],
    activePane: "",
    display: DEFAULT_DISPLAY,
    viewport: { zoom: 1, x: 0.5, y: 0.5 },
    probe: null,
    batchId: null,
  }),
);

/**
 * Return the pane that controls and texts are about.
 *
 * @param {State} state
 * @returns {Pane | null}
 */
export function activePane(state) {
  return state.panes.find((pane) => pane.key === state.activePane) ?? state.panes[0] ?? null;
}

/**
 * Change one pane, if it is still there.
 *
 * @param {string} key
 * @param {Partial<Pane>} patch
 */
export function updatePane(key, patch) {
  store.update({ panes: store.state.panes.map((pane) => (pane.key === key ? { ...pane, ...patch } : pane)) });
}

/**
 * Return the colour that a pane's map is of; null where places are hidden and not painted (MC-RISE).
 *
 * @param {Pane} pane
 * @returns {string | null}
 */
export function paintOf(pane) {
  const { explanation } = pane;
  return explanation?.method === "mc-rise" ? (pane.fill ?? String(explanation.parameters.colors[0])) : null;
}

/**
 * Return which of an explanation's maps a pane shows: a colour (MC-RISE), or what an audit has tried; null: its own.
 *
 * @param {Pane} pane
 * @returns {string | null}
 */
export function viewOf(pane) {
  return paintOf(pane) ?? pane.fill;
}

/**
 * Return whether a pane shows Grad-CAM, which has another unit than effects, and no error bars.
 *
 * @param {Pane} pane
 */
export function isGradCam(pane) {
  return pane.fill === GRAD_CAM;
}

/**
 * Return how a pane is drawn: what paint does is shown with its sign, because either way it tells about the model.
 *
 * @param {Pane} pane
 * @param {Display} display
 * @returns {Display}
 */
export function displayOf(pane, display) {
  return paintOf(pane) === null ? display : { ...display, signed: true };
}

/**
 * Return the value that has the last colour: of several paints of one explanation the same, so that they compare.
 *
 * @param {Pane} pane
 * @param {State} state
 */
export function scaleOf(pane, state) {
  const { signed } = displayOf(pane, state.display);
  const together = paintOf(pane) === null ? [pane] : state.panes.filter(({ id }) => id === pane.id);
  return Math.max(...together.map(({ map }) => map?.strongest(signed) ?? 0));
}

/**
 * Return the value that a parameter has where a request does not give it.
 *
 * @param {ModelCard | null | undefined} model
 * @param {MethodCard | null | undefined} method
 * @param {string} name of the parameter
 */
export function defaultOf(model, method, name) {
  const ofModel = name === "fill" ? model?.default_fill : null;
  return ofModel ?? method?.parameters.properties[name]?.default;
}

/**
 * @param {State} state
 * @returns {ModelCard | null}
 */
export function chosenModel(state) {
  return state.models.find((model) => model.id === state.modelId) ?? null;
}
