// The page of one study. The server has rendered its head; this fills the figures and the table and keeps all true.

import { $, $$, asked, badge, boot, copies, h, icon, say } from "./dom.js";
import { between, bytes, duration, keepTimes, measured, metric, parameter } from "./format.js";
import { inAddress, keepChoice } from "./address.js";
import { Budget } from "./budget.js";
import { Curves } from "./curves.js";
import { Ensembles } from "./ensembles.js";
import { Effort } from "./effort.js";
import { Importance, whenNear } from "./importance.js";
import { Rescores } from "./rescores.js";
import { History } from "./history.js";
import { Lineage } from "./lineage.js";
import { Live, showStatus, tellLoss } from "./live.js";
import { STATES, Study } from "./model.js";
import { Pareto } from "./pareto.js";
import { Parallel } from "./parallel.js";
import { get, pages, post, remove, studyPath } from "./rest.js";
import { Slices } from "./slices.js";
import { Table } from "./table.js";
import { withParameters, yaml } from "./yaml.js";

const { study: rendered, last_event: lastEvent } = boot();
const study = new Study(rendered);
const open = (number) => location.assign(`/studies/${study.name}/trials/${number}`);

const metricInAddress = inAddress("curves-metric"); // which ones there are is known with the trials
if (metricInAddress) $("#curves-metric").append(h("option", {}, metricInAddress));
for (const select of $$("#figures select, #analysis select")) keepChoice(select);
const table = new Table(study);
const history = study.several
  ? new Pareto($("#history"), study, { open, logs: [$("#across-log"), $("#up-log")], across: $("#pareto-across"), up: $("#pareto-up") })
  : new History($("#history"), study, { open, log: $("#history-log") });
const curves = new Curves($("#curves"), study, { open, log: $("#curves-log"), select: $("#curves-metric"), caption: $("#curves-caption") });
const parallel = new Parallel($("#parallel"), study, { open, scale: $("#parallel-scale"), brush: (text) => table.filter(text) });
const lineage = $("#lineage") && new Lineage($("#lineage"), study, { open, select: $("#lineage-parameter"), caption: $("#lineage-caption") });
const slices = new Slices($("#slices"), study, { open, select: $("#slices-parameter"), objective: $("#slices-objective"), log: $("#slices-log"), caption: $("#slices-caption") });
const importance = new Importance($("#importance"), study, { select: $("#importance-method"), objective: $("#slices-objective"), caption: $("#importance-caption"), ranked: (names) => slices.rank(names) });
const effort = new Effort($("#timeline"), study, { open, facts: $("#effort-facts"), rungs: $("#rungs"), caption: $("#timeline-caption") });
const ensembles = new Ensembles(study);
const rescores = new Rescores(study);

async function start() {
  keepTimes();
  listen();
  const live = new Live(studyPath(study.name), lastEvent, { created: study.created_at, batch: follow, status: showStatus, ended: study.ended });
  live.hold();
  let first = true;
  for await (const items of pages(`${studyPath(study.name)}/trials`, { sort: "number", limit: 500 })) {
    study.take(items);
    if (first) await draw();
    first = false;
  }
  curves.offer(study.metricNames());
  await Promise.all([draw(), curves.load(), lineage?.load()]);
  whenNear($("#analysis"), () => importance.load().catch((error) => say(`The importances could not be loaded: ${error.message}`)));
  whenNear($("#effort"), () => effort.load().catch((error) => say(`The rungs could not be loaded: ${error.message}`)));
  live.release();
  setInterval(showTimes, 1000);
}

/** What came in since the last batch. */
function follow(events) {
  for (const event of events) {
    study.apply(event);
    if (event.kind === "report") curves.add(event);
  }
  if (events.some(({ kind }) => kind === "study")) renew().catch((error) => say(error.message));
  curves.offer(study.metricNames());
  draw();
  curves.draw();
  lineage?.stir();
  stir();
}

/** The study's state or its definition has changed; what follows its end comes once more after another one. */
async function renew() {
  study.renew(await get(studyPath(study.name)));
  showHead();
  for (const [part, list] of [["#ensembles", ensembles], ["#rescores", rescores]]) if (!$(part).hidden) await list.load();
}

/** What lies further down is drawn anew every few seconds while trials come in, once it has been looked at. */
function stir() {
  stir.timer ??= setTimeout(() => {
    stir.timer = null;
    if (slices.plot.drawn) importance.load().catch((error) => say(error.message));
    if (effort.plot.drawn) effort.load().catch((error) => say(error.message));
  }, 5000);
}

function draw() {
  showHead();
  table.draw();
  parallel.draw();
  $("#history-legend").replaceChildren(...historyLegend());
  return history.draw();
}

function showHead() {
  const counts = study.tally();
  const done = counts.complete + counts.pruned + counts.failed + counts.cancelled;
  $("#state").replaceChildren(badge(study.state));
  $("#done").replaceChildren(String(done), h("small", {}, `of ${Math.max(done, study.budget)}`));
  $("#progress .bar svg").replaceChildren(...segments(counts, Math.max(study.budget, study.trials.size)));
  $("#progress .tally").replaceChildren(...tally(counts));
  $("#controls").hidden = study.ended;
  $("#pause").hidden = study.state !== "RUNNING";
  $("#resume").hidden = study.state !== "PAUSED";
  $("#change-budget").hidden = study.state === "CANCELLED";
  $("#delete").hidden = !study.ended && study.state !== "PAUSED";
  for (const part of ["#facts", "#figures", "#analysis", "#effort", "#trials"]) $(part).hidden = !study.trials.size;
  if (study.state !== rendered.state || study.trials.size) showNotice();
  if (counts.running || study.ended) $("#waiting")?.remove();
  ensembles.show(counts.complete);
  rescores.show(counts.complete);
  showBest();
  showTimes();
}

async function showStorage() {
  const { bytes: total, kinds } = await get(`${studyPath(study.name)}/storage`);
  const parts = Object.entries(kinds).map(([kind, size]) => `${kind} ${bytes(size)}`);
  $("#storage").textContent = total ? `Its files take ${bytes(total)}: ${parts.join(", ")}.` : "It has no files.";
}

function showBest() {
  if (study.several) {
    showFront();
    return;
  }
  const best = study.bestTrial();
  if (!best || (showBest.shown === best.number && $("#best").children.length)) return;
  showBest.shown = best.number;
  const link = h("a", { href: `/studies/${study.name}/trials/${best.number}` }, `trial ${best.number}`);
  $("#best-value").replaceChildren(metric(study.value(best)), h("small", {}, link));
  const pairs = Object.entries(best.parameters).flatMap(([path, value]) => [h("dt", {}, path), h("dd", {}, parameter(value))]);
  const figures = measured(best.metrics).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]);
  $("#best").replaceChildren(h("dl", { class: "pairs" }, pairs), h("dl", { class: "pairs measured" }, figures));
  $("#copy-best").hidden = false;
}

function showFront() {
  const front = study.front();
  const trials = study.sorted().filter((trial) => front.has(trial.number));
  trials.sort((a, b) => (study.better(study.value(a), study.value(b)) ? -1 : 1)); // the best by the first objective first
  $("#best-value").replaceChildren(trials.length ? String(trials.length) : "–", ...(trials.length ? [h("small", {}, "in front")] : []));
  if (!trials.length) return;
  const names = study.objectives.map(({ metric: name }) => name);
  const head = h("tr", {}, h("th", { scope: "col", class: "num" }, "Trial"), ...names.map((name) => h("th", { scope: "col", class: "num" }, name)));
  const rows = trials.map((trial) =>
    h(
      "tr",
      {},
      h("td", { class: "num" }, h("a", { href: `/studies/${study.name}/trials/${trial.number}` }, trial.number)),
      ...names.map((name) => h("td", { class: "num" }, metric(trial.values[name]))),
    ),
  );
  $("#best").replaceChildren(h("table", { class: "dense" }, h("thead", {}, head), h("tbody", {}, ...rows)));
}

function showTimes() {
  const since = study.started_at && new Date(Date.parse(study.started_at) + 1000 * study.rested_seconds).toISOString();
  const elapsed = since ? between(since, study.ended ? (study.ended_at ?? undefined) : null) : null;
  $("#elapsed").textContent = duration(elapsed);
  const counts = study.tally();
  // One that waits at a rung counts as one that has ended: few go on. Once all have begun these few are left.
  const done = study.trials.size - counts.running - counts.queued - counts.waiting;
  const left = Math.max(0, study.budget - done);
  const isKnown = done >= 5 && left > 0 && !(counts.paused && study.trials.size >= study.budget);
  $("#left-label").textContent = study.ended ? "Ended" : "Time left, about";
  if (study.ended) $("#left").replaceChildren(ended());
  else $("#left").textContent = study.state === "RUNNING" && isKnown ? duration((elapsed / done) * left).replace(/ \d+ s$/, "") : "–";
}

function ended() {
  if (!study.ended_at) return "just now";
  return new Date(study.ended_at).toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

function showNotice() {
  const text = study.reason ? `${study.state[0]}${study.state.slice(1).toLowerCase()}: ${study.reason}` : null;
  const items = (study.errors ?? []).map((error) =>
    h("li", {}, h("code", {}, error.path), ` ${error.message}`, error.hint ? h("div", { class: "hint" }, error.hint) : null),
  );
  const notice = h("div", { class: `notice is-${study.state.toLowerCase()}` }, h("h2", {}, text ?? ""), items.length ? h("ul", {}, items) : null);
  $("#notice").replaceChildren(...(text || items.length ? [notice] : []));
}

function segments(counts, total) {
  let x = 0;
  return STATES.filter((state) => counts[state] && state !== "queued" && state !== "waiting").map((state) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const width = (1000 * counts[state]) / total;
    for (const [name, value] of Object.entries({ x, width, height: 8, class: `is-${state}` })) rect.setAttribute(name, value);
    x += width;
    return rect;
  });
}

const tally = (counts) =>
  STATES.filter((state) => counts[state]).map((state) =>
    h("span", { class: `state is-${state}` }, icon(state), h("span", {}, h("b", {}, counts[state]), ` ${state}`)),
  );

function historyLegend() {
  const counts = study.tally();
  const entries = ["complete", "pruned", "paused", "failed", "running"].filter((state) => counts[state]);
  if (study.sorted().some((trial) => trial.feasible === false)) entries.push("infeasible");
  const signs = entries.map((state) => h("span", {}, h("span", { class: `is-${state}` }, icon(`mark-${state}`)), state));
  return counts.complete ? [...signs, h("span", {}, icon("mark-best"), study.several ? "beaten by none" : "best so far")] : signs;
}

function listen() {
  copies($("#copy-best"), () => yaml({ trial: withParameters(study.definition.trial, study.bestTrial().parameters) }));
  $("#pause").addEventListener("click", () => control("pause", "Paused: no new trial starts; running ones go on."));
  $("#resume").addEventListener("click", () => control("resume", "Resumed."));
  $("#cancel").addEventListener("click", async () => (await asked($("#sure"))) && control("cancel", "Cancelled."));
  $("#delete").addEventListener("click", async () => (await asked($("#sure-delete"))) && erase());
  $("#storage").closest("details").addEventListener("toggle", (event) => event.target.open && showStorage().catch((error) => say(error.message)));
  new Budget(study, (answer) => {
    take(answer);
    say("The budget is changed.");
  });
  for (const each of $$("select, input", $(".grid"))) each.autocomplete = "off";
}

async function control(verb, done) {
  try {
    take(await post(`${studyPath(study.name)}/${verb}`));
    say(done);
  } catch (error) {
    if (!tellLoss(error.status)) say(`Could not ${verb}: ${error.message}`);
  }
}

/** The study as the server answered. */
function take(answer) {
  const { state, reason, ended_at, definition } = answer;
  Object.assign(study, { state, reason, ended_at, definition });
  study.renew(answer);
  showHead();
}

async function erase() {
  try {
    await remove(studyPath(study.name));
    location.assign("/");
  } catch (error) {
    if (!tellLoss(error.status)) say(`Could not delete: ${error.message}`);
  }
}

start().catch((error) => {
  say(`The trials could not be loaded: ${error.message}. Trying again in 10 s.`);
  setTimeout(() => location.reload(), 10_000);
});
