// The list of studies: looked at anew every few seconds, filtered in the browser, two or more ticked to compare.

import { inAddress, putIntoAddress } from "./address.js";
import { $, $$, badge, boot, h } from "./dom.js";
import { ago, keepTimes, metric, objectiveText } from "./format.js";
import { showStatus, tellLoss } from "./live.js";
import { STATES, Study } from "./model.js";
import { API, get, studyPath } from "./rest.js";

const FRONT_MS = 20_000; // between two looks at the front of one study
const MOST_COMPARED = 8; // more lines cannot be told apart
const studies = new Map(boot().studies.map((study) => [study.name, study]));
const fronts = new Map(); // study -> {complete, count, at}: how many trials stood in front when so many were complete
let cursor; // of the first page that has not been shown yet

function start() {
  keepTimes();
  mark();
  $("#filter").value = inAddress("filter") ?? "";
  $("#filter").addEventListener("input", () => {
    putIntoAddress({ filter: $("#filter").value.trim() || null });
    filter();
  });
  filter();
  $("#more button").addEventListener("click", more);
  $("#rows").addEventListener("change", mark);
  setInterval(refresh, 4000);
  lookAtFronts();
  showStatus("polling");
}

async function refresh() {
  if (document.hidden) return;
  try {
    const { items, next_cursor: next } = await get(`${API}/studies?limit=50`);
    if (!next) studies.clear(); // these are all there are: whatever else is shown has been deleted
    for (const study of items) studies.set(study.name, study);
    if (cursor === undefined) cursor = next;
    $("#more").hidden = !cursor;
    draw();
    lookAtFronts();
    $("#loss")?.remove();
    showStatus("polling");
  } catch (error) {
    showStatus(tellLoss(error.status) ? "ended" : "reconnecting");
  }
}

async function more() {
  if (!cursor) await refresh();
  if (!cursor) return;
  const page = await get(`${API}/studies?${new URLSearchParams({ limit: 50, cursor })}`);
  cursor = page.next_cursor;
  for (const study of page.items) studies.set(study.name, study);
  $("#more").hidden = !cursor;
  draw();
}

/** Studies of several objectives have no best trial: how many stand in front is asked for where a trial was added. */
async function lookAtFronts() {
  for (const { name, counts, definition } of studies.values()) {
    const known = fronts.get(name) ?? { complete: 0, at: 0 };
    if (!Array.isArray(definition.objective) || counts.complete === known.complete || Date.now() - known.at < FRONT_MS) continue;
    fronts.set(name, { ...known, at: Date.now() });
    const { front, trials } = await get(`${studyPath(name)}/pareto`).catch(() => ({}));
    if (!front) continue;
    fronts.set(name, { complete: trials, count: front.length, at: Date.now() });
    draw();
  }
}

function draw() {
  const ticked = new Set(chosen());
  const newest = [...studies.values()].sort((a, b) => b.created_at.localeCompare(a.created_at));
  $("#rows").replaceChildren(...newest.map((study) => row(study, ticked.has(study.name))));
  $("#studies").hidden = !newest.length;
  $("#empty").hidden = newest.length > 0;
  filter();
  mark();
}

function row(raw, ticked) {
  const study = new Study(raw);
  const { counts } = study;
  const done = counts.complete + counts.pruned + counts.failed + counts.cancelled;
  const tick = h("input", { type: "checkbox", value: study.name, "aria-label": `Compare ${study.name}` });
  tick.checked = ticked;
  return h(
    "tr",
    {},
    h("td", {}, tick),
    h("td", {}, h("a", { href: `/studies/${study.name}` }, h("b", {}, study.name))),
    h("td", {}, badge(study.state)),
    h("td", { class: "progress" }, bar(counts, study.budget)),
    h("td", { class: "num" }, `${done} / ${Math.max(done, study.budget)}`),
    h("td", { class: "num" }, counts.running),
    h("td", {}, ...summit(study)),
    h("td", { class: "soft" }, objectiveText(study.definition)),
    h("td", { class: "soft" }, h("time", { datetime: study.created_at, "data-ago": true }, ago(study.created_at))),
  );
}

/** The best trial, or how many stand in front where there are several objectives. */
function summit({ name, best, metric: objective }) {
  const said = (value, words) => [h("b", {}, value), " ", h("span", { class: "soft" }, words)];
  if (best) return said(metric(best.values[objective]), `trial ${best.number}`);
  return fronts.get(name)?.count ? said(fronts.get(name).count, "in front") : [h("span", { class: "soft" }, "–")];
}

function bar(counts, budget) {
  const shown = STATES.filter((state) => counts[state] && state !== "queued" && state !== "waiting");
  const total = Math.max(budget, ...[shown.reduce((sum, state) => sum + counts[state], 0)]) || 1;
  const names = { viewBox: "0 0 1000 8", preserveAspectRatio: "none", role: "img", "aria-label": shown.map((state) => `${counts[state]} ${state}`).join(", ") || "no trials" };
  const make = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const svg = make("svg", names);
  let x = 0;
  for (const state of shown) {
    const width = (1000 * counts[state]) / total;
    svg.append(make("rect", { class: `is-${state}`, x, width, height: 8 }));
    x += width;
  }
  return h("div", { class: "bar" }, svg);
}

function filter() {
  const wanted = $("#filter").value.trim().toLowerCase();
  let shown = 0;
  for (const line of $("#rows").rows) {
    line.hidden = Boolean(wanted) && !`${line.cells[1].textContent} ${line.cells[2].textContent}`.toLowerCase().includes(wanted);
    shown += !line.hidden;
  }
  $("#none").hidden = shown > 0 || !$("#rows").rows.length;
}

const chosen = () => $$("#rows input:checked").map((tick) => tick.value);

function mark() {
  const names = chosen();
  const link = $("#compare");
  link.textContent = names.length ? `Compare ${names.length}` : "Compare";
  const isPossible = names.length > 1 && names.length <= MOST_COMPARED;
  link.classList.toggle("primary", isPossible);
  link.title = isPossible ? "" : names.length > 1 ? `At most ${MOST_COMPARED} at a time` : "Tick two or more studies";
  if (isPossible) {
    link.href = `/compare?studies=${names.map(encodeURIComponent).join(",")}`;
    link.removeAttribute("aria-disabled");
  } else {
    link.removeAttribute("href");
    link.setAttribute("aria-disabled", "true");
  }
}

start();
