/** The service's public `/v1`, as this page uses it. */

import { readEvents } from "./event_stream.js";
import { pause } from "./timing.js";

/** Where the service is: this module lies two folders below it. */
export const ROOT = new URL("../../", import.meta.url);

const KEY = "rise-serve-key";
const LOW_OPACITY = "0.3"; // of the one such map that an audit makes
export const GRAD_CAM = "grad-cam"; // of the maps of an audit, the one that hides nothing
let apiKey = stored();

/** Return the tab's key; browsers refuse storage to frames of other sites, which then have it in memory alone. */
function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** The service refused a request (RFC 9457). */
export class Problem extends Error {
  name = "Problem";

  /**
   * @param {number} status
   * @param {{code?: string, detail?: string, title?: string}} body
   */
  constructor(status, body) {
    super(body.detail || body.title || `the service answered ${status}`);
    this.status = status;
    this.code = body.code || "";
  }
}

/** The service did not answer. */
export class Unreachable extends Error {}

/**
 * Keep the key for requests of this tab; empty forgets it.
 *
 * @param {string} key
 */
export function setKey(key) {
  apiKey = key;
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // it stays in memory
  }
}

export function hasKey() {
  return apiKey !== "";
}

/**
 * Return the answer to a request.
 *
 * @param {string} path relative to the service, without a leading slash
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 * @throws {Problem | Unreachable}
 */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (apiKey) headers.set("Authorization", `Bearer ${apiKey}`);
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { ...options, headers, credentials: "same-origin" });
  } catch (cause) {
    if (options.signal?.aborted) throw cause;
    throw new Unreachable("the service does not answer", { cause });
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  if ([502, 504].includes(response.status)) throw new Unreachable("the service does not answer");
  throw new Problem(response.status, body);
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
export async function json(path, options = {}) {
  return (await request(path, options)).json();
}

/**
 * @param {string} path
 * @param {object} body
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
export function post(path, body, options = {}) {
  const headers = { "Content-Type": "application/json" };
  return json(path, { ...options, method: "POST", headers, body: JSON.stringify(body) });
}

/**
 * Keep an image, and return what the service says about it.
 *
 * @param {Blob} blob
 * @param {string} name
 * @param {RequestInit} [options]
 * @returns {Promise<{id: string, width: number, height: number}>}
 */
export async function upload(blob, name, options = {}) {
  const form = new FormData();
  form.append("image", blob, name);
  return (await json("v1/images", { ...options, method: "POST", body: form })).images[0];
}

/** @param {string} id */
export function explanationPath(id) {
  return `v1/explanations/${encodeURIComponent(id)}`;
}

/**
 * Return the address of a pane's map; `fill` is a fill; or of the audit `opacity`, masks that hide only partly, or `grad-cam`.
 *
 * @param {{id: string, target: number, label: string | null, fill: string | null}} pane
 * @param {string} ending
 * @param {Record<string, string | number | boolean>} [options]
 */
export function mapPath(pane, ending, options = {}) {
  const name = pane.label === null ? String(pane.target) : `label/${encodeURIComponent(pane.label)}`;
  const query = new URLSearchParams(Object.entries(options).map(([key, value]) => [key, String(value)]));
  if (pane.fill === "opacity") query.set("opacity", LOW_OPACITY);
  else if (pane.fill === GRAD_CAM) query.set("method", GRAD_CAM);
  else if (pane.fill !== null) query.set("fill", pane.fill);
  const text = query.toString();
  return `${explanationPath(pane.id)}/maps/${name}.${ending}${text ? `?${text}` : ""}`;
}

/**
 * Yield the events of an explanation or audit until it has ended, across interruptions of the connection.
 *
 * @param {string} path its address
 * @param {{signal: AbortSignal, onAway: () => void, onBack: () => void}} options
 * @returns {AsyncGenerator<{event: string, data: any}>}
 */
export async function* follow(path, { signal, onAway, onBack }) {
  let last = "";
  let wait = 500;
  while (!signal.aborted) {
    try {
      /** @type {Record<string, string>} */
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await request(`${path}/events`, { headers, signal });
      if (response.status === 204 || !response.body) return;
      onBack();
      wait = 500;
      for await (const event of readEvents(response.body)) {
        last = event.id || last;
        yield { event: event.event, data: JSON.parse(event.data) };
        if (["succeeded", "failed", "cancelled"].includes(event.event)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500) throw error;
      onAway();
    }
    await pause(wait);
    wait = Math.min(wait * 2, 5000);
  }
}
