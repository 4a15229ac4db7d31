"""The card of a trial's model, in Markdown: what it is, what it was trained on, how good it is, how to use it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from api.card_use import use_of_ensemble, use_of_model
from api.page_text import by_part
from search.definition import parse
from store.models import AttemptRow, StudyRow, TaskRow, TrialRow


def model_card(study: StudyRow, trial: TrialRow, attempt: AttemptRow | None, files: Collection[str] = ()) -> str:
    """Written from the study's facts alone; what is not known is left out. `files`: those of the model."""
    definition = parse(study.definition)
    section = definition.resolve(trial.parameters)
    parts = [
        f"# {study.name}, trial {trial.number}",
        _purpose(study, section),
        _data(study, section),
        _quality(study, trial),
        _training(trial, attempt, section),
        use_of_model(study, trial.number, files),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def ensemble_card(study: StudyRow, task: TaskRow, files: Collection[str] = ()) -> str:
    """The same for an ensemble of trials that has been built."""
    result, section = task.result or {}, parse(study.definition).resolve({})
    members = [[_named(member["trial"]), f"{member['weight']:.4g}"] for member in result["members"]]
    made_of = "\n".join([f"## Members ({task.request['method']})", "", *_table(["model", "weight"], members)])
    parts = [
        f"# {study.name}, ensemble {task.ordinal}",
        _purpose(study, section),
        _beside_best(result),
        made_of,
        _refitted(result) if task.request["method"] == "refit" else "",
        _data(study, section, result.get("rows")),
        use_of_ensemble(study, task.ordinal, files),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _beside_best(result: Mapping[str, Any]) -> str:
    """What was measured of an ensemble, and of its best member; of a refit only the test rows can tell."""
    best, measured = result["best_member"], result["metrics"]
    named = {"val": "validation", "test": "test"}
    parts = [part for part in named if any(name.startswith(f"{part}/") for name in measured)]
    head = ["metric", *(cell for part in parts for cell in (named[part], f"trial {best['trial']}"))]
    rows = [
        [name, *(_figure(of.get(f"{part}/{name}")) for part in parts for of in (measured, best["metrics"]))]
        for name in sorted({name.partition("/")[2] for name in measured})
    ]
    if not rows:
        return ""
    chosen = "Validation rows chose and weighted the members, which flatters them. " if "val" in parts else ""
    note = f"{chosen}The test rows were measured once."
    return "\n".join(["## Quality", "", "Beside its best member alone:", "", *_table(head, rows), "", note])


def _refitted(result: Mapping[str, Any]) -> str:
    return (
        f"Trial {result['best_member']['trial']} was trained again on its training and validation rows together, for "
        f"the {result['epochs']} epochs that were its best. No row validated it: the test rows alone tell its worth."
    )


def _named(trial: int | None) -> str:
    return "trained for it" if trial is None else f"trial {trial}"


def _purpose(study: StudyRow, section: Mapping[str, Any]) -> str:
    facts = study.facts or {}
    model = section.get("model", {}).get("name", "mlp")
    what = f"A model ({model}) that predicts **{facts.get('target', 'the target')}**"
    classes = facts.get("classes") or []
    if not classes:
        return f"{what}, a number."
    return f"{what}, one of {len(classes)} classes: {', '.join(f'`{name}`' for name in classes)}."


def _data(study: StudyRow, section: Mapping[str, Any], refitted_on: Mapping[str, int] | None = None) -> str:
    facts = study.facts or {}
    data = section["data"]
    rows = facts.get("rows", {})
    lines = ["## Data", "", f"Source: `{data['source']}`." + _tested_on(data)]
    if refitted_on:
        lines.append(f"Trained on {refitted_on['train']:,} rows, tested on {refitted_on['test']:,}.")
    elif rows:
        models = facts.get("folds", 1) * section.get("seeds", 1)
        who = f"{models} models, whose answers are averaged, were each trained" if models > 1 else "Trained"
        lines.append(
            f"{who} on {rows.get('train', 0):,} rows, chosen on {rows.get('validation', 0):,}, "
            f"tested on {rows.get('test', 0):,}."
        )
    columns = facts.get("columns") or []
    if columns:
        lines += ["", *_table(["column", "kind", "missing"], [_column(each) for each in columns])]
    if excluded := facts.get("excluded"):
        lines += ["", "Left out: " + "; ".join(f"`{each['name']}` ({each['why']})" for each in excluded) + "."]
    return "\n".join(lines)


def _tested_on(data: Mapping[str, Any]) -> str:
    return f" Test rows: `{data['test_source']}`." if data.get("test_source") else ""


def _column(column: Mapping[str, Any]) -> list[Any]:
    kind = column["kind"] + (f", {column['categories']} values" if "categories" in column else "")
    if kind == "date":
        kind = ", ".join([f"date, {column['since']} to {column['until']}", *column["cycles"]])
    return [f"`{column['name']}`", kind, column.get("missing", 0)]


def _quality(study: StudyRow, trial: TrialRow) -> str:
    table = by_part(trial.metrics)
    rows = [
        [name, of.get("val", ""), of.get("test", "")] for name, of in sorted(table.items()) if {"val", "test"} & {*of}
    ]
    note = (
        f"The trial was chosen by its validation rows ({study.name} searched over "
        f"{len(study.definition['parameters'])} parameters), which flatters them. The test rows were measured once."
    )
    return "\n".join(["## Quality", "", *_table(["metric", "validation", "test"], rows), "", note]) if rows else ""


def _training(trial: TrialRow, attempt: AttemptRow | None, section: Mapping[str, Any]) -> str:
    lines = ["## Training", ""]
    if attempt is not None and attempt.ended_at is not None:
        lines.append(f"Finished {attempt.ended_at:%Y-%m-%d %H:%M} UTC on {attempt.device}.")
    found = ", ".join(f"`{name}` = `{json.dumps(value)}`" for name, value in trial.parameters.items())
    lines += [f"Found by the search: {found or 'nothing'}.", "", "```json", json.dumps(section, indent=1), "```"]
    return "\n".join(lines)


def _table(head: list[str], rows: Iterable[list[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
