"""The page about the settings names each, with the default it has."""

from __future__ import annotations

import re
from pathlib import Path

from store.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def told() -> dict[str, str]:
    """The defaults by the variables' names, as the page has them; several variables may share a line."""
    found: dict[str, str] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        names = re.findall(r"`TRIALYARD_(\w+)`", cells[0]) if line.startswith("|") else []
        found |= zip(names, cells[1].split(", "), strict=True) if names else ()
    return found


def as_told(value: object) -> str:
    units = {2**30: "GiB", 2**20: "MiB"}
    for size, unit in units.items():
        if isinstance(value, int) and value >= size:
            return f"{value // size} {unit}"
    return (
        f"`{str(value).lower()}`"
        if isinstance(value, bool)
        else f"`{value:g}`"
        if isinstance(value, float)
        else f"`{value}`"
    )


def test_every_setting_is_told_with_its_default() -> None:
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}

    page = told()

    assert page.keys() == defaults.keys()
    urls = {"DATABASE_URL", "REDIS_URL", "WORKER_REDIS_URL", "ARTIFACT_URL"}
    in_words = urls | {"DATA_DIR", "OBJECTIVES_FILE", "API_KEY"}
    assert {name: text for name, text in page.items() if name not in in_words} == {
        name: as_told(value) for name, value in defaults.items() if name not in in_words
    }
    assert not any(defaults[name] for name in in_words)
