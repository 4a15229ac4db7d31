// A study's `trial:` section with a trial's parameters put in, as YAML that can be pasted into a study file.

/** The section with every dotted path of `parameters` set. */
export function withParameters(section, parameters) {
  const merged = structuredClone(section ?? {});
  for (const [path, value] of Object.entries(parameters)) {
    const names = path.split(".");
    const leaf = names.pop();
    let place = merged;
    for (const name of names) place = place[name] = isMap(place[name]) ? place[name] : {};
    place[leaf] = value;
  }
  return merged;
}

export function yaml(value, indent = "") {
  return Object.entries(value)
    .map(([key, inner]) => {
      const nested = isMap(inner) && Object.keys(inner).length;
      return nested ? `${indent}${scalar(key)}:\n${yaml(inner, indent + "  ")}` : `${indent}${scalar(key)}: ${flow(inner)}\n`;
    })
    .join("");
}

const isMap = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function flow(value) {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (isMap(value)) return `{${Object.entries(value).map(([key, inner]) => `${scalar(key)}: ${flow(inner)}`).join(", ")}}`;
  return scalar(value);
}

function scalar(value) {
  if (typeof value === "number") {
    const text = String(value);
    // YAML 1.1 reads 1e-5 as a string; 1.0e-5 is a number to every reader.
    return text.includes("e") && !text.includes(".") ? text.replace("e", ".0e") : text;
  }
  if (typeof value !== "string") return String(value);
  const plain = /^[A-Za-z_][\w./-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value);
  return plain ? value : JSON.stringify(value);
}
