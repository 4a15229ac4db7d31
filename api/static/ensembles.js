// Ensembles of the study's trials: ordered by a button, listed beside their best members until they are built.

import { $, badge, h, say } from "./dom.js";
import { metric } from "./format.js";
import { get, post, studyPath } from "./rest.js";

const LOOK_MS = 1500;
const REFIT_MS = 5000; // until the study orders its own refit

export class Ensembles {
  constructor(study) {
    this.study = study;
    this.path = `${studyPath(study.name)}/ensembles`;
    this.timer = null;
    $("#build").addEventListener("click", () => this.build());
  }

  /** Shown once there is something to make one of; a study that runs code of its own has no models of ours. */
  show(complete) {
    const isOurs = (this.study.definition.trial?.kind ?? "train") === "train";
    if (!isOurs || complete < 1 || !$("#ensembles").hidden) return;
    $("#ensembles").hidden = false;
    this.load();
  }

  async load() {
    clearTimeout(this.timer);
    // Asked first: a refit that is ordered between the two answers is then looked for once more.
    const refit = this.study.definition.refit && (await get(studyPath(this.study.name))).refit;
    const { items } = await get(`${this.path}?limit=50`);
    $("#ensemble-rows").replaceChildren(...items.map((each) => this.row(each)));
    $("#ensemble-table").hidden = !items.length;
    $("#no-ensembles").hidden = items.length > 0;
    if (items.some((each) => !["COMPLETE", "FAILED"].includes(each.state))) this.timer = setTimeout(() => this.load(), LOOK_MS);
    else if (refit?.state === "WAITING") this.timer = setTimeout(() => this.load(), REFIT_MS);
  }

  async build() {
    const method = $("#method").value;
    $("#build").disabled = true;
    try {
      const { number } = await post(this.path, { method });
      say(`Ensemble ${number} waits for a worker.`);
      await this.load();
    } catch (error) {
      say(`Not built: ${error.message}`);
    } finally {
      $("#build").disabled = false;
    }
  }

  row(each) {
    const name = [this.study.definition.objective].flat()[0].metric.split("/").at(-1); // of several the first
    const cells = [each.number, each.method].map((text) => h("td", {}, text));
    return h(
      "tr",
      {},
      cells,
      h("td", {}, badge(each.state), each.reason ? h("div", { class: "soft" }, each.reason) : null),
      h("td", { class: "num", title: (each.members ?? []).map(describe).join(", ") }, each.members?.length ?? ""),
      ...[`val/${name}`, `test/${name}`].flatMap((key) => [
        h("td", { class: "num" }, metric(each.metrics?.[key])),
        h("td", { class: "num soft" }, metric(each.best_member?.metrics[key])),
      ]),
      h("td", { class: "num" }, times(each.parameters)),
      h("td", { class: "num" }, times(each.latency_ms)),
      h("td", {}, each.state === "COMPLETE" ? h("a", { href: `${this.path}/${each.number}/model`, download: true }, "Download") : null),
    );
  }
}

const describe = ({ trial, weight }) => `${trial == null ? "trained for it" : `trial ${trial}`}: ${weight.toPrecision(3)}`;

/** What an ensemble costs, as so many times what its best member does. */
const times = (cost) => (cost ? `${(cost.ensemble / cost.best_member).toFixed(1)}×` : "");
