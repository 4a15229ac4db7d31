// A population's schedules: one parameter of every member over its steps, and who went on from whom.

import { parameter } from "./format.js";
import { escapeMarkup } from "./history.js";
import { Plot, axis, colour, faint } from "./plot.js";
import { get, studyPath } from "./rest.js";

const PAUSE_MS = 1000; // at most so often while trials report

export class Lineage {
  constructor(element, study, { open, select, caption }) {
    this.study = study;
    this.plot = new Plot(element, { click: open });
    this.plot.redraw = () => this.draw();
    this.select = select;
    this.caption = caption;
    this.members = [];
    select.addEventListener("change", () => this.draw());
  }

  async load() {
    this.members = (await get(`${studyPath(this.study.name)}/lineage`)).members;
    await this.draw();
  }

  /** Something has happened: look again soon. */
  stir() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.load();
    }, PAUSE_MS);
  }

  draw() {
    const name = this.select.value;
    const lines = this.members.map((member) => ({ ...member, stretches: member.stretches.filter((each) => name in each.parameters) }));
    const begun = lines.filter((member) => member.stretches.some((each) => each.end > each.begin));
    const copies = this.members.reduce((count, member) => count + member.stretches.length - 1, 0);
    this.caption.textContent = `${this.members.length} members. A point is where one went on from another's checkpoint: ${copies} so far. The best member is the strong line.`;
    if (!begun.length) {
      this.plot.empty("No steps yet. A line appears with the first report of a member.");
      return Promise.resolve();
    }
    const best = this.study.bestTrial()?.number;
    begun.sort((a, b) => (a.number === best) - (b.number === best)); // the best one on top
    const isNumber = begun.every((member) => member.stretches.every((each) => typeof each.parameters[name] === "number"));
    const log = this.study.definition.parameters[name]?.log ? { type: "log" } : {};
    return this.plot.draw([...begun.map((member) => this.#line(member, name, member.number === best)), this.#copies(begun, name)], {
      xaxis: axis("step", { rangemode: "tozero", exponentformat: "none" }),
      yaxis: axis(name, isNumber ? log : { type: "category" }),
    });
  }

  #line(member, name, isBest) {
    const ends = member.stretches.flatMap((each) => [
      [each.begin, each],
      [each.end, each],
    ]);
    return {
      type: "scatter",
      mode: "lines",
      x: ends.map(([step]) => step),
      y: ends.map(([, each]) => height(each.parameters[name])),
      customdata: ends.map(() => member.number),
      text: ends.map(([, each]) => `<b>Trial ${member.number}</b><br>${escapeMarkup(parameter(each.parameters[name]))}`),
      hovertemplate: "%{text}<extra></extra>",
      line: { width: isBest ? 2.4 : 1.2, color: isBest ? colour("accent") : faint(colour("idle"), 0.7) },
    };
  }

  #copies(members, name) {
    const points = members.flatMap((member) => member.stretches.filter((each) => each.source != null).map((each) => ({ member, each })));
    return {
      type: "scatter",
      mode: "markers",
      x: points.map(({ each }) => each.begin),
      y: points.map(({ each }) => height(each.parameters[name])),
      customdata: points.map(({ member }) => member.number),
      text: points.map(({ member, each }) => `<b>Trial ${member.number}</b> from trial ${each.source}, step ${each.begin}<br>${escapeMarkup(parameter(each.parameters[name]))}`),
      hovertemplate: "%{text}<extra></extra>",
      marker: { size: 6, color: colour("accent") },
    };
  }
}

/** Where a value lies: a number as it is, another by its text. */
const height = (value) => (typeof value === "number" ? value : parameter(value));
