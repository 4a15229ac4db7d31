"""Which axes are logarithmic: as the values want it, or as a person says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from store.models import AttemptRow, Outcome, ReportRow, StudyState, TrialRow, TrialState
from store.session import writes
from tests.browser.conftest import Site, Visitor
from tests.browser.seed import METRIC, Author, bare_study, definition, proposal
from tests.browser.test_analysis import looked_at

LOSS = {"metric": "val/loss", "direction": "minimize"}
PARAMS = {"metric": "params", "direction": "minimize"}


def write_study(
    site: Site, name: str, objective: Any, values: Sequence[dict[str, float]], took: timedelta = timedelta()
) -> None:
    """A study that began a minute ago, whose trials reported these values once, and ended with them after `took`."""
    now = datetime.now(UTC)
    document = definition(name, trials=len(values)) | {"objective": objective, "pruner": {"name": "none"}}
    with writes(site.engine).begin() as session:
        study = bare_study(session, name, StudyState.RUNNING, 1, definition=document)
        for number, each in enumerate(values):
            times = {"created_at": now, "started_at": now, "ended_at": now + took}
            row = {"parameters": proposal(random.Random(number), None), "system_attrs": {}, "values": each}
            key = {"study_id": study.id, "number": number}
            session.add(TrialRow(**key, **times, **row, state=TrialState.COMPLETE, metrics=each, step=1))
            session.flush()
            begun = {"worker": "w", "device": "cpu", "started_at": now}
            session.add(AttemptRow(**key, **begun, attempt=1, ended_at=now, outcome=Outcome.FINISHED))
            session.flush()
            session.add(ReportRow(**key, attempt=1, step=1, metrics=each, at=now))


def axis_type(page: Page, figure: str, axis: str = "yaxis") -> str:
    kind: str = page.evaluate(f"document.querySelector('#{figure}').layout.{axis}.type")
    return kind


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("wide", [10.0**power for power in range(-12, 15)], "log"),
        ("narrow", [0.1 + number / 100 for number in range(20)], "linear"),
        ("diverged", [0.1 + number / 100 for number in range(20)] + [1e30], "linear"),  # one accident widens nothing
        ("equal", [0.5] * 5, "linear"),
    ],
)
def test_values_over_many_powers_of_ten_are_drawn_on_a_logarithmic_axis(
    visitor: Visitor, name: str, values: list[float], kind: str
) -> None:
    write_study(visitor.site, f"scale-{name}", LOSS, [{"val/loss": value} for value in values])
    page = visitor.open(f"/studies/scale-{name}")
    looked_at(page, "#analysis", "#slices")

    for figure in ("history", "curves", "slices"):
        assert axis_type(page, figure) == kind
        expect(page.locator(f"#{figure}-log")).to_be_checked(checked=kind == "log")

    page.locator("#history-log").click()
    page.wait_for_function(f"document.querySelector('#history').layout.yaxis.type !== '{kind}'")
    page.evaluate("document.dispatchEvent(new Event('themechange'))")  # draws all anew
    assert axis_type(page, "history") != kind


def test_no_logarithm_is_offered_of_values_that_have_none(visitor: Visitor) -> None:
    write_study(visitor.site, "scale-signs", LOSS, [{"val/loss": value} for value in (-1e6, -2.0, 0.0, 3.0, 1e6)])
    page = visitor.open("/studies/scale-signs")
    looked_at(page, "#analysis", "#slices")

    for figure in ("history", "curves", "slices"):
        assert axis_type(page, figure) == "linear"
        expect(page.locator(f"#{figure}-log")).to_be_disabled()


def test_each_axis_of_a_front_has_a_scale_of_its_own(visitor: Visitor) -> None:
    values = [{"val/loss": 1 - number / 20, "params": 10.0 ** (2 + number / 2)} for number in range(10)]
    write_study(visitor.site, "scale-front", [LOSS, PARAMS], values)
    page = visitor.open("/studies/scale-front")
    expect(page.locator("#history.js-plotly-plot")).to_be_visible()

    assert (axis_type(page, "history", "xaxis"), axis_type(page, "history")) == ("log", "linear")
    page.get_by_label("log up").check()
    page.wait_for_function("document.querySelector('#history').layout.yaxis.type === 'log'")
    page.get_by_label("log across").uncheck()
    page.wait_for_function("document.querySelector('#history').layout.xaxis.type === 'linear'")


def test_a_trials_own_curves_have_a_scale_each(visitor: Visitor) -> None:
    with writes(visitor.site.engine).begin() as session:
        author = Author(session, definition("scale-trial", trials=1), 1)
        author.begin(0, running=1, hours_ago=0.1)
        key = {"study_id": author.study.id, "number": 0, "attempt": 1, "at": author.now}
        for step in range(10, 20):
            session.add(ReportRow(**key, step=step, metrics={"drop": 10.0**-step, "gain": step - 15.0}))
    page = visitor.open("/studies/scale-trial/trials/0")

    drop, gain = (page.get_by_role("figure", name=name) for name in ("drop", "gain"))
    expect(drop.get_by_label("log")).to_be_checked()
    expect(gain.get_by_label("log")).to_be_disabled()
    drop.get_by_label("log").uncheck()
    page.wait_for_function(
        "[...document.querySelectorAll('#curves .js-plotly-plot')].every(plot => plot.layout.yaxis.type === 'linear')"
    )


def test_what_was_chosen_for_the_figures_stands_in_the_address(visitor: Visitor) -> None:
    page = visitor.open("/studies/adult-mlp")
    looked_at(page, "#analysis", "#slices")
    page.locator("#history-log").check()
    page.locator("#curves-metric").select_option("val/loss")
    page.locator("#slices-parameter").select_option("batch_size")
    page.locator("#chips button[data-state=pruned]").click()

    again = visitor.open(page.url.removeprefix(visitor.site.url))
    looked_at(again, "#analysis", "#slices")

    expect(again.locator("#curves .ytitle")).to_have_text("val/loss")
    expect(again.locator("#slices .xtitle")).to_have_text("batch_size")
    expect(again.locator("#history-log")).to_be_checked()
    expect(again.locator("#curves-metric option", has_text="val/loss")).to_have_count(1)
    expect(again.locator("#chips button[data-state=pruned]")).to_have_attribute("aria-pressed", "true")

    again.locator("#curves-metric").select_option(METRIC)
    again.locator("#slices-parameter").select_option("")
    assert again.url.endswith("?history-log=on&state=pruned")


def test_on_paper_a_figure_is_drawn_for_white(visitor: Visitor) -> None:
    page = visitor.open("/studies/adult-mlp", color_scheme="dark")
    expect(page.locator("#history.js-plotly-plot")).to_be_visible()
    ink = "document.querySelector('#history').layout.font.color"
    on_screen = page.evaluate(ink)

    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.wait_for_function(f"{ink} !== '{on_screen}'")
    assert page.evaluate(ink) == "rgb(86, 96, 112)"
    expect(page.locator("header.top")).to_be_hidden()

    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_function(f"{ink} === '{on_screen}'")


def test_bytes_are_no_powers_of_ten_on_an_axis(visitor: Visitor) -> None:
    memory = {"metric": "device_memory", "direction": "minimize"}
    values = [{"device_memory": (400 + 50 * number) * 10.0**6, "val/loss": 0.5 - number / 10} for number in range(3)]
    write_study(visitor.site, "scale-bytes", [memory, LOSS], values)
    page = visitor.open("/studies/scale-bytes")

    ticks = page.locator("#history .ytick text")
    expect(ticks.first).to_have_text("400MB")
    assert all(text.endswith("MB") for text in ticks.all_text_contents())
