/** Colour maps: perceptually uniform, and readable for people who do not tell red from green. */

/** 33 colours each, evenly spaced; between them colours are interpolated. Sources: matplotlib (CC0), Crameri (MIT). */
const STOPS = {
  inferno: "0000040403120b0724150b37210c4a2e0a5a3c09654a0c6b57106d63146e70196e7d1e6d89226a962766a32b61af315cbb3755c63e4dd14644db4f3be35932eb6528f1711ef67f14f98d0afb9c06fcab0ffbba1ff9ca32f5d949f2e865f3f586fcffa4",
  viridis: "440154470d6048186a482374472d7b4536814240863f49893b528b375a8d33638d2f6a8e2c728e297a8e26818e23898e21908c1f988b1f9f8821a68528ae8031b57b3ebc744cc26c5dc9636ece5882d34c96d83fabdc32c0df24d5e21aeae51afde725",
  cividis: "00224e00285b002e6a0433711a386f273e6e32436d3b496c434e6c4b546c52596d5a5f6e61656f686a716f70737576767c7b788481798b8778938d789b9376a39a75aba072b3a670bbad6cc3b469ccba64d4c15fddc958e6d051efd748f8df3cfee838",
  vik: "001261021f69022b710237790344810450890c5e921b6d9b2f7ca6478db1609dbc79adc792bdd2acccdcc5dbe5dce5e9ece5e1eedacfe9cbb9e2bba4dcab8fd59c7bcf8e68c97f55c37243bc6331b3531fa5400e932e06832106741506660a07590008",
};

/** Names for the part above 0, the default first. */
export const SEQUENTIAL = ["inferno", "viridis", "cividis"];
const DIVERGING = "vik";

/** @type {Map<string, Uint8ClampedArray>} */
const tables = new Map();

/**
 * Return 256 colours, three bytes each; of signed maps from the most negative to the most positive.
 *
 * @param {string} name
 * @param {boolean} signed
 * @returns {Uint8ClampedArray}
 */
export function colorTable(name, signed) {
  const used = signed ? DIVERGING : SEQUENTIAL.includes(name) ? name : SEQUENTIAL[0];
  const known = tables.get(used);
  if (known) return known;
  const made = interpolated(STOPS[/** @type {keyof typeof STOPS} */ (used)]);
  tables.set(used, made);
  return made;
}

/** @param {string} stops */
function interpolated(stops) {
  const channel = (/** @type {number} */ stop, /** @type {number} */ part) =>
    Number.parseInt(stops.slice(stop * 6 + part * 2, stop * 6 + part * 2 + 2), 16);
  const last = stops.length / 6 - 1;
  const table = new Uint8ClampedArray(256 * 3);
  for (let index = 0; index < 256; index += 1) {
    const place = (index / 255) * last;
    const stop = Math.min(Math.floor(place), last - 1);
    for (let part = 0; part < 3; part += 1) {
      const from = channel(stop, part);
      table[index * 3 + part] = from + (channel(stop + 1, part) - from) * (place - stop);
    }
  }
  return table;
}
