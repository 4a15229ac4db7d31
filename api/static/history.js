// Optimisation history: every trial by number, and the best so far.

import { metric } from "./format.js";
import { Plot, SIGNS, axis, colour, faint } from "./plot.js";

export class History {
  constructor(element, study, { open, log }) {
    this.study = study;
    this.plot = new Plot(element, { click: open });
    this.plot.redraw = () => this.draw();
    this.log = log;
    log.addEventListener("change", () => this.draw());
  }

  draw() {
    const trials = this.study.sorted();
    const valued = trials.filter((trial) => this.study.latest(trial) != null);
    this.hidden = 0;
    if (!valued.length) {
      this.plot.empty("No values yet. A point appears with the first report of a trial.");
      return Promise.resolve();
    }
    const traces = Object.keys(SIGNS).map((state) => this.#points(trials, state));
    return this.plot.draw([...traces, this.#best(trials)], {
      xaxis: axis("trial", { rangemode: "tozero" }),
      yaxis: axis(this.study.metric, this.#range(valued)),
      // Trials that failed without a value lie along the foot of the figure.
      yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    });
  }

  #points(trials, state) {
    const { colour: name, symbol, size } = SIGNS[state];
    const own = trials.filter((trial) => trial.state === state);
    const rug = state === "FAILED";
    const drawn = rug ? own : own.filter((trial) => this.study.latest(trial) != null);
    return {
      type: "scatter",
      mode: "markers",
      x: drawn.map((trial) => trial.number),
      y: drawn.map((trial) => (rug ? 0.025 : this.study.latest(trial))),
      yaxis: rug ? "y2" : "y",
      customdata: drawn.map((trial) => trial.number),
      text: drawn.map((trial) => this.#words(trial)),
      hovertemplate: "%{text}<extra></extra>",
      marker: { symbol, size, color: state === "PRUNED" ? faint(colour(name), 0.75) : colour(name), line: { width: 1.4, color: colour(name) } },
    };
  }

  #words(trial) {
    const state = trial.state.toLowerCase();
    const value = this.study.latest(trial);
    const measured = value == null ? (trial.reason ?? "") : `${this.study.metric} ${metric(value)}`;
    const when = trial.state === "COMPLETE" || trial.step == null ? "" : ` at step ${trial.step}`;
    return `<b>Trial ${trial.number}</b> ${state}${when}<br>${escapeMarkup(measured)}`;
  }

  #best(trials) {
    const steps = bestSoFar(this.study, trials);
    const last = trials.at(-1);
    if (steps.length && last.number > steps.at(-1).number) steps.push({ ...steps.at(-1), number: last.number });
    return {
      type: "scatter",
      mode: "lines",
      x: steps.map((step) => step.number),
      y: steps.map((step) => step.value),
      line: { shape: "hv", width: 2, color: colour("best") },
      hoverinfo: "skip",
    };
  }

  /** The range that shows the search and not its worst accidents: a far tail is left to a double-click. */
  #range(valued) {
    if (this.log.checked) return { type: "log" };
    const values = valued.map((trial) => this.study.latest(trial)).sort((a, b) => a - b);
    const at = (share) => values[Math.round(share * (values.length - 1))];
    const [low, high, span] = [values[0], values.at(-1), at(0.95) - at(0.05)];
    if (values.length < 20 || span === 0 || high - low < 3 * span) return { type: "linear" };
    const pad = 0.08 * span;
    return { type: "linear", range: this.study.maximize ? [at(0.05) - pad, high + pad] : [low - pad, at(0.95) + pad] };
  }
}

/** Where the best value changed: [{number, value, trial}]. */
export function bestSoFar(study, trials) {
  const steps = [];
  for (const trial of trials) {
    const value = study.value(trial);
    if (trial.state !== "COMPLETE" || value == null) continue;
    if (!steps.length || study.better(value, steps.at(-1).value)) steps.push({ number: trial.number, value, trial });
  }
  return steps;
}

/** Plotly reads a few tags in its texts; what a study says is text. */
export const escapeMarkup = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
