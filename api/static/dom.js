// Elements built by calls, never from markup: nothing that a study says is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** An element with attributes (functions become listeners; null, undefined and false are left out) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

/** A symbol of base.html. */
export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A line of a figure's legend in the figure's own look, with its words; nothing without words. */
export function sample(colour, dash, text) {
  if (!text) return null;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 18 12");
  svg.setAttribute("aria-hidden", "true");
  svg.style.color = `var(--${colour})`;
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", "M0 6h18");
  line.setAttribute("stroke-width", "2");
  if (dash) line.setAttribute("stroke-dasharray", dash);
  svg.append(line);
  return h("span", {}, svg, text);
}

/** A state as everywhere on the page: sign, colour and word. */
export function badge(state) {
  const name = state.toLowerCase();
  return h("span", { class: `state is-${name}` }, icon(name), name);
}

/** Data that the server wrote into the page. */
export const boot = () => JSON.parse($("#boot").textContent);

/** Shows a sentence for a few seconds; screen readers hear it. */
export function say(text) {
  const line = $("#said");
  line.textContent = text;
  line.classList.add("is-shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => line.classList.remove("is-shown"), 5000);
}

/** Asks in a dialog of the page: whether the answer was yes, and not no or Escape. */
export function asked(dialog) {
  dialog.returnValue = ""; // so that an earlier answer is never taken for this one
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

/** Makes a button copy a text, and say so. */
export function copies(button, text) {
  button.addEventListener("click", async () => {
    await writeClipboard(text());
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = before), 1500);
  });
}

async function writeClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Browsers offer the clipboard to https and localhost only; a page on a cluster's plain address still has this.
  const area = h("textarea", { class: "off-screen" }, text);
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
