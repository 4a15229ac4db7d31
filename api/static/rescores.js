// The best trials trained again from other seeds: ordered by a button, listed beside what the search saw of them.

import { $, badge, h, say } from "./dom.js";
import { metric } from "./format.js";
import { get, post, studyPath } from "./rest.js";

const LOOK_MS = 1500;
const RACE_MS = 5000; // until a race begins, and between two heats
const MOST = 200;

export class Rescores {
  constructor(study) {
    this.study = study;
    this.path = `${studyPath(study.name)}/rescores`;
    this.timer = null;
    $("#rescore").addEventListener("click", () => this.order());
  }

  /** Shown once there is something to measure again; a study that runs code of its own has no seeds of ours, no
   * parameters tell how a member of a population was trained, and by several objectives none is the best. */
  show(complete) {
    const { trial, sampler, objective } = this.study.definition;
    const isOurs = (trial?.kind ?? "train") === "train" && sampler.name !== "pbt" && !Array.isArray(objective);
    if (!isOurs || complete < 1 || !$("#rescores").hidden) return;
    $("#rescores").hidden = false;
    this.load();
  }

  async load() {
    clearTimeout(this.timer);
    const { items } = await get(`${this.path}?limit=${MOST}`);
    const last = Math.max(0, ...items.map((each) => each.heat ?? 0));
    $("#rescore-rows").replaceChildren(...this.sorted(this.newest(items)).map((each) => this.row(each, last)));
    $("#rescore-table").hidden = !items.length;
    $("#no-rescores").hidden = items.length > 0;
    if (items.some((each) => !["COMPLETE", "FAILED"].includes(each.state))) this.timer = setTimeout(() => this.load(), LOOK_MS);
    else if (this.study.definition.rescore && (await get(studyPath(this.study.name))).rescoring !== "COMPLETE")
      this.timer = setTimeout(() => this.load(), RACE_MS);
  }

  /** Of a race, each trial as its newest heat left it; and all that people ordered. */
  newest(items) {
    const heats = new Map();
    for (const each of items) if (each.heat > (heats.get(each.trial)?.heat ?? 0)) heats.set(each.trial, each);
    return items.filter((each) => each.heat == null || heats.get(each.trial) === each);
  }

  async order() {
    $("#rescore").disabled = true;
    try {
      const { items } = await post(this.path, { best: 10, seeds: 5 });
      say(`${items.length} trials wait for a worker.`);
      await this.load();
    } catch (error) {
      say(`Not ordered: ${error.message}`);
    } finally {
      $("#rescore").disabled = false;
    }
  }

  /** Those that came furthest in a race first, the best by their new value first; without one yet last. */
  sorted(items) {
    const sign = this.study.definition.objective.direction === "maximize" ? -1 : 1;
    return items.toSorted(
      (a, b) =>
        (b.heat ?? 0) - (a.heat ?? 0) || (a.rescored == null) - (b.rescored == null) || sign * (a.rescored - b.rescored),
    );
  }

  row(each, last) {
    const isBehind = each.heat != null && each.heat < last && each.state === "COMPLETE";
    const link = h("a", { href: `/studies/${this.study.name}/trials/${each.trial}` }, `trial ${each.trial}`);
    return h(
      "tr",
      {},
      h("td", {}, link),
      h("td", { class: "num soft" }, metric(each.searched)),
      h("td", { class: "num" }, metric(each.rescored)),
      h("td", { class: "num" }, metric(each.standard_error)),
      h("td", { class: "num" }, each.seeds),
      h("td", {}, badge(each.state), each.reason || isBehind ? h("div", { class: "soft" }, each.reason ?? "clearly behind the best") : null),
    );
  }
}
