/** Many pictures with one question: sent as a zip archive, or as files that are uploaded first. */

import { json, request } from "./api.js";
import { save } from "./download.js";
import { report } from "./reporting.js";

const UPLOADED_AT_ONCE = 20; // so that progress is seen, and one request stays below the limit of its size
const PAGE = 200;
const LONGEST_NAME = 200;

/**
 * @typedef {object} Batch
 * @property {string} id
 * @property {string} status
 * @property {{id: string}} model
 * @property {number} total
 * @property {Record<string, number>} counts
 * @property {number} progress 0..1
 * @property {Record<string, string>} links
 *
 * @typedef {object} BatchItem
 * @property {number} index
 * @property {string} name
 * @property {string} status
 * @property {{code: string, detail: string} | null} error
 * @property {import("./state.js").Explanation | null} explanation
 */

/**
 * Explain the pictures of an archive, or files; with annotations, a COCO file, there will be a report.
 *
 * @param {File[]} files
 * @param {File | null} annotations
 * @param {string} model
 * @param {{signal: AbortSignal, onUploaded: (share: number) => void}} options
 * @returns {Promise<Batch>}
 */
export async function createBatch(files, annotations, model, options) {
  const form = new FormData();
  form.append("model", model);
  if (annotations) form.append("annotations", annotations, annotations.name);
  if (files.length === 1 && isArchive(files[0])) form.append("archive", files[0], files[0].name);
  else form.append("images", JSON.stringify(await uploadAll(files, options)));
  return json("v1/batches", { method: "POST", body: form, signal: options.signal });
}

/**
 * @param {File[]} files
 * @param {{signal: AbortSignal, onUploaded: (share: number) => void}} options
 */
async function uploadAll(files, { signal, onUploaded }) {
  /** @type {{id: string, name: string}[]} */
  const images = [];
  for (let start = 0; start < files.length; start += UPLOADED_AT_ONCE) {
    const some = files.slice(start, start + UPLOADED_AT_ONCE);
    const form = new FormData();
    for (const file of some) form.append("image", file, file.name);
    const kept = (await json("v1/images", { method: "POST", body: form, signal })).images;
    kept.forEach((/** @type {{id: string}} */ { id }, /** @type {number} */ place) => {
      images.push({ id, name: (some[place].webkitRelativePath || some[place].name).slice(-LONGEST_NAME) });
    });
    onUploaded(Math.min(1, (start + some.length) / files.length));
  }
  return images;
}

/**
 * @param {string} id
 * @param {RequestInit} options
 * @returns {Promise<{batch: Batch, items: BatchItem[]}>}
 */
export async function readBatch(id, options) {
  const path = `v1/batches/${encodeURIComponent(id)}`;
  /** @type {Batch} */
  const batch = await json(path, options);
  /** @type {BatchItem[]} */
  const items = [];
  for (let after = -1; after < batch.total - 1; after += PAGE) {
    items.push(...(await json(`${path}/explanations?limit=${PAGE}&after=${after}`, options)));
  }
  return { batch, items };
}

/**
 * Save what a batch has as a file.
 *
 * @param {string} id
 * @param {"archive" | "coco.json" | "targets.csv" | "report.html" | "report.csv"} part
 */
export async function savePart(id, part) {
  try {
    save(await fetchPart(id, part), `batch-${id}.${part === "archive" ? "zip" : part}`);
  } catch (error) {
    report(error);
  }
}

/**
 * @param {string} id
 * @param {string} part
 * @param {RequestInit} [options]
 */
async function fetchPart(id, part, options = {}) {
  return (await request(`v1/batches/${encodeURIComponent(id)}/${part}`, options)).blob();
}

/**
 * Return the share of the saliency inside the objects for each picture of a report; of several classes the least.
 *
 * @param {string} id
 * @param {RequestInit} options
 * @returns {Promise<Map<number, number>>}
 */
export async function readFigures(id, options) {
  const [head, ...rows] = rowsOf(await (await fetchPart(id, "report.csv", options)).text());
  const [index, inside] = [head.indexOf("index"), head.indexOf("inside")];
  /** @type {Map<number, number>} */
  const figures = new Map();
  for (const row of rows) {
    if (row[inside]) figures.set(Number(row[index]), Math.min(Number(row[inside]), figures.get(Number(row[index])) ?? 1));
  }
  return figures;
}

/**
 * Return the cells of a CSV file (RFC 4180).
 *
 * @param {string} text
 */
function rowsOf(text) {
  /** @type {string[][]} */
  const rows = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    rows[rows.length - 1].push(quoted?.replaceAll('""', '"') ?? plain);
    if (end !== ",") rows.push([]);
  }
  return rows.filter((row) => row.length > 1);
}

/**
 * Return the files among dropped things that a batch can be made of, those in folders too.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (entries.length === 0) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat().filter(isOfUse);
}

/** @param {File} file */
export function isOfUse(file) {
  return isAnnotations(file) || isArchive(file) || file.type.startsWith("image/") || /\.(tiff?|bmp|avif|heic)$/i.test(file.name);
}

/** @param {File} file */
export function isAnnotations(file) {
  return /\.json$/i.test(file.name);
}

/** @param {File} file */
function isArchive(file) {
  return /\.zip$/i.test(file.name);
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<File[]>}
 */
async function filesOf(entry) {
  if (entry.isFile) {
    return [await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject))];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(filesOf))).flat();
}
