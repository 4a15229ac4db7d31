"""Trials that are commands: how they get their parameters, how they report, how they end, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.messages import Assignment, Finish, Membership, Preflighted, Report
from tests.integration.pools import RunningPool, eventually, is_alive, objective, running_pool
from tests.integration.scripted_scheduler import ScriptedScheduler
from tests.services import redis_server

REPORTING = """
import os, sys
from trialyard import report

parameters = report.start()
folder = report.checkpoint_dir()
mark = folder / "steps"
first = len(mark.read_text()) if mark.exists() else 0
for step in range(first, parameters["steps"]):
    mark.write_text("x" * (step + 1))
    if report.report(step, {"loss": 1 / (step + 1), "pid": os.getpid()}).stop:
        print("was told to stop after step", step)
        sys.exit(7)
"""

SURROUNDINGS = """
import json, os, sys
from pathlib import Path

seen = {
    "arguments": sys.argv[1:],
    "here": os.getcwd(),
    "stdin": sys.stdin.read(),
    "environment": dict(os.environ),
    "json": json.loads(Path(os.environ["TRIALYARD_PARAMETERS"]).read_text()),
    "options": json.loads(Path(os.environ["TRIALYARD_OPTIONS"]).read_text()),
}
Path(sys.argv[1]).write_text(json.dumps(seen))
print(json.dumps({"loss": 0.25}))
"""

SHELL = """
echo "$$" > "$1"
trap '' TERM
setsid sleep 300 &
(setsid sh -c 'sleep 301 & exec sleep 302' &)
echo "$!" >> "$1"
echo "step 0 loss 1.0"
while :; do sleep 1; done
"""

CURL = """
post() {
    curl --silent "$TRIALYARD_REPORT_URL/$1" --header "Authorization: Bearer $TRIALYARD_REPORT_TOKEN" --data "$2"
}
post report '{"step": 1, "metrics": {"loss": 0.5}}'
post report '{"step": -1, "metrics": {"loss": 0.5}}'
post report '{"step": 2, "metrics": {"loss": NaN}}'
post nowhere '{}'
curl --silent "$TRIALYARD_REPORT_URL/report" --data '{}'
post finish '{"metrics": {"loss": 0.125}}'
"""

DIVERGING = """
import sys
from trialyard import report

loss = float(sys.argv[1])
try:
    report.report(1, {"loss": 0.5})
    report.report(2, {"loss": loss}) if sys.argv[2] == "report" else report.finish({"loss": loss})
except ValueError:
    if sys.argv[3] == "gives up":
        raise
report.report(3, {"loss": 0.25})
if sys.argv[3] == "fails later":
    sys.exit(3)
"""

COMMANDS = r"""
[objectives.reporting]
command = ["python", "reporting.py"]
grace = 2

[objectives.as-arguments]
command = ["python", "surroundings.py", "{file}", "--lr", "{optimizer.lr}", "{{braces}}"]
parameters = "arguments"
environment = {GREETING = "hello"}

[objectives.as-environment]
command = ["python", "surroundings.py", "{file}"]
parameters = "environment"

[objectives.as-overrides]
command = ["python", "surroundings.py", "{file}", "out={TRIALYARD_CHECKPOINT_DIR}"]
parameters = "overrides"

[objectives.as-json]
command = ["python", "surroundings.py", "{file}"]
directory = "elsewhere"

[objectives.curl]
command = ["sh", "curl.sh"]

[objectives.printing]
command = ["sh", "-c", "for s in 1 2 3 4 5 6 7 8 9; do echo epoch $s: val/loss=0.$s, loss 0.5; sleep 0.3; done"]
pattern = 'epoch (?P<step>\d+): val/loss=(?P<val__loss>[\d.]+), loss (?P<loss>\S+)'

[objectives.stubborn]
command = ["sh", "stubborn.sh", "{file}"]
pattern = 'step (?P<step>\d+) loss (?P<loss>\S+)'
grace = 0.3

[objectives.overtime]
command = ["sh", "stubborn.sh", "{file}"]
timeout = "1s"
grace = 0.3

[objectives.chatter]
command = ["sh", "-c", "yes a line of no great interest | head -c 50000000; echo; echo the end; echo '{{\"loss\": 1}}'"]
max_log = "100KB"

[objectives.hoarder]
command = ["sh", "-c", "cd $TMPDIR; while :; do head -c 999999 /dev/zero > $((n += 1)); sleep 0.05; done"]
max_disk = "3MB"

[objectives.large-file]
command = ["python", "-c", "import os; open(os.environ['TMPDIR'] + '/x', 'wb').write(bytes(4_000_000))"]
max_disk = "3MB"

[objectives.exits]
command = ["sh", "-c", "echo the reason >&2; exit 3"]

[objectives.crashes]
command = ["sh", "-c", "kill -SEGV $$"]

[objectives.prints-nan]
command = ["sh", "-c", "echo loss nan; sleep 60"]
pattern = 'loss (?P<loss>\S+)'

[objectives.prints-nan-last]
command = ["sh", "-c", "echo '{{\"loss\": NaN}}'"]

[objectives.with-norm]
command = ["sh", "-c", "echo loss 0.5 norm inf; echo loss 0.4 norm inf; echo '{{\"loss\": 0.25, \"norm\": Infinity}}'"]
pattern = 'loss (?P<loss>\S+) norm (?P<norm>\S+)'

[objectives.diverging]
command = ["python", "diverging.py", "{loss}", "{call}", "{then}"]

[objectives.says-nothing]
command = ["echo", "nothing of use"]

[objectives.mispatterned]
command = ["echo", "loss is 1.0"]
pattern = 'loss=(?P<loss>\S+)'

[objectives.long-lines]
command = ["python", "-c", "print('x' * 120_000, flush=True); print('loss: 0.25')"]
pattern = '(?P<name>\w+): (?P<value>\S+)'

[objectives.endless-pattern]
command = ["sh", "-c", "echo loss 11111111111111111111111111111111111111111111!; sleep 60"]
pattern = 'loss (?P<loss>(\d+)+)$'
timeout = "1s"
grace = 0.3

[objectives.stops-its-parent]
command = ["sh", "-c", "kill -STOP $PPID; exec sleep 300"]
timeout = "1s"
grace = 0.3

[objectives.mute]
command = ["sh", "-c", "trap '' TERM; echo begun; setsid sleep 300 & echo $$ $! > \"$1\"; sleep 300", "sh", "{file}"]

[objectives.waits]
command = ["sh", "-c", "echo $$ > $TRIALYARD_CHECKPOINT_DIR/pid; echo started > \"$1\"; sleep 300", "sh", "{file}"]
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


def with_scripts(folder: Path) -> Path:
    (folder / "reporting.py").write_text(REPORTING)
    (folder / "stubborn.sh").write_text(SHELL)
    (folder / "diverging.py").write_text(DIVERGING)
    (folder / "curl.sh").write_text(CURL)
    (folder / "surroundings.py").write_text(SURROUNDINGS)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "surroundings.py").symlink_to(folder / "surroundings.py")
    return folder


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[RunningPool]:
    secrets = {"TRIALYARD_DATABASE_URL": "sqlite:////secret", "TRIALYARD_API_KEY": "secret"}
    with running_pool(with_scripts(tmp_path_factory.mktemp("pool")), redis_url, secrets, COMMANDS) as pool:
        yield pool


@pytest.fixture
def scheduler(redis_url: str) -> Iterator[ScriptedScheduler]:
    with ScriptedScheduler(redis_url) as scheduler:
        yield scheduler


def finish_of(scheduler: ScriptedScheduler, number: int, attempt: int = 1) -> Finish:
    return scheduler.await_request(Finish, lambda finish: finish.attempt[1:] == (number, attempt))


def resumed(assignment: Assignment, attempt: int) -> Assignment:
    key = assignment.attempt._replace(attempt=attempt)
    return assignment.model_copy(update={"attempt": key, "resumable": list(range(attempt - 1, 0, -1))})


def processes_with(variable: str) -> list[int]:
    """The living processes in whose environment a variable has this value."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (entry / "environ").read_bytes().split(b"\0") and is_alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("pool")
def test_a_script_reports_and_its_last_report_counts(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("reporting", number=1, steps=3))

    finish = finish_of(scheduler, 1)

    assert (finish.outcome, finish.metrics["loss"]) == ("finished", pytest.approx(1 / 3))
    assert [report.step for report in scheduler.seen(Report)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("number", "decision", "outcome"), [(4, "prune", "pruned"), (5, "pause", "paused"), (6, "stop", "finished")]
)
def test_a_script_hears_a_decision_and_ends_as_it_likes(
    pool: RunningPool, scheduler: ScriptedScheduler, number: int, decision: str, outcome: str
) -> None:
    scheduler.decide = lambda report: decision if report.step == 2 else "continue"  # type: ignore[return-value,assignment]
    scheduler.assign(objective("reporting", number=number, steps=100))

    finish = finish_of(scheduler, number)

    assert finish.outcome == outcome
    assert pool.log(finish.attempt).endswith("was told to stop after step 2\n")


def test_what_one_attempt_left_is_there_for_the_next(scheduler: ScriptedScheduler, pool: RunningPool) -> None:
    trial = objective("reporting", number=3, steps=6)
    scheduler.decide = lambda report: "pause" if report.step == 2 else "continue"
    scheduler.assign(trial)
    assert finish_of(scheduler, 3).outcome == "paused"

    scheduler.assign(resumed(trial, attempt=3))  # the second never began

    assert finish_of(scheduler, 3, attempt=3).outcome == "finished"
    again = scheduler.seen(Report, lambda report: report.attempt.attempt == 3)
    assert [report.step for report in again] == [3, 4, 5]


@pytest.mark.parametrize(("name", "number"), [("reporting", 10), ("marks", 11)])  # a command, and a function
@pytest.mark.usefixtures("pool")
def test_a_trial_that_was_interrupted_after_its_last_report_has_its_result(
    scheduler: ScriptedScheduler, name: str, number: int
) -> None:
    trial = objective(name, number=number, steps=3)
    scheduler.decide = lambda report: "pause" if report.step == 2 else "continue"
    scheduler.assign(trial)
    assert finish_of(scheduler, number).outcome == "paused"

    scheduler.assign(resumed(trial, attempt=2).model_copy(update={"reported": {"loss": 0.25}}))  # and nothing is left

    finish = finish_of(scheduler, number, attempt=2)
    assert (finish.outcome, finish.metrics) == ("finished", {"loss": 0.25})


@pytest.mark.parametrize(("name", "number"), [("reporting", 70), ("marks", 71)])  # a command, and a function
def test_what_another_database_has_left_under_an_attempts_number_is_not_gone_on_from(
    scheduler: ScriptedScheduler, pool: RunningPool, name: str, number: int
) -> None:
    trial = objective(name, number=number, steps=3)
    left = pool.folder / f"home/artifacts/studies/7/trials/{number}/attempt-1/checkpoints"
    left.mkdir(parents=True)
    (left / "steps").write_text("xx")

    scheduler.assign(trial)

    assert finish_of(scheduler, number).outcome == "finished"
    reports = scheduler.seen(Report, lambda report: report.attempt.number == number)
    assert len({report.step for report in reports}) == 3


@pytest.mark.parametrize(("name", "number"), [("reporting", 90), ("marks", 95)])  # a command, and a function
def test_a_member_of_a_population_finds_the_folder_of_the_one_that_it_copies(
    scheduler: ScriptedScheduler, pool: RunningPool, name: str, number: int
) -> None:
    first, second = (objective(name, number=at, steps=6) for at in (number, number + 1))
    pauses = {number: 2, number + 1: 0}
    scheduler.decide = lambda report: (
        "pause" if report.attempt.attempt == 1 and report.step == pauses[report.attempt.number] else "continue"
    )
    for trial in (first, second):
        scheduler.assign(trial.model_copy(update={"membership": Membership()}))
        assert finish_of(scheduler, trial.attempt.number).outcome == "paused"
    folder = pool.folder / "home/artifacts/studies/7/trials"
    assert (folder / f"{number + 1}/attempt-1/checkpoints/steps").read_text() == "x"
    copying = Membership(copies=first.attempt, spent=[1])
    key = second.attempt._replace(attempt=2)
    scheduler.assign(second.model_copy(update={"attempt": key, "membership": copying}))

    assert finish_of(scheduler, number + 1, attempt=2).outcome == "finished"
    again = scheduler.seen(Report, lambda report: report.attempt == key)
    assert [report.step for report in again] == [3, 4, 5]
    assert (folder / f"{number}/attempt-1/checkpoints/steps").read_text() == "xxx"
    assert not (folder / f"{number + 1}/attempt-1/checkpoints").exists()


def test_parameters_arrive_as_arguments(pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path) -> None:
    parameters = {"file": str(tmp_path / "seen"), "optimizer.lr": 1e-05, "layers": [64, 32], "title": "a; rm -rf $HOME"}
    scheduler.assign(objective("as-arguments", number=10, **parameters))

    assert finish_of(scheduler, 10).metrics == {"loss": 0.25}  # the last line that it printed
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["arguments"] == [
        parameters["file"],
        "--lr",
        "1e-05",
        "{braces}",
        "--layers=[64, 32]",
        "--title=a; rm -rf $HOME",
    ]
    assert (seen["here"], seen["stdin"]) == (str(pool.folder), "")
    assert seen["environment"]["GREETING"] == "hello"


@pytest.mark.usefixtures("pool")
def test_parameters_arrive_in_the_environment_and_no_secret_does(scheduler: ScriptedScheduler, tmp_path: Path) -> None:
    parameters = {"file": str(tmp_path / "seen"), "optimizer.nesterov": True}
    scheduler.assign(objective("as-environment", number=11, **parameters))
    finish_of(scheduler, 11)

    environment = json.loads((tmp_path / "seen").read_text())["environment"]
    assert {name: value for name, value in environment.items() if name.startswith("TRIALYARD_PARAM_")} == {
        "TRIALYARD_PARAM_FILE": parameters["file"],
        "TRIALYARD_PARAM_OPTIMIZER_NESTEROV": "true",
    }
    assert environment["TRIALYARD_TRIAL"] == "11"
    told = {"STUDY", "TRIAL", "ATTEMPT", "CHECKPOINT_DIR", "PARAMETERS", "OPTIONS"}
    told |= {"REPORT_SOCKET", "REPORT_URL", "REPORT_TOKEN", "PARAM_FILE", "PARAM_OPTIMIZER_NESTEROV"}
    ours = {name.removeprefix("TRIALYARD_") for name in environment if name.startswith("TRIALYARD_")}
    assert ours == told
    assert not Path(environment["TMPDIR"]).exists()  # it has gone with the trial


def test_parameters_arrive_as_json(pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path) -> None:
    scheduler.assign(objective("as-overrides", number=13, file=str(tmp_path / "seen"), **{"optimizer.lr": 0.1}))
    finish_of(scheduler, 13)

    seen = json.loads((tmp_path / "seen").read_text())
    folder = seen["environment"]["TRIALYARD_CHECKPOINT_DIR"]
    assert seen["arguments"] == [str(tmp_path / "seen"), f"out={folder}", "optimizer.lr=0.1"]

    parameters = {"file": str(tmp_path / "seen"), "optimizer.lr": 0.1}
    trial = objective("as-json", number=12, **parameters)
    options = {"kind": "objective", "name": "as-json", "options": {"epochs": 3}}
    scheduler.assign(trial.model_copy(update={"trial": options}))
    finish_of(scheduler, 12)

    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["json"] == json.loads(seen["stdin"]) == parameters
    assert seen["options"] == {"epochs": 3}
    assert (seen["arguments"], seen["here"]) == ([parameters["file"]], str(pool.folder / "elsewhere"))


def test_a_silent_command_of_an_attempt_that_has_ended_is_ended_with_all_its_processes(
    pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path
) -> None:
    mute = objective("mute", number=22, file=str(tmp_path / "pids"))
    scheduler.assign(mute)
    eventually(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)

    scheduler.end(mute.attempt)
    scheduler.assign(objective("curl", number=23))

    finish_of(scheduler, 23)
    assert not any(is_alive(int(pid)) for pid in (tmp_path / "pids").read_text().split())
    assert pool.log(mute.attempt).splitlines()[-1] == "begun"


def test_any_language_reports_by_http(pool: RunningPool, scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("curl", number=20))

    finish = finish_of(scheduler, 20)

    assert (finish.outcome, finish.metrics) == ("finished", {"loss": 0.125})
    assert [report.step for report in scheduler.seen(Report)] == [1]
    begun, *answers = pool.log(finish.attempt).replace("}{", "}\n{").splitlines()
    assert begun == "$ sh curl.sh"
    assert [json.loads(answer) for answer in answers] == [
        {"decision": "continue"},
        {"error": "step: must be at least 0, and is -1"},
        {"error": "loss is nan at step 2; a metric must be finite"},
        {"error": "there is no /nowhere; POST to /report or /finish"},
        {"error": "send the header Authorization: Bearer $TRIALYARD_REPORT_TOKEN"},
        {},
    ]


def test_the_log_says_which_commit_has_run(pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path) -> None:
    code = pool.folder / "elsewhere"
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (["init", "--quiet"], [*identity, "commit", "--quiet", "--allow-empty", "--message", "First"]):
        subprocess.run(["git", *words], cwd=code, check=True)
    commit = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], cwd=code, text=True).strip()
    scheduler.assign(objective("as-json", number=21, file=str(tmp_path / "seen")))

    finish = finish_of(scheduler, 21)

    assert pool.log(finish.attempt).splitlines()[1] == f"[commit {commit}]"


@pytest.mark.usefixtures("pool")
def test_printed_lines_are_reports_and_a_decision_ends_who_prints(scheduler: ScriptedScheduler) -> None:
    scheduler.decide = lambda report: "prune" if report.step == 3 else "continue"
    scheduler.assign(objective("printing", number=30))

    finish = finish_of(scheduler, 30)

    assert finish.outcome == "pruned"
    assert [(report.step, report.metrics) for report in scheduler.seen(Report)] == [
        (step, {"val/loss": step / 10, "loss": 0.5}) for step in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("number", "name", "told", "reason"),
    [
        (40, "stubborn", "prune", None),
        (
            41,
            "overtime",
            "continue",
            "the command ran longer than its timeout of 1 s; its last lines:\nstep 0 loss 1.0",
        ),
        (42, "stops-its-parent", "continue", "the command ran longer than its timeout of 1 s"),
    ],
)
@pytest.mark.usefixtures("pool")
def test_no_process_survives_a_command_that_does_not_listen(
    scheduler: ScriptedScheduler, tmp_path: Path, number: int, name: str, told: str, reason: str | None
) -> None:
    scheduler.decide = lambda _report: told  # type: ignore[return-value,assignment]
    scheduler.assign(objective(name, number=number, file=str(tmp_path / "pids")))
    eventually(
        lambda: (
            len(processes_with(f"TRIALYARD_TRIAL={number}")) >= 4
            or scheduler.seen(Finish, lambda finish: finish.attempt.number == number)
        )
    )

    finish = finish_of(scheduler, number)

    assert (finish.outcome, finish.reason) == ("failed" if reason else "pruned", reason)
    assert processes_with(f"TRIALYARD_TRIAL={number}") == []


def test_a_flood_of_words_fills_no_disk_and_its_end_is_kept(pool: RunningPool, scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("chatter", number=50))

    finish = finish_of(scheduler, 50)  # 50 MB

    assert finish.metrics == {"loss": 1.0}
    log = pool.log(finish.attempt)
    assert len(log) < 101_000
    assert log.startswith("[")
    assert log.endswith('the end\n{"loss": 1}\n')


@pytest.mark.parametrize(
    ("number", "name", "reason"),
    [
        (60, "hoarder", "the command's files grew beyond its max_disk of 3.0MB"),
        (61, "large-file", "the command's files grew beyond its max_disk of 3.0MB"),
        (62, "exits", "the command ended with exit code 3; its last lines:\nthe reason"),
        (63, "crashes", "the command was killed by signal 11 (SIGSEGV)"),
        (65, "says-nothing", "the command must report the study's metric 'loss'; it reported nothing; its last lines:"),
        (
            66,
            "mispatterned",
            "the command must report the study's metric 'loss'; it reported nothing, and no line that",
        ),
    ],
)
def test_a_command_that_fails_says_why(
    pool: RunningPool, scheduler: ScriptedScheduler, number: int, name: str, reason: str
) -> None:
    scheduler.assign(objective(name, number=number))

    finish = finish_of(scheduler, number)

    assert finish.outcome == "failed"
    assert finish.reason is not None
    assert finish.reason.startswith(reason)
    *_, last = pool.log(finish.attempt).splitlines()
    assert last == f"trialyard: {finish.reason.splitlines()[0].removesuffix('; its last lines:')}"


@pytest.mark.parametrize(
    ("number", "name", "parameters", "reason"),
    [
        (70, "prints-nan", {}, "loss is nan at step 1; a metric must be finite"),
        (71, "prints-nan-last", {}, "loss is nan at the end; a metric must be finite"),
        (72, "diverging", {"loss": "inf", "call": "report", "then": "gives up"}, "loss is inf at step 2; a metric"),
        (73, "diverging", {"loss": "nan", "call": "finish", "then": "gives up"}, "loss is nan at the end; a metric"),
    ],
)
def test_a_command_that_diverges_is_told_from_one_that_fails(
    pool: RunningPool, scheduler: ScriptedScheduler, number: int, name: str, parameters: dict[str, str], reason: str
) -> None:
    scheduler.assign(objective(name, number=number, **parameters))

    finish = finish_of(scheduler, number)

    assert finish.outcome == "diverged"
    assert finish.reason is not None
    assert finish.reason.startswith(reason)
    assert pool.log(finish.attempt).splitlines()[-1] == f"trialyard: {finish.reason}"


@pytest.mark.parametrize(("number", "then", "outcome"), [(74, "goes on", "finished"), (75, "fails later", "failed")])
@pytest.mark.usefixtures("pool")
def test_a_command_that_goes_on_after_a_number_that_was_not_finite_ends_as_it_does(
    scheduler: ScriptedScheduler, number: int, then: str, outcome: str
) -> None:
    scheduler.assign(objective("diverging", number=number, loss="nan", call="report", then=then))

    assert finish_of(scheduler, number).outcome == outcome


def test_a_metric_of_no_concern_that_is_not_finite_is_left_out_with_a_word_in_the_log(
    pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    scheduler.assign(objective("with-norm", number=76))

    finish = finish_of(scheduler, 76)

    assert (finish.outcome, finish.metrics) == ("finished", {"loss": 0.25})
    reports = [report.metrics for report in scheduler.seen(Report) if report.attempt == finish.attempt]
    assert reports == [{"loss": 0.5}, {"loss": 0.4}]
    assert pool.log(finish.attempt).count("norm is inf at step 1: it is left out wherever it is not finite") == 1
    assert pool.log(finish.attempt).count("norm is inf") == 1


def test_a_killed_runner_takes_its_command_and_all_that_came_of_it_along(
    pool: RunningPool, scheduler: ScriptedScheduler, tmp_path: Path
) -> None:
    scheduler.decide = lambda _report: "continue"
    scheduler.assign(objective("stubborn", number=70, file=str(tmp_path / "pids")))
    runner = _runner(scheduler, pool)
    eventually(lambda: len(processes_with("TRIALYARD_TRIAL=70")) >= 5)  # with the guardian

    os.kill(runner, signal.SIGKILL)

    assert finish_of(scheduler, 70).outcome == "lost"
    eventually(lambda: not processes_with("TRIALYARD_TRIAL=70"))


def _runner(scheduler: ScriptedScheduler, pool: RunningPool) -> int:
    """The process that runs the trial which has reported."""
    report = scheduler.await_request(Report)
    slot = pool.worker(lambda worker: worker["name"] == report.sender)["pid"]
    return int(Path(f"/proc/{slot}/task/{slot}/children").read_text().split()[0])


def test_a_worker_that_leaves_gives_a_command_back_with_its_folder(
    redis_url: str, scheduler: ScriptedScheduler, tmp_path: Path
) -> None:
    scheduler.pool = "own"
    folder = with_scripts(tmp_path)
    # Half of it is the command's and a quarter its folder's; then the slot would end it.
    settings = {"TRIALYARD_GRACE_SECONDS": "12"}
    trial = objective("waits", number=80, file=str(tmp_path / "started"))
    with running_pool(folder, redis_url, settings, COMMANDS, pool="own", name="own") as pool:
        scheduler.assign(trial)
        eventually((tmp_path / "started").exists)
        pool.process.send_signal(signal.SIGTERM)

        finish = finish_of(scheduler, 80)
        assert finish.outcome == "returned"
        assert not finish.sender.endswith(".slot")  # by itself, not by the slot's own bound
        pool.process.wait()
    assert (folder / "home/artifacts/studies/7/trials/80/attempt-1/checkpoints/pid").exists()
    assert processes_with("TRIALYARD_TRIAL=80") == []


@pytest.mark.usefixtures("pool")
def test_a_parameter_that_came_later_and_may_be_no_override_fails_its_trial(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("as-overrides", number=89, **{"file": "seen", "hydra.run.dir": "there"}))

    finish = finish_of(scheduler, 89)

    assert finish.outcome == "failed"
    assert str(finish.reason).startswith("'hydra.run.dir' is no name of an override")


@pytest.mark.usefixtures("pool")
def test_a_preflight_holds_the_parameters_against_the_command(scheduler: ScriptedScheduler) -> None:
    parameters = {
        "optimizer.lr": {"low": 0.1, "high": 1.0, "when": {"name": ["a"]}},
        "name": {"values": ["a", "b"]},
    }
    definition = {
        "name": "study",
        "objective": {"metric": "loss", "direction": "minimize"},
        "parameters": parameters,
        "budget": {"trials": 1},
        "trial": {"kind": "objective", "name": "as-arguments"},
    }
    scheduler.preflight(90, definition)

    answer = scheduler.await_request(Preflighted, lambda answer: answer.study_id == 90)

    assert [(problem["path"], problem["message"]) for problem in answer.problems] == [
        ("parameters", "the objective 'as-arguments' needs the parameter 'file'"),
        (
            "parameters.optimizer.lr.when",
            "the objective 'as-arguments' needs it in every trial: its command names {optimizer.lr}",
        ),
    ]


def test_a_line_over_which_the_pattern_takes_too_long_is_passed_over(
    pool: RunningPool, scheduler: ScriptedScheduler
) -> None:
    scheduler.assign(objective("long-lines", number=100))

    finish = finish_of(scheduler, 100)

    assert (finish.outcome, finish.metrics) == ("finished", {"loss": 0.25})
    assert " characters, 'xxx" in pool.log(finish.attempt)  # as many as came at once: 64 KiB or all


def test_a_pattern_without_an_end_keeps_no_trial_from_its_timeout(scheduler: ScriptedScheduler) -> None:
    scheduler.assign(objective("endless-pattern", number=101))

    finish = finish_of(scheduler, 101)

    assert finish.outcome == "failed"
    assert "longer than its timeout of 1 s" in str(finish.reason)
