"""`trialyard run`, from the study file to the best model."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Person, stepping_study, wait_for_text
from tests.acceptance.system import digits, eventually
from trialyard.study_file import from_yaml

NAN = float("nan")
ONE_WORKER = ("--workers", 1)  # each costs a second and a half of a processor to start


@pytest.fixture(scope="module")
def finished(settled_person: Person) -> tuple[Path, str]:
    """The file and the printed end of a newcomer's first study."""
    file = settled_person.write(digits("first", trials=6, epochs=12))
    code, output, errors = settled_person.runs("run", file, "--home", settled_person.home)
    assert (code, errors) == (0, "")
    assert settled_person.still_running() == []
    return file, output


def test_a_newcomers_first_study_ends_with_a_model(finished: tuple[Path, str]) -> None:
    _, output = finished

    assert re.search(r"^page: http://127\.0\.0\.1:\d+/studies/first$", output, flags=re.M)
    assert re.search(r"first: \d+/6 trials", output)
    assert "first: the best 5 of 6 trials" in output
    accuracy = re.search(r"^  test/accuracy +([\d.]+)$", output, flags=re.M)
    assert accuracy
    assert float(accuracy[1]) > 0.9
    artifacts = re.search(r"its model lies in (.+)", output)
    assert artifacts
    assert list(Path(artifacts[1]).glob("*.safetensors"))
    section = from_yaml(output[output.index("\ntrial:\n") : output.index("To look at the study again")])
    assert section["trial"]["model"]["hidden"] == [64]
    assert 1e-3 <= section["trial"]["optimizer"]["lr"] <= 1e-2


def test_the_result_of_a_study_that_has_ended_is_shown_again(
    settled_person: Person, finished: tuple[Path, str]
) -> None:
    file, before = finished

    code, after, errors = settled_person.runs("run", file, "--home", settled_person.home, *ONE_WORKER)

    assert (code, errors) == (0, "")
    assert after[after.index("first: the best") :] == before[before.index("first: the best") :]


def test_another_study_of_the_same_name_is_not_taken_for_the_one_in_this_home(
    settled_person: Person, finished: tuple[Path, str]
) -> None:
    file = settled_person.write(digits("first", trials=6, epochs=11))

    code, _, errors = settled_person.runs("run", file, "--home", settled_person.home, *ONE_WORKER)

    assert code == 2
    assert "holds a study 'first' that was made from another definition, by trial.epochs;" in errors


@pytest.mark.usefixtures("finished")
def test_a_study_goes_on_with_the_larger_budget_that_its_file_was_given(settled_person: Person) -> None:
    file = settled_person.write(digits("first", trials=8, epochs=12))

    code, output, errors = settled_person.runs("run", file, "--home", settled_person.home, *ONE_WORKER)

    assert (code, errors) == (0, "")
    assert "first goes on: budget.trials 8 in place of 6" in output
    assert "first: the best 5 of 8 trials" in output


@pytest.mark.parametrize(
    ("change", "path", "cure"),
    [
        ({"parameters": {"optimiser.lr": {"low": 0.1, "high": 1.0}}}, "parameters.optimiser.lr", "optimizer.lr"),
        ({"parameters": {"optimizer.lr": {"low": 1.0, "high": 0.1}}}, "parameters.optimizer.lr", "low"),
        ({"parameters": {"optimizer.lr": {"low": NAN, "high": 1.0}}}, "parameters.optimizer.lr", "number"),
        ({"objective": {"metric": "val/acuracy", "direction": "maximize"}}, "objective.metric", "val/accuracy"),
    ],
)
def test_bad_input_is_told_with_its_place_and_the_cure_and_nothing_is_stored(
    person: Person, change: dict[str, Any], path: str, cure: str
) -> None:
    file = person.write(digits("wrong", trials=4, epochs=2) | change)

    code, output, errors = person.runs("run", file, "--home", person.home)

    assert (code, output) == (2, "")
    assert errors.startswith(path)
    assert cure in errors
    assert "Traceback" not in errors
    assert not person.home.exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "study.yaml: No such file or directory"),
        ("name: [unclosed", "study.yaml: line 1"),
        ("- a list", "study.yaml: line 1: the file holds no keys and values"),
    ],
)
def test_a_file_that_is_no_study_is_told_in_a_sentence(person: Person, text: str | None, sentence: str) -> None:
    if text is not None:
        (person.folder / "study.yaml").write_text(text)

    code, _, errors = person.runs("run", "study.yaml")

    assert code == 2
    assert errors.startswith(sentence)
    assert len(errors.splitlines()) == 1


def test_the_preflight_refuses_data_that_will_not_do_before_any_trial(person: Person) -> None:
    (person.folder / "table.csv").write_text("size,label\n" + "1,high\n2,low\n" * 50)
    study = digits("blind", trials=4, epochs=2)
    # That its columns are known shows that a file beside the study may be read.
    study["trial"]["data"] = {"source": "file:table.csv", "target": "labell"}

    code, output, errors = person.runs("run", person.write(study), "--home", person.home, *ONE_WORKER)

    assert code == 2
    assert "trial.data.target: there is no column 'labell'; did you mean 'label'?" in errors
    assert "Traceback" not in errors
    assert "blind: 0/4 trials" in output
    assert person.still_running() == []


def test_ctrl_c_stops_everything_and_the_same_command_carries_on(person: Person) -> None:
    file = person.write(stepping_study(trials=16))
    process = person.types("run", file, "--home", person.home)
    wait_for_text(process, "complete")

    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    output, _ = process.communicate(timeout=30)

    assert process.returncode == 130
    assert time.monotonic() - began < 15
    assert f"Stopped. To carry on: trialyard run {file} --home {person.home}" in output
    assert person.still_running() == []

    code, output, errors = person.runs("run", file, "--home", person.home)
    assert (code, errors) == (0, "")
    assert "of 16 trials" in output


# Says when Python has come as far as our first line: what a signal does to Python before that is not ours to decide.
SAYS_WHEN_IT_BEGINS = ("-c", "import trialyard.__main__ as command; print('begun', flush=True); command.main()")


@pytest.mark.parametrize("moment", [0.2, 1.5, 3.0])
def test_ctrl_c_is_heard_at_any_moment_of_the_start(person: Person, moment: float) -> None:
    file = person.write(stepping_study(trials=50))
    process = person.types("run", file, "--home", person.home, *ONE_WORKER, start=SAYS_WHEN_IT_BEGINS)
    wait_for_text(process, "begun")
    time.sleep(moment)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Traceback" not in errors
    assert person.still_running() == []


def test_a_second_ctrl_c_does_not_wait(person: Person) -> None:
    (person.folder / "stepping_objective.py").write_text("import time\ndef steps(trial): time.sleep(600)\n")
    process = person.types("run", person.write(stepping_study(trials=8)), "--home", person.home)
    wait_for_text(process, "2 running")

    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None  # the workers still have their grace
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=30)

    assert time.monotonic() - began < 5
    assert process.returncode == 130
    eventually("nothing is left", lambda: person.still_running() == [], seconds=5)


def test_nothing_survives_a_killed_parent_and_the_study_can_be_carried_on(person: Person) -> None:
    file = person.write(stepping_study(trials=16))
    process = person.types("run", file, "--home", person.home)
    wait_for_text(process, "complete")

    process.kill()
    process.communicate()

    eventually("nothing is left", lambda: person.still_running() == [], seconds=10)
    code, output, errors = person.runs("run", file, "--home", person.home)
    assert (code, errors) == (0, "")
    assert "of 16 trials" in output
