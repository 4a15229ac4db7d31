// Which parameters decide: shares by one of two methods, the slower of which the server computes when it is asked for.

import { h } from "./dom.js";
import { get, studyPath } from "./rest.js";

const LOOK_MS = 1000;
const SAYS = {
  ped_anova: "How much each decides whether a trial is among the best tenth (PED-ANOVA).",
  fanova: "Whose the variance of all trials is (fANOVA).",
};

export class Importance {
  /** `objective`: where one of several is chosen, which a study of one objective does not have. */
  constructor(element, study, { select, objective, caption, ranked }) {
    Object.assign(this, { element, study, select, objective, caption, ranked });
    select.addEventListener("change", () => this.load());
    objective?.addEventListener("change", () => this.#show());
  }

  /** Ask for the shares, and again until they are computed. */
  async load() {
    const method = this.select.value;
    const found = await get(`${studyPath(this.study.name)}/importance?method=${method}`);
    if (method !== this.select.value) return;
    if (found.state === "computing") {
      this.caption.textContent = "Computing beside everything else, which takes some seconds.";
      this.element.setAttribute("aria-busy", "true");
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.load().catch((error) => this.#fail(error)), LOOK_MS);
      return;
    }
    this.element.removeAttribute("aria-busy");
    this.caption.textContent = `${SAYS[method]} From ${found.trials} complete trial${found.trials === 1 ? "" : "s"}.`;
    this.found = found;
    this.#show();
  }

  #show() {
    const { by_objective: each = {}, importance } = this.found ?? { importance: {} };
    const shares = Object.entries(each[this.objective?.value] ?? importance);
    this.element.replaceChildren(...(shares.length ? shares.map(bar) : [h("p", { class: "empty" }, "Two complete trials are needed.")]));
    this.ranked(shares.map(([name]) => name));
  }

  #fail(error) {
    this.element.removeAttribute("aria-busy");
    this.caption.textContent = `It could not be computed: ${error.message}`;
  }
}

function bar([name, share]) {
  const percent = `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
  const line = h("span", { class: "share" });
  line.style.width = `${Math.max(0.5, 100 * share)}%`;
  return h("div", { class: "importance" }, h("span", { class: "name", title: name }, h("bdi", {}, name)), h("span", { class: "track" }, line), h("span", { class: "num" }, percent));
}

/** Calls once, when an element first comes near the screen: what is below need not be drawn with the first figures. */
export function whenNear(element, begin) {
  const watch = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      begin();
    },
    { rootMargin: "200px" },
  );
  watch.observe(element);
}
