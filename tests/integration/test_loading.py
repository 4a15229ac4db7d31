"""What becomes of a study whose rows the scheduler fails on as it loads them: it ends alone, if others are loaded."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from search import loading
from search.live_study import LiveStudy
from store.messages import Amend, AttemptKey, Done, Nothing, PreflightTask, Refused
from store.models import StudyRow, StudyState, TrialRow
from store.session import reads, writes
from store.studies import Studies
from tests.yard import METRIC, Yard, study

THREE = {"trials": 3, "parallel": 2}


def broken(yard: Yard, name: str = "bad") -> tuple[int, AttemptKey]:
    """A study with a complete trial whose value is another metric's, as nobody of us writes it; and what runs of it."""
    study_id, worker = yard.begin(study(name, budget=THREE)), yard.worker(f"of-{name}")
    worker.finish(worker.start(study_id, 0).attempt, 0.5)
    running = worker.start(study_id, 1).attempt
    with writes(yard.engine).begin() as session:
        session.execute(
            update(TrialRow).where(TrialRow.study_id == study_id, TrialRow.number == 0).values(values={"y": 1})
        )
    return study_id, running


def amend(yard: Yard, study_id: int) -> object:
    return yard.worker("api").say(Amend(study_id=study_id, parameters={"x": {"low": 0.0, "high": 2.0}}))


def test_a_study_that_cannot_be_loaded_ends_and_no_other(yard: Yard) -> None:
    bad, running = broken(yard)
    good = yard.begin(study(budget=THREE))
    worker = yard.worker()
    attempt = worker.start(good, 0).attempt
    yard.restart()

    found = yard.study(bad)
    assert (found.state, yard.study(good).state) == ("FAILED", "RUNNING")
    why = f"the scheduler cannot run what is stored: study: cannot be loaded (KeyError: '{METRIC}');"
    assert str(found.reason).startswith(why)
    assert yard.states(bad) == ["COMPLETE", "CANCELLED", "CANCELLED"]
    assert all(trial.ended_at and trial.reason == "the study has failed" for trial in yard.trials(bad)[1:])
    assert [each.outcome for each in yard.attempts(bad, 1)] == ["cancelled"]
    assert [event.body["state"] for event in yard.events(bad)][-1] == "FAILED"
    assert yard.worker("of-bad").report(running, 1, 0.5).stale

    worker.finish(attempt, 0.25)
    assert yard.trials(good)[0].state == "COMPLETE"
    yard.restart()
    assert yard.states(good)[0] == "COMPLETE"


def test_what_is_open_of_a_study_whose_definition_no_longer_holds_ends_with_it(yard: Yard) -> None:
    study_id = yard.begin(study(budget=THREE))
    yard.worker().start(study_id, 0)
    with writes(yard.engine).begin() as session:
        session.execute(update(StudyRow).values(definition={"name": "s"}))
    yard.restart()

    found = yard.study(study_id)
    assert (found.state, yard.states(study_id)) == ("FAILED", ["CANCELLED", "CANCELLED"])
    assert str(found.reason).startswith("the scheduler cannot run what is stored: objective: is missing")
    assert [each.outcome for each in yard.attempts(study_id, 0)] == ["cancelled"]


def test_if_no_study_with_trials_can_be_loaded_it_may_be_us_and_none_is_given_up(yard: Yard) -> None:
    first, second = broken(yard, "one")[0], broken(yard, "two")[0]
    yard.submit(study("new"))  # without trials it says nothing of how we read those of others

    with pytest.raises(KeyError, match=METRIC):
        yard.restart()

    assert [yard.study(each).state for each in (first, second)] == ["RUNNING", "RUNNING"]
    assert yard.states(first) == ["COMPLETE", "RUNNING", "QUEUED"]


def test_a_study_that_is_deleted_before_it_is_loaded_is_no_fault(yard: Yard) -> None:
    study_id = yard.begin(study(budget=THREE))

    loaded, refused = loading.load_studies(reads(yard.engine), [study_id, study_id + 1], [])

    assert (list(loaded), refused) == ([study_id], {})


def test_a_study_that_cannot_be_loaded_with_its_new_space_ends_and_no_other(yard: Yard) -> None:
    bad, running = broken(yard)
    good = yard.begin(study(budget=THREE))

    assert amend(yard, bad) == Done()

    found = yard.study(bad)
    assert (found.state, yard.study(good).state) == ("FAILED", "RUNNING")
    assert str(found.reason).endswith(
        f"cannot be loaded (KeyError: '{METRIC}'); a fault of ours; the scheduler's log has it"
    )
    assert yard.states(bad) == ["COMPLETE", "CANCELLED", "CANCELLED"]
    assert [each.outcome for each in yard.attempts(bad, 1)] == ["cancelled"]
    assert yard.events(bad)[-1].body["state"] == "FAILED"
    assert yard.worker("of-bad").report(running, 1, 0.5).stale


def test_a_study_that_is_deleted_while_its_space_changes_is_no_fault(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, good = (yard.begin(study(name, budget=THREE)) for name in ("gone", "good"))
    yard.set_state(gone, StudyState.PAUSED)
    real = loading.load_study

    def load(session: Any, study_id: int) -> LiveStudy:
        with writes(yard.engine).begin() as other:
            Studies(other).delete("gone")
        return real(session, study_id)

    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_study", load)
        assert amend(yard, gone) == Done()

    assert isinstance(amend(yard, gone), Refused)
    assert yard.worker().start(good, 0).attempt.number == 0


def test_a_study_that_can_be_loaded_the_second_time_goes_on(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = [yard.begin(study(name, budget=THREE)) for name in ("one", "two")]
    real, calls = loading.load_study, list[int]()

    def load(session: Any, study_id: int) -> LiveStudy:
        calls.append(study_id)
        if calls == studies:
            raise RuntimeError("once")
        return real(session, study_id)

    monkeypatch.setattr(loading, "load_study", load)
    yard.restart()

    assert calls == [*studies, studies[1]]
    assert [yard.study(each).state for each in studies] == ["RUNNING", "RUNNING"]


@pytest.mark.parametrize("error", [MemoryError(), OSError("too many open files")])
def test_a_fault_of_the_machine_ends_no_study(yard: Yard, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    studies = [yard.begin(study(name, budget=THREE)) for name in ("one", "two")]
    real = loading.load_study

    def load(session: Any, study_id: int) -> LiveStudy:
        if study_id == studies[1]:
            raise error
        return real(session, study_id)

    monkeypatch.setattr(loading, "load_study", load)
    with pytest.raises(type(error)):
        yard.restart()

    assert [yard.study(each).state for each in studies] == ["RUNNING", "RUNNING"]


def test_a_fault_of_the_database_ends_no_study(yard: Yard) -> None:
    studies = [yard.begin(study(name, budget=THREE)) for name in ("one", "two")]
    with yard.engine.begin() as connection:
        connection.execute(text("ALTER TABLE report RENAME TO elsewhere"))
    with pytest.raises(DBAPIError):
        yard.restart()
    with yard.engine.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO report"))

    assert [yard.study(each).state for each in studies] == ["RUNNING", "RUNNING"]
    yard.restart()
    assert all(len(yard.states(each)) == 2 for each in studies)


def test_a_study_that_is_loaded_anew_knows_who_runs_its_preflight_and_how_many_were_lost(yard: Yard) -> None:
    study_id = yard.submit(study(budget={"trials": 1, "retries": 1}))
    assert isinstance(yard.worker("w1").take(study_id, None), PreflightTask)
    assert amend(yard, study_id) == Done()
    yard.turn()

    second = yard.worker("w2")
    assert second.take(study_id, None) == Nothing()
    yard.clock.advance(yard.settings.lease_seconds + 1)
    yard.turn()
    assert isinstance(second.take(study_id, None), PreflightTask)
    assert amend(yard, study_id) == Done()
    yard.clock.advance(yard.settings.lease_seconds + 1)
    yard.turn()
    assert (yard.study(study_id).reason or "").startswith("the preflight was lost 2 times")


def test_a_study_that_is_loaded_anew_has_the_room_that_it_had(yard: Yard) -> None:
    """Between two rounds, in which the slots are counted and shared out."""
    study_id = yard.begin(study(budget={"trials": 9}))
    with reads(yard.engine)() as session:
        fresh, before = loading.load_study(session, study_id), loading.load_study(session, study_id)
    before.slots, before.share = 5, 2

    fresh.stand_in_for(before)

    assert (fresh.slots, fresh.share) == (5, 2)
