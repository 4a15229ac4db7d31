// The public REST API, as everyone else uses it.

export const API = "/api/v1";

/** A refusal, with the sentence that the server gave (RFC 9457). */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    this.status = status;
    this.errors = problem.errors; // [{path, message, hint}], where the server says what was wrong at which place
  }
}

export async function get(path, signal) {
  return (await request(path, { signal })).json();
}

export async function getText(path) {
  return (await request(path, {})).text();
}

export const post = (path, body = {}) => send("POST", path, body);

export const patch = (path, body) => send("PATCH", path, body);

export async function remove(path) {
  await request(path, { method: "DELETE" });
}

/** The items of a list, page after page. */
export async function* pages(path, query) {
  let cursor = null;
  do {
    const text = new URLSearchParams({ ...query, ...(cursor ? { cursor } : {}) });
    const page = await get(`${path}?${text}`);
    yield page.items;
    cursor = page.next_cursor;
  } while (cursor);
}

export const studyPath = (name) => `${API}/studies/${encodeURIComponent(name)}`;

async function send(method, path, body) {
  const headers = { "content-type": "application/json" };
  return (await request(path, { method, headers, body: JSON.stringify(body) })).json();
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { detail: "the server does not answer; it may be restarting" });
  }
  if (response.ok) return response;
  throw new Refused(response.status, await response.json().catch(() => ({})));
}
