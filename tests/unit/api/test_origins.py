"""The trials that a study's models begin with, found by the scheduler."""

from __future__ import annotations

from typing import Any

from search.definition import parse
from search.origins import find_origins
from store.messages import AttemptKey
from store.models import TrialState
from store.session import reads
from tests.api_server import ApiServer, on_sqlite

pytestmark = on_sqlite


def test_a_complete_trial_is_found_by_its_study_and_number(server: ApiServer) -> None:
    server.create()
    server.add_trials([0.5, TrialState.RUNNING])
    server.add_attempt(0, 1, [0.5])
    server.add_attempt(0, 2, [0.5])
    sources = ["trial:s/0", "trial:s/1", "trial:s/7", "trial:nobody/0", "hf:model"]
    document: dict[str, Any] = {
        "name": "t", "objective": {"metric": "val/loss", "direction": "minimize"}, "budget": {"trials": 5},
        "parameters": {"model.source": {"values": sources}},
        "trial": {"data": {"source": "sklearn:iris"}, "model": {"name": "pretrained", "source": "trial:s/0"}},
    }  # fmt: skip

    with reads(server.engine)() as session:
        found = find_origins(session, parse(document))

    assert found == {"trial:s/0": AttemptKey(server.study_id(), 0, 2)}  # the newest attempt is the one that ended well
