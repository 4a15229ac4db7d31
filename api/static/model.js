// A study and its trials in the browser: filled from the REST API, kept true by events.

export const STATES = ["complete", "pruned", "failed", "cancelled", "running", "paused", "queued", "waiting"];
const ENDED = new Set(["COMPLETE", "PRUNED", "FAILED", "CANCELLED"]);

export class Study {
  constructor(study) {
    Object.assign(this, study);
    this.trials = new Map();
    this.objectives = [study.definition.objective].flat();
    this.metric = this.objectives[0].metric; // of several the first
    this.maximize = this.objectives[0].direction === "maximize";
    this.renew(study);
  }

  /** What a person may have changed meanwhile, but for the space. */
  renew({ definition, rested_seconds }) {
    this.budget = definition.budget?.trials ?? 0;
    this.parallel = definition.budget?.parallel ?? 1;
    this.rested_seconds = rested_seconds;
  }

  /** Whether there are several objectives, and so a front instead of a best trial. */
  get several() {
    return this.objectives.length > 1;
  }

  get ended() {
    return ["COMPLETE", "CANCELLED", "FAILED"].includes(this.state);
  }

  better(a, b) {
    return this.maximize ? a > b : a < b;
  }

  /** Rows of the REST API. */
  take(items) {
    for (const item of items) {
      const last = item.attempts?.at(-1);
      this.trials.set(item.number, { ...item, worker: last?.worker ?? null, attempt: last?.attempt ?? null });
    }
  }

  /** One event; a repeat changes nothing. */
  apply(event) {
    if (event.kind === "study") this.#applyStudy(event);
    if (event.kind === "trial") this.#applyTrial(event);
    if (event.kind === "report") this.#applyReport(event);
  }

  sorted() {
    return [...this.trials.values()].sort((a, b) => a.number - b.number);
  }

  /** The objective, where the trial has come to one. */
  value(trial) {
    return trial.values?.[this.metric] ?? null;
  }

  /** The objective, or the last that was reported of it. */
  latest(trial) {
    return this.value(trial) ?? trial.metrics?.[this.metric] ?? null;
  }

  bestTrial() {
    if (this.several) return null;
    let best = null;
    for (const trial of this.trials.values()) {
      if (!counts(trial) || this.value(trial) == null) continue;
      if (!best || this.better(this.value(trial), this.value(best))) best = trial;
    }
    return best;
  }

  /** The numbers of the complete trials that no other beats: is as good by every objective and better by one. */
  front() {
    const signs = this.objectives.map(({ direction }) => (direction === "maximize" ? -1 : 1));
    const losses = (trial) => this.objectives.map(({ metric }, i) => signs[i] * trial.values[metric]);
    const complete = [...this.trials.values()].filter((trial) => counts(trial) && trial.values);
    const ordered = complete.map((trial) => [losses(trial), trial.number]).sort(([a], [b]) => lexical(a, b));
    const front = []; // in this order a trial is never beaten by a later one
    for (const [loss, number] of ordered) if (!front.some(([other]) => beats(other, loss))) front.push([loss, number]);
    return new Set(front.map(([, number]) => number));
  }

  tally() {
    const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
    for (const trial of this.trials.values()) counts[trial.state.toLowerCase()] += 1;
    return counts;
  }

  metricNames() {
    const names = new Set(this.objectives.map(({ metric }) => metric));
    for (const trial of this.trials.values()) for (const name in trial.metrics) names.add(name);
    return [...names];
  }

  #applyStudy(event) {
    Object.assign(this, pick(event, ["state", "reason", "errors"]));
    if (event.state === "RUNNING") this.started_at ??= event.at;
    this.ended_at = this.ended ? (this.ended_at ?? event.ended_at ?? event.at) : null;
  }

  #applyTrial(event) {
    const before = this.trials.get(event.number) ?? { number: event.number, started_at: null, ended_at: null };
    const { at } = event;
    const fields = ["state", "parameters", "values", "feasible", "metrics", "step", "reason", "attempt", "worker"];
    const trial = { ...before, ...pick(event, fields), attempts: attemptsAfter(before.attempts ?? [], event) };
    if (event.state === "RUNNING") trial.started_at ??= at;
    if (ENDED.has(event.state)) trial.ended_at ??= at;
    this.trials.set(event.number, trial);
  }

  #applyReport(event) {
    const trial = this.trials.get(event.number);
    if (!trial || ENDED.has(trial.state)) return;
    if (event.attempt === trial.attempt && event.step < trial.step) return; // it was overtaken
    const metrics = event.step === trial.step ? { ...trial.metrics, ...event.metrics } : event.metrics;
    this.trials.set(event.number, { ...trial, step: event.step, metrics });
  }
}

/** A trial's attempts, as far as its events tell of them: one that waits at a rung holds no worker. */
function attemptsAfter(attempts, { state, worker, at }) {
  const last = attempts.at(-1);
  const isOpen = last && !last.ended_at;
  if (state === "RUNNING") return isOpen || !worker ? attempts : [...attempts, { worker, started_at: at, ended_at: null }];
  return isOpen ? [...attempts.slice(0, -1), { ...last, ended_at: at }] : attempts;
}

/** Whether a trial may be the best: it is complete and keeps the constraints. */
export const counts = (trial) => trial.state === "COMPLETE" && trial.feasible !== false;

/** The parameters that vary, with their kind and range, in the order of the definition. */
export function knobs(definition) {
  return Object.entries(definition.parameters ?? {})
    .map(([path, entry]) => ({ path, ...range(entry) }))
    .filter((knob) => knob.kind);
}

const lexical = (a, b) => a.map((value, i) => value - b[i]).find((difference) => difference) ?? 0;

const beats = (a, b) => a.every((value, i) => value <= b[i]) && a.some((value, i) => value < b[i]);

function range(entry) {
  if (entry.values) return entry.values.length > 1 ? { kind: "choice", values: entry.values } : {};
  const low = entry.low ?? entry.min;
  const high = entry.high ?? entry.max;
  return low == null || high == null ? {} : { kind: "number", low: Number(low), high: Number(high), log: Boolean(entry.log), step: entry.step };
}

const pick = (from, names) => Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]));
