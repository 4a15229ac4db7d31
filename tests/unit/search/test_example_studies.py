"""The study files of `examples/`: what a newcomer runs first is never refused."""

from pathlib import Path

import pytest

from search.definition import parse
from trialyard.study_file import from_yaml

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_a_study_and_so_is_its_whole_document(file: Path) -> None:
    definition = parse(from_yaml(file.read_text()))

    assert parse(definition.document()) == definition
