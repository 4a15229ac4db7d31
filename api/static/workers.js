// The pool: every slot by host, looked at anew every few seconds.

import { $, badge, boot, h, say } from "./dom.js";
import { between, bytes, duration, metric } from "./format.js";
import { showStatus, tellLoss } from "./live.js";
import { API, get, post } from "./rest.js";

function draw(workers) {
  $("#empty").hidden = workers.length > 0;
  const busy = workers.filter((worker) => worker.study).length;
  $("#about").textContent = workers.length ? `${count(workers.length)}, ${busy} busy, ${workers.length - busy} free` : "";
  const hosts = Map.groupBy(workers, (worker) => worker.host ?? "unknown host");
  $("#hosts").replaceChildren(...[...hosts].sort(([a], [b]) => a.localeCompare(b)).map(([host, slots]) => hostPanel(host, slots)));
}

function hostPanel(host, slots) {
  const sorted = [...slots].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const pools = [...new Set(slots.map((slot) => slot.pool))].join(", ");
  const machines = [...new Set(slots.map((slot) => slot.machine).filter(Boolean))];
  const head = HEAD.map((title) => h("th", { scope: "col" }, title));
  const table = h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, sorted.map(slotRow)));
  return h("section", { class: "panel", "aria-label": host }, h("header", {}, h("h2", {}, host), h("span", { class: "soft" }, `pool ${pools}${versionsOf(slots)}${hostLoad(slots)}`), h("div", { class: "tools" }, machines.map((name) => drainButton(name, "Drain machine")))), h("div", { class: "scroll" }, table), crowdsOf(slots).map(crowdFigure));
}

/** The devices whose number of slots is found out, each once. */
const crowdsOf = (slots) => [...new Map(slots.filter((slot) => slot.crowd).map((slot) => [slot.crowd.device, slot.crowd])).values()];

/** What a device did with so many slots, and why it has as many as it has. */
function crowdFigure({ device, study, wanted, rates, why }) {
  const most = Math.max(...rates.map(({ rate }) => rate));
  const bars = rates.map(({ slots, rate }) =>
    h("li", { class: slots === wanted ? "is-wanted" : null }, h("span", {}, count(slots)), h("meter", { min: 0, max: most || 1, value: rate, "aria-label": count(slots) }), h("span", {}, `${metric(rate)} rows/s`)),
  );
  const verdict = why ? `${count(wanted)}, because ${why}` : `trying ${count(wanted)}`;
  return h("figure", { class: "crowd" }, h("ul", {}, bars), h("figcaption", {}, `${device}${study ? `, ${study}` : ""}: ${verdict}`));
}

const count = (slots) => `${slots} ${slots === 1 ? "slot" : "slots"}`;

function slotRow(slot) {
  const study = slot.study ? h("a", { href: `/studies/${slot.study}` }, slot.study) : unset();
  const trial = slot.study && slot.trial != null ? h("a", { href: `/studies/${slot.study}/trials/${slot.trial}` }, slot.trial) : unset();
  return h(
    "tr",
    {},
    h("td", { title: slot.name }, slot.name),
    h("td", {}, slot.pool),
    h("td", { title: slot.device }, slot.device),
    h("td", {}, stateOf(slot), slot.understands ? null : h("span", { class: "soft", title: "Its messages are not those of the scheduler, so it is given no trials: install the scheduler's version there." }, " other version")),
    h("td", {}, study),
    h("td", {}, trial),
    h("td", { class: "num" }, slot.done ?? unset()),
    h("td", { class: "num" }, slot.idle_share == null ? unset() : percent(slot.idle_share)),
    h("td", { class: "num", title: slot.memory ? `${bytes(slot.memory)} a slot` : null }, slot.figures.memory_used == null ? unset() : bytes(slot.figures.memory_used)),
    h("td", {}, gpuText(slot.figures) || unset()),
    h("td", { class: "num", title: "messages that came after the attempt had ended without this worker" }, slot.refused || unset()),
    h("td", {}, slot.started_at ? duration(between(slot.started_at)) : unset()),
    h("td", {}, ["draining", "leaving"].includes(slot.state) ? null : drainButton(slot.name, "Drain")),
  );
}

const HEAD = ["Slot", "Pool", "Device", "State", "Study", "Trial", "Done", "Idle", "Memory", "GPU", "Late", "Up for", ""];
const percent = (share) => `${Math.round(100 * share)} %`;

/** As in ", Trialyard 0.1.0"; nothing of workers that do not say. */
function versionsOf(slots) {
  const versions = [...new Set(slots.map((slot) => slot.version).filter(Boolean))];
  return versions.length ? `, Trialyard ${versions.join(" and ")}` : "";
}

function hostLoad(slots) {
  const loads = slots.map((slot) => slot.figures.load).filter((load) => load != null);
  return loads.length ? `, load ${percent(Math.max(...loads))} of its cores` : "";
}

/** As in "87 %, 12.3 of 80.0 GiB, 64 °C, 310 W"; what a board does not tell is left out. */
function gpuText(figures) {
  const memory = figures.gpu_memory_used == null ? null : `${bytes(figures.gpu_memory_used)} of ${bytes(figures.gpu_memory)}`;
  const use = figures.gpu_use == null ? null : percent(figures.gpu_use);
  const temperature = figures.gpu_temperature == null ? null : `${figures.gpu_temperature} °C`;
  const power = figures.gpu_power == null ? null : `${figures.gpu_power} W`;
  return [use, memory, temperature, power].filter(Boolean).join(", ");
}

function drainButton(name, text) {
  return h("button", { type: "button", class: "small", title: `${name} leaves when its trials are done`, click: () => drain(name) }, text);
}

async function drain(name) {
  try {
    const { workers } = await post(`${API}/workers/${encodeURIComponent(name)}/drain`);
    say(`${workers.join(", ")}: ${workers.length > 1 ? "leave" : "leaves"} when what runs is done.`);
    refresh();
  } catch (error) {
    say(`Could not drain ${name}: ${error.message}`);
  }
}

/** A slot's states are its own (idle, busy, leaving); they borrow the signs of the trials'. */
function stateOf(slot) {
  const sign = badge({ busy: "RUNNING", idle: "QUEUED", draining: "PAUSED", leaving: "PAUSED" }[slot.state] ?? (slot.study ? "RUNNING" : "QUEUED"));
  sign.lastChild.textContent = slot.state ?? (slot.study ? "busy" : "idle");
  return sign;
}

const unset = () => h("span", { class: "unset" }, "–");

async function refresh() {
  if (document.hidden) return;
  try {
    draw((await get(`${API}/workers`)).items);
    showStatus("polling");
    $("#loss")?.remove();
  } catch (error) {
    showStatus(tellLoss(error.status) ? "ended" : "reconnecting");
  }
}

if (boot().workers) draw(boot().workers);
showStatus("polling");
setInterval(refresh, 2000);
