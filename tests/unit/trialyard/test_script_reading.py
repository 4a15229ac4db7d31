"""Scripts that take their options in other ways than argparse's."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.definition import parse
from trialyard.errors import BadInput
from trialyard.first_script import write_first_script
from trialyard.script_reading import read_script
from trialyard.study_file import from_yaml
from worker.objectives_file import CommandObjective, read_objectives
from worker.printed import Pattern

CLICK = """
import click
@click.command()
@click.option("--lr", type=float, default=1)
@click.option("-w", "--width", default=64, show_default=True)
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam")
@click.option("--nesterov/--no-nesterov", default=False)
@click.option("--amp", is_flag=True)
@click.option("--shuffle/--no-shuffle", default=True)
@click.option("--log-dir", default="runs")
@click.argument("data")
def main(**options): ...
"""
HUGGING_FACE = """
from dataclasses import dataclass, field
from transformers import HfArgumentParser, Trainer, TrainingArguments

@dataclass
class Model:
    hidden_size: int = field(default=32, metadata={"help": "width"})
    is_tied: bool = False
    dropout: float = 0.1
    kind: str = field(metadata={"help": "needed"})

@dataclass
class Mine(TrainingArguments):
    temperature: float = 2

class Unused:
    never: int = 3

def measure(prediction):
    return {"accuracy": 1.0, "f1/macro": 0.5}

model, arguments = HfArgumentParser((Model, Mine)).parse_args_into_dataclasses()
trainer = Trainer(model=None, args=arguments, compute_metrics=measure)
if arguments.do_train:
    trainer.train()
"""
HYDRA = """
import hydra
@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg): ...
"""
LIGHTNING = """
import argparse
import lightning as L
class Net(L.LightningModule):
    def validation_step(self, batch, index):
        self.log("val_loss", 1.0)
        self.log("val_acc", 1.0, prog_bar=True)
argparse.ArgumentParser().add_argument("--lr", type=float, default=0.1)
"""


def written(folder: Path, text: str) -> tuple[dict[str, object], CommandObjective, tuple[str, ...], str]:
    (folder / "train.py").write_text(text)
    files = write_first_script(folder / "train.py", None, folder / "tune.yaml")
    study = parse(from_yaml(files.study.read_text(encoding="utf-8")))
    objective = read_objectives(files.objectives)["train"]
    assert isinstance(objective, CommandObjective)
    parameters: dict[str, object] = {name: each.document() for name, each in study.parameters.items()}
    return parameters, objective, files.notes, study.objectives[0].metric


def test_options_of_click(tmp_path: Path) -> None:
    parameters, objective, _, _ = written(tmp_path, CLICK)

    assert parameters == {
        "lr": {"low": 0.1, "high": 10.0, "log": True},
        "width": {"values": [32, 64, 128]},
        "optimizer": {"values": ["adam", "sgd"]},
        "nesterov": {"values": [True, False]},
        "amp": {"values": [True, False]},
    }
    assert objective.parameters == "flags"
    assert objective.command == ["python", "train.py", "--log-dir", "{TRIALYARD_CHECKPOINT_DIR}"]


def test_dataclasses_of_hf_argument_parser_and_what_its_trainer_prints(tmp_path: Path) -> None:
    parameters, objective, notes, metric = written(tmp_path, HUGGING_FACE)

    assert parameters == {
        "hidden_size": {"values": [16, 32, 64]},
        "is_tied": {"values": [True, False]},
        "dropout": {"low": 0.0, "high": 0.6},
        "learning_rate": {"low": 5e-6, "high": 5e-4, "log": True},
        "weight_decay": {"low": 0.001, "high": 0.1, "log": True},
        "per_device_train_batch_size": {"values": [4, 8, 16]},
        "temperature": {"low": 0.2, "high": 20.0, "log": True},
    }
    assert objective.parameters == "arguments"
    command = " ".join(objective.command)
    assert command.startswith("python train.py --output_dir {TRIALYARD_CHECKPOINT_DIR} --eval_strategy epoch ")
    assert command.endswith(" --do_train true")
    assert any(note.startswith("--kind: required by the script") for note in notes)
    assert metric == "eval_accuracy"


@pytest.mark.parametrize(
    "line",
    [
        "{'eval_loss': '0.25', 'eval_accuracy': '0.75', 'eval_runtime': '1.06', 'epoch': '2'}",
        "{'eval_loss': 0.25, 'eval_accuracy': 0.75, 'eval_runtime': 1.068, 'epoch': 2.0}",
    ],
)
def test_a_line_of_the_trainer_is_read_with_or_without_quotes(tmp_path: Path, line: str) -> None:
    _, objective, _, _ = written(tmp_path, HUGGING_FACE)

    assert objective.pattern is not None
    assert Pattern(objective.pattern).read(line) == (2, {"eval_loss": 0.25, "eval_accuracy": 0.75})


def configure(folder: Path, **files: str) -> None:
    for name, text in files.items():
        file = folder / "conf" / f"{name.replace('__', '/')}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_values_of_hydras_configs_with_those_of_their_groups(tmp_path: Path) -> None:
    configure(
        tmp_path,
        config="""
defaults: [base, {optim: adam}, {optional local: mine}, {override hydra/launcher: basic}, _self_]
optim: {weight_decay: 0.1}
seed: 1
trainer: {epochs: 5, amp: true, output_dir: "${hydra:runtime.output_dir}", data: "???"}
hydra: {sweep: {dir: x}}
""",
        base="width: 64",
        optim__adam="{_target_: torch.optim.Adam, lr: 1e-3, weight_decay: 0.0}",
    )

    parameters, objective, notes, _ = written(tmp_path, HYDRA)

    assert parameters == {
        "width": {"values": [32, 64, 128]},
        "optim.lr": {"low": 0.0001, "high": 0.01, "log": True},
        "optim.weight_decay": {"low": 0.01, "high": 1.0, "log": True},
        "trainer.amp": {"values": [True, False]},
    }
    assert objective.parameters == "overrides"
    folder = "{TRIALYARD_CHECKPOINT_DIR}"
    assert objective.command == ["python", "train.py", f"hydra.run.dir={folder}", f"trainer.output_dir={folder}"]
    assert any(note.startswith("trainer.data: required by the script") for note in notes)


def test_a_config_that_is_missing_is_named(tmp_path: Path) -> None:
    configure(tmp_path, config="defaults: [{optim: adm}]")

    with pytest.raises(BadInput, match=r"conf/optim/adm\.yaml: cannot be read as a config of Hydra"):
        written(tmp_path, HYDRA)


def test_lightning_is_told_the_metrics_and_needs_a_callback(tmp_path: Path) -> None:
    _, objective, notes, metric = written(tmp_path, LIGHTNING)

    assert (metric, objective.pattern) == ("val_acc", None)
    assert notes[0].startswith(
        "Lightning is told val_loss, val_acc, and prints no line that could be read: add the callb"
    )


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from trialyard import report", "report.report(epoch, {0})"),
        ("from trialyard import report as told", "told.report(epoch, {0})"),
        ("from trialyard.report import report", "report(step=epoch, metrics={0})"),
        ("import trialyard.report", "trialyard.report.report(epoch, {0})"),
        ("import trialyard.report as told", "told.report(epoch, {0})"),
        ("import report", "report.report(epoch, {0})"),
        ("from report import report as told", "told(epoch, {0})"),
    ],
)
def test_a_script_that_reports_needs_no_pattern(tmp_path: Path, imports: str, call: str) -> None:
    report = call.format("{'val/loss': 1.0, 'val/acc': 0.5}")
    loop = f"for epoch in range(3):\n    print('loss', 1.0)\n    {report}\n"

    _, objective, notes, metric = written(tmp_path, f"{LIGHTNING}{imports}\n{loop}")

    assert (metric, objective.pattern) == ("val/acc", None)
    assert notes[0] == "it reports val/loss, val/acc, val_loss, val_acc"


def test_packages_that_are_not_installed_here_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(f"import no_such_package.part\nimport mine\nfrom . import other{LIGHTNING}")
    (tmp_path / "mine.py").touch()

    absent = read_script(tmp_path / "train.py").absent

    assert "no_such_package" in absent
    assert "mine" not in absent
    assert "argparse" not in absent
