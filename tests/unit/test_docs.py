"""The pages of the documentation: where their links lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
PAGES = [HOME / "README.md", *sorted((HOME / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(\s*(?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\s*\)")
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOME)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    broken = []
    for path, anchor in LINK.findall(CODE.sub("", page.read_text())):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in set(anchors(target))):
            broken.append(f"{path}#{anchor}")

    assert not broken


def test_the_first_commands_of_the_readme_want_no_data_of_ones_own() -> None:
    named = re.findall(r"^\$ trialyard (?:run|submit) (examples/\S+)", PAGES[0].read_text(), re.MULTILINE)

    sources = [line for name in named for line in (HOME / name).read_text().splitlines() if "source:" in line]
    assert "examples/digits.yaml" in named
    assert not [line for line in sources if "file:" in line]


def anchors(page: Path) -> Iterator[str]:
    """The names that a renderer gives a page's headings: small letters, hyphens for spaces, nothing else."""
    for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
