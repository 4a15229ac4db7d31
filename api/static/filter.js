// The filter of the trial table: `optimizer.name=adamw lr<0.01 state=complete` — all words must hold.

import { parameter } from "./format.js";

const WORD = /(?:[^\s"]+|"[^"]*")+/g;
const TERM = /^([^=<>!~]+)(>=|<=|!=|=|<|>|~)(.*)$/;

/** A predicate over trials, or {problem} with a sentence. `columns`: [{key, read(trial)}]. */
export function parseFilter(text, columns) {
  const tests = [];
  for (const word of text.match(WORD) ?? []) {
    const term = TERM.exec(word);
    if (!term) {
      tests.push(anywhere(word.replaceAll('"', "").toLowerCase(), columns));
      continue;
    }
    const [, name, operator, wanted] = term;
    const column = columnOf(name, columns);
    if (column.problem) return column;
    if (wanted === "") continue; // still being typed
    tests.push(comparison(column, operator, wanted.replaceAll('"', "")));
  }
  return { matches: (trial) => tests.every((test) => test(trial)) };
}

/** A column by its whole name or by the end of its path: `lr` for `optimizer.lr`. */
function columnOf(name, columns) {
  const lower = name.toLowerCase();
  const exact = columns.find(({ key }) => key.toLowerCase() === lower);
  if (exact) return exact;
  const ends = columns.filter(({ key }) => /[./]/.test(key) && key.toLowerCase().split(/[./]/).slice(1).some((_, i, parts) => parts.slice(i).join(".") === lower));
  if (ends.length === 1) return ends[0];
  if (ends.length) return { problem: `“${name}” could be ${ends.map(({ key }) => key).join(" or ")}; write more of the path` };
  const near = nearest(lower, columns.map(({ key }) => key));
  return { problem: `there is no column “${name}”${near ? `; did you mean ${near}?` : ""}` };
}

function comparison({ read }, operator, wanted) {
  const choices = wanted.split("|").map((choice) => choice.toLowerCase());
  const limit = Number(wanted);
  const equal = (value) => choices.some((choice) => same(value, choice));
  const tests = {
    "=": equal,
    "!=": (value) => !equal(value),
    "~": (value) => choices.some((choice) => written(value).includes(choice)),
    "<": (value) => typeof value === "number" && value < limit,
    ">": (value) => typeof value === "number" && value > limit,
    "<=": (value) => typeof value === "number" && value <= limit,
    ">=": (value) => typeof value === "number" && value >= limit,
  };
  return (trial) => {
    const value = read(trial);
    return value == null ? operator === "!=" : tests[operator](value);
  };
}

const same = (value, choice) =>
  typeof value === "number" ? value === Number(choice) || written(value) === choice : written(value) === choice.replaceAll(" ", "");

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value)).toLowerCase();

function anywhere(word, columns) {
  return (trial) =>
    columns.some(({ read }) => {
      const value = read(trial);
      return value != null && (typeof value === "number" ? parameter(value) === word : written(value).includes(word));
    });
}

/** The name with the fewest edits, if that is few. */
function nearest(name, known) {
  const scored = known.flatMap((key) => [key, key.split(/[./]/).at(-1)].map((form) => [distance(name, form.toLowerCase()), key]));
  scored.sort((a, b) => a[0] - b[0]);
  return scored[0]?.[0] <= 2 ? scored[0][1] : null;
}

function distance(a, b) {
  let row = [...b, ""].map((_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] !== b[j - 1]));
    row = next;
  }
  return row[b.length];
}
