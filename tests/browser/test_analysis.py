"""What a study's page says about its parameters, its time and its rungs."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Page, Route, expect

from store.bus import events_channel
from store.models import AttemptRow, EventRow, Outcome, StudyRow, StudyState, TrialRow, TrialState
from store.session import writes
from tests.browser.conftest import Visitor
from tests.browser.seed import METRIC, bare_study, proposal
from tests.browser.test_page import trials_of


def looked_at(page: Page, part: str, figure: str) -> None:
    """What lies further down is drawn when it comes near the screen."""
    expect(page.locator("#history.js-plotly-plot")).to_be_visible()
    page.locator(part).scroll_into_view_if_needed()
    expect(page.locator(f"{figure}.js-plotly-plot")).to_be_visible()


def slices(page: Page) -> list[dict[str, Any]]:
    """The points that Plotly has, of pruned trials, of complete ones and of the best, for each slice in turn."""
    keys = "({x, y, customdata, xaxis}) => ({x, y, customdata, xaxis})"
    found: list[dict[str, Any]] = page.evaluate(f"document.querySelector('#slices').data.map({keys})")
    return found


def test_each_parameter_is_shown_against_the_objective(visitor: Visitor) -> None:
    page = visitor.open("/studies/adult-mlp")
    looked_at(page, "#analysis", "#slices")
    expect(page.locator("#importance .importance")).to_have_count(6)
    complete = {trial.number: trial for trial in trials_of(visitor.site, "adult-mlp") if trial.state == "COMPLETE"}

    assert page.locator("#importance .name").first.inner_text() == "optimizer.lr"
    assert len(slices(page)) == 3 * 6
    points = slices(page)[1]
    lr = {number: trial.parameters["optimizer.lr"] for number, trial in complete.items()}
    assert dict(zip(points["customdata"], points["x"], strict=True)) == lr
    assert page.evaluate("document.querySelector('#slices').layout.xaxis.type") == "log"

    page.locator("#slices-parameter").select_option("model.hidden")  # choices are strewn about their places
    page.wait_for_function("document.querySelector('#slices').data.length === 3")
    points = slices(page)[1]
    assert dict(zip(points["customdata"], points["y"], strict=True)) == {
        n: t.values[METRIC] for n, t in complete.items()
    }
    places = [[64], [128, 64], [256, 128]]
    for number, x in zip(points["customdata"], points["x"], strict=True):
        assert abs(x - places.index(complete[number].parameters["model.hidden"])) <= 0.28

    page.locator("#slices-parameter").select_option("regularization.dropout")  # and so are the steps of a range
    page.wait_for_function("document.querySelector('#slices').layout.xaxis.title.text === 'regularization.dropout'")
    points = slices(page)[1]
    assert len(set(points["x"])) == len(complete)
    for number, x in zip(points["customdata"], points["x"], strict=True):
        assert abs(x - complete[number].parameters["regularization.dropout"]) < 0.03


def test_a_slice_shows_the_range_that_is_searched_with_a_single_trial_too(visitor: Visitor) -> None:
    """Plotly alone draws one point with a unit on either side."""
    parameters = {"optimizer.lr": 0.003, "regularization.dropout": 0.2}
    with writes(visitor.site.engine).begin() as session:
        study = bare_study(session, "single", StudyState.RUNNING, minutes_ago=5)
        times = dict.fromkeys(("created_at", "started_at", "ended_at"), study.created_at)
        row = {"parameters": parameters, "system_attrs": {}, "values": {METRIC: 0.5}, "metrics": {METRIC: 0.5}}
        session.add(TrialRow(study_id=study.id, number=0, state=TrialState.COMPLETE, step=1, **times, **row))
    page = visitor.open("/studies/single")
    looked_at(page, "#analysis", "#slices")

    shown = "document.querySelector('#slices').layout.xaxis.range"
    page.locator("#slices-parameter").select_option("regularization.dropout")
    page.wait_for_function("document.querySelector('#slices').data.length === 3")
    low, high = page.evaluate(shown)
    assert -0.1 < low <= 0.0 < 0.6 <= high < 0.7
    page.locator("#slices-parameter").select_option("optimizer.lr")
    page.wait_for_function("document.querySelector('#slices').layout.xaxis.type === 'log'")
    low, high = page.evaluate(shown)
    assert -4.5 < low <= -4 < -1 <= high < -0.5


def test_the_variance_is_asked_for_and_waited_for(visitor: Visitor) -> None:
    page = visitor.open("/studies/adult-mlp")
    shares = {"batch_size": 0.9, "optimizer.lr": 0.1}
    states = iter(["computing", "done"])

    def answer(route: Route) -> None:
        state = next(states)
        importance = shares if state == "done" else {}
        body = {"method": "fanova", "state": state, "trials": 42, "importance": importance, "by_objective": {}}
        route.fulfill(status=200 if importance else 202, content_type="application/json", body=json.dumps(body))

    page.route("**/importance?method=fanova", answer)
    looked_at(page, "#analysis", "#slices")

    page.locator("#importance-method").select_option("fanova")
    expect(page.locator("#importance .importance")).to_have_count(2)
    expect(page.locator("#importance-caption")).to_contain_text("Whose the variance of all trials is (fANOVA). From 42")
    assert page.evaluate("document.querySelector('#slices').layout.xaxis.title.text") == "batch_size"


def test_time_devices_and_rungs_are_accounted_for(visitor: Visitor) -> None:
    page = visitor.open("/studies/adult-mlp")
    looked_at(page, "#effort", "#timeline")
    trials = trials_of(visitor.site, "adult-mlp")

    facts = page.locator("#effort-facts dd").all_inner_texts()
    repeats = len(trials) - len({json.dumps(trial.parameters, sort_keys=True) for trial in trials})
    assert (facts[3], facts[5]) == ("4", str(repeats))
    rows = page.locator("#rungs tbody tr")
    expect(rows).to_have_count(4)  # hyperband from 1 to 27
    dealt = [int(row.locator("td").nth(1).inner_text()) for row in rows.all()]
    assert sum(dealt) == len(trials) == 300
    reached = sum(int(row.locator("td").last.inner_text().split()[0]) for row in rows.all())
    assert reached == sum((trial.step or 0) >= 27 for trial in trials)


def test_a_trial_that_waits_at_a_rung_holds_no_worker(visitor: Visitor) -> None:
    """Of trials that the page has seen begin and pause; each attempt of ten seconds, with a wait between them."""
    site, now = visitor.site, datetime.now(UTC)
    with writes(site.engine).begin() as session:
        study = bare_study(session, "holds-none", StudyState.RUNNING, 5)
        key = study.id
    page = visitor.open("/studies/holds-none")
    expect(page.locator("#live")).to_have_text("Live")

    with writes(site.engine).begin() as session:
        moves = [(100, "QUEUED"), (99, "RUNNING"), (89, "PAUSED"), (69, "QUEUED"), (68, "RUNNING"), (58, "PAUSED")]
        for sequence, (ago, state) in enumerate(moves, start=1):
            metrics = {} if state == "QUEUED" else {"metrics": {METRIC: 0.9}, "step": 1}
            body = {"number": 0, "state": state, "attempt": 1, "worker": "w", "parameters": {}, **metrics}
            at = now - timedelta(seconds=ago)
            session.add(EventRow(study_id=key, sequence=sequence, kind="trial", body=body, at=at))
        session.get_one(StudyRow, key).last_event = len(moves)
    site.redis.publish(events_channel(key), len(moves))
    expect(page.locator("#chips button[data-state=paused]")).to_contain_text("1")
    looked_at(page, "#effort", "#timeline")

    expect(page.locator("#effort-facts dd").first).to_have_text("20 s")
    expect(page.locator("#effort-facts dd").nth(4)).to_have_text("49 %")  # of 41 seconds


def test_where_nearly_all_wait_at_rungs_they_are_what_is_shown(visitor: Visitor) -> None:
    begun, minute = datetime.now(UTC) - timedelta(hours=3), timedelta(minutes=1)
    with writes(visitor.site.engine).begin() as session:
        times = {"created_at": begun, "started_at": begun, "ended_at": begun + minute}
        study = bare_study(session, "waiting", StudyState.COMPLETE, 180, ended_at=begun + minute)
        for number in range(30):
            complete = number < 3
            metrics = {METRIC: 0.99 if complete else 0.9 + number / 1000}
            state = TrialState.COMPLETE if complete else TrialState.PRUNED
            key = {"study_id": study.id, "number": number}
            values = metrics if complete else None
            row = {"parameters": proposal(random.Random(number), None), "system_attrs": {}, "step": 1 + 26 * complete}
            session.add(TrialRow(**key, **times, **row, state=state, values=values, metrics=metrics))
            session.flush()
            outcome = (
                Outcome.FINISHED if complete else Outcome.PAUSED
            )  # a pruned trial's last attempt stopped at a rung
            span = {"started_at": begun, "ended_at": begun + minute, "worker": "w", "device": "cpu"}
            session.add(AttemptRow(**key, **span, attempt=1, outcome=outcome))
    page = visitor.open("/studies/waiting")
    looked_at(page, "#effort", "#timeline")

    facts = page.locator("#effort-facts dd").all_inner_texts()
    assert facts[1] == "90 %"  # of the time went into pruned trials: 27 of 30 minutes
    # The first trace of pruned points has those within the range, all but the worst tenth of all thirty.
    inside = page.evaluate("document.querySelector('#history').data.map(({yaxis, customdata}) => [yaxis, customdata])")
    pruned = [len(numbers) for axis, numbers in inside if numbers and min(numbers) >= 3 and axis == "y"]
    assert pruned == [27]  # the worst three are near enough to the others
