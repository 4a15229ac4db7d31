from collections.abc import Iterator

import pytest

from worker.line_reader import MOST_PASSED_OVER, LineReader, UnreadableLines
from worker.printed import Reading

ENDLESS = "loss " + "1" * 60 + "!"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def reader(told: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[LineReader]:
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    reader = LineReader(r"loss (?P<loss>(\d+)+)$", told.append)
    yield reader
    reader.close()


def test_lines_are_read_in_their_order(reader: LineReader, told: list[str]) -> None:
    assert list(reader.read(["loss 2", "all is well", "loss 1"])) == [
        Reading(None, {"loss": 2}),
        Reading(None, {"loss": 1}),
    ]
    assert list(reader.read(["loss 3"])) == [Reading(None, {"loss": 3})]
    assert not told


def test_a_line_that_takes_too_long_is_passed_over_alone(reader: LineReader, told: list[str]) -> None:
    assert list(reader.read(["loss 2", ENDLESS, "loss 1"])) == [Reading(None, {"loss": 2}), Reading(None, {"loss": 1})]
    assert [words.partition(",")[0] for words in told] == [
        f"the pattern takes longer than 1 s over a line of {len(ENDLESS)} characters"
    ]


def test_a_pattern_that_takes_too_long_again_and_again_is_given_up(
    reader: LineReader, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.line_reader.MOST_PASSED_OVER", 1)
    with pytest.raises(UnreadableLines, match="write a pattern that has to try less"):
        list(reader.read([ENDLESS, ENDLESS]))
    assert len(told) == 1 < MOST_PASSED_OVER


def test_an_expression_may_begin_with_a_hyphen() -> None:
    reader = LineReader("--loss=(?P<loss>.+)", pytest.fail)
    assert list(reader.read(["--loss=4"])) == [Reading(None, {"loss": 4})]
    reader.close()
