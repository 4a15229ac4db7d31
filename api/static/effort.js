// Where the time went: the attempts of each device over time, the trials at the rungs, and trials that repeat others.

import { h } from "./dom.js";
import { duration } from "./format.js";
import { Plot, axis, colour } from "./plot.js";
import { get, studyPath } from "./rest.js";

const MOST_SPANS = 3000; // in the figure; the sums are of all
const MOST_LANES = 24;
const LANE_PX = 18;
const MIN_PX = 0.8; // of an attempt, or a short one of a long study is not seen
const WASTED = ["failed", "lost"];
const LOOKS = { COMPLETE: "complete", PRUNED: "pruned" };

export class Effort {
  constructor(element, study, { open, facts, rungs, caption }) {
    Object.assign(this, { element, study, facts, rungs, caption });
    this.plot = new Plot(element, { click: open });
    this.plot.redraw = () => this.draw();
  }

  async load() {
    const { brackets } = await get(`${studyPath(this.study.name)}/rungs`);
    const steps = [...new Set(brackets.flatMap((bracket) => bracket.rungs.map((rung) => rung.step)))].sort((a, b) => a - b);
    this.rungs.closest(".scroll").hidden = !brackets.length;
    if (brackets.length) this.rungs.replaceChildren(head(steps, brackets.length > 1), h("tbody", {}, brackets.map((bracket) => row(bracket, steps, brackets.length > 1))));
    await this.draw();
  }

  draw() {
    const spans = spansOf(this.study.sorted());
    this.#showFacts(spans);
    if (!spans.length) {
      this.plot.empty("No attempt yet.");
      this.caption.textContent = "";
      return Promise.resolve();
    }
    const busy = new Map();
    for (const span of spans) busy.set(span.lane, (busy.get(span.lane) ?? 0) + span.end - span.begin);
    const lanes = [...busy.keys()].sort((a, b) => busy.get(b) - busy.get(a)).slice(0, MOST_LANES).sort();
    const step = Math.ceil(spans.length / MOST_SPANS);
    const shown = spans.filter((span, i) => lanes.includes(span.lane) && (i % step === 0 || span.look === "running"));
    const some = step > 1 ? ` ${shown.length} of ${spans.length} attempts are drawn.` : "";
    const others = busy.size > lanes.length ? ` The busiest ${lanes.length} of ${busy.size} workers.` : "";
    this.caption.textContent = `A line is an attempt, by the worker that ran it.${some}${others}`;
    this.element.style.height = `${Math.max(110, 70 + LANE_PX * lanes.length)}px`;
    const looks = { complete: "complete", pruned: "pruned", failed: "failed", running: "running", other: "idle" };
    const least = (MIN_PX * (latest(spans) - spans[0].begin)) / Math.max(1, this.element.clientWidth);
    const traces = Object.entries(looks).map(([look, name]) => lines(shown.filter((span) => span.look === look), lanes, colour(name), least));
    return this.plot.draw(traces, {
      xaxis: axis("", { type: "date", title: { text: "" } }),
      yaxis: axis("", { title: { text: "" }, tickvals: lanes.map((_, i) => i), ticktext: lanes.map((_, i) => String(i + 1)), range: [lanes.length - 0.4, -0.6], showgrid: false, fixedrange: true }),
    });
  }

  #showFacts(spans) {
    const total = spans.reduce((sum, span) => sum + span.end - span.begin, 0) / 1000;
    const wasted = spans.filter((span) => span.look === "failed").reduce((sum, span) => sum + span.end - span.begin, 0) / 1000;
    const pruned = spans.filter((span) => span.look === "pruned").reduce((sum, span) => sum + span.end - span.begin, 0) / 1000;
    const lanes = new Set(spans.map((span) => span.lane)).size;
    const elapsed = spans.length ? (latest(spans) - spans[0].begin) / 1000 : 0;
    const gpus = Math.max(1, this.study.definition.resources?.gpus ?? 0);
    const share = (part) => (total ? `${Math.round((100 * part) / total)} %` : "–");
    const facts = [
      ["device time", duration(total * gpus)],
      ["of it in pruned trials", share(pruned)],
      ["in failed and lost attempts", share(wasted)],
      ["workers", String(lanes)],
      ["busy, in the mean", elapsed && lanes ? `${Math.round((100 * total) / (elapsed * lanes))} %` : "–"],
      ["trials that repeat another", String(repeats(this.study.sorted()))],
    ];
    this.facts.replaceChildren(...facts.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
  }
}

const latest = (spans) => spans.reduce((last, span) => Math.max(last, span.end), 0);

/** The attempts that have begun, by their beginning. */
function spansOf(trials) {
  const spans = [];
  for (const trial of trials) {
    for (const attempt of trial.attempts ?? []) {
      const begin = Date.parse(attempt.started_at);
      const end = attempt.ended_at ? Date.parse(attempt.ended_at) : Date.now();
      spans.push({ number: trial.number, lane: attempt.worker, begin, end, look: lookOf(attempt, trial) });
    }
  }
  return spans.sort((a, b) => a.begin - b.begin);
}

/** What came of an attempt: of one that stopped at a rung, what came of its trial. */
function lookOf(attempt, trial) {
  if (WASTED.includes(attempt.ended)) return "failed";
  if (!attempt.ended && trial.state === "RUNNING") return "running";
  return LOOKS[trial.state] ?? (trial.state === "FAILED" ? "failed" : "other");
}

/** One trace of lines; a gap parts them. `least`: how long one is at least, in milliseconds. */
function lines(spans, lanes, color, least) {
  const each = (values) => spans.flatMap(values);
  return {
    type: "scatter",
    mode: "lines",
    x: each((span) => [new Date(span.begin).toISOString(), new Date(Math.max(span.end, span.begin + least)).toISOString(), null]),
    y: each((span) => [lanes.indexOf(span.lane), lanes.indexOf(span.lane), null]),
    customdata: each((span) => [span.number, span.number, null]),
    text: each((span) => Array(3).fill(`<b>Trial ${span.number}</b> ${span.look}<br>${duration((span.end - span.begin) / 1000)} on ${span.lane.replaceAll("<", "&lt;")}`)),
    hovertemplate: "%{text}<extra></extra>",
    line: { width: 9, color },
  };
}

/** How many trials have the parameters of an earlier one. */
function repeats(trials) {
  const seen = new Set();
  for (const trial of trials) seen.add(JSON.stringify(Object.entries(trial.parameters ?? {}).sort()));
  return trials.length - seen.size;
}

const head = (steps, several) => h("thead", {}, h("tr", {}, several ? h("th", { scope: "col", class: "num" }, "Bracket") : null, h("th", { scope: "col", class: "num" }, "Trials"), ...steps.map((step) => h("th", { scope: "col", class: "num" }, `step ${step}`))));

function row(bracket, steps, several) {
  const rungs = new Map(bracket.rungs.map((rung) => [rung.step, rung]));
  const cells = steps.map((step) => h("td", { class: "num" }, cell(rungs.get(step))));
  return h("tr", {}, several ? h("td", { class: "num" }, bracket.bracket) : null, h("td", { class: "num" }, bracket.trials), ...cells);
}

function cell(rung) {
  if (!rung) return h("span", { class: "unset" }, "–");
  const parts = [rung.stopped ? `${rung.stopped} stopped` : null, rung.waiting ? `${rung.waiting} wait` : null].filter(Boolean);
  return h("span", {}, String(rung.reached), parts.length ? h("small", { class: "soft" }, ` ${parts.join(", ")}`) : null);
}
