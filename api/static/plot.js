// Plotly in our colours. Everything here is SVG: at 10,000 points it is as quick as Plotly's WebGL traces, and those
// need a graphics driver and a policy that allows eval.

import { h } from "./dom.js";
import { BYTES } from "./format.js";

/** The library, once its script has run: 4.8 MB that the trials are asked for before, and the table does not wait for. */
export function plotly() {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  const script = document.querySelector('script[src*="plotly"]');
  return new Promise((resolve, reject) => {
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => reject(new Error("the figures' library could not be loaded")));
  });
}

/** A custom property of page.css as rgb(): light-dark() is only resolved on an element. */
export function colour(name) {
  const probe = h("i", { class: "off-screen" });
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}

/** The same colour, translucent. */
export const faint = (rgb, alpha) => rgb.replace(/^rgba?\(([^)]*?)\)$/, (_, parts) => `rgba(${parts.split(",").slice(0, 3)}, ${alpha})`);

/** How a state looks in every figure: told apart by shape as well as by colour. */
export const SIGNS = {
  COMPLETE: { colour: "complete", symbol: "circle", size: 6 },
  PRUNED: { colour: "pruned", symbol: "triangle-down-open", size: 6 },
  PAUSED: { colour: "idle", symbol: "square-open", size: 6 },
  FAILED: { colour: "failed", symbol: "x-thin-open", size: 7 },
  RUNNING: { colour: "running", symbol: "circle-open", size: 8 },
  INFEASIBLE: { colour: "idle", symbol: "diamond-open", size: 7 }, // whatever its state, it breaks a constraint
};

/** Which of the signs a trial has. */
export const signOf = (trial) => (trial.feasible === false ? "INFEASIBLE" : trial.state);

/** Colours of several studies side by side, each with a dash of its own. */
export const SERIES = [
  { colour: "accent", dash: "solid", legend: "" },
  { colour: "pruned", dash: "dash", legend: "6 3" },
  { colour: "complete", dash: "dot", legend: "2 2" },
  { colour: "failed", dash: "dashdot", legend: "6 2 2 2" },
  { colour: "idle", dash: "longdash", legend: "9 3" },
  { colour: "violet", dash: "10px 2px 2px 2px", legend: "7 2 1 2" },
  { colour: "olive", dash: "5px 2px", legend: "4 2" },
  { colour: "rose", dash: "2px 5px", legend: "2 4" },
];

/** `name`: the metric that it shows, where its title does not say it. */
export function axis(title, more = {}, name = title) {
  const line = colour("line");
  const bytes = BYTES.has(name) ? { tickformat: ".6~s", ticksuffix: "B" } : {};
  return {
    title: { text: title, standoff: 8, font: { size: 12 } },
    gridcolor: line,
    zeroline: false,
    linecolor: colour("line-strong"),
    ticks: "outside",
    ticklen: 4,
    tickcolor: colour("line-strong"),
    automargin: true,
    exponentformat: "power",
    ...bytes,
    ...more,
  };
}

/** One figure on the page; `draw` may be called as often as one likes. */
export class Plot {
  constructor(element, { click } = {}) {
    this.element = element;
    this.click = click;
    document.addEventListener("themechange", () => this.redraw?.());
    new ResizeObserver(() => this.drawn && window.Plotly.Plots.resize(this.element)).observe(element);
  }

  async draw(traces, layout) {
    const library = await plotly();
    const isFirst = !this.begun; // another draw may come while Plotly is at the first
    this.begun = true;
    if (isFirst) this.element.replaceChildren();
    await library.react(this.element, traces, { ...frame(), ...layout }, { displayModeBar: false, doubleClick: "reset" });
    if (isFirst) this.#listen();
    this.drawn = true;
  }

  /** Words where there is nothing to draw. */
  empty(text) {
    if (this.drawn) window.Plotly.purge(this.element);
    this.begun = this.drawn = false;
    this.element.replaceChildren(h("p", { class: "empty" }, text));
  }

  #listen() {
    if (!this.click) return;
    this.element.on("plotly_click", (event) => {
      const number = event.points[0].customdata;
      if (number != null) this.click(number);
    });
  }
}

function frame() {
  return {
    autosize: true,
    margin: { l: 8, r: 14, t: 10, b: 8 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 11.5, color: colour("ink-soft") },
    showlegend: false,
    hovermode: "closest",
    hoverdistance: 12,
    // A finger that moves over a figure wants to scroll the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    hoverlabel: {
      bgcolor: colour("surface"),
      bordercolor: colour("line-strong"),
      font: { color: colour("ink"), size: 12 },
      align: "left",
    },
    uirevision: "kept", // a zoom survives the next draw
  };
}
