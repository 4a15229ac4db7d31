// The trials of a study with several objectives, two of these at a time, and the front: the trials that no other beats.

import { metric } from "./format.js";
import { escapeMarkup } from "./history.js";
import { Plot, SIGNS, axis, colour, faint, signOf } from "./plot.js";
import { LogChoice } from "./scale.js";

export class Pareto {
  constructor(element, study, { open, logs, across, up }) {
    this.study = study;
    this.plot = new Plot(element, { click: open });
    this.plot.redraw = () => this.draw();
    this.controls = [across, up];
    this.logs = logs.map((log) => new LogChoice(log, () => this.draw())); // of the axis across, and upwards
    for (const control of this.controls) control.addEventListener("change", () => this.draw());
  }

  draw() {
    const trials = this.study.sorted().filter((trial) => trial.state !== "FAILED" && this.#point(trial));
    if (!trials.length) {
      this.plot.empty(this.study.ended ? "No trial has come to a value." : "No values yet. A point appears with the first report of a trial.");
      return Promise.resolve();
    }
    const front = this.study.front();
    const behind = trials.filter((trial) => !front.has(trial.number));
    const traces = Object.keys(SIGNS).map((state) => this.#points(behind.filter((trial) => signOf(trial) === state), state));
    const ahead = trials.filter((trial) => front.has(trial.number));
    const [across, up] = this.#axes();
    return this.plot.draw([...traces, this.#edge(ahead), this.#front(ahead)], {
      xaxis: axis(this.#title(across), { type: this.logs[0].type(trials.map((trial) => this.#point(trial)[0])) }, across.metric),
      yaxis: axis(this.#title(up), { type: this.logs[1].type(trials.map((trial) => this.#point(trial)[1])) }, up.metric),
    });
  }

  /** The objectives across and upwards. */
  #axes() {
    return this.controls.map((select) => this.study.objectives[Number(select.value)]);
  }

  #title({ metric: name, direction }) {
    return `${name} (${direction === "maximize" ? "more" : "less"} is better)`;
  }

  /** Where a trial lies, by its values or by what it reported last; null while it has none. */
  #point(trial) {
    const place = this.#axes().map(({ metric: name }) => trial.values?.[name] ?? trial.metrics?.[name]);
    return place.some((value) => value == null) ? null : place;
  }

  #points(trials, state) {
    const { colour: name, symbol, size } = SIGNS[state];
    const look = { symbol, size, color: faint(colour(name), state === "RUNNING" ? 1 : 0.5), line: { width: state === "COMPLETE" ? 0 : 1.4, color: colour(name) } };
    return this.#scatter(trials, { mode: "markers", marker: look });
  }

  #front(trials) {
    const look = { symbol: "circle", size: 10, color: colour("complete"), line: { width: 2, color: colour("best") } };
    return this.#scatter(trials, { mode: "markers", marker: look });
  }

  /** What the front has reached, as a staircase: with two objectives alone, as more make no line. */
  #edge(trials) {
    if (this.study.objectives.length > 2) return this.#scatter([], { mode: "lines" });
    const ordered = [...trials].sort((a, b) => this.#point(a)[0] - this.#point(b)[0]);
    const shape = this.#axes()[0].direction === "minimize" ? "hv" : "vh";
    return { ...this.#scatter(ordered, { mode: "lines", line: { shape, width: 2, color: colour("best") } }), hoverinfo: "skip", hovertemplate: undefined };
  }

  #scatter(trials, look) {
    return {
      type: "scatter",
      x: trials.map((trial) => this.#point(trial)[0]),
      y: trials.map((trial) => this.#point(trial)[1]),
      customdata: trials.map((trial) => trial.number),
      text: trials.map((trial) => this.#words(trial)),
      hovertemplate: "%{text}<extra></extra>",
      ...look,
    };
  }

  #words(trial) {
    const measured = this.study.objectives.map(({ metric: name }) => `${name} ${metric(trial.values?.[name] ?? trial.metrics?.[name])}`);
    return `<b>Trial ${trial.number}</b> ${trial.state.toLowerCase()}${trial.feasible === false ? ", infeasible" : ""}<br>${measured.map(escapeMarkup).join("<br>")}`;
  }
}
