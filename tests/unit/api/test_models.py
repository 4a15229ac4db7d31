"""Models asked over the API: what is answered when there is no model, no worker or no time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from store.artifacts import Artifacts
from store.bus import open_redis, worker_key
from store.messages import PROTOCOL, AttemptKey
from store.models import TaskRow, TrialRow, TrialState
from store.session import reads, writes
from store.settings import Settings
from store.studies import Studies
from store.tasks import Tasks
from tests.api_server import ApiServer, on_sqlite, serving

TRAIN: dict[str, Any] = {
    "parameters": {"optimizer.lr": {"low": 0.01, "high": 0.1}},
    "trial": {"kind": "train", "data": {"source": "sklearn:iris"}},
}
ROWS = {"rows": [{"petal width (cm)": 1.0}]}
BOTH = ROWS | {"ensemble": 1, "int8": True}

pytestmark = on_sqlite


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"predict_seconds": 0.1})


@pytest.fixture
def server(settings: Settings) -> Iterator[ApiServer]:
    with serving(settings) as server:
        yield server


def leave_model(server: ApiServer, number: int) -> None:
    """As a finished training does."""
    server.add_attempt(number, 1, [0.5])
    folder = Artifacts(server.settings.artifacts).attempt(AttemptKey(server.study_id(), number, 1))
    folder.write("model.json", b"{}")


def refused(server: ApiServer, status: int, body: object = ROWS) -> str:
    answer = server.post("s/predict", body)
    assert answer.status_code == status, answer.text
    detail: str = answer.json()["detail"]
    return detail


def test_there_must_be_a_complete_trial_of_our_own_training_that_still_has_its_model(server: ApiServer) -> None:
    server.create(**TRAIN)
    assert refused(server, 404) == "no trial of the study 's' is complete yet"

    server.add_trials([0.5, TrialState.RUNNING])
    assert refused(server, 409) == "the model of trial 0 is gone; run its parameters again to have it anew"
    assert refused(server, 409, ROWS | {"trial": 1}) == "trial 1 is RUNNING; only a COMPLETE one has a model"
    assert refused(server, 404, ROWS | {"trial": 9}) == "the study 's' has no trial 9"


def test_rows_may_have_more_bytes_and_values_than_a_study(server: ApiServer) -> None:
    server.create(**TRAIN)
    server.add_trials([0.5])
    leave_model(server, 0)

    texts = {"rows": ["word " * 300] * 2000}
    cells = {"rows": [{f"c{place}": 0 for place in range(300)}] * 2000}

    assert refused(server, 503, texts) == refused(server, 503, cells) == refused(server, 503)


def test_what_a_script_has_kept_is_one_zip(server: ApiServer) -> None:
    server.create(trial={"kind": "objective", "name": "mine"})
    server.add_trials([0.5, 0.25])
    for number in range(2):
        server.add_attempt(number, 1, [0.5])
    artifacts = Artifacts(server.settings.artifacts)
    kept = Path(artifacts.url_of(AttemptKey(server.study_id(), 0, 1))) / "checkpoints"
    (kept / "epoch-3").mkdir(parents=True)
    (kept / "epoch-3/weights.pt").write_bytes(b"w" * 2**20)
    (kept / "config.yaml").write_text("lr: 0.1")
    (kept / "\udcff.bin").write_bytes(b"by its odd name")

    [listed] = server.get("s/trials/0/artifacts")["items"]
    answer = server.http.get("/api/v1/studies/s/trials/0/artifacts/checkpoints")

    assert (listed["id"], listed["bytes"]) == ("checkpoints", 2**20 + 7 + 15)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        held = {name: archive.read(name) for name in archive.namelist()}
    assert held == {
        "s-0/config.yaml": b"lr: 0.1", "s-0/epoch-3/weights.pt": b"w" * 2**20, "s-0/?.bin": b"by its odd name"
    }  # fmt: skip
    missing = server.http.get("/api/v1/studies/s/trials/1/artifacts/checkpoints")
    assert missing.json()["detail"] == "trial 1 of the study 's' has no file 'checkpoints'"


def test_the_model_is_listed_with_the_bytes_that_it_is_downloaded_with(server: ApiServer) -> None:
    server.create(**TRAIN)
    server.add_trials([0.5, TrialState.RUNNING])
    for number in range(2):
        leave_model(server, number)
        folder = Artifacts(server.settings.artifacts).attempt(AttemptKey(server.study_id(), number, 1))
        for name in ("model.safetensors", "model.onnx"):
            folder.write(name, bytes(70_000))

    listed = {item["id"]: item["bytes"] for item in server.get("s/trials/0/artifacts")["items"]}

    downloads = {name: server.http.get(f"/api/v1/studies/s/trials/0/artifacts/{name}") for name in listed}
    assert {name: len(answer.content) for name, answer in downloads.items()} == listed
    assert listed.keys() == {"model", "model.json", "model.safetensors", "model.onnx"}
    assert "model" not in [item["id"] for item in server.get("s/trials/1/artifacts")["items"]]  # nobody may have it yet


def test_code_of_ones_own_leaves_no_model_of_ours(server: ApiServer) -> None:
    server.create()
    server.add_trials([0.5])

    assert "runs code of its own" in refused(server, 409)


def test_without_a_worker_it_is_said_at_once_and_with_a_busy_one_after_the_time_is_up(server: ApiServer) -> None:
    server.create(**TRAIN)
    server.add_trials([0.5])
    leave_model(server, 0)
    assert "no worker of the pool 'default' is there" in refused(server, 503)

    with open_redis(server.settings.redis_url) as client:
        client.hset(worker_key("w"), mapping={"pool": "default", "gpus": "0", "state": "busy", "protocol": PROTOCOL})
    assert "no worker came to it within 0.1 s: 1 of the pool's 1 are busy" in refused(server, 504)

    with reads(server.engine)() as session:
        assert session.query(TaskRow).all() == []  # nobody waits: it must not be done later


@pytest.mark.parametrize("body", [{"rows": []}, {"rows": "x"}, {}, ROWS | {"trial": -1}, ROWS | {"trail": 1}, BOTH])
def test_a_wrong_body_is_refused(server: ApiServer, body: object) -> None:
    server.create(**TRAIN)

    refused(server, 422, body)


def test_too_few_trials_for_an_ensemble_are_told_with_where_more_may_come_from(server: ApiServer) -> None:
    """Under a pruner that lets few trials through, as asha does, one may be complete of many."""
    server.create(**TRAIN)
    server.add_trials([0.5, TrialState.PRUNED, TrialState.PRUNED])
    leave_model(server, 0)
    folder = Artifacts(server.settings.artifacts).attempt(AttemptKey(server.study_id(), 0, 1))
    folder.write("predictions.npz", b"")

    answer = server.post("s/ensembles", {"method": "greedy"})

    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "greedy needs at least two complete trials whose model and predictions are kept; there are 1, and 2 that were "
        "pruned: search with a larger least_complete of asha, or no pruner; bagging and boosting need one",
    )
    assert server.post("s/ensembles", {"method": "bagging", "rounds": 2}).status_code == 201


def test_an_ensemble_is_of_trials_that_see_images_as_large_as_the_best_one_does(server: ApiServer) -> None:
    server.create(**TRAIN)
    server.add_trials([0.4, 0.1, 0.3, 0.2])
    for number, size in enumerate([8, 8, 8, 16]):
        leave_model(server, number)
        folder = Artifacts(server.settings.artifacts).attempt(AttemptKey(server.study_id(), number, 1))
        folder.write("predictions.npz", b"")
        with writes(server.engine).begin() as session:
            session.get_one(TrialRow, (server.study_id(), number)).parameters = {"data.image_size": size}

    assert server.post("s/ensembles", {"method": "average"}).status_code == 201

    with writes(server.engine).begin() as session:
        task = session.scalars(select(TaskRow)).one()
        assert [member["trial"] for member in task.request["members"]] == [1, 2, 0]


def test_what_breaks_a_constraint_is_neither_a_member_nor_the_one_that_is_trained_again(server: ApiServer) -> None:
    server.create(**TRAIN | {"constraints": [{"metric": "params", "at_most": 10}]})
    server.add_trials([0.4, 0.1, 0.3, 0.2])
    for number in range(4):
        leave_model(server, number)
        folder = Artifacts(server.settings.artifacts).attempt(AttemptKey(server.study_id(), number, 1))
        folder.write("predictions.npz", b"")
        with writes(server.engine).begin() as session:
            session.get_one(TrialRow, (server.study_id(), number)).violation = 1.0 if number == 1 else 0.0

    assert [server.post("s/ensembles", {"method": method}).status_code for method in ("average", "refit")] == [201, 201]

    with writes(server.engine).begin() as session:
        tasks = session.scalars(select(TaskRow).order_by(TaskRow.number)).all()
        assert [[member["trial"] for member in task.request["members"]] for task in tasks] == [[3, 2, 0], [3]]
        for number in range(4):
            session.get_one(TrialRow, (server.study_id(), number)).violation = 1.0
    told = server.post("s/ensembles", {"method": "refit"}).json()["detail"]
    assert told == "refit needs a feasible complete trial whose model and predictions are kept; there are 0"


@pytest.mark.parametrize(
    ("method", "option", "others"),
    [
        ("average", "rounds", "greedy, bagging, boosting and refit have rounds"),
        ("stacking", "rounds", "greedy, bagging, boosting and refit have rounds"),
        ("bagging", "candidates", "average, greedy and stacking choose from candidates"),
        ("refit", "candidates", "average, greedy and stacking choose from candidates"),
    ],
)
def test_an_option_that_a_method_does_not_have_is_refused(
    server: ApiServer, method: str, option: str, others: str
) -> None:
    server.create(**TRAIN)

    answer = server.post("s/ensembles", {"method": method, option: 5})

    assert answer.status_code == 422
    assert others in answer.text


def test_a_trial_that_needs_validation_rows_is_not_refitted(server: ApiServer) -> None:
    trial = {**TRAIN["trial"], "schedule": {"name": "plateau"}}
    server.create(**TRAIN | {"trial": trial})
    server.add_trials([0.5])
    leave_model(server, 0)
    folder = Artifacts(server.settings.artifacts).attempt(AttemptKey(server.study_id(), 0, 1))
    folder.write("predictions.npz", b"")

    answer = server.post("s/ensembles", {"method": "refit"})

    why = "trial 0 lowers its rate by its validation rows (plateau): a refit has none"
    assert (answer.status_code, answer.json()["detail"]) == (409, why)


def test_the_refit_that_the_study_asks_for_goes_with_the_study(server: ApiServer) -> None:
    server.create(**TRAIN, refit=True)
    server.add_trials([0.9, 0.5])
    server.add_attempt(1, 1, [0.5])
    assert server.http.get("/api/v1/studies/s").json()["refit"] == {"state": "WAITING", "ensemble": None}
    with writes(server.engine).begin() as session:
        study = Studies(session).get("s")
        study.state, study.ended_at = "COMPLETE", datetime.now(UTC)
        of_an_earlier_best, own = (
            Tasks(session, study)
            .add("ensemble", {"method": "refit", "own": True, "members": [{"trial": number}]}, datetime.now(UTC))
            .ordinal
            for number in (0, 1)
        )

    answer = server.http.delete(f"/api/v1/studies/s/ensembles/{own}")

    assert (answer.status_code, "goes with the study" in answer.text) == (409, True)
    assert server.http.delete(f"/api/v1/studies/s/ensembles/{of_an_earlier_best}").status_code == 204
    assert server.http.get("/api/v1/studies/s").json()["refit"] == {"state": "QUEUED", "ensemble": own}


@pytest.mark.parametrize(("state", "kinds"), [("COMPLETE", ["collect"]), ("RUNNING", [])])
def test_what_only_a_deleted_ensemble_has_kept_is_collected(server: ApiServer, state: str, kinds: list[str]) -> None:
    """A study that runs collects by itself, as it grows and when it ends."""
    server.create(**TRAIN)
    with writes(server.engine).begin() as session:
        study = Studies(session).get("s")
        study.state, study.ended_at = state, datetime.now(UTC) if state == "COMPLETE" else None
        Tasks(session, study).add("ensemble", {"method": "greedy"}, datetime.now(UTC))

    assert server.http.delete("/api/v1/studies/s/ensembles/1").status_code == 204

    with writes(server.engine).begin() as session:
        assert [task.kind for task in session.scalars(select(TaskRow))] == kinds


def test_an_ensemble_that_is_not_there_is_told_with_those_that_are(server: ApiServer) -> None:
    server.create(**TRAIN)
    server.add_trials([0.5])
    leave_model(server, 0)
    assert server.http.get("/api/v1/studies/s/ensembles/1").json()["detail"] == "the study 's' has no ensemble 1"
    folder = Artifacts(server.settings.artifacts).attempt(AttemptKey(server.study_id(), 0, 1))
    folder.write("predictions.npz", b"")
    made = [server.post("s/ensembles", {"method": "bagging"}).json()["number"] for _ in range(2)]

    told = server.http.get("/api/v1/studies/s/ensembles/99").json()["detail"]

    assert (made, told) == ([1, 2], "the study 's' has no ensemble 99; its newest are 1, 2")


def test_ensembles_are_counted_by_themselves_and_no_number_is_given_twice(server: ApiServer) -> None:
    server.create(**TRAIN)
    with writes(server.engine).begin() as session:
        tasks = Tasks(session, Studies(session).get("s"))
        for kind in ("predict", "ensemble", "rescore", "ensemble"):
            tasks.add(kind, {"method": "greedy", "members": [], "rounds": 1, "seed": 0}, datetime.now(UTC))
    folder = Artifacts(server.settings.artifacts).task(server.study_id(), 4)
    folder.write("ensemble.json", b"{}")

    assert [each["number"] for each in server.get("s/ensembles")["items"]] == [2, 1]
    assert server.http.delete("/api/v1/studies/s/ensembles/2").status_code == 204
    assert folder.names() == []
    with writes(server.engine).begin() as session:
        tasks = Tasks(session, Studies(session).get("s"))
        assert tasks.add("ensemble", {}, datetime.now(UTC)).ordinal == 3
        assert tasks.ensemble(1).number == 2
