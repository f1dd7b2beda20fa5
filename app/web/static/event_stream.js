/** Server-sent events over `fetch`, because `EventSource` cannot send a key. */

/**
 * Yield the events of a stream.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<{event: string, id: string, data: string}>}
 */
export async function* readEvents(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += String(value).replaceAll("\r\n", "\n");
      const parts = text.split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        const event = parseEvent(part);
        if (event.data) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** @param {string} text */
function parseEvent(text) {
  const event = { event: "message", id: "", data: "" };
  for (const line of text.split("\n")) {
    const found = /^(event|id|data): ?(.*)$/.exec(line);
    if (!found) continue;
    const [, name, value] = found;
    if (name === "data") event.data += (event.data ? "\n" : "") + value;
    else event[/** @type {"event" | "id"} */ (name)] = value;
  }
  return event;
}
