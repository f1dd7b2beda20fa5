/** Building of elements without markup in strings: nothing from outside is ever read as HTML. */

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, any>} Properties
 */

/**
 * Return a new element.
 *
 * @param {string} tag
 * @param {Properties} [properties] `on...` are listeners, `class`, `for`, `aria-...`, `data-...` and `role` attributes,
 *   all others properties of the element; null and undefined are left out.
 * @param {...(Child | Child[])} children
 * @returns {any}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  assign(element, properties);
  element.append(...present(children));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * Return a new SVG element; all properties are attributes.
 *
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...Child} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...present(children));
  return element;
}

/**
 * Set properties as `h` does.
 *
 * @param {HTMLElement} element
 * @param {Properties} properties
 */
export function assign(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (/^(aria-|data-|role$|for$|list$|tabindex$)/.test(name)) element.setAttribute(name, String(value));
    else /** @type {any} */ (element)[name] = value;
  }
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function present(children) {
  return /** @type {(Node | string)[]} */ (
    children
      .flat()
      .filter((child) => child !== null && child !== undefined && child !== false)
      .map((child) => (typeof child === "number" ? String(child) : child))
  );
}

/**
 * Replace an element's children; what had the focus or was open, and is there again by its `data-key`, has it again.
 *
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  const focused = document.activeElement;
  const key = focused && element.contains(focused) ? focused.getAttribute("data-key") : null;
  const open = [...element.querySelectorAll("details[open]")].map((details) => details.getAttribute("data-key"));
  element.replaceChildren(...present(children));
  for (const details of element.querySelectorAll("details")) details.open ||= open.includes(details.dataset.key ?? "");
  if (key !== null) {
    /** @type {HTMLElement | null} */ (element.querySelector(`[data-key="${CSS.escape(key)}"]`))?.focus();
  }
}

let labels = 0;

/**
 * Return a control below its label.
 *
 * @param {string} title
 * @param {HTMLElement} control
 * @param {string} [hint] shown when the pointer rests on it
 */
export function labelled(title, control, hint = "") {
  labels += 1;
  control.id ||= `control-${labels}`;
  return h("div", { class: "field", title: hint }, h("label", { for: control.id }, title), control);
}
