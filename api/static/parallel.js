// Parallel coordinates on a canvas of our own: Plotly's trace wants WebGL and eval, and cannot leave out a parameter that
// a trial does not have, as conditional parameters do.

import { h } from "./dom.js";
import { metric, parameter } from "./format.js";
import { counts, knobs } from "./model.js";
import { colour, faint } from "./plot.js";
import { isWide } from "./scale.js";

const TOP = 34; // pixels above the axes, for their names
const FOOT = 34; // below them: the place of "not set"
const MOST_POWERS = 8; // beside an axis
const REACH = 7; // how near the pointer must come to a line
const PALE_TO_DEEP = ["#d3cda0", "#93cba5", "#43abb5", "#2471af", "#1b2d7d"];
const DEEP_TO_PALE = ["#42507a", "#2d6596", "#2f9ea6", "#84d39c", "#f4f0b4"];

export class Parallel {
  constructor(element, study, { open, brush, scale }) {
    this.element = element;
    this.study = study;
    this.open = open;
    this.onBrush = brush;
    this.scale = scale;
    this.ranges = new Map(); // axis key -> [low, high] as shares of its height, 0 at the foot
    this.axes = axesOf(study);
    element.style.minWidth = `${Math.max(320, 104 * this.axes.length + 60)}px`;
    this.lines = h("canvas", { "aria-hidden": "true" });
    this.top = h("canvas", { "aria-hidden": "true" });
    this.tip = h("div", { class: "tip", hidden: true });
    element.replaceChildren(this.lines, this.top, this.tip);
    new ResizeObserver(() => this.draw()).observe(element);
    document.addEventListener("themechange", () => this.draw());
    this.#listen();
  }

  draw() {
    this.width = this.element.clientWidth;
    this.height = this.element.clientHeight;
    this.trials = this.study.sorted().filter((trial) => trial.parameters && ["COMPLETE", "PRUNED", "PAUSED"].includes(trial.state));
    this.#scaleColours();
    this.drawn = this.trials.map((trial) => this.#line(trial)).sort((a, b) => a.rank - b.rank);
    const canvas = prepare(this.lines, this.width, this.height);
    this.theme = { line: colour("line-strong"), ink: colour("ink"), soft: colour("ink-soft"), surface: colour("surface"), accent: colour("accent") };
    // The more lines, the fainter each: what many share stays visible. Those without a colour stay behind.
    const kept = this.drawn.filter((line) => line.kept);
    const coloured = kept.filter((line) => line.colour).length;
    this.opacity = clamp(Math.max(0.12, 250 / (1 + coloured)) * 0.85);
    this.backdrop = Math.min(0.6, 60 / (1 + kept.length - coloured));
    for (const line of this.drawn) this.#stroke(canvas, line);
    this.#drawAxes(canvas);
    prepare(this.top, this.width, this.height);
    this.#legend();
  }

  // One axis a parameter, and one an objective at the right, of several the first as the last.

  #x(index) {
    const margin = Math.min(64, this.width / (2 * this.axes.length));
    return margin + (index * (this.width - 2 * margin)) / Math.max(1, this.axes.length - 1);
  }

  #y(share) {
    const bottom = this.height - FOOT;
    return share == null ? this.height - 12 : bottom - share * (bottom - TOP);
  }

  #scaleColours() {
    const may = this.trials.filter(counts); // what breaks a constraint is not the best, however good
    for (const axis of this.axes.filter(({ maximize }) => maximize != null)) {
      const values = may.map(axis.read).filter((value) => value != null);
      scale(axis, values.sort((a, b) => (axis.maximize ? a - b : b - a))); // worst to best
    }
    const { log, worst, best } = this.axes.at(-1);
    [this.worst, this.best] = [worst, best];
    this.stops = isDark(colour("surface")) ? DEEP_TO_PALE : PALE_TO_DEEP;
    const place = log ? logarithm : Number;
    // Where all are equal, all are as good as the best.
    this.goodness = (value) => (worst === best ? 1 : clamp((place(value) - place(worst)) / (place(best) - place(worst))));
  }

  #line(trial) {
    const value = this.study.value(trial);
    const shares = this.axes.map((axis) => axis.share(axis.read(trial)));
    // A trial that a rung holds, for now or for good, never came to the objectives' axes.
    if (value == null) shares.length -= this.study.objectives.length;
    const goodness = value == null ? -1 : this.goodness(value);
    return { trial, shares, rank: goodness, kept: this.#isKept(shares), colour: value == null ? null : this.#colourAt(goodness) };
  }

  #isKept(shares) {
    return this.axes.every((axis, i) => {
      const range = this.ranges.get(axis.key);
      return !range || (shares[i] != null && shares[i] >= range[0] && shares[i] <= range[1]);
    });
  }

  #colourAt(share) {
    const place = share * (this.stops.length - 1);
    const index = Math.min(this.stops.length - 2, Math.floor(place));
    return mix(this.stops[index], this.stops[index + 1], place - index);
  }

  #stroke(canvas, line, width = null) {
    canvas.beginPath();
    line.shares.forEach((share, i) => (i ? canvas.lineTo(this.#x(i), this.#y(share)) : canvas.moveTo(this.#x(i), this.#y(share))));
    canvas.lineWidth = width ?? (line.colour ? 1.4 : 0.8);
    canvas.strokeStyle = line.colour ?? faint(this.theme.soft, 0.35);
    canvas.globalAlpha = width ? 1 : line.kept ? (line.colour ? this.opacity : this.backdrop) : 0.04;
    canvas.stroke();
    canvas.globalAlpha = 1;
  }

  #drawAxes(canvas) {
    canvas.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    this.axes.forEach((axis, i) => {
      const x = this.#x(i);
      rule(canvas, this.theme.line, x, this.#y(0), x, this.#y(1));
      this.#name(canvas, axis, i, x);
      for (const { share, text } of axis.ticks()) this.#tick(canvas, i, x, this.#y(share), text);
      if (axis.conditional) this.#tick(canvas, i, x, this.#y(null), "not set");
      const range = this.ranges.get(axis.key);
      if (range) this.#drawRange(canvas, x, range);
    });
  }

  #name(canvas, axis, index, x) {
    canvas.font = canvas.font.replace(/^(\d+ )?/, "600 ");
    const step = (this.width - 40) / this.axes.length;
    canvas.textAlign = index === 0 ? "left" : index === this.axes.length - 1 ? "right" : "center";
    const place = index === 0 ? Math.max(2, x - 40) : index === this.axes.length - 1 ? Math.min(this.width - 2, x + 50) : x;
    halo(canvas, fit(canvas, axis.title, step), place, 16, this.theme.ink, this.theme.surface);
    canvas.font = canvas.font.replace(/^600 /, "");
  }

  #tick(canvas, index, x, y, text) {
    const last = index === this.axes.length - 1;
    rule(canvas, this.theme.line, x - 3, y, x + 3, y);
    canvas.textAlign = last ? "left" : "right";
    const room = index === 0 || last ? this.#x(0) - 8 : 90;
    canvas.textAlign = index === 0 ? "right" : "left";
    halo(canvas, fit(canvas, text, room), index === 0 ? x - 7 : x + 7, y + 4, this.theme.soft, this.theme.surface);
  }

  #drawRange(canvas, x, [low, high]) {
    canvas.fillStyle = faint(this.theme.accent, 0.25);
    canvas.strokeStyle = this.theme.accent;
    canvas.lineWidth = 1.5;
    const box = [x - 6, this.#y(high), 12, Math.max(2, this.#y(low) - this.#y(high))];
    canvas.fillRect(...box);
    canvas.strokeRect(...box);
  }

  #legend() {
    this.scale.hidden = !this.trials.some((trial) => this.study.value(trial) != null);
    if (this.scale.hidden) return;
    const strip = h("canvas", { width: 120, height: 9, role: "img", "aria-label": "from the worst tenth to the best" });
    const canvas = strip.getContext("2d");
    for (let x = 0; x < 120; x++) {
      canvas.fillStyle = this.#colourAt(x / 119);
      canvas.fillRect(x, 0, 1, 9);
    }
    this.scale.replaceChildren(this.study.metric, h("span", {}, metric(this.worst)), strip, h("b", {}, metric(this.best)));
  }

  // The pointer: near an axis it takes a range, elsewhere it asks what a line is.

  #listen() {
    this.top.addEventListener("pointerdown", (event) => this.#press(event));
    this.top.addEventListener("pointermove", (event) => (this.dragging ? this.#drag(event) : this.#hover(event)));
    this.top.addEventListener("pointerup", (event) => this.#drop(event));
    this.top.addEventListener("pointerleave", () => this.#hover(null));
  }

  #press(event) {
    const axis = this.#axisAt(event);
    if (!axis) return;
    this.dragging = { axis, from: this.#shareAt(event), moved: false };
    this.top.setPointerCapture(event.pointerId);
  }

  #drag(event) {
    const { axis, from } = this.dragging;
    const to = this.#shareAt(event);
    this.dragging.moved ||= Math.abs(to - from) > 0.015;
    if (this.dragging.moved) this.ranges.set(axis.key, [Math.min(from, to), Math.max(from, to)]);
    this.draw();
  }

  #drop(event) {
    if (!this.dragging) {
      const line = this.#nearest(event);
      if (line) this.open(line.trial.number);
      return;
    }
    const { axis, moved } = this.dragging;
    this.dragging = null;
    if (!moved) this.ranges.delete(axis.key);
    this.draw();
    this.onBrush(this.#filterText());
  }

  #hover(event) {
    const canvas = prepare(this.top, this.width, this.height);
    const axis = event && this.#axisAt(event);
    const line = event && !axis && this.#nearest(event);
    this.top.style.cursor = axis ? "ns-resize" : line ? "pointer" : "";
    this.tip.hidden = !line;
    if (!line) return;
    this.#stroke(canvas, { ...line, colour: this.theme.ink }, 2.4);
    this.#drawAxes(canvas);
    const value = this.study.latest(line.trial);
    const words = `${line.trial.state.toLowerCase()}${value == null ? "" : `, ${this.study.metric} ${metric(value)}`}`;
    this.tip.replaceChildren(h("b", {}, `Trial ${line.trial.number}`), ` ${words}`);
    const left = event.offsetX > this.width - 260 ? event.offsetX - this.tip.offsetWidth - 12 : event.offsetX + 14;
    this.tip.style.transform = `translate(${left}px, ${event.offsetY + 14}px)`;
  }

  #axisAt({ offsetX, offsetY }) {
    const inside = offsetY > TOP - 6 && offsetY < this.height - FOOT + 6;
    return inside ? this.axes.find((_, i) => Math.abs(this.#x(i) - offsetX) < 9) : undefined;
  }

  #shareAt({ offsetY }) {
    return clamp((this.height - FOOT - offsetY) / (this.height - FOOT - TOP));
  }

  #nearest({ offsetX, offsetY }) {
    const left = this.axes.findLastIndex((_, i) => this.#x(i) <= offsetX);
    if (left < 0 || left === this.axes.length - 1) return null;
    const along = (offsetX - this.#x(left)) / (this.#x(left + 1) - this.#x(left));
    let found = { away: REACH, line: null };
    for (const line of this.drawn) {
      if (!line.kept || left + 1 >= line.shares.length) continue;
      const y = this.#y(line.shares[left]) * (1 - along) + this.#y(line.shares[left + 1]) * along;
      if (Math.abs(y - offsetY) <= found.away) found = { away: Math.abs(y - offsetY), line };
    }
    return found.line;
  }

  /** The ranges as the table's filter understands them. */
  #filterText() {
    return this.axes
      .filter((axis) => this.ranges.has(axis.key))
      .map((axis) => axis.words(...this.ranges.get(axis.key)))
      .join(" ");
  }
}

function axesOf(study) {
  const parameters = knobs(study.definition).map((knob) => {
    const make = knob.kind === "choice" ? choiceAxis : numberAxis;
    const conditional = Boolean(study.definition.parameters[knob.path].when);
    return make({ key: knob.path, title: knob.path, conditional, read: (trial) => trial.parameters[knob.path], ...knob });
  });
  const objectives = study.objectives.map(({ metric: name, direction }, place) =>
    numberAxis({ key: place ? name : "value", title: name, low: 0, high: 1, maximize: direction === "maximize", read: (trial) => trial.values?.[name] }),
  );
  return [...parameters, ...objectives.reverse()];
}

/** The ends of an objective's axis, by its values from the worst to the best. */
function scale(axis, values) {
  // The worst tenth shares the first colour: one accident must not take the scale away from all others.
  axis.worst = values[Math.floor(0.1 * values.length)] ?? 0;
  axis.best = values.at(-1) ?? 1;
  axis.log = values.length > 0 && Math.min(axis.worst, axis.best) > 0 && isWide(values);
  const place = axis.log ? logarithm : Number;
  const [low, high] = [axis.worst, axis.best].map(place).sort((a, b) => a - b);
  [axis.low, axis.high] = padded(low, high).map((at) => (axis.log ? 10 ** at : at));
}

function numberAxis(axis) {
  const at = (value) => (axis.log ? logarithm(value) : value);
  const back = (value) => (axis.log ? 10 ** value : value);
  const valueAt = (share) => back(at(axis.low) + share * (at(axis.high) - at(axis.low)));
  axis.share = (value) => (value == null ? null : clamp((at(value) - at(axis.low)) / (at(axis.high) - at(axis.low) || 1)));
  axis.ticks = () => {
    const values = axis.log ? powers(axis.low, axis.high) : even(axis.low, axis.high);
    return values.map((value) => ({ share: axis.share(value), text: axis.log ? power(value) : parameter(value) }));
  };
  axis.words = (low, high) => `${axis.key}>=${rounded(valueAt(low))} ${axis.key}<=${rounded(valueAt(high))}`;
  return axis;
}

function choiceAxis(axis) {
  const texts = axis.values.map((value) => JSON.stringify(value));
  const shareOf = (index) => (index + 0.5) / texts.length;
  axis.share = (value) => (value === undefined ? null : shareOf(texts.indexOf(JSON.stringify(value))));
  axis.ticks = () => axis.values.map((value, i) => ({ share: shareOf(i), text: parameter(value) }));
  axis.words = (low, high) => {
    const kept = axis.values.filter((_, i) => shareOf(i) >= low && shareOf(i) <= high);
    return `${axis.key}=${kept.map((value) => (typeof value === "string" ? value : JSON.stringify(value))).join("|") || "none"}`;
  };
  return axis;
}

const clamp = (share) => Math.min(1, Math.max(0, share));
const logarithm = (value) => Math.log10(Math.max(0, value)); // what breaks a constraint may be below 0: at the foot
const rounded = (value) => Number(value.toPrecision(4));
const padded = (low, high) => [low - 0.04 * (high - low || 1), high + 0.04 * (high - low || 1)];
const isDark = (rgb) => Number(rgb.match(/[\d.]+/)[0]) < 110;

function even(low, high) {
  const rough = (high - low) / 5;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => size >= rough);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number(((Math.ceil(low / step - 1e-9) + i) * step).toPrecision(8)));
}

function powers(low, high) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const every = Math.max(1, Math.ceil((last - first) / MOST_POWERS));
  const found = Array.from({ length: Math.max(0, Math.floor((last - first) / every) + 1) }, (_, i) => 10 ** (first + every * i));
  return found.length > 1 ? found : [low, high];
}

const power = (value) => (Math.abs(Math.log10(value) % 1) < 1e-9 ? `10${superscript(Math.round(Math.log10(value)))}` : parameter(value));
const superscript = (exponent) => String(exponent).replace(/./g, (digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]);

function prepare(element, width, height) {
  const ratio = devicePixelRatio;
  element.width = width * ratio;
  element.height = height * ratio;
  const canvas = element.getContext("2d");
  canvas.scale(ratio, ratio);
  return canvas;
}

function rule(canvas, style, ...[x1, y1, x2, y2]) {
  canvas.beginPath();
  canvas.moveTo(x1, y1);
  canvas.lineTo(x2, y2);
  canvas.lineWidth = 1;
  canvas.strokeStyle = style;
  canvas.stroke();
}

/** Text that stays readable over lines. */
function halo(canvas, text, x, y, ink, ground) {
  canvas.lineWidth = 4;
  canvas.lineJoin = "round";
  canvas.strokeStyle = ground;
  canvas.strokeText(text, x, y);
  canvas.fillStyle = ink;
  canvas.fillText(text, x, y);
}

function fit(canvas, text, room) {
  if (canvas.measureText(text).width <= room) return text;
  let kept = text;
  while (kept.length > 3 && canvas.measureText(`…${kept}`).width > room) kept = kept.slice(1);
  return `…${kept}`;
}

function mix(a, b, share) {
  const channel = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
  return `rgb(${[0, 1, 2].map((i) => Math.round(channel(a, i) * (1 - share) + channel(b, i) * share))})`;
}
