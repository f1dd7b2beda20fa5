/** Many pictures with one question: sent as a zip archive, or as files that are uploaded first. */

import { json, post, request } from "./api.js";

const UPLOADED_AT_ONCE = 20; // so that progress is seen, and one request stays below the limit of its size
const PAGE = 200;

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

/** Names of uploaded files by the id of their upload. @type {Map<string, string>} */
const names = new Map();

/**
 * Explain the pictures of an archive, or files.
 *
 * @param {File[]} files
 * @param {string} model
 * @param {(share: number) => void} onUploaded
 * @returns {Promise<Batch>}
 */
export async function createBatch(files, model, onUploaded) {
  if (files.length === 1 && /\.zip$/i.test(files[0].name)) {
    const form = new FormData();
    form.append("archive", files[0], files[0].name);
    form.append("model", model);
    return json("v1/batches", { method: "POST", body: form });
  }
  /** @type {{id: string}[]} */
  const images = [];
  for (let start = 0; start < files.length; start += UPLOADED_AT_ONCE) {
    const some = files.slice(start, start + UPLOADED_AT_ONCE);
    const form = new FormData();
    for (const file of some) form.append("image", file, file.name);
    const kept = (await json("v1/images", { method: "POST", body: form })).images;
    kept.forEach((/** @type {{id: string}} */ { id }, /** @type {number} */ place) => {
      names.set(id, some[place].webkitRelativePath || some[place].name);
      images.push({ id });
    });
    onUploaded(Math.min(1, (start + some.length) / files.length));
  }
  return post("v1/batches", { model, images });
}

/**
 * @param {string} id
 * @returns {Promise<{batch: Batch, items: BatchItem[]}>}
 */
export async function readBatch(id) {
  const path = `v1/batches/${encodeURIComponent(id)}`;
  /** @type {Batch} */
  const batch = await json(path);
  /** @type {BatchItem[]} */
  const items = [];
  for (let after = -1; after < batch.total - 1; after += PAGE) {
    items.push(...(await json(`${path}/explanations?limit=${PAGE}&after=${after}`)));
  }
  return { batch, items: items.map((item) => ({ ...item, name: names.get(item.name) ?? item.name })) };
}

/**
 * @param {string} id
 * @param {"archive" | "coco.json"} part
 */
export async function fetchPart(id, part) {
  return (await request(`v1/batches/${encodeURIComponent(id)}/${part}`)).blob();
}

/**
 * Return the pictures among dropped things, those in folders too.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (entries.length === 0) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat().filter(isPicture);
}

/** @param {File} file */
export function isPicture(file) {
  return file.type.startsWith("image/") || /\.(zip|tiff?|bmp|avif|heic)$/i.test(file.name);
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
