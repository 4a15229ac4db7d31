// The trial table: sorted, filtered and paged in the browser; the address keeps the view.

import { inAddress, onStep, putIntoAddress } from "./address.js";
import { $, badge, h } from "./dom.js";
import { between, duration, metric, parameter } from "./format.js";
import { parseFilter } from "./filter.js";
import { STATES, knobs } from "./model.js";

const PAGE = 100;

export class Table {
  constructor(study) {
    this.study = study;
    this.columns = columnsOf(study);
    this.field = $("#filter");
    this.#recall();
    this.field.addEventListener("input", () => this.#show({ page: 1 }));
    $("#previous").addEventListener("click", () => this.#step({ page: this.page - 1 }));
    $("#next").addEventListener("click", () => this.#step({ page: this.page + 1 }));
    this.#head();
    onStep(() => {
      this.#recall();
      this.#arrows();
      this.draw();
    });
  }

  #recall() {
    this.sort = inAddress("sort") ?? "-number";
    this.state = inAddress("state");
    this.page = Math.max(1, Number(inAddress("page")) || 1);
    this.field.value = inAddress("filter") ?? "";
  }

  /** Put a filter into the field, as a step of its own. */
  filter(text) {
    this.field.value = text;
    this.#step({ page: 1 });
  }

  draw() {
    const found = this.#rows();
    const last = Math.max(1, Math.ceil(found.length / PAGE));
    this.page = Math.min(this.page, last);
    const first = (this.page - 1) * PAGE;
    this.#body(found.slice(first, first + PAGE));
    this.#chips();
    $("#range").textContent = this.#count(first, found.length);
    $("#previous").disabled = this.page === 1;
    $("#next").disabled = this.page === last;
  }

  #count(first, found) {
    const all = this.study.trials.size;
    if (!found) return all ? "No trial matches" : "No trials yet";
    const range = `${first + 1}–${Math.min(first + PAGE, found)} of ${found}`;
    return found < all ? `${range} that match, ${all} in all` : `${range} trials`;
  }

  /** What is chosen by a click is undone by the browser's back, what is typed is not: each letter would be a step. */
  #step(change) {
    this.#show(change, { step: true });
  }

  #show(change, how) {
    Object.assign(this, change);
    const unless = (value, usual) => (value === usual ? null : value);
    putIntoAddress({ sort: unless(this.sort, "-number"), state: this.state, filter: this.field.value.trim() || null, page: unless(this.page, 1) }, how);
    this.draw();
  }

  #rows() {
    const filter = parseFilter(this.field.value, this.columns);
    $("#refused").hidden = !filter.problem;
    $("#refused").textContent = filter.problem ?? "";
    this.field.setAttribute("aria-invalid", Boolean(filter.problem));
    if (!filter.problem) this.matches = filter.matches; // a problem leaves the last good filter standing
    const rows = [...this.study.trials.values()].filter(
      (trial) => (!this.state || trial.state.toLowerCase() === this.state) && (this.matches?.(trial) ?? true),
    );
    const down = this.sort.startsWith("-");
    const column = this.columns.find(({ key }) => key === this.sort.replace(/^-/, "")) ?? this.columns[0];
    return rows.sort((a, b) => compare(column.read(a), column.read(b), down) || b.number - a.number);
  }

  #head() {
    $("#columns").replaceChildren(
      ...this.columns.map((column) => {
        const button = h("button", { type: "button", click: () => this.#sortBy(column) }, column.title, h("span", { class: "order", "aria-hidden": "true" }));
        return h("th", { scope: "col", class: column.number ? "num" : null, title: column.key, "data-key": column.key }, button);
      }),
    );
    this.#arrows();
  }

  #sortBy(column) {
    const [up, down] = [column.key, `-${column.key}`];
    const bestFirst = column.maximize ? down : up;
    const other = bestFirst === up ? down : up;
    this.#step({ sort: this.sort === bestFirst ? other : bestFirst, page: 1 });
    this.#arrows();
  }

  #arrows() {
    for (const head of $("#columns").children) {
      const down = this.sort === `-${head.dataset.key}`;
      const sorted = down || this.sort === head.dataset.key;
      if (sorted) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      $(".order", head).textContent = sorted ? (down ? "▼" : "▲") : "";
    }
  }

  #body(trials) {
    const focused = document.activeElement?.closest?.("#rows tr")?.dataset.number;
    const best = this.study.several ? this.study.front() : new Set([this.study.bestTrial()?.number]);
    const rows = trials.map((trial) => this.#row(trial, best.has(trial.number)));
    if (!rows.length) rows.push(this.#nothing());
    $("#rows").replaceChildren(...rows);
    if (focused) $(`#rows tr[data-number="${focused}"] a`)?.focus();
  }

  #row(trial, isBest) {
    const cells = this.columns.map((column) => {
      const value = column.read(trial);
      return h("td", { class: column.number ? "num" : null }, isUnset(value, column) ? unset(column) : column.show(value, trial));
    });
    if (isBest) cells[0].append(h("span", { class: "star", title: this.study.several ? "beaten by no other" : "best of the study" }, "★"));
    return h("tr", { "data-number": trial.number, class: isBest ? "is-best" : null }, ...cells);
  }

  #nothing() {
    const text = this.study.trials.size ? "No trial matches this filter." : "Trials appear here as soon as they are proposed.";
    return h("tr", {}, h("td", { colspan: this.columns.length, class: "empty" }, text));
  }

  #chips() {
    const counts = this.study.tally();
    const shown = STATES.filter((state) => counts[state] || state === this.state);
    const chip = (state, text, count) =>
      h(
        "button",
        { type: "button", "aria-pressed": String(this.state === state), "data-state": state ?? "all", click: () => this.#step({ state, page: 1 }) },
        h("span", {}, text),
        h("span", { class: "soft" }, count),
      );
    const chips = [chip(null, "All", this.study.trials.size), ...shown.map((state) => chip(state, capital(state), counts[state]))];
    const focused = document.activeElement?.closest?.("#chips button")?.dataset.state;
    $("#chips").replaceChildren(...chips);
    if (focused) $(`#chips button[data-state="${focused}"]`)?.focus();
  }
}

function columnsOf(study) {
  const link = (number) => h("a", { href: `/studies/${study.name}/trials/${number}` }, number);
  return [
    { key: "number", title: "Trial", number: true, read: (trial) => trial.number, show: link },
    { key: "state", title: "State", read: (trial) => trial.state, show: (state, trial) => stateOf(state, trial) },
    ...study.objectives.map((objective, i) => measure(objective, i === 0 ? "value" : objective.metric)),
    ...knobs(study.definition).map((knob) => ({
      key: knob.path,
      title: shortName(knob.path, study.definition),
      number: knob.kind === "number" || knob.values.every((value) => typeof value === "number"),
      isKnob: true,
      read: (trial) => trial.parameters?.[knob.path],
      show: parameter,
    })),
    { key: "step", title: "Step", number: true, read: (trial) => trial.step, show: String },
    { key: "duration", title: "Duration", number: true, read: (trial) => between(trial.started_at, trial.ended_at), show: duration },
    { key: "worker", title: "Worker", read: (trial) => trial.worker, show: String },
    { key: "reason", title: "Reason", read: (trial) => trial.reason, show: reasonOf },
  ];
}

/** Of a parameter null is a value like any other. */
const isUnset = (value, column) => value === undefined || (value === null && !column.isKnob);

const unset = (column) => (column.key === "reason" ? null : h("span", { class: "unset" }, "–"));

const stateOf = (state, trial) =>
  trial.feasible === false ? h("span", {}, badge(state), h("span", { class: "soft", title: "breaks a constraint" }, " infeasible")) : badge(state);

/** A reason as far as there is room: of a command that ended by itself what it printed last, of one that was ended why. */
function reasonOf(text) {
  const [first, ...printed] = text.trim().split("\n");
  const how = first.replace(/; its last lines:$/, "");
  const wasEnded = how !== first && !how.includes("exit code");
  const short = printed.length && !wasEnded ? `${printed.at(-1).trim()} (${how})` : how;
  return h("span", { class: "soft reason", title: text }, short);
}

/** The column of an objective; softer where it is only the last one reported. */
function measure({ metric: name, direction }, key) {
  const show = (value, trial) =>
    trial.values?.[name] == null ? h("span", { class: "soft", title: "last reported" }, metric(value)) : h("b", {}, metric(value));
  const read = (trial) => trial.values?.[name] ?? trial.metrics?.[name] ?? null;
  return { key, title: name, number: true, maximize: direction === "maximize", read, show };
}

/** The last part of a path where that is unmistakable, and says more than which layer it is. */
function shortName(path, definition) {
  const last = path.split(".").at(-1);
  const others = Object.keys(definition.parameters).filter((other) => other.split(".").at(-1) === last);
  return others.length > 1 || last === "name" || /^\d+$/.test(last) ? path.split(".").slice(-2).join(".") : last;
}

/** What is missing comes last in either direction. */
function compare(a, b, down) {
  if (a == null || b == null) return (a == null) - (b == null);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(JSON.stringify(a)).localeCompare(JSON.stringify(b));
  return down ? -order : order;
}

const capital = (word) => word[0].toUpperCase() + word.slice(1);
