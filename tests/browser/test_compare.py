"""Studies beside each other: in the list, and those that were ticked in figures that they share."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.test_scales import LOSS, PARAMS, write_study

ACCURACY = {"metric": "val/accuracy", "direction": "maximize"}


def front(seed: int) -> list[dict[str, float]]:
    """The first two are in front, the third is beaten by both."""
    shift = random.Random(seed).random() / 100
    values = [(0.8 + shift, 1000.0), (0.9 + shift, 5000.0), (0.7, 9000.0)]
    return [{"val/accuracy": accuracy, "params": params} for accuracy, params in values]


def test_of_several_objectives_the_list_tells_how_many_trials_stand_in_front(visitor: Visitor) -> None:
    write_study(visitor.site, "list-front", [ACCURACY, PARAMS], front(0))
    page = visitor.open("/")
    row = page.locator("#rows tr", has_text="list-front")

    expect(row.locator("td").nth(6)).to_have_text("2 in front")
    expect(row.locator("td").nth(8)).not_to_be_empty()  # when it was created, however often the list is drawn
    with page.expect_response("**/api/v1/studies?limit=50"):
        pass
    page.wait_for_timeout(300)
    expect(row.locator("td").nth(8)).not_to_be_empty(timeout=100)


def test_what_has_other_objectives_is_compared_in_other_figures(visitor: Visitor) -> None:
    for number in range(2):
        write_study(visitor.site, f"side-front-{number}", [ACCURACY, PARAMS], front(number))
        write_study(visitor.site, f"side-loss-{number}", LOSS, [{"val/loss": 0.5 - number / 10}, {"val/loss": 0.3}])
    page = visitor.open("/compare?studies=side-front-0,side-loss-0,side-loss-1,side-front-1")
    expect(page.locator(".js-plotly-plot")).to_have_count(4)

    drawn = page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].map(({layout, data}) => "
        "[layout.xaxis.title.text, layout.yaxis.title.text, data.map(({name}) => name)])"
    )
    fronts, losses = ["side-front-0", "side-front-1"], ["side-loss-0", "side-loss-1"]
    assert drawn[:3] == [
        ["trial", "hypervolume", fronts], ["params", "val/accuracy", fronts], ["trial", "val/loss", losses]
    ]  # fmt: skip
    expect(page.get_by_role("row", name="best value")).to_contain_text("2 in front, of 3")
    # Before one reference point for both: what is a little better by one objective covers more.
    first, second = page.evaluate("document.querySelector('.js-plotly-plot').data.map(({y}) => y.at(-1))")
    assert (first > second) == (front(0)[0]["val/accuracy"] > front(1)[0]["val/accuracy"])


@pytest.mark.parametrize(
    ("took", "unit", "last"),
    [
        (timedelta(seconds=10), "seconds", 70),
        (timedelta(minutes=9), "minutes", 10),
        (timedelta(hours=5, minutes=59), "hours", 6),
        (timedelta(days=3), "days", 3),
    ],
)
def test_time_is_told_in_a_unit_of_which_there_are_some(
    visitor: Visitor, took: timedelta, unit: str, last: float
) -> None:
    for name, ended in ((f"side-{unit}", took), (f"side-{unit}-short", timedelta())):
        write_study(visitor.site, name, LOSS, [{"val/loss": 0.5}, {"val/loss": 0.3}], ended)
    page = visitor.open(f"/compare?studies=side-{unit},side-{unit}-short")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)

    title, end = page.evaluate(
        "(({layout, data}) => [layout.xaxis.title.text, data[0].x.at(-1)])"
        "(document.querySelectorAll('.js-plotly-plot')[1])"
    )
    assert title == f"{unit} since the study began"
    assert end == pytest.approx(last, rel=0.1)


def test_eight_studies_look_different_and_a_ninth_is_left_out(visitor: Visitor) -> None:
    names = [f"side-{letter}" for letter in "abcdefghi"]
    for name in names:
        write_study(visitor.site, name, LOSS, [{"val/loss": 0.5}, {"val/loss": 0.3}])
    page = visitor.open(f"/compare?studies={','.join(names)}")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)

    looks = page.evaluate("document.querySelector('.js-plotly-plot').data.map(({line}) => [line.color, line.dash])")
    assert len({colour for colour, _ in looks}) == len({dash for _, dash in looks}) == 8
    expect(page.locator(".notice")).to_contain_text("left out are side-i")

    page = visitor.open("/")
    for name in names:
        page.get_by_label(f"Compare {name}", exact=True).check()
    assert page.locator("#compare").get_attribute("href") is None
    expect(page.locator("#compare")).to_have_attribute("title", "At most 8 at a time")
