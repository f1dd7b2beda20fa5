/** Pictures to begin with, each with the model that it was chosen for. */

/**
 * @typedef {object} Sample
 * @property {string} file
 * @property {string} title
 * @property {string} model
 */

/** @type {Sample[]} */
export const SAMPLES = [
  { file: "coffee.jpg", title: "Coffee", model: "imagenet" },
  { file: "cat.jpg", title: "Cat", model: "imagenet" },
  { file: "star.jpg", title: "Star", model: "shapes" },
  { file: "several.jpg", title: "Several shapes", model: "shapes-detector" },
  { file: "astronaut.jpg", title: "Face", model: "faces" },
];

/** @param {Sample} sample */
export function sampleAddress(sample) {
  return new URL(`samples/${sample.file}`, import.meta.url).href;
}

/** Address of 96 by 96 pixels of it. @param {Sample} sample */
export function thumbnailAddress(sample) {
  return new URL(`samples/thumbnails/${sample.file}`, import.meta.url).href;
}
