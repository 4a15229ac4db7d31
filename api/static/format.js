// Numbers, times and values as text. The server's first rendering follows the same rules (api/pages.py).

export const BYTES = new Set(["device_memory", "bytes"]); // metrics that count them

/** A metric: the same number of decimals in a column, so that digits stand below digits; counts in full. */
export function metric(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size >= 10 && size < 1e12 && Number.isInteger(value)) return value.toLocaleString("en-US");
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return tidyExponent(value.toExponential(3));
  return value.toFixed(size < 10 ? 4 : size < 100 ? 3 : 2);
}

/** What a list of metrics shows, [name, text]: means with their standard errors, and nothing of single folds or seeds. */
export function measured(metrics) {
  const shown = Object.entries(metrics ?? {}).filter(([name]) => !ofOneModel(name) && !name.endsWith("_se"));
  const units = unitsAmong(metrics ?? {});
  const said = ([name, value]) => (BYTES.has(name) ? bytes(value) : metric(value) + (units[name] ?? ""));
  return shown.map((pair) => [pair[0], `${pair[0]}_se` in metrics ? `${said(pair)} ± ${metric(metrics[`${pair[0]}_se`])}` : said(pair)]);
}

/** A script may count its latency in anything; what the trainer measures stands beside `nonzero`. */
const unitsAmong = (metrics) => ("nonzero" in metrics ? { seconds: " s", latency: " ms" } : { seconds: " s" });

/** Whether a metric is of one fold or seed of several. */
export const ofOneModel = (name) => /^(fold|seed)\//.test(name);

/** A parameter: four significant digits, lists as written, strings bare. */
export function parameter(value) {
  if (value === undefined) return "–";
  if (typeof value === "string") return value;
  if (typeof value !== "number") return JSON.stringify(value).replaceAll(",", ", ");
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return tidyExponent(value.toExponential(2));
  return String(Number(value.toPrecision(4)));
}

/** As in "maximize val/accuracy, with params ≤ 200000". */
export function objectiveText({ objective, constraints = [] }) {
  const wanted = [objective].flat().map(({ direction, metric: name }) => `${direction} ${name}`);
  const bounds = constraints.map((each) => `${each.metric} ${"at_most" in each ? "≤" : "≥"} ${parameter(each.at_most ?? each.at_least)}`);
  return wanted.join(", ") + (bounds.length ? `, with ${bounds.join(" and ")}` : "");
}

/** 47 s, 3 min 12 s, 2 h 05 min, 3 d 4 h. */
export function duration(seconds) {
  if (seconds == null || Number.isNaN(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${pad(Math.floor(s % 60))} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** 512 MiB, 7.6 GiB. */
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, count ? Math.floor(Math.log2(count) / 10) : 0);
  return `${(count / 1024 ** power).toFixed(power > 2 ? 1 : 0)} ${units[power]}`;
}

/** Seconds between two ISO times; until now where the second is missing. */
export function between(start, end) {
  if (!start) return null;
  return ((end ? Date.parse(end) : Date.now()) - Date.parse(start)) / 1000;
}

export function ago(iso) {
  const s = (Date.now() - Date.parse(iso)) / 1000;
  if (s < 45) return "just now";
  if (s < 3600) return `${Math.round(s / 60)} min ago`;
  if (s < 86400) return `${Math.round(s / 3600)} h ago`;
  if (s < 30 * 86400) return `${Math.round(s / 86400)} d ago`;
  return new Date(iso).toLocaleDateString();
}

/** Turns every <time data-ago> into words, with the exact moment on hover, and keeps them true. */
export function keepTimes() {
  const refresh = () => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      time.textContent = ago(time.dateTime);
      time.title = new Date(time.dateTime).toLocaleString();
    }
  };
  refresh();
  setInterval(refresh, 15_000);
}

const pad = (n) => String(n).padStart(2, "0");
const tidyExponent = (text) => text.replace(/\.?0*e/, "e").replace("e+", "e");
