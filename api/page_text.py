"""How the page words and draws what a study says: the filters of its templates.

`static/format.js` follows the same rules, so that nothing jumps when the browser takes over from the server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import yaml

from trialyard.study_file import Dumper

Study = Mapping[str, Any]  # as `GET /api/v1/studies/{name}` gives it

IN_THE_BAR = ("complete", "pruned", "failed", "cancelled", "running", "paused")
DONE = IN_THE_BAR[:4]
BYTES = ("device_memory", "bytes")  # metrics that count them
ENDED = ("COMPLETE", "CANCELLED", "FAILED")


def metric(value: float | None) -> str:
    """A metric: the same number of decimals in a column, so that digits stand below digits; counts in full."""
    if value is None:
        return "–"
    size = abs(value)
    if 10 <= size < 1e12 and value == int(value):
        return f"{int(value):,}"
    if size != 0 and (size < 1e-3 or size >= 1e5):
        return _tidy_exponent(f"{value:.3e}")
    return f"{value:.{4 if size < 10 else 3 if size < 100 else 2}f}"


def measured(metrics: Mapping[str, float] | None) -> list[tuple[str, str]]:
    """What a list of metrics shows: means with their standard errors, and nothing of single folds or seeds."""
    shown = [
        (name, value)
        for name, value in (metrics or {}).items()
        if not name.startswith(("fold/", "seed/")) and not name.endswith("_se")
    ]
    errors = {name: metrics[f"{name}_se"] for name, _ in shown if metrics and f"{name}_se" in metrics}
    units = _units(metrics or {})
    return [
        (name, _said(name, value, units) + (f" ± {metric(errors[name])}" if name in errors else ""))
        for name, value in shown
    ]


def by_part(metrics: Mapping[str, float] | None) -> dict[str, dict[str, str]]:
    """The same by quantity: what each part of the data has of it. Costs, which are of no part, have theirs at ""."""
    table: dict[str, dict[str, str]] = {}
    for name, said in measured(metrics):
        part, _, quantity = name.rpartition("/")
        table.setdefault(quantity, {})[part] = said
    return table


def _units(metrics: Mapping[str, float]) -> Mapping[str, str]:
    """A script may count its latency in anything; what the trainer measures stands beside `nonzero`."""
    return {"seconds": " s", "latency": " ms"} if "nonzero" in metrics else {"seconds": " s"}


def _said(name: str, value: float, units: Mapping[str, str]) -> str:
    return byte_size(value) if name in BYTES else metric(value) + units.get(name, "")


def byte_size(count: float) -> str:
    """512 MiB, 7.6 GiB."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(len(units) - 1, int(math.log2(count) // 10) if count else 0)
    return f"{count / 1024**power:.{1 if power > 2 else 0}f} {units[power]}"


def parameter(value: Any) -> str:
    """A parameter: four significant digits, lists as written, strings bare."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return orjson.dumps(value).decode().replace(",", ", ")
    size = abs(value)
    if value == int(value) and size < 1e7:
        return str(int(value))
    if size < 1e-3 or size >= 1e7:
        return _tidy_exponent(f"{value:.2e}")
    rounded = float(f"{value:.4g}")
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)


def objectives(study: Study) -> list[Mapping[str, str]]:
    found = study["definition"]["objective"]
    return found if isinstance(found, list) else [found]


def metric_name(study: Study) -> str:
    """The objective's metric; the first of several."""
    return objectives(study)[0]["metric"]


def metric_names(study: Study) -> list[str]:
    return [each["metric"] for each in objectives(study)]


def aims_text(study: Study) -> str:
    return ", ".join(f"{each['direction']} {each['metric']}" for each in objectives(study))


def objective_text(study: Study) -> str:
    text = aims_text(study)
    bounds = [_bound_text(each) for each in study["definition"].get("constraints", [])]
    return f"{text}, with {' and '.join(bounds)}" if bounds else text


def _bound_text(constraint: Mapping[str, Any]) -> str:
    sign, key = ("≤", "at_most") if "at_most" in constraint else ("≥", "at_least")
    return f"{constraint['metric']} {sign} {parameter(constraint[key])}"


def best_value(study: Study) -> str:
    return metric(study["best"]["values"][metric_name(study)]) if study["best"] else "–"


def trial_value(trial: Mapping[str, Any], study: Study) -> str:
    """The objective, or the last that was reported of it."""
    name = metric_name(study)
    return metric((trial["values"] or {}).get(name, (trial["metrics"] or {}).get(name)))


def search_text(study: Study) -> str:
    """Sampler and pruner, as in `tpe, hyperband`."""
    names = [(study["definition"].get(part) or {}).get("name") for part in ("sampler", "pruner")]
    return ", ".join(name for name in names if name and name != "none") or "tpe"


def pool(study: Study) -> str:
    return str((study["definition"].get("resources") or {}).get("pool", "default"))


def worker_command(server_url: str, wants_key: bool, study: Study | None = None) -> str:
    """What to type on a machine that shall train (for this study), where the server wants a key or does not."""
    gpus = 1 if study is None else (study["definition"].get("resources") or {}).get("gpus", 1)
    slots = "--gpus all" if gpus else "--cpu-slots 2"
    if gpus > 1:
        slots += f" --gpus-per-trial {gpus}"
    chosen = f" --pool {pool(study)}" if study else ""
    key = "export TRIALYARD_API_KEY=…  # trialyard keys create NAME --role worker\n" if wants_key else ""
    return f"{key}trialyard worker {slots}{chosen} --server {server_url}"


def ask_command(study: Study) -> str:
    """What hands out a trial of a study that none of our workers runs."""
    path = f"/api/v1/studies/{study['name']}/ask"
    return f"""curl -X POST "$TRIALYARD_SERVER_URL{path}" \\
  -H "Authorization: Bearer $TRIALYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"worker": "w1", "count": 1}}'"""


def budget(study: Study) -> int:
    """How many trials there will be; of a grid more than there are cells, where some that failed were tried again."""
    return max(int((study["definition"].get("budget") or {}).get("trials", 0)), done(study))


def done(study: Study) -> int:
    return sum(study["counts"][state] for state in DONE)


def proposed(study: Study) -> int:
    return sum(study["counts"].values())


def epochs(study: Study) -> int | None:
    found = study["definition"].get("trial", {}).get("epochs")
    return found if isinstance(found, int) else None


def is_ended(study: Study) -> bool:
    return study["state"] in ENDED


def is_trained(study: Study) -> bool:
    """Whether its trials leave models of our own training."""
    return bool(study["definition"].get("trial", {}).get("kind", "train") == "train")


def segments(counts: Mapping[str, int], total: int) -> Iterator[tuple[str, float, float]]:
    """(state, start, width) of each state's part of a bar 1,000 wide."""
    whole = max(total, sum(counts[state] for state in IN_THE_BAR)) or 1
    start = 0.0
    for state in IN_THE_BAR:
        width = 1000 * counts[state] / whole
        if width:
            yield state, round(start, 2), round(width, 2)
        start += width


def progress(counts: Mapping[str, int], total: int) -> str:
    """The bar in words."""
    words = [f"{counts[state]} {state}" for state in IN_THE_BAR if counts[state]]
    return f"{', '.join(words) or 'no trials'}; {total} planned"


def as_yaml(document: Any) -> str:
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def duration(seconds: float) -> str:
    """As in 4.2 s, 47 s, 3 min 12 s, 2 h 05 min, 3 d 4 h."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def _tidy_exponent(text: str) -> str:
    mantissa, exponent = text.split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


FILTERS = {
    "as_yaml": as_yaml,
    "best_value": best_value,
    "budget": budget,
    "done": done,
    "duration": duration,
    "ended": is_ended,
    "epochs": epochs,
    "is_trained": is_trained,
    "by_part": by_part,
    "measured": measured,
    "metric": metric,
    "metric_name": metric_name,
    "metric_names": metric_names,
    "objective_text": objective_text,
    "objectives": objectives,
    "parameter": parameter,
    "pool": pool,
    "progress": progress,
    "proposed": proposed,
    "search_text": search_text,
    "segments": segments,
    "trial_value": trial_value,
    "ask_command": ask_command,
    "worker_command": worker_command,
}
