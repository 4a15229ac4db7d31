import pytest

from worker.printed import Pattern, Reading, final_metrics


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
