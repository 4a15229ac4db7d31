// Optimisation history: every trial by number, and the best so far.

import { metric } from "./format.js";
import { counts } from "./model.js";
import { Plot, SIGNS, axis, colour, faint, signOf } from "./plot.js";
import { LogChoice } from "./scale.js";

const FEW = 0.2; // of the trials

export class History {
  constructor(element, study, { open, log }) {
    this.study = study;
    this.plot = new Plot(element, { click: open });
    this.plot.redraw = () => this.draw();
    this.log = new LogChoice(log, () => this.draw());
  }

  draw() {
    const trials = this.study.sorted();
    const valued = trials.filter((trial) => this.study.latest(trial) != null);
    if (!valued.length) {
      this.plot.empty(this.study.ended ? "No trial has come to a value." : "No values yet. A point appears with the first report of a trial.");
      return Promise.resolve();
    }
    const type = this.log.type(valued.map((trial) => this.study.latest(trial)));
    this.range = type === "log" ? null : this.#range(trials);
    const traces = Object.keys(SIGNS).flatMap((state) => this.#points(trials, state));
    return this.plot.draw([...traces, this.#best(trials)], {
      xaxis: axis("trial", { rangemode: "tozero", exponentformat: "none" }),
      yaxis: axis(this.study.metric, { type, ...(this.range ? { range: this.range, autorange: false } : { autorange: true }) }),
      yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true }, // the figure's height, for its edge
    });
  }

  /** The trials of a state. Those without a value, or with one far off the range, lie along the edge of the worse side. */
  #points(trials, state) {
    const { colour: name, symbol, size } = SIGNS[state];
    const own = trials.filter((trial) => signOf(trial) === state && (["FAILED", "INFEASIBLE"].includes(state) || this.study.latest(trial) != null));
    const edge = this.study.maximize ? 0.025 : 0.975;
    const [inside, outside] = [own.filter((trial) => this.#isInside(trial)), own.filter((trial) => !this.#isInside(trial))];
    const crowd = Math.min(1, 1500 / trials.length); // the more points, the smaller and fainter each
    const look = {
      symbol,
      size: Math.max(3, size * Math.sqrt(crowd)),
      opacity: Math.max(0.45, crowd),
      color: state === "PRUNED" ? faint(colour(name), 0.75) : colour(name),
      line: { width: state === "COMPLETE" ? 0 : 1.4, color: colour(name) },
    };
    const points = (some, y, yaxis) => ({
      type: "scatter",
      mode: "markers",
      x: some.map((trial) => trial.number),
      y: some.map(y),
      yaxis,
      customdata: some.map((trial) => trial.number),
      text: some.map((trial) => this.#words(trial)),
      hovertemplate: "%{text}<extra></extra>",
      marker: look,
    });
    return [points(inside, (trial) => this.study.latest(trial), "y"), points(outside, () => edge, "y2")];
  }

  #isInside(trial) {
    const value = this.study.latest(trial);
    return value != null && (!this.range || (value >= this.range[0] && value <= this.range[1]));
  }

  #words(trial) {
    const state = trial.feasible === false ? `${trial.state.toLowerCase()}, infeasible` : trial.state.toLowerCase();
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

  /**
   * The range of the finished trials, without their worst tenth: it shows the search, not its accidents. Where few are
   * complete, those that were pruned are the search: then of all that have a value.
   */
  #range(trials) {
    const complete = known(trials.map((trial) => this.study.value(trial)));
    const all = known(trials.map((trial) => this.study.latest(trial)));
    const values = complete.length < FEW * all.length ? all : complete;
    if (values.length < 3) return null;
    values.sort((a, b) => (this.study.maximize ? a - b : b - a)); // worst to best
    const [worst, best] = [values[Math.floor(0.1 * values.length)], values.at(-1)];
    const pad = 0.15 * Math.abs(best - worst) || 0.01 * Math.abs(best) || 1;
    return [Math.min(worst, best) - pad, Math.max(worst, best) + pad];
  }
}

const known = (values) => values.filter((value) => value != null);

/** Where the best value changed: [{number, value, trial}]. */
export function bestSoFar(study, trials) {
  const steps = [];
  for (const trial of trials) {
    const value = study.value(trial);
    if (!counts(trial) || value == null) continue;
    if (!steps.length || study.better(value, steps.at(-1).value)) steps.push({ number: trial.number, value, trial });
  }
  return steps;
}

/** Plotly reads a few tags in its texts; what a study says is text. */
export const escapeMarkup = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
