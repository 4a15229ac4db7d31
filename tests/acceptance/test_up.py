"""`trialyard up`, and the commands that talk to it from a second terminal."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.command import Person, stepping_study, wait_for_text
from tests.acceptance.system import free_port


@pytest.fixture(scope="module")
def up(settled_person: Person) -> Iterator[str]:
    """The address of a service that was started with `trialyard up`."""
    port = free_port()
    process = settled_person.types("up", "--port", port, "--workers", 2)
    wait_for_text(process, f"trialyard submit FILE --wait --server http://127.0.0.1:{port}")
    address = settled_person.environment["TRIALYARD_SERVER_URL"] = f"http://127.0.0.1:{port}"
    yield address
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=40)
    assert process.returncode == 130
    assert settled_person.still_running() == []


def test_a_study_is_submitted_from_a_second_terminal_and_looked_at(settled_person: Person, up: str) -> None:
    file = settled_person.write(stepping_study(trials=3))

    code, output, errors = settled_person.runs("submit", file, "--wait")
    assert (code, errors) == (0, "")
    assert output.startswith(f"stepping: {up}/studies/stepping\n")
    assert "stepping: the best 3 of 3 trials" in output
    assert httpx.get(f"{up}/studies/stepping").is_success

    shown = json.loads(settled_person.runs("show", "stepping", "--json")[1])
    assert (shown["state"], shown["counts"]["complete"]) == ("COMPLETE", 3)
    assert [study["name"] for study in json.loads(settled_person.runs("studies", "--json")[1])] == ["stepping"]
    trials = json.loads(settled_person.runs("trials", "stepping", "--sort", "value", "--json")[1])
    assert sorted(trial["number"] for trial in trials) == [0, 1, 2]
    best = json.loads(settled_person.runs("best", "stepping", "--json")[1])
    assert best["number"] == trials[0]["number"]
    rows = list(csv.DictReader(settled_person.runs("export", "stepping")[1].splitlines()))
    assert [float(row["x"]) for row in rows] == [
        trial["parameters"]["x"] for trial in sorted(trials, key=lambda trial: trial["number"])
    ]
    assert "COMPLETE" in settled_person.runs("studies")[1]

    code, _, errors = settled_person.runs("submit", file)
    assert code == 1
    assert "there is a study named 'stepping' already" in errors
    assert settled_person.runs("delete", "stepping") == (0, "stepping: deleted\n", "")
    assert settled_person.runs("show", "stepping") == (1, "", "there is no study named 'stepping'\n")


def test_a_study_is_paused_resumed_and_cancelled(settled_person: Person, up: str) -> None:
    settled_person.runs("submit", settled_person.write(stepping_study(trials=200, name="long")))

    def while_it_runs(command: str) -> str:
        code, output, errors = settled_person.runs(command, "long")
        assert (code, errors) == (0, "")
        return output

    wait_until_running(settled_person)
    assert while_it_runs("pause") == "long: PAUSED\n"
    assert while_it_runs("resume") == "long: RUNNING\n"
    assert while_it_runs("cancel") == "long: CANCELLED\n"
    code, _, errors = settled_person.runs("resume", "long")
    assert code == 1
    assert "has ended (CANCELLED) and cannot be resumed" in errors


def test_bad_input_is_refused_by_the_server_with_the_same_words(settled_person: Person, up: str) -> None:
    code, _, errors = settled_person.runs("submit", settled_person.write(stepping_study(trials=0)))

    assert code == 2
    assert errors.startswith("budget.trials: ")


def test_the_servers_log_tells_of_what_went_wrong_alone(settled_person: Person, up: str) -> None:
    assert httpx.get(f"{up}/api/v1/studies").is_success
    assert httpx.get(f"{up}/api/v1/studies/nobody").status_code == 404

    log = (settled_person.home / "logs" / "server.log").read_text()
    assert '"GET /api/v1/studies/nobody HTTP/1.1" 404' in log
    assert "200 OK" not in log


def test_a_second_service_on_the_same_home_is_refused(settled_person: Person, up: str) -> None:
    code, _, errors = settled_person.runs("up", "--port", free_port())

    assert code == 1
    assert f"Trialyard is already running on {settled_person.home} (process " in errors
    assert f"page at {up})" in errors


def test_other_machines_are_not_let_in_without_a_key(person: Person) -> None:
    code, _, errors = person.runs("up", "--host", "0.0.0.0", "--port", free_port())  # noqa: S104 - it is refused

    assert code == 1
    assert "no API key is configured" in errors
    assert person.still_running() == []


def test_keys_are_made_shown_once_and_revoked(person: Person) -> None:
    code, key, _ = person.runs("keys", "create", "ci")
    assert code == 0
    assert len(key.strip()) > 20

    assert key.strip() not in person.runs("keys", "list")[1]
    assert person.runs("keys", "revoke", "ci") == (0, "ci: revoked\n", "")
    code, _, errors = person.runs("keys", "revoke", "nobody")
    assert code == 1
    assert "there is no key named 'nobody'" in errors


def test_the_doctor_finds_a_fresh_machine_sound(person: Person) -> None:
    code, output, errors = person.runs("doctor")

    assert (code, errors) == (0, "")
    for check in ("Python", "packages", "home", "database", "Redis", "server", "data", "GPUs"):
        assert f"\n{check}" in f"\n{output}"
    assert " bad " not in output


def test_the_doctor_finds_a_redis_that_does_not_answer(person: Person) -> None:
    person.environment["TRIALYARD_REDIS_URL"] = f"redis://127.0.0.1:{free_port()}"

    code, output, _ = person.runs("doctor")

    assert code == 1
    assert "TRIALYARD_REDIS_URL: Error 111" in output


def test_the_doctor_lists_the_knobs(person: Person) -> None:
    code, output, _ = person.runs("doctor", "knobs")

    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in output.splitlines()}
    assert lines["optimizer.lr"] == "float above 0, at most 100 0.001"
    assert lines["optimizer.momentum"] == "float at least 0, below 1 0.0 optimizer.name rmsprop or sgd"


def test_a_process_of_the_service_says_what_it_lacks(person: Person) -> None:
    for command in ("scheduler", "worker", "serve"):
        code, _, errors = person.runs(command)
        assert code == 1
        assert errors.startswith("TRIALYARD_REDIS_URL is not set; name")
        assert len(errors.splitlines()) == 1


def test_a_setting_that_cannot_be_is_bad_input(person: Person) -> None:
    person.environment["TRIALYARD_PORT"] = "many"

    code, _, errors = person.runs("up")

    assert code == 2
    assert errors.startswith("TRIALYARD_PORT: ")


def wait_until_running(person: Person) -> None:
    for _ in range(100):
        if json.loads(person.runs("show", "long", "--json")[1])["state"] == "RUNNING":
            return
    raise AssertionError("the study did not begin")
