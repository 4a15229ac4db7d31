"""Re-scoring over the API: what is ordered, in which order, and from which seeds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from store.models import TaskRow
from store.session import reads, writes
from store.settings import Settings
from tests.api_server import ApiServer, on_sqlite, serving

TRAIN: dict[str, Any] = {
    "parameters": {"optimizer.lr": {"low": 0.01, "high": 0.1}},
    "trial": {"kind": "train", "data": {"source": "sklearn:iris"}, "seed": 5},
}

pytestmark = on_sqlite


@pytest.fixture
def server(settings: Settings) -> Iterator[ApiServer]:
    with serving(settings) as server:
        yield server


def test_the_best_complete_trials_are_trained_again_from_seeds_that_were_not_used(server: ApiServer) -> None:
    server.create(**TRAIN)
    server.add_trials([0.9, 0.5, None, 0.7])

    answer = server.post("s/rescores", {"best": 2, "seeds": 4})

    assert answer.status_code == 201, answer.text
    assert [(each["trial"], each["seeds"], each["state"]) for each in answer.json()["items"]] == [
        (1, 4, "QUEUED"), (3, 4, "QUEUED"),
    ]  # fmt: skip
    with reads(server.engine)() as session:
        told = [task.request["trial"] for task in session.query(TaskRow).order_by(TaskRow.number)]
    assert [(each["seed"], each["seeds"]) for each in told] == [(6, 4), (6, 4)]


def test_folds_are_divided_anew_instead(server: ApiServer) -> None:
    server.create(**TRAIN | {"trial": TRAIN["trial"] | {"cross_validation": {"folds": 3}}})
    server.add_trials([0.5])
    server.post("s/rescores", {"best": 1, "seeds": 4})

    with reads(server.engine)() as session:
        told = session.query(TaskRow).one().request["trial"]
    assert told["cross_validation"] == {"folds": 3, "repeats": 4}
    assert "seeds" not in told


def test_what_came_of_it_stands_beside_what_was_searched(server: ApiServer) -> None:
    server.create(**TRAIN)
    server.add_trials([0.9])
    number = server.post("s/rescores", {"best": 1, "seeds": 4}).json()["items"][0]["number"]
    with writes(server.engine).begin() as session:
        task = session.get_one(TaskRow, (server.study_id(), number))
        task.state, task.ended_at = "COMPLETE", datetime.now(UTC)
        task.result = {"metrics": {"val/loss": 0.85, "val/loss_se": 0.01}}

    (found,) = server.get("s/rescores")["items"]

    assert (found["rescored"], found["standard_error"], found["state"]) == (0.85, 0.01, "COMPLETE")


def test_there_must_be_a_complete_trial_of_our_own_training(server: ApiServer) -> None:
    server.create(**TRAIN)
    assert "has no complete trial yet" in server.post("s/rescores", {}).json()["detail"]
    assert server.post("s/rescores", {"seeds": 1}).status_code == 422
