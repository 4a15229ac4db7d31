"""What is written for a script that parses arguments, judged by what Trialyard reads in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search.definition import Definition, parse
from trialyard.errors import BadInput
from trialyard.first_script import FirstScript, write_first_script
from trialyard.study_file import from_yaml
from worker.objectives_file import CommandObjective, read_objectives
from worker.printed import Pattern

SCRIPT = """
import argparse
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("-b", "--batch-size", type=int, default=64)
parser.add_argument("--layers", type=int, default=2)
parser.add_argument("--dropout", type=float, default=0.1)
parser.add_argument("--eta", type=float, default=0.3)
parser.add_argument("--subsample", type=float, default=1.0)
parser.add_argument("--colsample-bytree", type=float, default=0.2)
parser.add_argument("--optimizer", choices=["adam", "sgd"], default="adam")
parser.add_argument("--nesterov", action="store_true")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--save", default="models/best.pt")
parser.add_argument("--data", required=True)
parser.add_argument("output", help="where to")
parser.add_argument("more", nargs="*")
args = parser.parse_args()
raise SystemExit("it is read, and never run")
for epoch in range(args.epochs):
    for step, batch in enumerate([1]):
        print(f"step {step}")
    print(LINE)
    logging.info("saved %s", args.save)
"""
LINE = "f'epoch {epoch + 1:3d}/{args.epochs}: loss {1.5:.4f}, val/acc {0.25:8.3f}%'"


def written(folder: Path, line: str = LINE) -> tuple[FirstScript, Definition, CommandObjective]:
    (folder / "train.py").write_text(SCRIPT.replace("LINE", line))
    files = write_first_script(folder / "train.py", None, folder / "tune.yaml")
    objective = read_objectives(files.objectives)["train"]
    assert isinstance(objective, CommandObjective)
    return files, parse(from_yaml(files.study.read_text(encoding="utf-8"))), objective


def test_options_with_a_default_become_ranges_around_it_and_the_others_stay(tmp_path: Path) -> None:
    files, definition, _ = written(tmp_path)

    assert {name: parameter.document() for name, parameter in definition.parameters.items()} == {
        "lr": {"low": 0.0001, "high": 0.01, "log": True},
        "batch-size": {"values": [32, 64, 128]},
        "layers": {"low": 1, "high": 4},
        "dropout": {"low": 0.0, "high": 0.6},
        "eta": {"low": 0.03, "high": 1.0, "log": True},
        "subsample": {"low": 0.3, "high": 1.0},
        "colsample-bytree": {"low": 0.02, "high": 1.0},
        "optimizer": {"values": ["adam", "sgd"]},
        "nesterov": {"values": [True, False]},
    }
    assert "left as the script has them: epochs, seed, data, output, more;" in files.study.read_text(encoding="utf-8")
    assert files.notes[1] == "--data, output: required by the script; add them to `command` in tune.toml"


def test_the_command_takes_switches_and_writes_into_the_trials_folder(tmp_path: Path) -> None:
    _, _, objective = written(tmp_path)

    given = {"lr": 0.1, "nesterov": True}
    words = objective.arguments(given, {"TRIALYARD_CHECKPOINT_DIR": "/there"})[1:]
    assert words == ["train.py", "--save", "/there/best.pt", "--lr=0.1", "--nesterov"]


@pytest.mark.parametrize(
    ("line", "said", "step", "metrics", "objective"),
    [
        (
            LINE,
            "epoch   3/10: loss 0.1200, val/acc   91.500%",
            3,
            {"loss": 0.12, "val/acc": 91.5},
            ("val/acc", "maximize"),
        ),
        (
            "f'{epoch}\\t{train_loss:.3f}\\t{val_loss:.3e}\\n'",
            "4\t0.5\t2.5e-01",
            4,
            {"train_loss": 0.5, "val_loss": 0.25},
            ("val_loss", "minimize"),
        ),
        (
            "f'\\x1b[1mepoch {epoch:}\\x1b[0m train loss {x:.3f}\\nof {x} rows\\n'",
            "\x1b[1mepoch 6\x1b[0m train loss 0.625",
            6,
            {"train_loss": 0.625},
            ("train_loss", "minimize"),
        ),
        (
            "f'Epoch {epoch} | Train Loss: {x:.3f} | Val Loss: {x:.3f} | Val Acc: {x:.1%}'",
            "Epoch 7 | Train Loss: 0.500 | Val Loss: 0.750 | Val Acc: 62.5%",
            7,
            {"Train_Loss": 0.5, "Val_Loss": 0.75, "Val_Acc": 62.5},
            ("Val_Acc", "maximize"),
        ),
        (
            "'Epoch %3d/%d (%d%%): val_loss %.4f' % (epoch, 10, 20, x)",
            "Epoch   8/10 (80%): val_loss 0.1250",
            8,
            {"val_loss": 0.125},
            ("val_loss", "minimize"),
        ),
        (
            "'epoch {}, loss: {:6.3f}, {f1}'.format(epoch, x, f1=x)",
            "epoch 9, loss:  0.500, 0.75",
            9,
            {"loss": 0.5, "f1": 0.75},
            ("f1", "maximize"),
        ),
        (
            "'epoch', epoch + 1, 'loss:', loss.item(), 'accuracy:', 100 * right / rows",
            "epoch 10 loss: 0.25 accuracy: 91.5",
            10,
            {"loss": 0.25, "accuracy": 91.5},
            ("accuracy", "maximize"),
        ),
        (
            "f'Epoch {epoch}: {i}% | loss={x:.3f}'",
            "Epoch 6: 80% | loss=0.500",
            6,
            {"i": 80, "loss": 0.5},
            ("loss", "minimize"),
        ),
        ("f'[{epoch}] it\\'s rmse={x}'", "[5] it's rmse=0.75", 5, {"rmse": 0.75}, ("rmse", "minimize")),
    ],
)
def test_what_it_prints_in_a_loop_is_read(
    tmp_path: Path, line: str, said: str, step: int, metrics: dict[str, float], objective: tuple[str, str]
) -> None:
    _, definition, command = written(tmp_path, line)

    assert command.pattern is not None
    assert Pattern(command.pattern).read(said) == (step, metrics)
    assert (definition.objectives[0].metric, definition.objectives[0].direction) == objective
    assert definition.pruner.name == "median"


def test_a_script_that_prints_no_metric_is_told_what_is_missing(tmp_path: Path) -> None:
    files, definition, command = written(tmp_path, "'done'")

    assert command.pattern is None
    assert definition.pruner.name == "none"
    assert re.search("give the study's metric, and a `pattern` or `trialyard.report`", files.notes[0])


def test_what_cannot_be_read_or_is_there_already_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(BadInput, match=r"tune\.yaml: is there already; --output names another"):
        write_first_script(tmp_path / "train.py", None, tmp_path / "tune.yaml")
    (tmp_path / "plain.py").write_text("print(1)")
    with pytest.raises(BadInput, match=r"plain\.py: takes no options with argparse, click"):
        write_first_script(tmp_path / "plain.py", None, None)
    (tmp_path / "broken.py").write_text("print(")
    with pytest.raises(BadInput, match=r"broken\.py: cannot be read as Python"):
        write_first_script(tmp_path / "broken.py", None, None)
