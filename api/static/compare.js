// The best so far of several studies, over trials and over time.

import { $, boot, h, sample, say } from "./dom.js";
import { bestSoFar } from "./history.js";
import { Study } from "./model.js";
import { Plot, SERIES, axis, colour } from "./plot.js";
import { pages, studyPath } from "./rest.js";

const studies = boot().studies.map((study) => new Study(study));

async function load(study) {
  for await (const items of pages(`${studyPath(study.name)}/trials`, { sort: "number", limit: 500 })) study.take(items);
}

function draw(plot, title, across) {
  const traces = studies.map((study, i) => trace(study, i, across)).filter((each) => each.x.length);
  if (!traces.length) return plot.empty("None of these studies has finished a trial.");
  return plot.draw(traces, { xaxis: axis(title, { rangemode: "tozero", exponentformat: "none" }), yaxis: axis([...new Set(studies.map((study) => study.metric))].join(", ")) });
}

function trace(study, index, across) {
  const { steps, x, end } = across(study);
  const { colour: name, dash } = SERIES[index % SERIES.length];
  const last = steps.at(-1);
  return {
    type: "scatter",
    mode: "lines",
    name: study.name,
    x: last ? [...steps.map(x), end] : [],
    y: last ? [...steps.map((step) => step.value), last.value] : [],
    customdata: last ? [...steps.map((step) => step.number), last.number] : [],
    line: { shape: "hv", width: 2, dash, color: colour(name) },
    hovertemplate: `<b>${study.name}</b><br>trial %{customdata}: %{y:.5~g}<extra></extra>`,
  };
}

const overTrials = (study) => ({ steps: bestSoFar(study, study.sorted()), x: (step) => step.number, end: Math.max(0, study.trials.size - 1) });

function overTime(study) {
  const ended = study.sorted().filter((trial) => trial.ended_at).sort((a, b) => a.ended_at.localeCompare(b.ended_at));
  const minutes = (moment) => (Date.parse(moment) - Date.parse(study.started_at ?? study.created_at)) / 60_000;
  return { steps: bestSoFar(study, ended), x: (step) => minutes(step.trial.ended_at), end: ended.length ? minutes(ended.at(-1).ended_at) : 0 };
}

function legend() {
  const entries = studies.map((study, i) => sample(SERIES[i % SERIES.length].colour, SERIES[i % SERIES.length].legend, study.name));
  return h("figcaption", {}, h("span", { class: "legend" }, entries));
}

async function start() {
  const [trials, time] = [$("#over-trials"), $("#over-time")];
  if (!trials) return;
  for (const element of [trials, time]) element.after(legend());
  const figures = [
    [new Plot(trials), "trial", overTrials],
    [new Plot(time), "minutes since the study began", overTime],
  ];
  await Promise.all(studies.map(load));
  for (const [plot, title, across] of figures) {
    plot.redraw = () => draw(plot, title, across);
    await plot.redraw();
  }
}

start().catch((error) => say(`The studies could not be loaded: ${error.message}`));
