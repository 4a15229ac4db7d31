// Learning curves of a study: the running trials, the best ones, and as many of the others as stay readable.

import { h, sample } from "./dom.js";
import { metric as number } from "./format.js";
import { Plot, axis, colour, faint } from "./plot.js";
import { pages, studyPath } from "./rest.js";
import { LogChoice } from "./scale.js";

const MOST = 200;
const TOO_MANY = 300; // that came in live beside those

export class Curves {
  constructor(element, study, { open, log, select, caption }) {
    this.study = study;
    this.caption = caption;
    this.select = select;
    this.log = new LogChoice(log, () => this.draw());
    this.points = new Map(); // trial number -> {steps, values} of the chosen metric
    this.plot = new Plot(element, { click: open });
    this.plot.redraw = () => this.draw();
    select.addEventListener("change", () => this.load());
  }

  get metric() {
    return this.select.value || this.study.metric;
  }

  /** Fetch the curves of the chosen metric and draw them. */
  async load() {
    const asked = this.metric;
    this.points = new Map();
    const chosen = this.#choice(this.study.sorted().filter((trial) => trial.step != null));
    const query = { metric: asked, numbers: chosen.join(",") };
    for await (const items of chosen.length ? pages(`${studyPath(this.study.name)}/curves`, query) : []) {
      if (asked !== this.metric) return; // another one was chosen meanwhile
      for (const { number, steps, values } of items) this.points.set(number, { steps, values });
    }
    await this.draw();
  }

  /** One report; a repeat changes nothing, a resumed attempt overwrites what it trains again. */
  add({ number, step, metrics }) {
    if (metrics[this.metric] == null) return;
    const curve = this.points.get(number) ?? { steps: [], values: [] };
    while (curve.steps.length && curve.steps.at(-1) >= step) {
      curve.steps.pop();
      curve.values.pop();
    }
    curve.steps.push(step);
    curve.values.push(metrics[this.metric]);
    this.points.set(number, curve);
  }

  offer(names) {
    const known = new Set([...this.select.options].map((option) => option.value));
    for (const name of names) if (!known.has(name) && !name.startsWith("test/")) this.select.append(h("option", {}, name));
  }

  /** A page that stays open for days does not draw ever more curves. */
  #forget() {
    if (this.points.size <= TOO_MANY) return;
    const kept = new Set(this.#choice(this.study.sorted().filter((trial) => this.points.has(trial.number))));
    for (const number of this.points.keys()) if (!kept.has(number)) this.points.delete(number);
  }

  draw() {
    this.#forget();
    const groups = this.#groups();
    const drawn = Object.values(groups).flat();
    this.#describe(drawn.length, groups);
    if (!drawn.length) {
      this.plot.empty(this.study.ended ? "No trial has reported a step." : "No reports yet. A curve appears with the first epoch of a trial.");
      return Promise.resolve();
    }
    const [complete, pruned, failed, idle, running, best] = ["complete", "pruned", "failed", "idle", "running", "best"].map(colour);
    return this.plot.draw(
      [
        this.#lines(groups.pruned, { color: faint(pruned, 0.45), width: 1, dash: "dot" }),
        this.#ends(groups.pruned, { symbol: "triangle-down-open", size: 6, color: faint(pruned, 0.9) }),
        this.#lines(groups.complete, { color: faint(complete, Math.max(0.2, Math.min(0.5, 12 / groups.complete.length))), width: 1.1 }),
        this.#ends(this.#single(groups.complete), { symbol: "circle", size: 4, color: faint(complete, 0.6) }),
        this.#lines(groups.idle, { color: faint(idle, 0.6), width: 1, dash: "dashdot" }),
        this.#ends(groups.idle, { symbol: "square-open", size: 5, color: faint(idle, 0.9) }),
        this.#lines(groups.failed, { color: failed, width: 1, dash: "dash" }),
        this.#ends(groups.failed, { symbol: "x-thin-open", size: 7, color: failed }),
        this.#lines(groups.best, { color: best, width: 2.2 }),
        this.#ends(this.#single(groups.best), { symbol: "circle", size: 6, color: best }),
        this.#lines(groups.running, { color: running, width: 1.8 }),
        this.#ends(groups.running, { symbol: "circle", size: 6, color: running }),
      ].filter((trace) => trace.x.length),
      { xaxis: axis("step", { rangemode: "tozero" }), yaxis: axis(this.metric, { type: this.log.type(drawn.flatMap((number) => this.points.get(number).values)) }) },
    );
  }

  /** Running trials, then the best, then an even sample of the rest. */
  #choice(reported) {
    if (reported.length <= MOST) return reported.map((trial) => trial.number);
    const running = reported.filter((trial) => trial.state === "RUNNING").slice(0, MOST / 2);
    const finished = reported.filter((trial) => trial.state !== "RUNNING");
    const ranked = finished.filter((trial) => this.study.value(trial) != null).sort((a, b) => this.#order(a, b));
    const chosen = new Set([...running, ...ranked.slice(0, MOST / 4)].map((trial) => trial.number));
    const stride = Math.ceil(finished.length / (MOST - chosen.size));
    for (let i = 0; i < finished.length && chosen.size < MOST; i += stride) chosen.add(finished[i].number);
    return [...chosen].sort((a, b) => a - b);
  }

  #order(a, b) {
    const difference = this.study.value(a) - this.study.value(b);
    return this.study.maximize ? -difference : difference;
  }

  #groups() {
    const groups = { complete: [], pruned: [], failed: [], idle: [], running: [], best: [] };
    const best = this.study.bestTrial()?.number;
    for (const number of [...this.points.keys()].sort((a, b) => a - b)) {
      const state = this.study.trials.get(number)?.state.toLowerCase();
      (number === best ? groups.best : (groups[state] ?? groups.idle)).push(number);
    }
    return groups;
  }

  /** All curves of a group as one trace with gaps between them: a handful of traces, however many trials. */
  #lines(numbers, line) {
    const [x, y, customdata] = [[], [], []];
    for (const number of numbers) {
      const { steps, values } = this.points.get(number);
      x.push(...steps, null);
      y.push(...values, null);
      customdata.push(...steps.map(() => number), null);
    }
    return { ...this.#hover(), mode: "lines", x, y, customdata, line };
  }

  /** Those that reported one step, which no line can show. */
  #single(numbers) {
    return numbers.filter((number) => this.points.get(number).steps.length === 1);
  }

  #ends(numbers, marker) {
    const curves = numbers.map((number) => this.points.get(number));
    return {
      ...this.#hover(),
      mode: "markers",
      x: curves.map((curve) => curve.steps.at(-1)),
      y: curves.map((curve) => curve.values.at(-1)),
      customdata: numbers,
      marker: { ...marker, line: { width: 1.3, color: marker.color } },
    };
  }

  #hover() {
    return { type: "scatter", hovertemplate: "<b>Trial %{customdata}</b><br>step %{x}: %{y:.5~g}<extra></extra>" };
  }

  #describe(drawn, groups) {
    const all = [...this.study.trials.values()].filter((trial) => trial.step != null).length;
    const best = this.study.bestTrial();
    const parts = [
      sample("best", "", best && groups.best.length ? `best, trial ${best.number} (${number(this.study.value(best))})` : null),
      sample("running", "", groups.running.length ? `${groups.running.length} running` : null),
      sample("complete", "", groups.complete.length ? "complete" : null),
      sample("pruned", "2 2", groups.pruned.length ? "pruned" : null),
      sample("idle", "6 2 2 2", [...new Set(groups.idle.map((number) => this.study.trials.get(number)?.state.toLowerCase()))].join(", ")),
      sample("failed", "4 2", groups.failed.length ? "failed" : null),
      drawn < all ? h("span", {}, `${drawn} of ${all} curves: ${groups.running.length ? "the running, " : ""}the best and a sample of the rest`) : null,
    ];
    this.caption.replaceChildren(h("span", { class: "legend" }, ...parts));
  }
}
