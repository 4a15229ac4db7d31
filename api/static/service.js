// The line above every page that says what keeps the service from going on, as `/readyz` tells it.

import { $, h } from "./dom.js";

const LOOK_MS = 10_000;
const TROUBLED_MS = 2_000; // while something is wrong: its end is waited for

const GOES_ON = "What trains goes on and keeps its reports; all else waits until this is over.";
const WORDS = {
  database: {
    away: ["The database does not answer", GOES_ON],
    "takes nothing": ["The database takes nothing at the moment", GOES_ON],
    "not migrated": ["The database has the tables of another version", "Once everything has been stopped, `trialyard migrate` brings them up to date."],
  },
  redis: {
    away: ["Redis does not answer", GOES_ON],
    "takes nothing": ["Redis takes nothing at the moment", GOES_ON],
  },
  scheduler: {
    failing: ["The scheduler can store nothing", GOES_ON],
    none: ["No scheduler runs", "What trains goes on; no trial is proposed or decided on until one is started: `trialyard scheduler`."],
  },
};

let drawn = "";

/** What is wrong and what it means; nothing where all is well, and where the server does not say to this visitor. */
function wrong(state) {
  if (state.trouble) return [`${WORDS.scheduler.failing[0]}: ${state.trouble}`, GOES_ON];
  return Object.entries(WORDS).map(([part, words]) => words[state[part]]).find(Boolean);
}

function draw(words) {
  const says = words?.join() ?? "";
  if (says === drawn) return;
  drawn = says;
  $("#service").replaceChildren(...(words ? [h("div", { class: "notice is-warning" }, h("h2", {}, words[0]), h("p", {}, words[1]))] : []));
}

async function look() {
  // Not ready is an answer too, so that its status says nothing here; without an answer what was said stays.
  const state = document.hidden ? null : await fetch("/readyz").then((answer) => answer.json()).catch(() => null);
  if (state) draw(wrong(state));
  setTimeout(look, drawn ? TROUBLED_MS : LOOK_MS);
}

look();
