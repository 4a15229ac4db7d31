// The page of one trial: every metric's curve, its attempts, and the end of its log.

import { $, asked, badge, boot, copies, h, sample, say } from "./dom.js";
import { between, duration, keepTimes, measured, metric, ofOneModel, parameter } from "./format.js";
import { Live, showStatus, tellLoss } from "./live.js";
import { Study } from "./model.js";
import { Plot, axis, colour, faint } from "./plot.js";
import { get, getText, pages, post, studyPath } from "./rest.js";
import { LogChoice } from "./scale.js";
import { withParameters, yaml } from "./yaml.js";

const { study: rendered, trial: first, last_event: lastEvent } = boot();
const study = new Study(rendered);
study.take([first]);
const path = `${studyPath(study.name)}/trials/${first.number}`;
const trial = () => study.trials.get(first.number);
const isOver = () => ["COMPLETE", "PRUNED", "FAILED", "CANCELLED"].includes(trial().state);
const reports = new Map(); // step -> metrics; a resumed attempt overwrites what it trains again
const MOST = 2000; // points of a curve, which are more than it has pixels
const LOG_END = 60_000; // characters: the server gives the last 64 KiB
const SIZES = new Set(["params", "flops", "nonzero", "bytes"]);
const plots = new Map(); // name of a figure -> Plot

async function start() {
  keepTimes();
  copies($("#copy-yaml"), () => yaml({ trial: withParameters(study.definition.trial, trial().parameters) }));
  copies($("#copy-json"), () => JSON.stringify(trial().parameters, null, 2));
  $("#retry").addEventListener("click", retry);
  $("#cancel").addEventListener("click", async () => (await asked($("#sure"))) && cancel());
  show();
  const live = isOver() ? null : new Live(studyPath(study.name), lastEvent, { created: study.created_at, batch: follow, status: showStatus });
  live?.hold();
  if (!live) showStatus("ended");
  await Promise.all([showLog(), loadReports(), showFiles()]);
  live?.release();
  setInterval(() => {
    showDuration();
    if (!isOver() && !$("#log").hidden) showLog(); // before its first line there is only news to wait for
  }, 2000);
}

/** Of very many reports the curves grow while they come in. */
async function loadReports() {
  let drawn = -Infinity;
  for await (const items of pages(`${path}/reports`, { limit: 500 })) {
    for (const item of items) reports.set(item.step, item.metrics);
    if (performance.now() - drawn < 1000) continue;
    drawCurves();
    drawn = performance.now();
  }
  drawCurves();
}

/** What an own script has written into its folder, once it has ended. */
async function showFiles() {
  if (!isOver() || study.definition.trial?.kind !== "objective") return;
  const { items } = await get(`${path}/artifacts`);
  $("#files").hidden = !items.some((file) => file.id === "checkpoints");
}

async function retry() {
  try {
    await post(`${path}/retry`);
    location.reload();
  } catch (error) {
    if (!tellLoss(error.status)) say(`Could not retry: ${error.message}`);
  }
}

async function cancel() {
  try {
    await post(`${path}/cancel`);
    say("Cancelled.");
  } catch (error) {
    if (!tellLoss(error.status)) say(`Could not cancel: ${error.message}`);
  }
}

async function follow(events) {
  const ours = events.filter((event) => event.number === first.number);
  for (const event of ours) {
    study.apply(event);
    if (event.kind === "report") reports.set(event.step, { ...reports.get(event.step), ...event.metrics });
  }
  for (const event of events) if (event.kind === "study") study.apply(event);
  if (!ours.length) return showControls();
  if (ours.some((event) => event.kind === "trial")) study.take([await get(path)]);
  if ($("#log").hidden || isOver()) await showLog(); // else it is looked at every other second
  await showFiles();
  show();
  drawCurves();
}

function show() {
  const now = trial();
  $("#state").replaceChildren(badge(now.state));
  $("#value").textContent = metric(study.latest(now));
  $("#step").firstChild.textContent = now.step ?? "–";
  $("#worker").textContent = now.attempts?.at(-1)?.worker ?? "–";
  const pairs = measured(now.metrics).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]);
  $("#metrics").replaceChildren(...pairs);
  $("#no-metrics").hidden = pairs.length > 0;
  $("#reason").textContent = now.state === "FAILED" ? "" : (now.reason ?? "");
  const failure = h("div", { class: "notice is-failed" }, h("h2", {}, `Failed: ${now.reason}`));
  $("#notice").replaceChildren(...(now.state === "FAILED" ? [failure] : []));
  if ($("#lineage")) showLineage(now.lineage ?? []);
  showAttempts(now.attempts ?? []);
  showDuration();
  showControls();
}

/** In a study that has ended no trial can be moved. */
function showControls() {
  $("#retry").hidden = study.state === "CANCELLED" || !["FAILED", "CANCELLED"].includes(trial().state);
  $("#cancel").hidden = study.ended || isOver();
}

function showDuration() {
  $("#duration").textContent = duration(between(trial().started_at, trial().ended_at));
  const newest = trial().attempts?.at(-1);
  const shown = $("#attempts tr:last-child .duration");
  if (newest && shown) shown.textContent = duration(between(newest.started_at, newest.ended_at));
}

/** Of a member of a population: whose checkpoints it went on from, and which parameters changed. */
function showLineage(copies) {
  const pairs = Object.entries(trial().parameters).flatMap(([path, value]) => [h("dt", {}, path), h("dd", {}, parameter(value))]);
  $("#parameters").replaceChildren(...pairs);
  $("#no-lineage").hidden = copies.length > 0;
  $("#lineage-table").hidden = !copies.length;
  $("#lineage").replaceChildren(
    ...copies.map((each) =>
      h(
        "tr",
        {},
        h("td", { class: "num" }, each.step),
        h("td", { class: "num" }, metric(each.value)),
        h("td", {}, h("a", { href: `/studies/${study.name}/trials/${each.source}` }, `trial ${each.source}`)),
        h("td", { class: "num" }, each.source_step),
        h("td", { class: "num" }, metric(each.source_value)),
        h("td", { class: "text" }, changes(each)),
      ),
    ),
  );
}

const changes = ({ before, after }) =>
  Object.keys(after)
    .filter((path) => JSON.stringify(before[path]) !== JSON.stringify(after[path]))
    .map((path) => `${path} ${parameter(before[path])} → ${parameter(after[path])}`)
    .join(", ");

function showAttempts(attempts) {
  $("#no-attempts").hidden = attempts.length > 0;
  $("#attempts").closest(".scroll").hidden = !attempts.length;
  $("#attempts").replaceChildren(
    ...attempts.map((each) =>
      h(
        "tr",
        {},
        h("td", { class: "num" }, h("a", { href: `${path}/logs?whole=true&attempt=${each.attempt}`, target: "_blank", title: "what it printed" }, each.attempt)),
        h("td", {}, each.worker),
        h("td", {}, each.device),
        h("td", {}, new Date(each.started_at).toLocaleString()),
        h("td", { class: "num duration" }, duration(between(each.started_at, each.ended_at))),
        h("td", { class: "num", title: "its time, times its GPUs" }, each.device_seconds == null ? "–" : duration(each.device_seconds)),
        h("td", {}, each.ended ?? badge("RUNNING")),
        h("td", { class: "text soft" }, each.reason ?? ""),
      ),
    ),
  );
}

/** One figure a quantity: `train/loss`, `val/loss` and the loss of each fold share theirs. */
function drawCurves() {
  const steps = [...reports.keys()].sort((a, b) => a - b);
  const names = [...new Set(steps.flatMap((step) => Object.keys(reports.get(step))))];
  const figures = Map.groupBy(names.filter((name) => !isFixed(name, steps)), quantity);
  if (!figures.size) return showNoCurves();
  if (!plots.size) $("#curves").replaceChildren();
  for (const [title, series] of figures) {
    if (!plots.has(title)) addFigure(title);
    plots.get(title)(series, steps);
  }
}

function showNoCurves() {
  const text = isOver() ? "This trial ended before its first report." : "No reports yet. The curves appear with the first epoch.";
  $("#curves").replaceChildren(h("section", { class: "panel empty" }, h("h2", {}, "No curves"), h("p", {}, text)));
}

function addFigure(title) {
  const place = h("div", { class: "figure" });
  const legend = h("span", { class: "legend" });
  const id = `figure-${plots.size}`;
  const box = h("input", { type: "checkbox", autocomplete: "off" });
  const tools = h("div", { class: "tools" }, legend, h("label", { class: "check" }, box, "log"));
  $("#curves").append(h("figure", { class: "panel", "aria-labelledby": id }, h("header", {}, h("h2", { id }, title), tools), place));
  const plot = new Plot(place);
  const log = new LogChoice(box, () => plot.redraw());
  const draw = (series, steps) => {
    plot.redraw = () => draw(series, steps);
    const errors = series.find((name) => name.endsWith("_se"));
    const means = series.filter((name) => !ofOneModel(name) && name !== errors);
    const models = series.filter(ofOneModel);
    legend.replaceChildren(...means.map((name) => (name.startsWith("train/") ? sample("idle", "4 3", name) : sample("accent", "", name))));
    if (models.length) legend.append(sample("line-strong", "", `${models.length} ${models[0].split("/")[0]}s`));
    const band = errors ? bounds(errors, steps) : [];
    plot.draw([...band, ...[...models, ...means].map((name) => line(name, steps))], { xaxis: axis("step", stepRange(steps)), yaxis: axis("", valueAxis(series, steps, log), title) });
  };
  plots.set(title, draw);
}

/** Whether it says how large the model is, and that has not changed: a number among the metrics tells as much. */
const isFixed = (name, steps) => SIZES.has(name) && new Set(steps.map((step) => reports.get(step)[name])).size === 1;

const quantity = (name) => name.split("/").at(-1).replace(/_se$/, "");

/** The mean with its standard error on both sides, as an area. */
function bounds(errors, steps) {
  const mean = errors.replace(/_se$/, "");
  const had = steps.filter((step) => reports.get(step)[errors] != null);
  const edge = (sign, fill) => ({
    type: "scatter",
    mode: "lines",
    x: had,
    y: had.map((step) => reports.get(step)[mean] + sign * reports.get(step)[errors]),
    line: { width: 0 },
    fillcolor: faint(colour("accent"), 0.15),
    hoverinfo: "skip",
    fill,
  });
  return [edge(-1, "none"), edge(1, "tonexty")];
}

/** As far as the trial may go, so that one sees how far it came. */
function stepRange(steps) {
  const planned = trial().parameters?.epochs ?? study.definition.trial?.epochs;
  return planned ? { range: [0, Math.max(planned, steps.at(-1))] } : { rangemode: "tozero" };
}

/** Its type, and Plotly's own range, but for a single value, which it would put into the middle of -1 to 1, however large. */
function valueAxis(series, steps, log) {
  const values = series.flatMap((name) => steps.map((step) => reports.get(step)[name])).filter((value) => value != null);
  const type = log.type(values);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if ((steps.length > 1 && low < high) || type === "log" || !values.some(Boolean)) return { type };
  return { type, range: [low - 0.1 * Math.abs(low), high + 0.1 * Math.abs(high)] };
}

function line(name, steps) {
  const isTrain = name.startsWith("train/");
  const shade = ofOneModel(name) ? "line-strong" : isTrain ? "idle" : "accent";
  const had = thinned(steps.filter((step) => reports.get(step)[name] != null), (step) => reports.get(step)[name]);
  return {
    type: "scatter",
    mode: had.length > 1 ? "lines" : "markers",
    x: had,
    y: had.map((step) => reports.get(step)[name]),
    name,
    line: { color: colour(shade), width: ofOneModel(name) ? 1 : 1.8, dash: isTrain ? "dash" : "solid" },
    hovertemplate: `${ofOneModel(name) ? `${name.split("/", 2).join(" ")}, ` : ""}step %{x}: <b>%{y:.5~g}</b><extra></extra>`,
  };
}

/** So few steps of a curve that it is drawn at once: the lowest and the highest of each stretch, so that no spike is lost. */
function thinned(steps, read) {
  const width = Math.ceil((2 * steps.length) / MOST);
  if (width <= 2) return steps;
  const kept = [];
  for (let first = 0; first < steps.length; first += width) {
    const stretch = steps.slice(first, first + width).sort((a, b) => read(a) - read(b));
    kept.push(...[stretch[0], stretch.at(-1)].sort((a, b) => a - b));
  }
  return [...new Set([...kept, steps.at(-1)])];
}

async function showLog() {
  if (!trial().attempts?.length) return showLogText("");
  showLogText(await getText(`${path}/logs`).catch((error) => `The log could not be read: ${error.message}`));
}

function showLogText(text) {
  const log = $("#log");
  log.hidden = !text;
  $("#whole-log").hidden = !text;
  $("#no-log").hidden = 0 < text.length && text.length < LOG_END;
  $("#no-log").textContent = text ? "It is long: this is its end." : isOver() ? "This trial left no log." : "Nothing logged yet.";
  if (text === showLogText.shown) return;
  showLogText.shown = text;
  log.textContent = asOnTerminal(text);
  if ($("#follow").checked) log.scrollTop = log.scrollHeight;
}

/** What a terminal would show: a line that was written over, as bars of progress are, and no codes for colours. */
function asOnTerminal(text) {
  const lines = text.replace(/\u001b\[[\d;?]*[A-Za-z]/g, "").split("\n");
  return lines.map((line) => line.replace(/\r+$/, "").split("\r").at(-1)).join("\n");
}

start().catch((error) => say(`The reports could not be loaded: ${error.message}`));
