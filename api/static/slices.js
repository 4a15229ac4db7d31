// Slices: each parameter against the objective, a point a trial, coloured by when it was proposed.

import { metric, parameter } from "./format.js";
import { escapeMarkup } from "./history.js";
import { counts, knobs } from "./model.js";
import { Plot, SIGNS, axis, colour, faint } from "./plot.js";
import { LogChoice } from "./scale.js";

const MOST_SLICES = 6; // side by side; any other is chosen by name
const MOST_ON_A_PHONE = 3; // below each other
const MOST_POINTS = 2400; // in all slices together: what an SVG draws at once
const JITTER = 0.28; // of the way to the next choice or step, to either side
const MOST_STEPS = 24; // of a range whose points are strewn: more of them lie beside each other anyway
const OLD_TO_NEW = ["#b9c4cf", "#7fa8c9", "#4385bd", "#1d5fa0", "#0b2f66"];
const OLD_TO_NEW_ON_DARK = ["#44505c", "#43698a", "#4c94c6", "#86c1ea", "#dcefff"];

const HELD = { PRUNED: "triangles were pruned", PAUSED: "squares wait at a rung" };

const isHeld = (trial) => trial.state in HELD;

export class Slices {
  /** `objective`: where one of several is chosen, which a study of one objective does not have. */
  constructor(element, study, { open, select, objective, log, caption }) {
    Object.assign(this, { element, study, select, caption, order: [], objective: study.objectives[objective?.selectedIndex ?? 0] });
    this.knobs = knobs(study.definition);
    this.plot = new Plot(element, { click: open });
    this.plot.redraw = () => this.draw();
    this.log = new LogChoice(log, () => this.draw());
    select.addEventListener("change", () => this.draw());
    objective?.addEventListener("change", () => {
      this.objective = study.objectives[objective.selectedIndex];
      this.draw();
    });
  }

  /** The parameters by what they decide, the first one most. */
  rank(names) {
    this.order = names;
    return this.draw();
  }

  draw() {
    const columns = this.element.clientWidth > 900 ? 3 : this.element.clientWidth > 560 ? 2 : 1;
    const chosen = this.#chosen(columns > 1 ? MOST_SLICES : MOST_ON_A_PHONE);
    const trials = this.study.sorted().filter((trial) => trial.parameters && this.#value(trial) != null);
    if (!trials.length || !chosen.length) {
      this.plot.empty(this.study.ended ? "No trial has come to a value." : "No values yet. A point appears when a trial ends or waits at a rung.");
      this.caption.textContent = "";
      return Promise.resolve();
    }
    const most = Math.floor(MOST_POINTS / chosen.length);
    const shown = sampled(trials, most, this.study.bestTrial());
    const signs = Object.keys(HELD).filter((state) => shown.some((trial) => trial.state === state)).map((state) => HELD[state]);
    const held = signs.length ? ` At their last value: ${signs.join(", ")}.` : "";
    const some = shown.length < trials.length ? `${shown.length} of ${trials.length} trials, evenly spread. ` : "";
    this.caption.textContent = `${some}Faint points are early trials, strong ones late.${held}`;
    const rows = Math.ceil(chosen.length / columns);
    this.element.style.height = `${rows * (chosen.length > 1 ? 230 : 320)}px`;
    const layout = { grid: { rows, columns: Math.min(columns, chosen.length), pattern: "independent", xgap: 0.16, ygap: 0.34 } };
    const type = this.log.type(shown.map((trial) => this.#value(trial)));
    const range = type === "log" ? {} : this.#range(shown);
    const traces = chosen.flatMap((knob, place) => {
      const suffix = place ? String(place + 1) : "";
      const values = shown.map((trial) => trial.parameters[knob.path]).filter((value) => typeof value === "number");
      const gap = gapOf(knob, values);
      layout[`xaxis${suffix}`] = axis("", { title: { text: escapeMarkup(knob.path), standoff: 4, font: { size: 11.5 } }, ...across(knob, values, gap) });
      const first = place % columns === 0;
      const title = first ? { text: this.objective.metric, standoff: 6, font: { size: 11.5 } } : { text: "" };
      layout[`yaxis${suffix}`] = axis("", { title, type, ...range }, this.objective.metric);
      return this.#points(shown, knob, gap, suffix);
    });
    return this.plot.draw(traces, layout);
  }

  #chosen(most) {
    if (this.select.value) return this.knobs.filter((knob) => knob.path === this.select.value);
    const place = (knob) => (this.order.includes(knob.path) ? this.order.indexOf(knob.path) : this.order.length);
    return [...this.knobs].sort((a, b) => place(a) - place(b)).slice(0, most);
  }

  /** What a trial came to; of one that a rung holds, for now or for good, what it came to there. */
  #value(trial) {
    const { metric } = this.objective;
    if (isHeld(trial)) return trial.values?.[metric] ?? trial.metrics?.[metric] ?? null;
    return counts(trial) ? (trial.values?.[metric] ?? null) : null;
  }

  #points(trials, knob, gap, suffix) {
    const own = trials.filter((trial) => knob.path in trial.parameters);
    const last = trials.at(-1).number || 1;
    const stops = isDark() ? OLD_TO_NEW_ON_DARK : OLD_TO_NEW;
    const trace = (some, marker) => ({
      type: "scatter",
      mode: "markers",
      xaxis: `x${suffix}`,
      yaxis: `y${suffix}`,
      x: some.map((trial) => place(knob, gap, trial)),
      y: some.map((trial) => this.#value(trial)),
      customdata: some.map((trial) => trial.number),
      text: some.map((trial) => this.#words(trial, knob)),
      hovertemplate: "%{text}<extra></extra>",
      marker,
    });
    const held = own.filter(isHeld);
    const colours = Object.fromEntries(Object.keys(HELD).map((state) => [state, faint(colour(SIGNS[state].colour), 0.6)]));
    const complete = own.filter((trial) => !isHeld(trial));
    const best = this.study.bestTrial();
    return [
      trace(held, { symbol: held.map((trial) => SIGNS[trial.state].symbol), size: 5, color: held.map((trial) => colours[trial.state]) }),
      trace(complete, {
        size: 6,
        color: complete.map((trial) => trial.number),
        cmin: 0,
        cmax: last,
        colorscale: stops.map((stop, i) => [i / (stops.length - 1), stop]),
        line: { width: 0.6, color: colour("surface") },
      }),
      trace(own.filter((trial) => trial.number === best?.number), { symbol: "circle-open", size: 12, color: colour("best"), line: { width: 2, color: colour("best") } }),
    ];
  }

  #words(trial, knob) {
    const value = `${this.objective.metric} ${metric(this.#value(trial))}`;
    return `<b>Trial ${trial.number}</b> ${trial.state.toLowerCase()}<br>${escapeMarkup(`${knob.path} ${parameter(trial.parameters[knob.path])}`)}<br>${escapeMarkup(value)}`;
  }

  /** The range without the worst tenth, as in the history. */
  #range(trials) {
    const values = trials.map((trial) => this.#value(trial)).sort((a, b) => (this.objective.direction === "maximize" ? a - b : b - a));
    if (values.length < 10) return {};
    const [worst, best] = [values[Math.floor(0.1 * values.length)], values.at(-1)];
    const pad = 0.12 * Math.abs(best - worst) || 0.01 * Math.abs(best) || 1;
    return { range: [Math.min(worst, best) - pad, Math.max(worst, best) + pad], autorange: false };
  }
}

/** At most so many trials, evenly spread, with the best among them. */
export function sampled(trials, most, best = null) {
  const step = Math.ceil(trials.length / most);
  return step <= 1 ? trials : trials.filter((trial, i) => i % step === 0 || trial.number === best?.number);
}

function across(knob, values, gap) {
  const powers = knob.log && knob.high / knob.low >= 100 ? { dtick: 1 } : {};
  if (knob.kind !== "choice") {
    // The whole range that is searched, and beside it what trials of an earlier space had.
    const places = [knob.low, knob.high, ...values].map(knob.log ? Math.log10 : Number);
    const [low, high] = [Math.min(...places), Math.max(...places)];
    const pad = Math.max(0.04 * (high - low), 0.4 * gap) || 1;
    return { type: knob.log ? "log" : "linear", range: [low - pad, high + pad], ...powers };
  }
  const texts = knob.values.map((value) => parameter(value));
  const every = Math.ceil(texts.length / 8); // more words do not fit beside each other
  const shown = texts.map((text, i) => [i, text]).filter(([i]) => i % every === 0);
  return { tickvals: shown.map(([i]) => i), ticktext: shown.map(([, text]) => escapeMarkup(text)), range: [-0.6, texts.length - 0.4], autotickangles: [0, -30, -90] };
}

/** How far the few values of a range lie from each other, as all choices lie 1 apart; 0 where they are many. */
function gapOf(knob, values) {
  if (knob.kind === "choice") return 1;
  // JSON has no floats: of a range that says no step, the values tell whether it is one of whole numbers.
  const whole = values.every(Number.isInteger) && new Set(values).size <= values.length / 2;
  const step = knob.step ?? (whole ? 1 : 0);
  return knob.log || (knob.high - knob.low) / step > MOST_STEPS ? 0 : step;
}

/** Where a trial lies: what shares a place with others is strewn about it, the same way at every draw. */
function place(knob, gap, trial) {
  const value = trial.parameters[knob.path];
  const strewn = JITTER * gap * (((trial.number * 0.6180339887) % 1) * 2 - 1);
  if (knob.kind !== "choice") return value + strewn;
  const text = JSON.stringify(value);
  return knob.values.findIndex((each) => JSON.stringify(each) === text) + strewn;
}

function isDark() {
  const [red, green, blue] = colour("surface").match(/[\d.]+/g).map(Number);
  return red + green + blue < 380;
}
