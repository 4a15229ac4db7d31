// Whether an axis is logarithmic: as its values want it, until a person says otherwise.

import { inAddress, onStep, putIntoAddress } from "./address.js";

const WIDE = 1000; // how many times the smaller values the larger ones are, that no straight axis shows both
const ENOUGH = 2000; // values tell as much as all of them

export class LogChoice {
  /** `box`: the checkbox beside the figure; of one that has an id, the address keeps the choice. `changed`: draws it. */
  constructor(box, changed) {
    this.box = box;
    this.chosen = { on: true, off: false }[box.id && inAddress(box.id)];
    const put = () => box.id && this.chosen !== undefined && putIntoAddress({ [box.id]: this.chosen ? "on" : "off" });
    box.addEventListener("change", () => {
      this.chosen = box.checked;
      put();
      changed();
    });
    onStep(put);
  }

  /** The axis' type for these values. The box says what it is, and is offered only where there is a choice. */
  type(values) {
    const isPossible = values.every((value) => value > 0);
    this.box.disabled = !isPossible;
    this.box.parentElement.title = isPossible ? "" : "a logarithmic axis has no place for values of 0 or less";
    this.box.checked = isPossible && (this.chosen ?? isWide(values));
    return this.box.checked ? "log" : "linear";
  }
}

/** Whether values, all above 0, go over many powers of ten, but for a tenth of them at either end. */
export function isWide(values) {
  const step = Math.ceil(values.length / ENOUGH) || 1;
  const ordered = Float64Array.from(step > 1 ? values.filter((_, i) => i % step === 0) : values).sort();
  const last = ordered.length - 1;
  return ordered[Math.ceil(0.9 * last)] >= WIDE * ordered[Math.floor(0.1 * last)];
}
