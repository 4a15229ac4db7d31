"""The page in a real browser, on the real server: what it shows, that it follows, and that it stays readable."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select

from api.page_text import measured, metric, parameter
from store.artifacts import Artifacts
from store.bus import worker_key
from store.messages import AttemptKey
from store.models import ReportRow, StudyRow, StudyState, TrialRow
from store.roster import crowds_key
from store.session import reads, writes
from tests.browser.conftest import Site, Visitor, serving
from tests.browser.seed import METRIC, Author, bare_study, definition

EVERY_PAGE = [
    "/",
    "/studies/digits-mlp",
    "/studies/churn-wide",
    "/studies/digits-mlp/trials/45",
    "/workers",
    "/compare?studies=digits-random,adult-mlp",
]


@pytest.mark.parametrize("path", EVERY_PAGE)
def test_no_page_scrolls_sideways_on_a_phone(visitor: Visitor, path: str) -> None:
    page = visitor.open(path, width=390)

    expect(page.get_by_role("heading", level=1)).to_be_visible()
    if page.locator(".figure").count() and not page.locator("#figures[hidden]").count():
        expect(page.locator(".js-plotly-plot").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_study_shows_its_counts_its_best_trial_and_its_figures(visitor: Visitor) -> None:
    best = best_of(visitor.site, "adult-mlp")
    page = visitor.open("/studies/adult-mlp")

    expect(page.locator("#best-value")).to_contain_text(f"{best.values[METRIC]:.4f}")
    expect(page.locator("#done")).to_have_text("300of 300")
    for figure in ("#history", "#curves"):
        expect(page.locator(f"{figure}.js-plotly-plot")).to_be_visible()
    assert drawn_points(page, "#history") == 300  # one a trial: none has neither a value nor a place at the edge
    assert (
        page.locator("#curves-caption").inner_text().find("curves: the best and a sample") > 0
    )  # of 292 that reported
    assert colours_of(page, "#parallel canvas") > 20


def test_a_running_study_is_followed_without_a_reload(visitor: Visitor) -> None:
    author_of_running_study(visitor.site, "live-mlp")
    player = visitor.site.player("live-mlp")
    page = visitor.open("/studies/live-mlp")
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#rows tr")).to_have_count(10)  # 4 settled, 4 running, 2 queued
    page.evaluate("window.sameDocument = true")

    player.step()  # one epoch of each of the running trials 4 to 7; trial 4 stood at epoch 2
    expect(page.locator("#rows tr[data-number='4']")).to_contain_text("3")

    player.complete(4, 0.9991)
    expect(page.locator("#best-value")).to_contain_text("0.9991")
    expect(page.locator("#best-value a")).to_have_attribute("href", "/studies/live-mlp/trials/4")
    expect(page.locator("#rows tr[data-number='4']")).to_contain_text("complete")

    player.end_study(StudyState.COMPLETE)
    expect(page.locator("#state")).to_have_text("complete")
    expect(page.locator("#controls")).to_be_hidden()

    afterwards = visitor.open("/studies/live-mlp")
    expect(afterwards.locator("#live")).to_have_text("Ended")
    player.take_up(trials=99)
    for each in (page, afterwards):
        expect(each.locator("#state")).to_have_text("running", timeout=30_000)
        expect(each.locator("#live")).to_have_text("Live")
        expect(each.locator("#controls")).to_be_visible()
        expect(each.locator("#done")).to_contain_text("of 99")
        expect(each.locator("#left-label")).to_have_text("Time left, about")
    player.complete(6, 0.9995)
    expect(page.locator("#best-value")).to_contain_text("0.9995")
    assert page.evaluate("window.sameDocument")


def test_an_event_between_the_rendering_and_the_connection_is_neither_lost_nor_counted_twice(visitor: Visitor) -> None:
    author_of_running_study(visitor.site, "race-mlp")
    player = visitor.site.player("race-mlp")
    page = visitor.open("/workers")

    def finish_first(number: int) -> Any:
        def handle(route: Route) -> None:
            player.complete(number, 0.97)
            route.continue_()

        return handle

    page.route("**/race-mlp/trials?*", finish_first(4), times=1)  # rendered, not yet read
    page.route("**/race-mlp/events?*", finish_first(5), times=1)  # rendered, not yet connected
    page.goto(f"{visitor.site.url}/studies/race-mlp")

    for number in (4, 5):
        expect(page.locator(f"#rows tr[data-number='{number}']")).to_contain_text("complete")
    expect(page.locator("#progress .is-complete b")).to_have_text(str(count(visitor.site, "race-mlp", "COMPLETE")))


def test_the_trial_table_sorts_filters_and_keeps_its_view_in_the_address(visitor: Visitor) -> None:
    site = visitor.site
    page = visitor.open("/studies/adult-mlp")
    expect(page.locator("#range")).to_have_text("1–100 of 300 trials")

    page.get_by_role("button", name=METRIC).press("Enter")
    expect(page.locator("#columns th[aria-sort]")).to_have_attribute("aria-sort", "descending")
    page.locator("#chips button[data-state=complete]").click()
    best = best_of(site, "adult-mlp").number
    expect(page.locator("#rows tr").first).to_have_attribute("data-number", str(best))

    page.locator("#filter").fill("optimizer.name=adamw lr<0.003")
    kept = [
        trial.number
        for trial in trials_of(site, "adult-mlp")
        if trial.state == "COMPLETE"
        and trial.parameters["optimizer.name"] == "adamw"
        and trial.parameters["optimizer.lr"] < 0.003
    ]
    expect(page.locator("#rows tr")).to_have_count(len(kept))
    assert 0 < len(kept) < 100

    page.reload()
    expect(page.locator("#rows tr")).to_have_count(len(kept))
    assert sorted(numbers_in(page)) == kept
    assert "state=complete" in page.url
    assert "sort=-value" in page.url


def test_back_undoes_what_was_clicked_in_the_table_step_by_step(visitor: Visitor) -> None:
    page = visitor.open("/studies/adult-mlp")
    pressed = page.locator("#chips button[aria-pressed=true]")
    page.locator("#next").click()
    page.locator("#chips button[data-state=complete]").click()
    page.locator("#filter").fill("adamw")
    page.locator("#columns th[data-key=value] button").click()
    page.locator("#history-log").check()

    page.go_back()  # the order; what was typed before stays
    expect(page.locator("#columns th[data-key=number]")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#filter")).to_have_value("adamw")
    expect(pressed).to_have_attribute("data-state", "complete")
    assert "history-log=on" in page.url  # no step of the table: what a figure was set to stays
    page.go_back()
    expect(pressed).to_have_attribute("data-state", "all")
    expect(page.locator("#range")).to_contain_text("101–200")
    page.go_back()
    expect(page.locator("#range")).to_contain_text("1–100")
    page.go_forward()
    expect(page.locator("#range")).to_contain_text("101–200")
    expect(page.locator("#history-log")).to_be_checked()


def test_the_list_of_studies_is_filtered_again_on_the_way_back(visitor: Visitor) -> None:
    page = visitor.open("/")
    page.locator("#filter").fill("adult")
    page.get_by_role("link", name="adult-mlp", exact=True).click()
    expect(page.locator("#rows tr").first).to_be_visible()

    page.go_back()

    expect(page.locator("#filter")).to_have_value("adult")
    expect(page.locator("#rows tr:visible")).to_have_count(1)


def test_a_filter_that_names_no_column_says_which_was_meant(visitor: Visitor) -> None:
    page = visitor.open("/studies/digits-mlp")
    expect(page.locator("#rows tr")).to_have_count(50)

    page.locator("#filter").fill("drpout>0.2")

    expect(page.locator("#refused")).to_have_text("there is no column “drpout”; did you mean regularization.dropout?")


def test_a_range_drawn_on_an_axis_filters_the_table(visitor: Visitor) -> None:
    page = visitor.open("/studies/digits-mlp")
    expect(page.locator("#rows tr")).to_have_count(50)
    canvas = page.locator("#parallel canvas").last
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None

    x = box["x"] + 64  # the first axis, optimizer.lr: log from 1e-4 at the foot to 1e-1
    page.mouse.move(x, box["y"] + box["height"] - 34)
    page.mouse.down()
    page.mouse.move(x, box["y"] + 34 + (box["height"] - 68) / 3, steps=4)  # two thirds up: 1e-2
    page.mouse.up()

    expect(page.locator("#filter")).to_have_value("optimizer.lr>=0.0001 optimizer.lr<=0.01")
    low = [trial for trial in trials_of(visitor.site, "digits-mlp") if trial.parameters["optimizer.lr"] <= 0.01]
    expect(page.locator("#rows tr")).to_have_count(len(low))


def test_the_theme_follows_the_system_until_one_is_chosen(visitor: Visitor) -> None:
    page = visitor.open("/", color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)

    page.locator("#theme").click()  # auto to light
    light = page.evaluate(ground)
    page.reload()

    assert dark != light
    assert page.evaluate(ground) == light
    expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: light. Switch to dark")


def test_a_failed_preflight_shows_where_what_and_the_cure(visitor: Visitor) -> None:
    page = visitor.open("/studies/churn-wide")

    first = page.locator("#notice li").first
    expect(first.locator("code")).to_have_text("trial.data.target")
    expect(first).to_contain_text("churn.csv has no column 'churned'")
    expect(first.locator(".hint")).to_contain_text("its columns are customer_id")
    expect(page.locator("#figures")).to_be_hidden()


def test_a_study_that_waits_for_a_worker_says_how_to_start_one(visitor: Visitor) -> None:
    page = visitor.open("/studies/text-tfidf")

    expect(page.locator("#notice")).to_contain_text("Waiting for a worker")
    expect(page.locator("#notice .command")).to_contain_text("trialyard worker --cpu-slots 2 --pool default")


@pytest.mark.parametrize(("budget", "left"), [(9, re.compile(r"\d")), (8, "–")], ids=["one to begin", "all have begun"])
def test_no_time_left_is_told_once_some_of_the_waiting_trials_are_all_that_is_left(
    visitor: Visitor, budget: int, left: str | re.Pattern[str]
) -> None:
    name = f"of-{budget}"
    with writes(visitor.site.engine).begin() as session:
        own = definition(name)
        study = bare_study(session, name, StudyState.RUNNING, 1, definition=own | {"budget": {"trials": budget}})
        at = study.created_at
        for number, state in enumerate(["COMPLETE"] * 5 + ["PAUSED"] * 2 + ["RUNNING"]):
            ends = {"values": {"val/accuracy": 0.5}, "ended_at": at} if state == "COMPLETE" else {}
            shared = {"study_id": study.id, "parameters": {}, "system_attrs": {}, "created_at": at, "started_at": at}
            session.add(TrialRow(number=number, state=state, **shared, **ends))

    expect(visitor.open(f"/studies/{name}").locator("#left")).to_have_text(left)


def test_what_a_study_says_is_never_read_as_markup(visitor: Visitor) -> None:
    text = "<img src=x onerror=alert(1)></script><b>bold"
    with writes(visitor.site.engine).begin() as session:
        study = bare_study(session, "markup", StudyState.RUNNING, 1)
        shared = {"study_id": study.id, "parameters": {"optimizer.name": text}, "system_attrs": {}, "reason": text}
        at = study.created_at
        session.add(TrialRow(number=0, state="FAILED", created_at=at, started_at=at, ended_at=at, **shared))

    for path in ("/studies/markup", "/studies/markup/trials/0"):
        page = visitor.open(path)
        expect(page.get_by_text(text).first).to_be_visible()
        assert page.locator("main img, main b:text-is('bold')").count() == 0


def test_a_failed_command_is_told_by_its_last_line_and_whole_on_its_own_page(visitor: Visitor) -> None:
    lines = [f'  File "train.py", line {line}, in a_function_with_a_rather_long_name' for line in range(9)]
    headline, error = "the command ended with exit code 1", "RuntimeError: the two shapes do not fit"
    reason = "\n".join([f"{headline}; its last lines:", "Traceback (most recent call last):", *lines, error])
    with writes(visitor.site.engine).begin() as session:
        study = bare_study(session, "traceback", StudyState.RUNNING, 1)
        shared = {"study_id": study.id, "parameters": {}, "system_attrs": {}, "state": "FAILED"}
        at = study.created_at
        for number, why in enumerate((reason, "the command ran longer than its timeout; its last lines:\nepoch 3")):
            session.add(TrialRow(number=number, reason=why, created_at=at, started_at=at, ended_at=at, **shared))

    page = visitor.open("/studies/traceback")
    cell = page.locator("#rows tr[data-number='0'] td").last.locator("span")
    expect(cell).to_have_text(f"{error} ({headline})")
    expect(cell).to_have_attribute("title", reason)
    assert cell.bounding_box()["width"] < 700  # type: ignore[index]
    other = page.locator("#rows tr[data-number='1'] td").last
    expect(other).to_have_text("the command ran longer than its timeout")

    page = visitor.open("/studies/traceback/trials/0")
    assert page.locator("#notice h2").inner_text() == f"Failed: {reason}"


def test_a_trial_shows_its_attempts_its_curves_and_its_log(visitor: Visitor) -> None:
    page = visitor.open("/studies/digits-mlp/trials/9")  # its first worker was lost

    expect(page.locator("#attempts tr")).to_have_count(2)
    expect(page.locator("#attempts tr").first).to_contain_text("the worker sent no beat for 8 s")
    expect(page.locator("#curves .js-plotly-plot")).to_have_count(3)  # loss, accuracy, balanced_accuracy
    expect(page.locator("#log")).to_contain_text("epoch  1  train/loss")
    with page.expect_popup() as whole:
        page.get_by_role("link", name="Whole log").click()
    expect(whole.value.locator("body")).to_contain_text("epoch  1  train/loss")
    of_attempts = [link.get_attribute("href") for link in page.locator("#attempts a").all()]
    assert [str(link).rpartition("&")[2] for link in of_attempts] == ["attempt=1", "attempt=2"]
    page.goto(page.url.rpartition("/trials/")[0])
    with page.expect_download() as table:
        page.get_by_role("link", name="CSV").click()
    assert table.value.suggested_filename == "digits-mlp.csv"


def test_what_a_script_has_kept_can_be_taken_from_its_trials_page(visitor: Visitor) -> None:
    own = {**definition("own"), "trial": {"kind": "objective", "name": "mine"}}
    with writes(visitor.site.engine).begin() as session:
        Author(session, own, 3).finish(2, hours_ago=1)
        study = session.scalar(select(StudyRow.id).where(StudyRow.name == "own"))
    attempt = Artifacts(visitor.site.settings.artifacts).url_of(AttemptKey(study, 1, 1))
    (Path(attempt) / "checkpoints").mkdir(parents=True)
    (Path(attempt) / "checkpoints/best.pt").write_bytes(b"weights")

    page = visitor.open("/studies/own/trials/1")
    with page.expect_download() as files:
        page.get_by_role("link", name="Files").click()
    assert files.value.suggested_filename == "own-1-checkpoints.zip"

    page = visitor.open("/studies/own/trials/0")
    expect(page.locator("#curves .js-plotly-plot").first).to_be_visible()
    expect(page.get_by_role("link", name="Files")).to_be_hidden()


def test_a_trial_of_several_folds_shows_their_mean_its_error_and_each_of_them(visitor: Visitor) -> None:
    folds = {f"fold/{fold}/accuracy": 0.9 + fold / 100 for fold in (1, 2, 3)}
    metrics = {"train/loss": 0.3, "val/accuracy": 0.92, "val/accuracy_se": 0.0058, "params": 2186.0, **folds}
    with writes(visitor.site.engine).begin() as session:
        author = Author(session, definition("folds-mlp", trials=1), 1)
        author.begin(0, running=1, hours_ago=0.1)
        reports = session.scalars(select(ReportRow).where(ReportRow.study_id == author.study.id))
        for report in reports:
            report.metrics = metrics
        author.trials[0].metrics = metrics

    page = visitor.open("/studies/folds-mlp/trials/0")

    expect(page.locator("#metrics dt")).to_have_text(["train/loss", "val/accuracy", "params"])
    expect(page.locator("#metrics dd")).to_have_text(["0.3000", "0.9200 ± 0.0058", "2,186"])
    expect(page.locator("#curves .js-plotly-plot")).to_have_count(2)  # loss, accuracy; the size is always the same
    expect(page.locator("#curves .legend").last).to_contain_text("3 folds")
    expect(page.locator("#curves .js-plotly-plot").last.locator("path.js-fill")).to_have_count(1)


def test_what_never_changes_is_drawn_at_its_height_on_an_axis_that_can_be_read(visitor: Visitor) -> None:
    metrics = {"device_memory": 630_616_064.0}
    with writes(visitor.site.engine).begin() as session:
        author = Author(session, definition("memory-mlp", trials=1), 1)
        author.begin(0, running=1, hours_ago=0.1)
        for report in session.scalars(select(ReportRow).where(ReportRow.study_id == author.study.id)):
            report.metrics = metrics

    page = visitor.open("/studies/memory-mlp/trials/0")
    expect(page.locator("#curves .js-plotly-plot")).to_have_count(1)

    low, high = page.evaluate("document.querySelector('#curves .js-plotly-plot').layout.yaxis.range")
    assert low == pytest.approx(0.9 * metrics["device_memory"])
    assert high == pytest.approx(1.1 * metrics["device_memory"])


def test_a_column_of_one_layer_says_of_what(visitor: Visitor) -> None:
    cells = {"values": ["conv", "residual"]}
    knobs = {"model.depth": {"low": 1, "high": 2}, "model.cells.0": cells, "model.cells.1": cells}
    with writes(visitor.site.engine).begin() as session:
        Author(session, definition("cells-cnn", trials=2) | {"parameters": knobs}, 1).finish(2, hours_ago=1)

    page = visitor.open("/studies/cells-cnn")

    expect(page.locator("#columns th")).to_contain_text(["depth", "cells.0", "cells.1"])


def test_the_copied_trial_section_is_yaml_with_the_parameters_put_in(visitor: Visitor) -> None:
    best = best_of(visitor.site, "digits-random")
    page = visitor.open(
        f"/studies/digits-random/trials/{best.number}", permissions=["clipboard-read", "clipboard-write"]
    )

    page.locator("#copy-yaml").click()
    expect(page.locator("#copy-yaml")).to_have_text("Copied")
    section = yaml.safe_load(page.evaluate("navigator.clipboard.readText()"))["trial"]

    expected = definition("digits-random")["trial"]
    for path, value in best.parameters.items():
        *parents, leaf = path.split(".")
        place = expected
        for name in parents:
            place = place.setdefault(name, {})
        place[leaf] = value
    assert section == expected


def test_a_log_reads_as_on_a_terminal(visitor: Visitor) -> None:
    with writes(visitor.site.engine).begin() as session:
        author = Author(session, definition("bars-mlp", trials=1), 1)
        author.begin(0, running=1, hours_ago=0.1)
        log = "epoch 1:  10%\repoch 1:  90%\repoch 1: 100%\r\n\x1b[31mred\x1b[0m <b>words</b>\r\nend"
        Artifacts(visitor.site.settings.artifacts).attempt(AttemptKey(author.study.id, 0, 1)).write(
            "log.txt", log.encode()
        )

    page = visitor.open("/studies/bars-mlp/trials/0")

    expect(page.locator("#log")).to_be_visible()
    assert page.locator("#log").text_content() == "epoch 1: 100%\nred <b>words</b>\nend"
    expect(page.locator("#no-log")).to_be_hidden()


def test_what_breaks_a_constraint_is_no_end_of_the_colour_scale(visitor: Visitor) -> None:
    document = definition("bounded-mlp") | {"constraints": [{"metric": "params", "at_most": 200_000}]}
    with writes(visitor.site.engine).begin() as session:
        study = Author(session, document, 5).finish(40, hours_ago=1)
        complete = select(TrialRow).where(TrialRow.study_id == study.id, TrialRow.state == "COMPLETE")
        trials = sorted(session.scalars(complete), key=lambda trial: (trial.values or {})[METRIC])
        trials[-1].violation = 1.0
        best = (trials[-2].values or {})[METRIC]
        assert (trials[-1].values or {})[METRIC] > best

    page = visitor.open("/studies/bounded-mlp")

    expect(page.locator("#parallel-scale b")).to_have_text(f"{best:.4f}")


def test_the_list_keeps_its_words_when_it_is_looked_at_anew(visitor: Visitor) -> None:
    document = definition("worded-mlp") | {"constraints": [{"metric": "params", "at_most": 200_000}]}
    with writes(visitor.site.engine).begin() as session:
        bare_study(session, "worded-mlp", StudyState.RUNNING, 1, definition=document)
    page = visitor.open("/")
    objective = page.locator("#rows tr", has_text="worded-mlp").locator("td").nth(7)
    expect(objective).to_have_text(f"maximize {METRIC}, with params ≤ 200000")

    with page.expect_response("**/api/v1/studies?limit=50"):
        pass
    page.wait_for_timeout(200)

    expect(objective).to_have_text(f"maximize {METRIC}, with params ≤ 200000")


def test_ticked_studies_are_compared(visitor: Visitor) -> None:
    page = visitor.open("/")
    for name in ("digits-random", "adult-mlp"):
        page.get_by_label(f"Compare {name}").check()

    page.get_by_role("link", name="Compare 2").click()

    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    expect(page.get_by_role("row", name="best value")).to_contain_text(
        f"{best_of(visitor.site, 'digits-random').values[METRIC]:.4f}"
    )


def test_cancelling_asks_first(visitor: Visitor) -> None:
    with writes(visitor.site.engine).begin() as session:
        bare_study(session, "to-cancel", StudyState.RUNNING, 1)
    page = visitor.open("/studies/to-cancel")

    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Keep running").click()
    assert state_of(visitor.site, "to-cancel") == "RUNNING"

    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel the study").click()
    expect(page.locator("#state")).to_have_text("cancelled")
    assert state_of(visitor.site, "to-cancel") == "CANCELLED"


def test_workers_come_and_go_on_their_page(visitor: Visitor) -> None:
    page = visitor.open("/workers")
    expect(page.get_by_role("heading", name="No worker is connected")).to_be_visible()

    beat = {"host": "atlas", "pool": "default", "device": "cuda:0 A100", "state": "busy", "gpus": "1"}
    beat["version"] = "0.0.9"
    visitor.site.redis.hset(
        worker_key("atlas-gpu0"), mapping=beat | {"study": study_id(visitor.site, "digits-mlp"), "trial": "44"}
    )
    expect(page.get_by_role("row", name="atlas-gpu0")).to_contain_text("digits-mlp")
    expect(page.get_by_role("row", name="atlas-gpu0")).to_contain_text("busy other version")
    expect(page.get_by_role("region", name="atlas")).to_contain_text("Trialyard 0.0.9")
    cells = page.locator("#hosts td, #hosts th")
    assert cells.evaluate_all("all => all.filter(cell => cell.scrollWidth > cell.clientWidth).length") == 0

    picture = {
        "study": "",
        "wanted": 2,
        "rates": [{"slots": 1, "rate": 100.0}, {"slots": 2, "rate": 180.0}],
        "why": None,
    }
    visitor.site.redis.hset(worker_key("atlas-gpu0"), mapping={"supervisor": "atlas/1", "crowd": "GPU-1"})
    visitor.site.redis.hset(crowds_key("atlas/1"), "GPU-1", json.dumps(picture | {"why": "3 slots did less"}))
    figure = page.get_by_role("figure")
    expect(figure).to_contain_text("GPU-1: 2 slots, because 3 slots did less")
    expect(figure.get_by_role("meter")).to_have_count(2)

    visitor.site.redis.delete(worker_key("atlas-gpu0"))
    expect(page.get_by_role("heading", name="No worker is connected")).to_be_visible()


def test_the_browser_writes_numbers_as_the_server_does(visitor: Visitor) -> None:
    page = visitor.open("/")
    numbers = [
        0,
        1,
        64,
        0.97,
        12.3456,
        123.4567,
        0.000123456,
        250_000.5,
        -0.5,
        1e-3,
        0.0038461,
        123_456_789,
        2.5e-7,
        1000,
        318,
        -168_714,
    ]

    for name, written in (("metric", metric), ("parameter", parameter)):
        by_browser = page.evaluate(
            f"numbers => import('/static/format.js').then(format => numbers.map(format.{name}))", numbers
        )
        assert by_browser == [written(number) for number in numbers]
    assert (metric(168_714.0), metric(318.0), metric(1.0)) == ("168,714", "318", "1.0000")
    metrics = {"params": 168_714.0, "device_memory": 576_651_264.0, "bytes": 900.0, "val/accuracy": 0.5}
    trained, of_a_script = {"nonzero": 9.0, "latency": 1.25, "seconds": 73.5}, {"latency": 1.25, "seconds": 73.5}
    for each in (metrics, trained, of_a_script):
        listed = page.evaluate("each => import('/static/format.js').then(format => format.measured(each))", each)
        assert [tuple(pair) for pair in listed] == measured(each)
    assert dict(measured(metrics))["device_memory"] == "550 MiB"
    assert measured(trained)[1:] == [("latency", "1.2500 ms"), ("seconds", "73.500 s")]
    assert measured(of_a_script) == [("latency", "1.2500"), ("seconds", "73.500 s")]


def test_a_study_that_does_not_exist_is_a_page_that_says_so(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    answer = page.goto(f"{site.url}/studies/no-such-study")

    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", level=2)).to_have_text("There is no study named 'no-such-study'")
    page.context.close()


def test_a_server_with_a_key_asks_for_it_and_leads_on(browser: Browser, redis_service: str, tmp_path: Path) -> None:
    with serving(tmp_path, redis_service, api_key="a-key-of-some-length") as site:
        page = browser.new_page()
        page.goto(f"{site.url}/workers")

        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()

        page.get_by_label("Key").fill("a-key-of-some-length")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
        page.context.close()


def author_of_running_study(site: Site, name: str) -> None:
    """Four trials settled (0 to 3), four running (4 to 7), two queued."""
    with writes(site.engine).begin() as session:
        Author(session, definition(name), 5).begin(4, running=4, hours_ago=0.1)


def trials_of(site: Site, study: str) -> list[TrialRow]:
    with reads(site.engine)() as session:
        query = select(TrialRow).join(StudyRow, StudyRow.id == TrialRow.study_id).where(StudyRow.name == study)
        return list(session.scalars(query.order_by(TrialRow.number)))


def best_of(site: Site, study: str) -> Any:
    complete = [trial for trial in trials_of(site, study) if trial.values]
    return max(complete, key=lambda trial: (trial.values or {})[METRIC])


def count(site: Site, study: str, state: str) -> int:
    return sum(trial.state == state for trial in trials_of(site, study))


def state_of(site: Site, study: str) -> str:
    with reads(site.engine)() as session:
        return session.scalars(select(StudyRow.state).where(StudyRow.name == study)).one()


def study_id(site: Site, study: str) -> int:
    with reads(site.engine)() as session:
        return session.scalars(select(StudyRow.id).where(StudyRow.name == study)).one()


def numbers_in(page: Page) -> list[int]:
    return [int(row.get_attribute("data-number") or -1) for row in page.locator("#rows tr").all()]


def drawn_points(page: Page, figure: str) -> int:
    return page.locator(f"{figure} .scatterlayer .points path").count()


def colours_of(page: Page, selector: str) -> int:
    """How many different colours a canvas shows."""
    script = """canvas => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    }"""
    found: int = page.locator(selector).first.evaluate(script)
    return found
