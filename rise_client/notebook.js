/** A frame with the viewer of a service; when the viewer is ready, it gets the API key that the kernel knows. */

/**
 * @typedef {{
 *   get: (name: string) => any,
 *   send: (content: any) => void,
 *   on: (event: string, handle: (content: any) => void) => void,
 *   off: (event: string, handle: (content: any) => void) => void,
 * }} Model
 * @param {{ model: Model, el: HTMLElement }} view
 */
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.src = model.get("address");
  frame.title = "Explanation";
  frame.style.cssText = `width: 100%; height: ${model.get("height")}px; border: 0`;
  const { origin } = new URL(frame.src);

  /** @param {MessageEvent} message */
  const ask = ({ source, origin: from, data }) => {
    if (source === frame.contentWindow && from === origin && data?.type === "rise-serve:ready") model.send("ready");
  };
  /** @param {{ key: string }} content */
  const pass = ({ key }) => frame.contentWindow?.postMessage({ type: "rise-serve:key", key }, origin);

  addEventListener("message", ask);
  model.on("msg:custom", pass);
  el.append(frame);
  return () => {
    removeEventListener("message", ask);
    model.off("msg:custom", pass);
  };
}

export default { render };
