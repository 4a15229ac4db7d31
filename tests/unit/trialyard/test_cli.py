"""What a command says that the server refuses."""

from __future__ import annotations

import functools
import sys
from importlib.metadata import version

import httpx
import pytest

from trialyard.cli import main
from trialyard.client import Client


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    """How a command ends, and what it prints and complains of."""
    monkeypatch.setattr(sys, "argv", ["trialyard", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return ended.value.code, printed.out, printed.err


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(monkeypatch, capsys, "--version") == (0, f"trialyard {version('trialyard')}\n", "")


@pytest.mark.parametrize("words", [(), ("keys",), ("datasets",)])
def test_the_help_tells_each_command_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    code, listed, _ = said(monkeypatch, capsys, *words, "--help")

    commands = listed.partition("Commands:\n")[2].splitlines()
    assert code == 0
    assert len(commands) >= 3
    assert [line for line in commands if line.endswith("...")] == []


def test_a_worker_of_a_pool_that_no_study_can_name_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, complaint = said(monkeypatch, capsys, "worker", "--pool", "Big GPUs")

    assert code == 2
    assert complaint.strip() == "--pool 'Big GPUs': is no name; use 1 to 64 lower-case letters, digits and hyphens"


def test_knobs_are_listed_as_a_study_file_writes_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    code, listed, _ = said(monkeypatch, capsys, "doctor", "knobs")

    assert code == 0
    assert "True" not in listed
    assert "False" not in listed


@pytest.mark.parametrize(
    ("key", "status", "says"),
    [
        (None, 401, "no; the commands send that in TRIALYARD_API_KEY, which is not set"),
        ("ty_old", 401, "no; the commands send that in TRIALYARD_API_KEY, which is none that it knows"),
        ("ty_worker", 403, "no"),
    ],
)
def test_who_is_refused_for_a_key_hears_where_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str | None, status: int, says: str
) -> None:
    answers = httpx.MockTransport(lambda _request: httpx.Response(status, json={"detail": "no"}))
    monkeypatch.setattr("trialyard.terminal.Client", functools.partial(Client, transport=answers))
    monkeypatch.setattr(sys, "argv", ["trialyard", "studies"])
    monkeypatch.delenv("TRIALYARD_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("TRIALYARD_API_KEY", key)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 1
    assert capsys.readouterr().err.strip() == says
