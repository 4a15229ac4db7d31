import pytest

from worker.printed import Pattern, Reading, final_metrics, without_torchrun


@pytest.mark.parametrize(
    ("pattern", "line", "reading"),
    [
        (
            r"epoch (?P<step>\d+).*val/loss[ =](?P<val__loss>\S+)",
            "epoch 3: train 0.9, val/loss=0.25",
            Reading(3, {"val/loss": 0.25}),
        ),
        (
            r"step=(?P<step>\d+)|(?P<name>[\w/]+)=(?P<value>\S+)",
            "step=7 val/loss=1e-3 val/accuracy=0.5",
            Reading(7, {"val/loss": 0.001, "val/accuracy": 0.5}),
        ),
        (r"loss (?P<loss>\S+)", "loss 0.5", Reading(None, {"loss": 0.5})),
        (r"loss (?P<loss>\S+)", "loss unknown", None),
        (r"(?P<step>\d+) loss (?P<loss>\S+)", "all is well", None),
        (r"step=(?P<step>\d+)|loss=(?P<loss>\S+)", "step=7", None),
    ],
)
def test_a_line_is_read_by_the_groups_of_the_pattern(pattern: str, line: str, reading: Reading | None) -> None:
    assert Pattern(pattern).read(line) == reading


@pytest.mark.parametrize(
    ("printed", "metrics"),
    [
        ('ready\n{"loss": 0.5, "epochs": 3}\n\n', {"loss": 0.5, "epochs": 3.0}),
        ('{"loss": 0.5}\nready\n', {}),
        ('{"loss": "low"}', {}),
        ('{"loss": true}', {}),
        ("3", {}),
        ("", {}),
        ("[" * 60_000, {}),
        pytest.param('{"loss": ' + "9" * 400 + "}", {"loss": float("inf")}, id="as no float can be"),
    ],
)
def test_a_last_line_of_json_gives_the_final_metrics(printed: str, metrics: dict[str, float]) -> None:
    assert final_metrics(printed) == metrics


TORCHRUN = """epoch 2 loss 67410800.0
[rank1]: Traceback (most recent call last):
[rank1]:   File "ddp.py", line 10, in <module>
[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB
[rank0]: Traceback (most recent call last):
[rank0]: RuntimeError: Connection closed by peer
W1122 20:38:16.262 15354 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 15360 SIGTERM
E1122 20:38:16.332 15354 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 1
Traceback (most recent call last):
  File "torch/distributed/launcher/api.py", line 383, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
ddp.py FAILED
Failures:
[1]:
  rank      : 0 (local_rank: 0)
Root Cause (first observed failure):
[0]:
  time      : 2026-11-22_20:38:16
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 15361)
============================================================
"""


def test_of_processes_under_torchrun_the_one_is_heard_that_failed_first() -> None:
    assert without_torchrun(TORCHRUN).splitlines() == [
        "Traceback (most recent call last):",
        '  File "ddp.py", line 10, in <module>',
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB",
    ]
    # An older one, which does not say whose a line is.
    assert without_torchrun(TORCHRUN.replace("[rank1]: ", "").replace("[rank0]: ", "")).splitlines()[-1:] == [
        "RuntimeError: Connection closed by peer"
    ]
    assert without_torchrun("Traceback:\nOSError: none\n") == "Traceback:\nOSError: none\n"
