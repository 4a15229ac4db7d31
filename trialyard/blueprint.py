"""`trialyard doctor model FILE` and `doctor data FILE`: what a study trains, and on what, before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from search.corners import Point, corners_of
from search.definition import Definition, submitted
from trainer.config import TrainConfig
from trainer.costs import Size, size_of
from trainer.data.prepare import prepare_for
from trainer.data.prepared import Folds, Prepared
from trainer.errors import TrainerError
from trainer.models.layout import layers_of
from trialyard.errors import BadInput

MOST_SIZES = 12
CPU = torch.device("cpu")


class Corner(NamedTuple):
    """A point of the search space, and the training that it makes."""

    point: Point
    config: TrainConfig


def print_model(document: dict[str, Any], folders: list[Path], console: Console) -> None:
    """The layers of the smallest model of a study's space, and how large the models at its corners are.

    Raises:
        DefinitionError, BadInput: the study, its data or one of its models is wrong.
    """
    definition = _trained(document)
    sizes = _distinct(definition, folders)
    corner, prepared, size = min(sizes, key=lambda each: each[2])
    console.print(f"{corner.config.model.name} on {definition.trial['data']['source']}", style="bold", markup=False)
    table = _table("layer", "", "output of a row", "parameters", "FLOPs")
    for name, kind, shape, params, flops in layers_of(corner.config.model, prepared.schema, prepared.train.inputs):
        shown = "" if shape is None else " × ".join(map(str, shape)) or "1"
        table.add_row(name, kind, shown, _count(params), _count(flops))
    table.add_section()
    table.add_row("in all", "", "", f"{size.params:,}", f"{size.flops:,}")
    console.print(table)
    if len(sizes) > 1:
        console.print(_sizes(sizes))


def print_data(document: dict[str, Any], folders: list[Path], console: Console) -> None:
    """The rows of each part, and every column with what it was taken for.

    Raises:
        DefinitionError, BadInput: the study or its data are wrong.
    """
    config = TrainConfig.model_validate(_trained(document).corners()[0])
    print_facts(config.data.source, _prepared(config, folders).facts(), console)


def print_facts(source: str, facts: dict[str, Any], console: Console) -> None:
    """What was found in the data."""
    purposes = {"validation": "validate"}
    rows = ", ".join(f"{count:,} to {purposes.get(part, part)}" for part, count in facts["rows"].items())
    of = "rows" if facts["kind"] == "table" else f"{facts['kind']}s"
    console.print(f"{source}: a {facts['task']} of {of}", style="bold", markup=False)
    of_folds = f" of the first of {facts['folds']} folds" if "folds" in facts else ""
    console.print(f"rows{of_folds}: {rows}", highlight=False)
    classes = facts["classes"]
    shown = f"{len(classes)} classes: {', '.join(classes[:20])}{', …' if len(classes) > 20 else ''}"
    console.print(f"target: {facts['target']}{f', {shown}' if classes else ''}", markup=False, highlight=False)
    if "image" in facts:
        console.print(f"images: {facts['image']['channels']} × {facts['image']['height']} × {facts['image']['width']}")
    table = _table("column", "taken for", "missing", "")
    for column in facts["columns"]:
        more = [f"{column[key]:,} {key}" for key in ("categories", "tokens") if key in column]
        if column["kind"] == "date":
            more = [f"{column['since']} to {column['until']}", *column["cycles"]]
        table.add_row(escape(column["name"]), column["kind"], _count(column["missing"]), ", ".join(more))
    for column in facts["excluded"]:
        table.add_row(escape(column["name"]), "left out", "", escape(column["why"]))
    if table.row_count:  # images have no columns
        console.print(table)


def _trained(document: dict[str, Any]) -> Definition:
    definition = submitted(document)
    if definition.kind != "train":
        raise BadInput(f"trial.kind: {definition.kind} trials are trained by code of their own, which is not looked at")
    return definition


def _distinct(definition: Definition, folders: list[Path]) -> list[tuple[Corner, Prepared, Size]]:
    """Of the corners those with models of different sizes, the first of each."""
    kept: dict[str, Prepared] = {}
    found: dict[Size, tuple[Corner, Prepared, Size]] = {}
    for corner in _corners(definition):
        if (source := corner.config.model.source) is not None:
            message = (
                f"trial.model.source: the layers are those of {source}, which a worker opens when it has the study"
            )
            raise BadInput(f"{message}; shown here are models that begin from nothing")
        data = f"{corner.config.takes_images} {corner.config.data.preparation}"
        if data not in kept:
            kept[data] = _prepared(corner.config, folders).smallest
        try:
            size = size_of(corner.config.model, kept[data].schema, kept[data].train.inputs)
        except TrainerError as error:
            raise BadInput(str(error)) from error
        found.setdefault(size, (corner, kept[data], size))
    return list(found.values())


def _corners(definition: Definition) -> Iterator[Corner]:
    for point in corners_of(definition.region):
        yield Corner(point, TrainConfig.model_validate(definition.resolve(point)))


def _prepared(config: TrainConfig, folders: list[Path]) -> Prepared | Folds:
    try:
        return prepare_for(config, device=CPU, data_folders=folders)
    except TrainerError as error:
        raise BadInput(str(error)) from error


def _sizes(sizes: list[tuple[Corner, Prepared, Size]]) -> Table:
    """By parameters, with the knobs that make them differ; the largest and the smallest where there are many."""
    ordered = sorted(sizes, key=lambda each: each[2])
    if len(ordered) > MOST_SIZES:
        ordered = ordered[: MOST_SIZES // 2] + ordered[-MOST_SIZES // 2 :]
    points = [corner.point for corner, _, _ in ordered]
    names = [
        name
        for name in points[-1] | points[0]
        if name.startswith(("model.", "data.")) and len({str(point.get(name)) for point in points}) > 1
    ]
    table = _table("parameters", "FLOPs", *names)
    table.title = "at the corners of the space"
    for corner, _, size in ordered:
        knobs = [str(corner.point[name]) if name in corner.point else "" for name in names]
        table.add_row(f"{size.params:,}", f"{size.flops:,}", *map(escape, knobs))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in ("parameters", "FLOPs", "missing") else "left")
    return table


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
