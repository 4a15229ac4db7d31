"""Parameters as overrides, `name=value`, of a program that Hydra or OmegaConf reads them for.

Whoever may send studies chooses names and values, and Hydra would do more with some of them than set a value:
`hydra.run.dir`, `+model._target_=os.system`, `lr=${oc.env:SECRET}`, `model={_target_: …}`.
"""

from __future__ import annotations

import json
import re

from pydantic import JsonValue

from store.errors import TrialyardError

CURE = 'name what is meant otherwise, or let the operator register the command with parameters = "json"'

_NAME = re.compile(r"(?!hydra([./]|$))[A-Za-z][A-Za-z0-9_]*([./][A-Za-z0-9][A-Za-z0-9_]*)*")
_TEXT = re.compile(r"[\w.:/%+ -]*")


class UnfitOverride(TrialyardError):
    """It would do more than set a value."""


def override(name: str, value: JsonValue) -> str:
    """The word for a parameter whose value may stand there. Raises: UnfitOverride"""
    check_name(name)
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def check_name(name: str) -> None:
    """Raises: UnfitOverride: it is not of letters, digits and underscores, or of what Hydra keeps for itself."""
    if not _NAME.fullmatch(name):
        raise UnfitOverride(
            f"{name!r:.100} is no name of an override: letters, digits and underscores, joined by dots or slashes, "
            "none of which begins with an underscore, and not below hydra"
        )


def check_value(value: JsonValue) -> None:
    """Raises: UnfitOverride: it is an object, or a text with marks that mean something in an override."""
    if isinstance(value, dict):
        raise UnfitOverride("an object cannot be the value of an override, where it might name what is called")
    if isinstance(value, str) and not _TEXT.fullmatch(value):
        raise UnfitOverride(
            f"{value!r:.100} cannot be the value of an override: letters, digits, spaces and . : / % + - _"
        )
    for each in value if isinstance(value, list) else ():
        check_value(each)
