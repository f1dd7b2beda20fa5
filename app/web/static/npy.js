/** NumPy's `.npy` and `.npz` files: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */

/**
 * @typedef {object} NpyArray
 * @property {number[]} shape
 * @property {Float32Array | Float64Array | BigInt64Array | string[]} data
 */

/**
 * Read one array; little-endian floats, 64-bit integers and text.
 *
 * @param {ArrayBuffer} buffer
 * @returns {NpyArray}
 */
export function parseNpy(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0) !== 0x934e554d) throw new Error("this is no .npy file");
  const wide = view.getUint8(6) >= 2;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, start, length));
  const type = /'descr':\s*'([^']+)'/.exec(header)?.[1] ?? "";
  const numbers = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1] ?? "";
  if (/'fortran_order':\s*True/.test(header)) throw new Error("arrays in Fortran order are not read");
  const shape = numbers.split(",").filter((part) => part.trim() !== "").map(Number);
  const content = buffer.slice(start + length);
  if (type === "<f4") return { shape, data: new Float32Array(content) };
  if (type === "<f8") return { shape, data: new Float64Array(content) };
  if (type === "<i8") return { shape, data: new BigInt64Array(content) };
  if (type.startsWith("<U")) return { shape, data: [utf32(content)] };
  throw new Error(`arrays of type ${type} are not read`);
}

/** @param {ArrayBuffer} content */
function utf32(content) {
  let text = "";
  for (const point of new Uint32Array(content)) if (point !== 0) text += String.fromCodePoint(point);
  return text;
}

/**
 * Read an archive of arrays.
 *
 * @param {ArrayBuffer} buffer
 * @returns {Promise<Map<string, NpyArray>>}
 */
export async function parseNpz(buffer) {
  /** @type {Map<string, NpyArray>} */
  const arrays = new Map();
  for (const { name, content } of await unzip(buffer)) arrays.set(name.replace(/\.npy$/, ""), parseNpy(content));
  return arrays;
}

/**
 * Return the members of a zip archive, by its central directory (APPNOTE.TXT sections 4.3.12 and 4.3.16).
 *
 * @param {ArrayBuffer} buffer
 * @returns {Promise<{name: string, content: ArrayBuffer}[]>}
 */
async function unzip(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end -= 1;
  if (end < 0) throw new Error("this is no zip archive");
  const members = [];
  let place = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    const method = view.getUint16(place + 10, true);
    const size = view.getUint32(place + 20, true);
    const nameLength = view.getUint16(place + 28, true);
    const name = new TextDecoder().decode(new Uint8Array(buffer, place + 46, nameLength));
    const local = view.getUint32(place + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = buffer.slice(start, start + size);
    members.push({ name, content: method === 0 ? packed : await inflate(packed) });
    place += 46 + nameLength + view.getUint16(place + 30, true) + view.getUint16(place + 32, true);
  }
  return members;
}

/** @param {ArrayBuffer} packed */
function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}
