// The best trials trained again from other seeds: ordered by a button, listed beside what the search saw of them.

import { $, badge, h, say } from "./dom.js";
import { metric } from "./format.js";
import { get, post, studyPath } from "./rest.js";

const LOOK_MS = 1500;

export class Rescores {
  constructor(study) {
    this.study = study;
    this.path = `${studyPath(study.name)}/rescores`;
    this.timer = null;
    $("#rescore").addEventListener("click", () => this.order());
  }

  /** Shown once there is something to measure again; a study that runs code of its own has no seeds of ours, and no
   * parameters tell how a member of a population was trained. */
  show(complete) {
    const isOurs = (this.study.definition.trial?.kind ?? "train") === "train" && this.study.definition.sampler.name !== "pbt";
    if (!isOurs || complete < 1 || !$("#rescores").hidden) return;
    $("#rescores").hidden = false;
    this.load();
  }

  async load() {
    clearTimeout(this.timer);
    const { items } = await get(`${this.path}?limit=50`);
    $("#rescore-rows").replaceChildren(...this.sorted(items).map((each) => this.row(each)));
    $("#rescore-table").hidden = !items.length;
    $("#no-rescores").hidden = items.length > 0;
    if (items.some((each) => !["COMPLETE", "FAILED"].includes(each.state))) this.timer = setTimeout(() => this.load(), LOOK_MS);
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

  /** The best by their new value first; those that have none yet come last. */
  sorted(items) {
    const sign = this.study.definition.objective.direction === "maximize" ? -1 : 1;
    return items.toSorted((a, b) => (a.rescored == null) - (b.rescored == null) || sign * (a.rescored - b.rescored));
  }

  row(each) {
    const link = h("a", { href: `/studies/${this.study.name}/trials/${each.trial}` }, `trial ${each.trial}`);
    return h(
      "tr",
      {},
      h("td", {}, link),
      h("td", { class: "num soft" }, metric(each.searched)),
      h("td", { class: "num" }, metric(each.rescored)),
      h("td", { class: "num" }, metric(each.standard_error)),
      h("td", { class: "num" }, each.seeds),
      h("td", {}, badge(each.state), each.reason ? h("div", { class: "soft" }, each.reason) : null),
    );
  }
}
