// Several studies beside each other, those of one objective in the same figures: how far each had come after how many
// trials and when. Of several objectives that is the hypervolume, before a reference point that all of them share.

import { $, $$, boot, h, sample, say } from "./dom.js";
import { between, metric } from "./format.js";
import { bestSoFar, escapeMarkup } from "./history.js";
import { Study } from "./model.js";
import { Plot, SERIES, axis, colour } from "./plot.js";
import { get, pages, studyPath } from "./rest.js";
import { LogChoice } from "./scale.js";

const studies = boot().studies.map((study) => new Study(study));
const lookOf = (study) => SERIES[studies.indexOf(study) % SERIES.length];
const aims = (study) => study.objectives.map(({ metric: name, direction }) => `${direction} ${name}`).join(", ");

async function loadTrials(study) {
  for await (const items of pages(`${studyPath(study.name)}/trials`, { sort: "number", limit: 500 })) study.take(items);
}

/** The fronts of studies with the same objectives, and their hypervolumes before the worst of their reference points. */
async function loadFronts(members) {
  const fronts = await Promise.all(members.map((study) => get(`${studyPath(study.name)}/pareto`)));
  const known = fronts.filter(({ reference }) => reference);
  if (!known.length) return;
  const worst = members[0].objectives.map(({ metric: name, direction }) =>
    (direction === "maximize" ? Math.min : Math.max)(...known.map(({ reference }) => reference[name])),
  );
  await Promise.all(members.map(async (study) => (study.pareto = await get(`${studyPath(study.name)}/pareto?reference=${worst.join(",")}`))));
}

function addGroup(words, members) {
  const grid = h("div", { class: "grid two" });
  const title = h("h2", {}, words);
  $("#figures").append(h("section", { class: "group", "aria-label": words }, $$("#figures section").length || members.length < studies.length ? title : null, grid));
  const { several, objectives, metric: name } = members[0];
  if (!several) {
    addFigure(grid, members, "Best so far over trials", (study) => stepped(study, overTrials(study)), ["trial", name]);
    const [seconds, unit] = timeUnit(Math.max(...members.map((study) => overTime(study).end)));
    addFigure(grid, members, "Best so far over time", (study) => stepped(study, overTime(study, seconds)), [`${unit} since the study began`, name]);
    return;
  }
  addFigure(grid, members, "Hypervolume over trials", (study) => stepped(study, overVolumes(study)), ["trial", "hypervolume"]);
  if (objectives.length === 2) addFigure(grid, members, "Trials beaten by no other", frontOf, objectives.map((each) => each.metric).reverse());
}

/** `trace`: a study's points and their look. */
function addFigure(grid, members, title, trace, [across, up]) {
  const id = `figure-${$$("#figures figure").length}`;
  const counted = across === "trial" || across.endsWith(" since the study began");
  const boxes = (counted ? ["log"] : ["log up", "log across"]).map((words) => [h("input", { type: "checkbox", autocomplete: "off" }), words]);
  const tools = h("div", { class: "tools" }, boxes.map(([box, words]) => h("label", { class: "check" }, box, words)).reverse());
  const place = h("div", { class: "figure tall" });
  const legend = h("span", { class: "legend" }, members.map((study) => sample(lookOf(study).colour, lookOf(study).legend, study.name)));
  grid.append(h("figure", { class: "panel", "aria-labelledby": id }, h("header", {}, h("h2", { id }, title), tools), place, h("figcaption", {}, legend)));
  const plot = new Plot(place);
  const [logUp, logAcross] = boxes.map(([box]) => new LogChoice(box, () => plot.redraw()));
  plot.redraw = () => {
    const traces = members.map((study) => ({ ...trace(study), name: study.name })).filter((each) => each.x.length);
    if (!traces.length) return plot.empty("None of these studies has finished a trial.");
    const type = counted ? { rangemode: "tozero", exponentformat: "none" } : { type: logAcross.type(traces.flatMap(({ x }) => x)) };
    return plot.draw(traces, { xaxis: axis(across, type), yaxis: axis(up, { type: logUp.type(traces.flatMap(({ y }) => y)) }) });
  };
  plot.redraw();
}

/** A line that goes on until `end`, from [{x, value, number}]. */
function stepped(study, { steps, end }) {
  const last = steps.at(-1);
  const points = last ? [...steps, { ...last, x: Math.max(end, last.x) }] : [];
  const { colour: name, dash } = lookOf(study);
  return {
    type: "scatter",
    mode: "lines",
    x: points.map((point) => point.x),
    y: points.map((point) => point.value),
    customdata: points.map((point) => point.number),
    line: { shape: "hv", width: 2, dash, color: colour(name) },
    hovertemplate: `<b>${study.name}</b><br>trial %{customdata}: %{y:.5~g}<extra></extra>`,
  };
}

const overTrials = (study) => ({ steps: bestSoFar(study, study.sorted()).map((step) => ({ ...step, x: step.number })), end: study.trials.size - 1 });

/** `unit`: its seconds. */
function overTime(study, unit = 1) {
  const ended = study.sorted().filter((trial) => trial.ended_at).sort((a, b) => a.ended_at.localeCompare(b.ended_at));
  const since = (trial) => between(study.started_at ?? study.created_at, trial.ended_at) / unit;
  const steps = bestSoFar(study, ended).map((step) => ({ ...step, x: since(step.trial) }));
  return { steps, end: ended.length ? since(ended.at(-1)) : 0 };
}

/** The seconds and the name of the largest unit of which a time has more than two. */
const timeUnit = (seconds) => [[86400, "days"], [3600, "hours"], [60, "minutes"]].find(([size]) => seconds > 2 * size) ?? [1, "seconds"];

function overVolumes(study) {
  const steps = (study.pareto?.volumes ?? []).map(({ number, hypervolume }) => ({ x: number, value: hypervolume, number }));
  return { steps, end: Object.values(study.counts).reduce((sum, count) => sum + count, 0) - 1 };
}

/** The second objective across and the first upwards, as on the study's own page. */
function frontOf(study) {
  const [up, across] = study.objectives.map((each) => each.metric);
  const front = [...(study.pareto?.front ?? [])].sort((a, b) => a.values[across] - b.values[across]);
  const { colour: name, dash } = lookOf(study);
  const words = ({ number, values }) => `<b>${study.name}</b>, trial ${number}<br>${[up, across].map((each) => escapeMarkup(`${each} ${metric(values[each])}`)).join("<br>")}`;
  return {
    type: "scatter",
    mode: "lines+markers",
    x: front.map(({ values }) => values[across]),
    y: front.map(({ values }) => values[up]),
    text: front.map(words),
    hovertemplate: "%{text}<extra></extra>",
    line: { shape: study.objectives[1].direction === "minimize" ? "hv" : "vh", width: 2, dash, color: colour(name) },
    marker: { size: 6 },
  };
}

function showFronts() {
  for (const cell of $$("[data-front]")) {
    const { pareto } = studies.find(({ name }) => name === cell.dataset.front);
    if (pareto) cell.replaceChildren(h("b", {}, pareto.front.length), ` in front, of ${pareto.trials}`);
  }
}

async function start() {
  if (!$("#figures")) return;
  const groups = [...Map.groupBy(studies, aims)];
  await Promise.all(groups.map(([, members]) => (members[0].several ? loadFronts(members) : Promise.all(members.map(loadTrials)))));
  for (const [words, members] of groups) addGroup(words, members);
  showFronts();
}

start().catch((error) => say(`The studies could not be loaded: ${error.message}`));
