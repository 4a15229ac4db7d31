from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console
from rich.table import Table

from trialyard.client import Client
from trialyard.errors import BadInput, CommandError, Problem, Unreachable
from trialyard.resources import Best, BestTrial, Copied, Counts, Study, Trial
from trialyard.results import as_study_section, conclude, print_best, write_pieces
from trialyard.study_file import from_yaml
from trialyard.tables import figure, moment, room, trials_table
from trialyard.terminal import screen


def study(direction: str = "maximize") -> Study:
    definition = {
        "name": "digits",
        "objective": {"metric": "val/accuracy", "direction": direction},
        "trial": {"kind": "train", "data": {"source": "sklearn:digits"}, "optimizer": {"name": "sgd", "lr": 0.1}},
    }
    return Study.model_validate(
        {
            "name": "digits",
            "state": "COMPLETE",
            "created_at": "2026-01-01T00:00:00Z",
            "definition": definition,
            "counts": {},
        }
    )


def trial(number: int, value: float | None) -> Trial:
    values = None if value is None else {"val/accuracy": value}
    return Trial(number=number, state="COMPLETE", parameters={}, values=values)


def best(trial_section: dict[str, Any], **parameters: Any) -> BestTrial:
    return BestTrial(number=7, state="COMPLETE", parameters=parameters, trial=trial_section)


def test_the_trial_section_can_be_put_into_a_study_file_as_it_is_printed() -> None:
    section = {"kind": "train", "model": {"hidden": [128, 64]}, "optimizer": {"lr": 3e-05}, "early_stopping": None}

    text = as_study_section(best(section, **{"optimizer.lr": 3e-05}))

    assert from_yaml(text) == {"trial": section}
    assert "hidden: [128, 64]" in text


def test_the_parameters_of_an_objective_of_ones_own_become_constants() -> None:
    text = as_study_section(best({"kind": "objective", "name": "branin"}, **{"x.y": 0.5, "size": "1e-4", "z": 1e-4}))

    assert (
        from_yaml(text)
        == yaml.safe_load(text)
        == {
            "trial": {"kind": "objective", "name": "branin"},
            "parameters": {"x.y": {"value": 0.5}, "size": {"value": "1e-4"}, "z": {"value": 1e-4}},
        }
    )


METRICS = {"train/loss": 0.01, "val/balanced_accuracy_se": 0.97, "test/accuracy": 0.98, "nonzero": 7644.0}


def test_the_best_is_printed_with_what_was_measured_on_held_out_rows_what_it_costs_and_where_it_lies() -> None:
    shown = best({"kind": "train"}).model_copy(update={"metrics": METRICS, "artifacts": "/home/a/[b]/attempt-1"})
    console = Console(width=40)

    with console.capture() as captured:
        print_best(console, shown)

    lines = [" ".join(each.split()) for each in captured.get().splitlines()]
    assert lines[:5] == [
        "best trial: 7",
        "nonzero 7644",
        "test/accuracy 0.98",
        "val/balanced_accuracy_se 0.97",
        "its model lies in /home/a/[b]/attempt-1",
    ]


def answers(request: httpx.Request) -> httpx.Response:
    """A server that knows one study with six complete trials, and gives them in pairs, the best first if asked so."""
    if request.url.path.endswith("/best"):
        return httpx.Response(200, json=best({"kind": "train"}).model_dump(mode="json"))
    assert request.url.params["state"] == "COMPLETE"
    order = {"value": 1, "-value": -1}[request.url.params["sort"]]
    trials = sorted((trial(number, number / 10) for number in range(6)), key=lambda each: order * each.number)
    start = int(request.url.params.get("cursor", "0"))
    items = [each.model_dump(mode="json") for each in trials[start : start + 2]]
    return httpx.Response(200, json={"items": items, "next_cursor": str(start + 2) if start < 4 else None})


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(transport=httpx.MockTransport(answers)) as client:
        yield client


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        (
            {
                "state": "FAILED",
                "errors": [Problem(path="trial.data.source", message="no such file", hint="see there")],
            },
            BadInput,
            "the study 'digits' cannot run:\n  trial.data.source: no such file; see there",
        ),
        (
            {"state": "FAILED", "reason": "11 trials failed"},
            CommandError,
            "the study 'digits' is FAILED: 11 trials failed",
        ),
        ({"state": "CANCELLED"}, CommandError, "the study 'digits' is CANCELLED"),
        ({"state": "COMPLETE"}, CommandError, "the study 'digits' has ended without a complete trial"),
    ],
)
def test_a_study_that_ended_badly_is_an_error_with_its_reason(
    client: Client, changes: dict[str, Any], kind: type[CommandError], text: str
) -> None:
    with pytest.raises(CommandError) as caught:
        conclude(Console(), client, study().model_copy(update=changes))

    assert (type(caught.value), str(caught.value)) == (kind, text)


@pytest.mark.parametrize(("direction", "numbers"), [("maximize", "54321"), ("minimize", "01234")])
def test_a_study_that_ended_well_shows_its_five_best_trials_best_first(
    client: Client, direction: str, numbers: str
) -> None:
    summary = Best(number=7, values={"val/accuracy": 0.97}, parameters={})
    console = Console(width=100)

    with console.capture() as captured:
        conclude(console, client, study(direction).model_copy(update={"best": summary, "counts": Counts(complete=6)}))

    lines = captured.get().splitlines()
    assert lines[0] == "digits: the best 5 of 6 trials"
    table = lines[lines.index("") + 1 :][:6]
    assert table[0].split() == ["trial", "val/accuracy"]
    assert [line.split()[0] for line in table[1:]] == list(numbers)
    assert "best trial: 7" in lines


def test_a_file_that_breaks_off_is_not_left_behind(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"number,state\n"
        raise Unreachable("the server went away")

    write_pieces([b"a", b"b"], tmp_path / "whole.csv")
    with pytest.raises(Unreachable):
        write_pieces(pieces(), tmp_path / "torn.csv")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"whole.csv": b"ab"}
    with pytest.raises(BadInput, match="No such file or directory"):
        write_pieces([b""], tmp_path / "nowhere" / "a.csv")


def test_a_member_of_a_population_is_listed_with_whom_it_went_on_from_and_its_parameters_as_the_last() -> None:
    copied = Copied(
        step=2,
        value=0.5,
        source=3,
        source_attempt=1,
        source_step=4,
        source_value=0.9,
        before={"lr": 0.1},
        after={"lr": 0.2},
    )
    members = [trial(0, 0.9), trial(1, 0.8).model_copy(update={"lineage": [copied, copied]})]
    console = Console(width=80)

    with console.capture() as table:
        console.print(trials_table(members))
    with console.capture() as printed:
        print_best(console, best({"kind": "train"}).model_copy(update={"lineage": [copied]}))

    assert "went on from" in table.get()
    assert "3 at 4, 3 at 4" in table.get()
    assert "the last of a schedule" in printed.get()


def test_a_list_of_trials_says_their_state_unless_all_are_complete() -> None:
    waiting = trial(0, 0.5).model_copy(update={"state": "WAITING", "values": None})

    assert "WAITING" in printed(trials_table([waiting]))
    assert "COMPLETE" in printed(trials_table([waiting, trial(1, 0.5)]))
    assert "COMPLETE" not in printed(trials_table([trial(1, 0.5)]))


def test_what_a_trial_says_in_brackets_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    said = "no [relu] in [/data/b], see [link=https://example.org]this[/link]"

    screen().print(trials_table([trial(1, 0.5).model_copy(update={"reason": said})]))

    assert said in capsys.readouterr().out


def test_times_are_those_of_the_readers_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert moment(datetime(2026, 1, 1, 20, 0, tzinfo=UTC)) == "2026-01-02 01:30"
    finally:
        monkeypatch.undo()
        time.tzset()


def printed(table: Table) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize(
    ("value", "shown"), [(168_714.0, "168714"), (562_205_432.0, "562,205,432"), (0.98607242, "0.986072"), (0.0, "0")]
)
def test_a_large_whole_number_is_shown_with_all_its_digits(value: float, shown: str) -> None:
    assert figure(value) == shown


def test_the_room_that_files_take_is_told_the_most_first() -> None:
    assert room({"logs": 900, "models": 2_500_000}) == "files: 2.5 MB (models 2.5 MB, logs 900 bytes)"
    assert room({}) == "files: 0 bytes"
