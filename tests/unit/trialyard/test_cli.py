"""What a command says that the server refuses."""

from __future__ import annotations

import functools
import sys

import httpx
import pytest

from trialyard.cli import main
from trialyard.client import Client


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
