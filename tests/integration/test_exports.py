"""A study that the scheduler ran, exported, and read by those for whom the files are."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState as OptunaState
from pyarrow import parquet
from sqlalchemy import update

from api.exports.journal import as_journal
from api.exports.pages import PAGE
from api.exports.parquet import as_parquet
from api.exports.text import as_csv, as_json
from store.models import StudyRow, StudyState, TrialRow
from store.session import reads, writes
from tests.yard import METRIC, Yard, study

PARAMETERS = {
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "momentum": {"low": 0.0, "high": 0.9, "step": 0.3, "when": {"optimizer": "sgd"}},
    "optimizer": {"values": ["sgd", "adam"]},
    "hidden": {"values": [[8], [8, 8], "none"]},
    "depth": {"low": 1, "high": 4},
    "epochs": {"value": 3},
    "bias": {"values": [True, False]},
}


@pytest.fixture
def searched(yard: Yard) -> int:
    """Twelve trials under a median pruner: some complete, some pruned, one failed, one cancelled, one still open."""
    sections: dict[str, Any] = {"parameters": PARAMETERS, "budget": {"trials": 12, "parallel": 1}}
    pruner = {"name": "median", "n_startup_trials": 3}
    study_id = yard.begin(study(sampler={"name": "tpe", "seed": 1, "n_startup_trials": 4}, pruner=pruner, **sections))
    worker = yard.worker()
    for number in range(11):
        attempt = worker.start(study_id, number).attempt
        decision = "continue"
        for step in range(1, 4):
            decision = worker.report(attempt, step, (number * 7 % 11) / step).decision
            if decision == "prune":
                break
        if number == 5:
            worker.finish(attempt, outcome="failed", reason="it diverged")
        else:
            worker.finish(attempt, outcome="pruned" if decision == "prune" else "finished")
    yard.set_state(study_id, StudyState.PAUSED)
    return study_id


def test_optuna_opens_the_journal_and_finds_the_study_that_we_hold(yard: Yard, searched: int, tmp_path: Path) -> None:
    ours = yard.scheduler._studies[searched].optuna._study
    row = yard.study(searched)
    path = tmp_path / "s.journal"
    path.write_bytes(b"".join(as_journal(reads(yard.engine), row)))

    loaded = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path))))

    assert loaded.directions == ours.directions
    assert loaded.metric_names == [METRIC]
    assert loaded.user_attrs["definition"]["name"] == "s"
    assert len(loaded.trials) == len(ours.trials) == 12
    for theirs, mine in zip(loaded.trials, ours.trials, strict=True):
        if mine.number == 11:  # it waits; for a sampler of ours it counts as running
            assert (theirs.state, theirs.params) == (OptunaState.WAITING, mine.params)
            continue
        for what in ("number", "state", "params", "distributions", "values", "intermediate_values", "system_attrs"):
            assert getattr(theirs, what) == getattr(mine, what), (mine.number, what)
    states = [trial.state for trial in loaded.trials]
    assert {OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.FAIL} <= set(states)
    assert loaded.best_trial.number == ours.best_trial.number
    failed = loaded.trials[5].user_attrs
    assert failed == {
        "state": "FAILED",
        "reason": "it diverged",
        "attempts": 1,
        "space_version": 1,
        "worker": "w1",
        "device": "cpu",
        "constants": {"epochs": 3},
        f"metrics.{METRIC}": (5 * 7 % 11) / 3,
    }
    started = yard.trials(searched)[0].started_at
    assert started is not None
    assert loaded.trials[0].datetime_start == started.astimezone().replace(tzinfo=None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_optuna_goes_on_with_the_journal_where_we_stopped(yard: Yard, searched: int, tmp_path: Path) -> None:
    row = yard.study(searched)
    path = tmp_path / "s.journal"
    path.write_bytes(b"".join(as_journal(reads(yard.engine), row)))
    loaded = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path))))

    waiting, new = loaded.ask(), loaded.ask()
    drawn = new.suggest_float("lr", 1e-4, 0.1, log=True)
    loaded.tell(new, -1.0)

    assert waiting.number == 11
    assert (new.number, loaded.best_params) == (12, {"lr": drawn})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_parquet_has_a_typed_row_for_each_trial(yard: Yard, searched: int) -> None:
    row = yard.study(searched)
    pieces = list(as_parquet(reads(yard.engine), row))

    table = parquet.read_table(io.BytesIO(b"".join(pieces)))

    kinds = {name: str(table.schema.field(name).type) for name in ("lr", "hidden", "depth", "epochs", "bias", METRIC)}
    expected = {"lr": "double", "hidden": "string", "depth": "int64", "epochs": "int64", "bias": "bool"}
    assert kinds == expected | {METRIC: "double"}
    rows = table.to_pylist()
    trials = yard.trials(searched)
    assert [each["number"] for each in rows] == list(range(12))
    for read, trial in zip(rows, trials, strict=True):
        hidden = trial.parameters["hidden"]
        assert read["hidden"] == (hidden if isinstance(hidden, str) else json.dumps(hidden, separators=(",", ":")))
        assert (read["lr"], read["momentum"]) == (trial.parameters["lr"], trial.parameters.get("momentum"))
        assert read[METRIC] == (trial.values or {}).get(METRIC)
        assert (read["started_at"], read["ended_at"]) == (trial.started_at, trial.ended_at)
        assert dict(read["metrics"] or []) == (trial.metrics or {})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_export_holds_no_more_than_a_page(yard: Yard) -> None:
    study_id = yard.submit(study())
    row = TrialRow(study_id=study_id, state="WAITING", parameters={"x": 0.5, "k": "a"}, system_attrs={}, retries=0)
    columns = {name: getattr(row, name) for name in ("study_id", "state", "parameters", "system_attrs", "retries")}
    with writes(yard.engine).begin() as session:
        session.execute(update(StudyRow).values(state="PAUSED"))
        numbered = [columns | {"number": number, "created_at": yard.clock.now()} for number in range(2 * PAGE + 1)]
        session.execute(TrialRow.__table__.insert(), numbered)  # type: ignore[attr-defined]
    study_row, sessions = yard.study(study_id), reads(yard.engine)

    assert [piece.count("\n") for piece in as_csv(sessions, study_row)] == [1, PAGE, PAGE, 1]
    assert [piece.count(b"WAITING") for piece in as_json(sessions, study_row, {})] == [0, PAGE, PAGE, 1, 0]
    journal = as_journal(sessions, study_row)
    assert [piece.count(b"\n") for piece in journal] == [1, 1, 1, PAGE, PAGE, 1]
    table = parquet.ParquetFile(io.BytesIO(b"".join(as_parquet(sessions, study_row))))
    assert [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)] == [PAGE, PAGE, 1]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_table_has_each_column_once_whatever_parameters_and_metrics_are_called(yard: Yard) -> None:
    parameters = {"loss": {"value": "mse"}, "number": {"value": 7}, "parameters.loss": {"value": 0.5}}
    objective = [{"metric": name, "direction": "minimize"} for name in ("loss", "state")]
    study_id = yard.begin(study(objective=objective, parameters=parameters, budget={"trials": 1, "parallel": 1}))
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt, metrics={"loss": 0.25, "state": 3.0})
    sessions, row = reads(yard.engine), yard.study(study_id)

    [written] = csv.DictReader(io.StringIO("".join(as_csv(sessions, row))))
    [typed] = parquet.read_table(io.BytesIO(b"".join(as_parquet(sessions, row)))).to_pylist()

    # In order: `state` is the trial's; `loss` the metric's, so that the parameter takes the next name, and so on.
    expected = {
        "number": 0,
        "state": "COMPLETE",
        "loss": 0.25,
        "values.state": 3.0,
        "parameters.loss": "mse",
        "parameters.number": 7,
        "parameters.parameters.loss": 0.5,
        "attempts": 1,
    }
    assert {name: typed[name] for name in expected} == expected
    assert {name: written[name] for name in expected} == {name: str(value) for name, value in expected.items()}


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_other_metrics_have_columns_behind_the_others(yard: Yard) -> None:
    study_id = yard.begin(study(parameters={"depth": {"low": 1, "high": 4}}, budget={"trials": 3, "parallel": 3}))
    worker = yard.worker()
    told: list[dict[str, float]] = [{"test/f1": 0.75, "depth": 9.0, "=1+1": 2.0}, {"seconds": 12.5, "metrics": 1.0}]
    for number, metrics in enumerate(told):
        worker.finish(worker.start(study_id, number).attempt, metrics={METRIC: 0.5} | metrics)
    sessions, row = reads(yard.engine), yard.study(study_id)

    rows = list(csv.DictReader(io.StringIO("".join(as_csv(sessions, row)))))
    table = parquet.read_table(io.BytesIO(b"".join(as_parquet(sessions, row))))

    before = ["number", "state", METRIC, "depth", "started_at", "ended_at", "attempts", "reason", "feasible"]
    added = ["metrics.=1+1", "metrics.depth", "metrics.metrics", "seconds", "test/f1"]
    assert list(rows[0]) == [*before, *added]
    assert table.column_names == [*before, "metrics", *added]
    expected = [["2.0", "9.0", "", "", "0.75"], ["", "", "1.0", "12.5", ""], [""] * 5]  # the third one waits
    assert [[each[name] for name in added] for each in rows] == expected
    assert [["" if each[name] is None else str(each[name]) for name in added] for each in table.to_pylist()] == expected


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_table_says_which_trials_keep_the_constraints(yard: Yard) -> None:
    constraints = [{"metric": "params", "at_most": 100}]
    study_id = yard.begin(study(constraints=constraints, budget={"trials": 3, "parallel": 3}))
    worker = yard.worker()
    for number, params in enumerate((100.0, 101.0)):
        attempt = worker.start(study_id, number).attempt
        worker.finish(attempt, metrics={METRIC: 0.5, "params": params})
    sessions, row = reads(yard.engine), yard.study(study_id)

    written = csv.DictReader(io.StringIO("".join(as_csv(sessions, row))))
    typed = parquet.read_table(io.BytesIO(b"".join(as_parquet(sessions, row))))

    assert [each["feasible"] for each in written] == ["true", "false", ""]  # the third one waits
    assert typed["feasible"].to_pylist() == [True, False, None]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_in_csv_no_reason_is_a_formula(yard: Yard) -> None:
    reasons = ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "it = 1"]
    study_id = yard.begin(study(budget={"trials": 6, "parallel": 1}))
    worker = yard.worker()
    for number, reason in enumerate(reasons):
        attempt = worker.start(study_id, number).attempt
        worker.report(attempt, 0, {METRIC: 1.0, "@SUM(1)": 2.0})
        worker.finish(attempt, outcome="failed", reason=reason)

    rows = list(csv.DictReader(io.StringIO("".join(as_csv(reads(yard.engine), yard.study(study_id))))))

    assert [row["reason"] for row in rows] == [*(f"'{reason}" for reason in reasons[:-1]), reasons[-1]]
    assert [row["metrics.@SUM(1)"] for row in rows] == ["2.0"] * len(rows)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_in_csv_a_choice_of_null_is_not_a_parameter_that_takes_no_part(yard: Yard) -> None:
    parameters = {"a": {"values": [None, 1]}, "b": {"values": [None, 1], "when": {"a": [1]}}}
    points = [{"a": None}, {"a": 1, "b": None}]
    study_id = yard.begin(study(parameters=parameters, enqueue=points, budget={"trials": 2, "parallel": 2}))

    rows = csv.DictReader(io.StringIO("".join(as_csv(reads(yard.engine), yard.study(study_id)))))

    assert [(row["a"], row["b"]) for row in rows] == [("null", ""), ("1", "null")]
