// The budget of a study, changed in a dialog that stays open while the server refuses what was written.

import { $, $$, h } from "./dom.js";
import { patch, studyPath } from "./rest.js";

export class Budget {
  /** `changed`: what is called with the study as it is then. */
  constructor(study, changed) {
    Object.assign(this, { study, changed, dialog: $("#budget"), refusal: $("#budget-refused") });
    this.fields = $$("input", this.dialog);
    $("#change-budget").addEventListener("click", () => this.#open());
    $("[type=button]", this.dialog).addEventListener("click", () => this.dialog.close()); // Enter is for the other one
    $("form", this.dialog).addEventListener("submit", (event) => this.#submit(event));
  }

  #open() {
    for (const field of this.fields) field.value = this.#held(field.name);
    this.refusal.replaceChildren();
    this.dialog.showModal();
  }

  #held(name) {
    return String(this.study.definition.budget?.[name] ?? "");
  }

  async #submit(event) {
    event.preventDefault();
    const written = this.fields.filter((field) => field.value.trim() !== this.#held(field.name));
    const budget = Object.fromEntries(written.map(({ name, value }) => [name, valueOf(value.trim())]));
    if (!written.length) return this.dialog.close();
    event.submitter.disabled = true;
    try {
      this.changed(await patch(studyPath(this.study.name), { budget }));
      this.dialog.close();
    } catch (error) {
      this.refusal.replaceChildren(...(error.errors?.length ? error.errors.map(sentence) : [error.message]));
    } finally {
      event.submitter.disabled = false;
    }
  }
}

/** What nobody wrote is nothing; what is no number is the server's to judge, as `2h`. */
function valueOf(text) {
  if (!text) return null;
  return Number.isFinite(Number(text)) ? Number(text) : text;
}

const sentence = ({ path, message, hint }) => h("p", {}, h("code", {}, path), ` ${message}`, hint ? h("span", { class: "hint" }, hint) : null);
