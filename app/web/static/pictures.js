/** Pictures as the browser shows them. */

const LONGEST = 2048; // because screens show no more, and a 12-megapixel bitmap takes 48 MB

/**
 * Decode a picture, upright; `bitmap` is null where this browser cannot read it, which the service may still do.
 *
 * @param {Blob} blob
 * @returns {Promise<{bitmap: ImageBitmap | null, width: number, height: number}>}
 */
export async function decodePicture(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return { bitmap: null, width: 0, height: 0 };
  }
  const { width, height } = bitmap;
  const scale = LONGEST / Math.max(width, height);
  if (scale >= 1) return { bitmap, width, height };
  const smaller = await createImageBitmap(bitmap, {
    resizeWidth: Math.round(width * scale),
    resizeHeight: Math.round(height * scale),
    resizeQuality: "high",
  });
  bitmap.close();
  return { bitmap: smaller, width, height };
}
