"""What can be known to go wrong before any trial: the data, and the corners of the search space against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from trainer.compress import model_in, steps_of
from trainer.config import AUGMENTED, LOSSES, PINBALL, Augment, TrainConfig, metric_names
from trainer.costs import Size, size_of
from trainer.data.images import ImageSchema
from trainer.data.prepare import OF_THEIR_OWN, prepare_for
from trainer.data.prepared import Folds, Prepared
from trainer.errors import DataError, ModelError, Problem
from trainer.transfer import Origins

__all__ = ["Problem", "check"]


def check(
    configs: Sequence[TrainConfig],
    *,
    wanted: Mapping[str, str],
    data_folders: Sequence[Path],
    device: torch.device,
    origins: Origins | None = None,
    ranks: int = 1,
) -> tuple[list[Problem], dict[str, Any]]:
    """Prepare the data, once for each way of preparing it, and hold every corner of the space against it.

    Args:
        configs: the corners of the search space.
        wanted: the metrics that the search looks at, by their paths in the study.
        origins: opens the sources of pretrained models; left out, those below `data_folders`.
        ranks: how many processes train a model together.

    Returns:
        The problems, each once, and the facts: those of the data, and the `parameters` of the smallest and the largest
        model as {"least", "most"}.
    """
    problems: list[Problem] = []
    facts: dict[str, Any] = {}
    sizes: list[Size] = []
    for told in _by_data(configs):
        try:
            corners, found = _prepared(told, data_folders, device, origins or Origins(data_folders))
        except (DataError, ModelError) as error:
            problems.append(error.problem)
            continue
        facts = facts or found.facts()
        for config in corners:
            problems += _against_data(config, wanted, found.smallest, ranks)
            try:
                sizes.append(_size(config, found.smallest))
            except ModelError as error:
                problems.append(error.problem)
    if sizes:
        facts["parameters"] = {"least": min(size.params for size in sizes), "most": max(size.params for size in sizes)}
    return list(dict.fromkeys(problems)), facts


def _by_data(configs: Sequence[TrainConfig]) -> list[list[TrainConfig]]:
    groups: dict[str, list[TrainConfig]] = {}
    for config in configs:
        groups.setdefault(config.preparation, []).append(config)
    return list(groups.values())


def _prepared(
    told: Sequence[TrainConfig], data_folders: Sequence[Path], device: torch.device, origins: Origins
) -> tuple[Sequence[TrainConfig], Prepared | Folds]:
    """Corners that share their data, complete, and these data. Raises: DataError, ModelError."""
    origin = origins.of(told[0])
    corners = [origin.resolve(config) for config in told] if origin else told
    given = origin.given(corners[0]) if origin else OF_THEIR_OWN
    return corners, prepare_for(corners[0], device=device, data_folders=data_folders, given=given)


def _against_data(config: TrainConfig, wanted: Mapping[str, str], prepared: Prepared, ranks: int) -> Iterator[Problem]:
    yield from _metrics(config, wanted, prepared)
    yield from _task(config, prepared)
    yield from _augmented(config, prepared)
    yield from _batches(config, prepared, ranks)


def _size(config: TrainConfig, prepared: Prepared) -> Size:
    """Raises: ModelError: there is no such model, or it cannot be made as small as told."""
    for step in sorted(set(steps_of(config.compression, config.epochs))):
        if (narrower := model_in(config, step)) is not config.model:
            size_of(narrower, prepared.schema, prepared.train.inputs)
    return size_of(config.model, prepared.schema, prepared.train.inputs)


def _metrics(config: TrainConfig, wanted: Mapping[str, str], prepared: Prepared) -> Iterator[Problem]:
    known = metric_names(prepared.task) - (set() if config.loss.predicted else {PINBALL})
    watched = {"trial.early_stopping.metric": config.early_stopping.metric} if config.early_stopping else {}
    for path, metric in {**wanted, **watched}.items():
        if metric not in known:
            unless = " unless its loss is quantile" if metric == PINBALL else ""
            hint = f"it reports {', '.join(sorted(known))}"
            yield Problem(path, f"a {prepared.task} reports no {metric}{unless}", hint)


def _task(config: TrainConfig, prepared: Prepared) -> Iterator[Problem]:
    known = LOSSES[prepared.task]
    if config.loss.name not in known:
        message = f"{config.loss.name} is no loss of a {prepared.task}"
        yield Problem("trial.loss.name", message, f"take {', '.join(sorted(known))}")
    if prepared.task == "classification":
        return
    target = prepared.schema.target.name
    if config.regularization.label_smoothing > 0:
        path = "trial.regularization.label_smoothing"
        yield Problem(path, f"{target} makes a regression, which has no labels to smooth", "set it to 0")
    if config.data.class_weight != "none":
        path = "trial.data.class_weight"
        yield Problem(path, f"{target} makes a regression, which has no classes to weigh", "set it to none")
    if config.sampling == "balanced":
        message = f"{target} makes a regression, which has no classes to balance"
        yield Problem("trial.sampling", message, "set it to shuffle")


def _augmented(config: TrainConfig, prepared: Prepared) -> Iterator[Problem]:
    kind = prepared.schema.kind
    for name in sorted(config.data.augment.chosen - AUGMENTED[kind]):
        known = ", ".join(sorted(AUGMENTED[kind]))
        yield Problem(f"trial.data.augment.{name}", f"the source is no {_OTHERS[name]}", f"known for {kind}s: {known}")
    schema = prepared.schema
    if isinstance(schema, ImageSchema) and config.data.augment.crop >= min(schema.height, schema.width):
        message = f"a shift of {config.data.augment.crop} pixels can leave nothing of {schema.height} × {schema.width}"
        yield Problem("trial.data.augment.crop", message, f"at most {min(schema.height, schema.width) - 1}")


# What each augmentation wants, for the message where it is on for something else
_OTHERS = {name: " or ".join(kind for kind in AUGMENTED if name in AUGMENTED[kind]) for name in Augment.model_fields}


def _batches(config: TrainConfig, prepared: Prepared, ranks: int) -> Iterator[Problem]:
    rows = prepared.train.rows
    if config.batch_size > rows and "batch_size" in config.model_fields_set:  # one that nobody chose is all rows then
        message = f"a batch of {config.batch_size} is larger than the training part of {rows} rows"
        yield Problem("trial.batch_size", message, f"at most {rows}")
    if config.model.norm != "batch":
        return
    if config.batch_size == 1:
        yield Problem("trial.batch_size", "batch normalization needs batches of 2 rows and more", "at least 2")
    elif rows < 2 * ranks:
        needs = f"batch normalization needs {2 * ranks} rows, 2 for each process, and the training part has {rows}"
        yield Problem("trial.model.norm", needs, "set it to none or layer")
