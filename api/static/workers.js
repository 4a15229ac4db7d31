// The pool: every slot by host, looked at anew every few seconds.

import { $, badge, boot, h } from "./dom.js";
import { between, duration } from "./format.js";
import { showStatus } from "./live.js";
import { API, get } from "./rest.js";

function draw(workers) {
  $("#empty").hidden = workers.length > 0;
  const busy = workers.filter((worker) => worker.study).length;
  $("#about").textContent = workers.length ? `${workers.length} slots, ${busy} busy, ${workers.length - busy} free` : "";
  const hosts = Map.groupBy(workers, (worker) => worker.host ?? "unknown host");
  $("#hosts").replaceChildren(...[...hosts].sort(([a], [b]) => a.localeCompare(b)).map(([host, slots]) => hostPanel(host, slots)));
}

function hostPanel(host, slots) {
  const sorted = [...slots].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const pools = [...new Set(slots.map((slot) => slot.pool))].join(", ");
  const head = ["Slot", "Pool", "Device", "State", "Study", "Trial", "Done", "Up for"].map((title) => h("th", { scope: "col" }, title));
  const table = h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, sorted.map(slotRow)));
  return h("section", { class: "panel", "aria-label": host }, h("header", {}, h("h2", {}, host), h("span", { class: "soft" }, `pool ${pools}`)), h("div", { class: "scroll" }, table));
}

function slotRow(slot) {
  const study = slot.study ? h("a", { href: `/studies/${slot.study}` }, slot.study) : unset();
  const trial = slot.study && slot.trial != null ? h("a", { href: `/studies/${slot.study}/trials/${slot.trial}` }, slot.trial) : unset();
  return h(
    "tr",
    {},
    h("td", { title: slot.name }, slot.name),
    h("td", {}, slot.pool),
    h("td", { title: slot.device }, slot.device),
    h("td", {}, stateOf(slot)),
    h("td", {}, study),
    h("td", {}, trial),
    h("td", {}, slot.done ?? unset()),
    h("td", {}, slot.started_at ? duration(between(slot.started_at)) : unset()),
  );
}

/** A slot's states are its own (idle, busy, leaving); they borrow the signs of the trials'. */
function stateOf(slot) {
  const sign = badge({ busy: "RUNNING", idle: "QUEUED", leaving: "PAUSED" }[slot.state] ?? (slot.study ? "RUNNING" : "QUEUED"));
  sign.lastChild.textContent = slot.state ?? (slot.study ? "busy" : "idle");
  return sign;
}

const unset = () => h("span", { class: "unset" }, "–");

async function refresh() {
  if (document.hidden) return;
  try {
    draw((await get(`${API}/workers`)).items);
    showStatus("polling");
    $("#away").hidden = true;
  } catch (error) {
    showStatus("reconnecting");
    $("#away").hidden = error.status !== 503;
  }
}

if ($("#away").hidden) draw(boot().workers);
showStatus("polling");
setInterval(refresh, 2000);
