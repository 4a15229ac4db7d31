// A study's events. However many arrive, the page changes a few times a second at most.

import { $, h } from "./dom.js";
import { get } from "./rest.js";

const KINDS = ["study", "trial", "report"];
const WATCH_MS = 10_000; // between two looks at a study that has ended, which somebody may give more to do

/**
 * Follows a study from one event on and hands over what came in, in order, in batches.
 *
 * EventSource reconnects by itself and names the last event it saw; only where the server refuses does it give up,
 * and then it is made anew from the last event, ever less often. After the end it waits until there are events again,
 * unless the study is gone or the key is no longer good: what will not come back by itself is told, once.
 */
export class Live {
  constructor(study, lastEvent, { created, batch, status, ended = false }) {
    this.study = study; // the path of the study in the REST API
    this.created = Date.parse(created); // tells it from a later one of its name
    this.last = lastEvent;
    this.deliver = batch;
    this.status = status;
    this.waiting = [];
    this.pause = 250; // milliseconds between batches
    this.retry = 1000;
    if (ended) this.#rest();
    else this.#connect();
  }

  /** Held back until `release`: what is loaded meanwhile is older than what comes in. */
  hold() {
    this.held = true;
  }

  release() {
    this.held = false;
    this.#schedule();
  }

  #connect() {
    this.source = new EventSource(`${this.study}/events?last_event_id=${this.last}`);
    this.source.onopen = () => {
      this.retry = 1000;
      this.status("live");
    };
    this.source.onerror = () => this.#lost();
    for (const kind of KINDS) this.source.addEventListener(kind, (message) => this.#take(kind, message));
    this.source.addEventListener("end", () => {
      this.source.close();
      this.#rest(0); // a study that was deleted ends like this, too
    });
  }

  #rest(wait = WATCH_MS) {
    this.status("ended");
    setTimeout(() => this.#look(), wait);
  }

  async #look() {
    const study = document.hidden ? null : await this.#ask();
    if (this.over) return;
    if (study?.last_event > this.last) this.#connect();
    else setTimeout(() => this.#look(), WATCH_MS);
  }

  /** The study as it stands now; null where the server does not say, which may be for good. */
  async #ask() {
    const study = await get(this.study).catch((error) => {
      this.over = tellLoss(error.status);
      return null;
    });
    if (study && Date.parse(study.created_at) !== this.created) this.over = tellLoss("replaced");
    return study;
  }

  async #lost() {
    if (this.source.readyState !== EventSource.CLOSED) return this.status("reconnecting");
    if (await this.#isOver()) return this.#rest();
    if (this.over) return this.status("ended");
    this.status("reconnecting");
    setTimeout(() => this.#connect(), this.retry);
    this.retry = Math.min(2 * this.retry, 30_000);
  }

  /** Whether nothing will follow: the server then answers without a stream, as it does when it cannot answer. */
  async #isOver() {
    const study = await this.#ask();
    if (this.over || !study?.ended_at || Number(this.last) < study.last_event) return false;
    this.waiting.push({ kind: "study", ...study });
    this.#schedule();
    return true;
  }

  #take(kind, message) {
    this.last = message.lastEventId || this.last;
    this.waiting.push({ kind, ...JSON.parse(message.data) });
    this.#schedule();
  }

  #schedule() {
    if (this.held || this.timer || !this.waiting.length) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      const started = performance.now();
      this.deliver(this.waiting.splice(0));
      // Drawing ten thousand points takes its time: never spend more than a quarter of it on drawing.
      this.pause = Math.max(250, 3 * (performance.now() - started));
      this.#schedule();
    }, this.pause);
  }
}

/** The small light in the page's head. */
export function showStatus(status) {
  const light = document.querySelector("#live");
  light.dataset.status = status;
  light.textContent = { live: "Live", reconnecting: "Reconnecting", ended: "Ended", polling: "Live" }[status] ?? "";
}

const LOSSES = {
  401: ["The server no longer takes the key that you signed in with", "Sign in again", () => location.pathname + location.search],
  404: ["This study has been deleted", "All studies", () => "/"],
  replaced: ["This study has been deleted, and another one has its name now", "Show that one", () => location.pathname],
};

/** Tells what will not come back by itself, and the way on; whether it is such a thing. */
export function tellLoss(status) {
  if (!(status in LOSSES)) return false;
  const [title, words, address] = LOSSES[status];
  const notice = h("div", { class: "notice is-warning", id: "loss", role: "alert" }, h("h2", {}, title), h("p", {}, h("a", { href: address() }, words)));
  if (!$("#loss")) $("#main").prepend(notice);
  return true;
}
