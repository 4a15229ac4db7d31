"""The page of a study with several objectives: its front in the place of a best trial."""

from __future__ import annotations

from datetime import UTC, datetime

from playwright.sync_api import expect

from store.models import StudyState, TrialRow, TrialState
from store.session import writes
from tests.browser.conftest import Visitor
from tests.browser.seed import bare_study, definition
from tests.browser.test_analysis import looked_at, slices

TWO = [{"metric": "val/accuracy", "direction": "maximize"}, {"metric": "params", "direction": "minimize"}]
#        0: beaten by 1   1: in front    2: in front    3: equal to 2, and in front too
VALUES = [(0.7, 500.0), (0.8, 400.0), (0.9, 900.0), (0.9, 900.0)]


def test_a_study_with_several_objectives_shows_its_front(visitor: Visitor) -> None:
    document = definition("pareto-mlp", trials=4) | {"objective": TWO, "pruner": {"name": "none"}}
    now = datetime.now(UTC)
    with writes(visitor.site.engine).begin() as session:
        study = bare_study(session, "pareto-mlp", StudyState.RUNNING, 1, definition=document)
        for number, (accuracy, params) in enumerate(VALUES):
            values = {"val/accuracy": accuracy, "params": params}
            columns = {"created_at": now, "started_at": now, "ended_at": now, "metrics": values, "values": values}
            row = TrialRow(study_id=study.id, number=number, state=str(TrialState.COMPLETE), **columns)
            lr = 0.01 * (1 + number)
            row.parameters, row.system_attrs = {"optimizer.lr": lr, "optimizer.name": "adamw"}, {}
            session.add(row)
    page = visitor.open("/studies/pareto-mlp")

    expect(page.get_by_role("heading", name="Pareto front")).to_be_visible()
    expect(page.locator("#history.js-plotly-plot")).to_be_visible()
    assert page.locator("#history .scatterlayer .points path").count() == 4
    expect(page.locator("#best tbody tr")).to_have_text(["20.9000900", "30.9000900", "10.8000400"])
    expect(page.locator("#best-value")).to_contain_text("3")
    expect(page.locator("#history .xtitle")).to_have_text("params (less is better)")
    assert page.locator("#rows tr.is-best").count() == 3
    expect(page.locator('#columns th[data-key="params"]')).to_be_visible()

    canvas = page.locator(
        "#parallel canvas"
    ).last  # the last axis is the first objective's, the one before the second's
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    axes = len(document["parameters"]) + 2
    x = box["x"] + 64 + (axes - 2) * (box["width"] - 128) / (axes - 1)
    page.mouse.move(x, box["y"] + box["height"] - 34)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    expect(page.locator("#filter")).to_have_value("params>=380 params<=650")
    expect(page.locator("#rows tr")).to_have_count(2)
    page.locator("#filter").fill("")

    looked_at(page, "#analysis", "#slices")
    assert slices(page)[1]["y"] == [accuracy for accuracy, _ in VALUES]
    page.locator("#slices-objective").select_option("params")
    page.wait_for_function("document.querySelector('#slices').layout.yaxis.title.text === 'params'")
    assert slices(page)[1]["y"] == [params for _, params in VALUES]
