"""A study as one file: everything in it, and nothing that is fetched or run."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from store.models import StudyRow, TaskRow, TrialRow
from store.session import writes
from store.tasks import Tasks
from tests.api_server import METRIC, ApiServer, on_sqlite

NOW = datetime(2026, 1, 1, tzinfo=UTC)

pytestmark = on_sqlite


def report(server: ApiServer) -> str:
    answer = server.http.get("/api/v1/studies/s/report")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == 'attachment; filename="s.html"'
    return answer.text


def test_the_best_trials_the_pictures_and_the_ensembles_are_in_one_file(server: ApiServer) -> None:
    server.create()
    server.add_trials([0.5, 0.25, 0.75])
    server.add_attempt(1, 1, [0.9, 0.5, 0.25])
    with writes(server.engine).begin() as session:
        study = session.get_one(StudyRow, server.study_id())
        request = {"method": "greedy", "rounds": 1, "seed": 0, "members": []}
        task = session.get_one(TaskRow, (study.id, Tasks(session, study).add("ensemble", request, NOW).number))
        task.state, task.ended_at = "COMPLETE", NOW
        task.result = {
            "members": [{"trial": 1, "weight": 1.0}],
            "metrics": {METRIC: 0.125},
            "best_member": {"trial": 1, "metrics": {METRIC: 0.25}},
            "parameters": {"ensemble": 7, "best_member": 7},
            "latency_ms": {"ensemble": 1.0, "best_member": 1.0},
        }

    text = report(server)

    assert "The best trial: 1" in text
    figures = ("Optimisation history", f"Learning curves of {METRIC}", "Importance of the parameters", f"{METRIC} by x")
    for title in figures:
        assert f"<figcaption>{title}</figcaption><svg" in text
    assert len(re.findall("<circle", text)) == 2 * 3  # each trial in the history and over its parameter
    assert '<td>greedy</td><td class="num">1</td><td class="num">0.1250</td><td class="num">0.2500</td>' in text
    assert "1 attempt on 1 worker (cpu), 0.0 s in all" in text
    assert not re.search(r"<script|<link|src=|url\(|@import", text)


def test_the_best_trial_beside_its_test_rows_and_what_other_seeds_make_of_it(server: ApiServer) -> None:
    server.create()
    server.add_trials([0.5, 0.25])
    with writes(server.engine).begin() as session:
        study = session.get_one(StudyRow, server.study_id())
        best = session.get_one(TrialRow, (study.id, 1))
        best.metrics = {"train/loss": 0.125, METRIC: 0.25, f"{METRIC}_se": 0.01, "test/loss": 0.375, "params": 1234}
        for scores in ([0.75, 0.25], [0.5, 0.75, 0.25, 0.5]):  # the newer one counts
            request = {"number": 1, "seeds": len(scores), "searched": 0.25, "metric": METRIC}
            task = session.get_one(TaskRow, (study.id, Tasks(session, study).add("rescore", request, NOW).number))
            task.state, task.ended_at = "COMPLETE", NOW
            task.result = {"metrics": {METRIC: sum(scores) / len(scores), f"{METRIC}_se": 0.125}}

    text = report(server)

    row = ("0.2500 ± 0.0100", "0.3750", "0.1250")
    assert "<td>loss</td>" + "".join(f'<td class="num">{each}</td>' for each in row) in text
    assert '<td>params</td><td class="num">1,234</td>' in text
    again = ("1", "0.2500", "0.5000", "0.1250", "4")
    assert text.count("".join(f'<td class="num">{each}</td>' for each in again)) == 1
    assert "trained again" in text


def test_what_shares_a_choice_or_a_step_is_strewn_about_it_in_the_order_of_the_study(server: ApiServer) -> None:
    kinds: list[dict[str, Any]] = [
        {"values": ["b", "a"]},
        {"low": 0, "high": 2},
        {"low": 0.0, "high": 1.0, "step": 0.5},
    ]
    server.create(parameters={f"p{place}": entry for place, entry in enumerate(kinds)})
    server.add_trials([0.1 * number for number in range(30)])
    with writes(server.engine).begin() as session:
        for number, trial in enumerate(session.scalars(select(TrialRow).order_by(TrialRow.number))):
            trial.parameters = {"p0": "ab"[number % 2], "p1": number % 3, "p2": number % 3 / 2}

    text = report(server)

    for name, groups in (("p0", 2), ("p1", 3), ("p2", 3)):
        picture = text.partition(f"<figcaption>{METRIC} by {name}</figcaption>")[2].partition("</svg>")[0]
        points = re.findall(r'cx="([0-9.]+)" cy="[0-9.]+" r="3.2"><title>trial [0-9]+: (\S+)</title>', picture)
        assert len(points) == 30
        assert len({place for place, _ in points}) > 15  # they do not hide each other
        of_value: dict[str, list[float]] = {}
        for place, value in points:
            of_value.setdefault(value, []).append(float(place))
        across = sorted(of_value.values(), key=min)
        assert len(across) == groups
        assert all(max(left) < min(right) for left, right in itertools.pairwise(across))
        if name == "p0":
            assert max(of_value["b"]) < min(of_value["a"])


def test_what_a_study_says_is_text_in_it(server: ApiServer) -> None:
    server.create(parameters={"<b>x</b>": {"values": ["<i>", "&"]}})
    server.add_trials([0.5, 0.25])
    text = report(server)

    assert "<b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text


def test_a_study_without_a_complete_trial_has_a_report_too(server: ApiServer) -> None:
    server.create()

    text = report(server)

    assert "Definition" in text
    assert "<svg" not in text
