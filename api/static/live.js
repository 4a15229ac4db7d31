// A study's events. However many arrive, the page changes a few times a second at most.

const KINDS = ["study", "trial", "report"];

/**
 * Follows a study from one event on and hands over what came in, in order, in batches.
 *
 * EventSource reconnects by itself and names the last event it saw; only where the server refuses does it give up,
 * and then it is made anew from the last event, ever less often.
 */
export class Live {
  constructor(url, lastEvent, { batch, status }) {
    this.url = url;
    this.last = lastEvent;
    this.deliver = batch;
    this.status = status;
    this.waiting = [];
    this.pause = 250; // milliseconds between batches
    this.retry = 1000;
    this.#connect();
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
    this.source = new EventSource(`${this.url}?last_event_id=${this.last}`);
    this.source.onopen = () => {
      this.retry = 1000;
      this.status("live");
    };
    this.source.onerror = () => this.#lost();
    for (const kind of KINDS) this.source.addEventListener(kind, (message) => this.#take(kind, message));
    this.source.addEventListener("end", () => {
      this.source.close();
      this.status("ended");
    });
  }

  #lost() {
    this.status("reconnecting");
    if (this.source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => this.#connect(), this.retry);
    this.retry = Math.min(2 * this.retry, 30_000);
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
