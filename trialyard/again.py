"""A study file that is run again where its study was begun: it may have a larger budget by now, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search.amending import CHANGEABLE
from search.definition import Definition, parse
from store.errors import DefinitionError
from trialyard.errors import BadInput

SHOWN = 5
EITHER_WAY = ("parallel", "target")  # how fast, and how good: neither says how much there is to do
FILLED_IN = "max_failed"  # from `trials` as they were at first, where the file does not name it
# Of a study that was begun when another value was meant where none is given, a migration has written the former one.
WRITTEN_LATER = ("trial.data.words", "trial.data.find_dates", "pruner.reduction_factor")


def larger_budget(stored: Definition, document: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """The keys of `budget` by which the file gives the study more to do; none if it is as it was.

    Args:
        stored: the study's definition.
        document: what the file says, which is a valid study.

    Raises:
        BadInput: it differs in something else, and where.
    """
    wanted, given = parse(document), document.get("budget", {})
    before, now = stored.budget.model_dump(), wanted.budget.model_dump()
    changed = {key: now[key] for key in now if now[key] != before[key] and (key in given or key != FILLED_IN)}
    others = [f"budget.{key}" for key, value in changed.items() if not _is_more(key, before[key], value)]
    like = _with_budget_of(stored, document, wanted)
    differences = _differences(_but_budget(stored, document), _but_budget(like, document))
    others += [path for path in differences if path not in WRITTEN_LATER or _says(document, path)]
    if others:
        where = ", ".join(others[:SHOWN]) + (" …" if len(others) > SHOWN else "")
        raise BadInput(
            f"name: {home} holds a study {stored.name!r} that was made from another definition, by {where}; it goes on "
            "with a larger budget alone. Give this one another name or another --home"
        )
    return changed


def _says(document: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(document, Mapping) or key not in document:
            return False
        document = document[key]
    return True


def _is_more(key: str, before: Any, now: Any) -> bool:
    if key not in CHANGEABLE:
        return False
    return key in EITHER_WAY or now is None or (before is not None and now > before)


def _with_budget_of(stored: Definition, document: Mapping[str, Any], wanted: Definition) -> Definition:
    """What the file says, with what is filled in from a budget filled in from that of the study."""
    try:
        return parse({**document, "budget": stored.budget.model_dump()})
    except DefinitionError:  # as where more trials are enqueued than it had
        return wanted


def _but_budget(definition: Definition, document: Mapping[str, Any]) -> dict[str, Any]:
    """As a document; without the sampler's seed where the file leaves it to be drawn."""
    left = {key: value for key, value in definition.document().items() if key != "budget"}
    has_seed = "seed" in document.get("sampler", {})
    return left if has_seed else {**left, "sampler": {**left["sampler"], "seed": None}}


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """The paths of what is not the same in two documents."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield path
