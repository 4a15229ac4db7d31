"""What a Python script says of itself without being run: the options that it takes, and the metrics that it tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from trialyard.errors import BadInput
from trialyard.script_config import hydra_options
from trialyard.script_lines import Line, printed_lines
from trialyard.script_options import Option, constant, options_of, parses_training_arguments

TRIAL_FOLDER = "{TRIALYARD_CHECKPOINT_DIR}"

# With these a Trainer evaluates, saves and says so after each epoch, in the trial's own folder.
_TRAINER_ARGUMENTS = (
    *("--output_dir", TRIAL_FOLDER, "--eval_strategy", "epoch", "--save_strategy", "epoch"),
    *("--save_total_limit", "1", "--report_to", "none", "--disable_tqdm", "true"),
)
_NUMBER = r"[-+.\w]+"


@dataclass(frozen=True)
class Script:
    """`fixed`: what the command says besides the parameters. `told`: metrics that it hands to Trialyard, where it
    `reports`, or to Lightning, which prints nothing that could be read. `absent`: packages that it imports and that are
    not installed here.
    """

    options: tuple[Option, ...]
    line: Line | None
    style: Literal["arguments", "flags", "overrides"] = "arguments"
    fixed: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    reports: bool = False
    absent: tuple[str, ...] = ()


def read_script(file: Path) -> Script:
    """Raises: BadInput: it is no Python, cannot be read, or takes no options in a way that is known."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise BadInput(f"{file}: cannot be read as Python: {error}") from error
    names = set(_names_of_report(tree))
    reports = [call for call in _calls(tree) if ast.unparse(call.func) in names]
    told = [*(key for call in reports for key in _reported(call)), *_logged(tree)]
    known = Script(
        (),
        None if reports else _line(tree),
        told=tuple(dict.fromkeys(told)),
        reports=bool(reports),
        absent=tuple(sorted(name for name in _imported(tree) if _is_absent(name, file.absolute().parent))),
    )
    if options := hydra_options(tree, file):
        return replace(known, options=options, style="overrides", fixed=(f"hydra.run.dir={TRIAL_FOLDER}",))
    options = tuple(options_of(tree))
    if all(option.is_positional for option in options):
        raise BadInput(
            f"{file}: takes no options with argparse, click, HfArgumentParser or Hydra's config files that could be "
            "searched; how any script is tuned is told in docs/how-to/tune-your-own-script.md"
        )
    style: Literal["arguments", "flags"] = "flags" if any(option.is_switch for option in options) else "arguments"
    return replace(known, options=options, style=style, fixed=tuple(_arguments_of_trainer(tree)))


def _line(tree: ast.Module) -> Line | None:
    """The one with the most metrics; what is said before a step begins, or of a batch, has fewer."""
    lines = sorted(printed_lines(tree), key=lambda line: (line.has_step, len(line.metrics)))
    return lines[-1] if lines else _line_of_trainer(tree)


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _arguments_of_trainer(tree: ast.Module) -> Iterator[str]:
    if parses_training_arguments(tree):
        yield from _TRAINER_ARGUMENTS
        asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for name in sorted({"do_train", "do_eval"} & asked):  # as transformers' own examples want to be told
            yield from (f"--{name}", "true")


def _line_of_trainer(tree: ast.Module) -> Line | None:
    """What transformers' Trainer prints of an evaluation, {'eval_loss': '0.41', …, 'epoch': '2'}; older versions put no
    quotes around the numbers.
    """
    trainers = [call for call in _calls(tree) if ast.unparse(call.func).endswith("Trainer")]
    if "transformers" not in _imported(tree) or not trainers:
        return None
    computed = {ast.unparse(each.value) for call in trainers for each in call.keywords if each.arg == "compute_metrics"}
    metrics = ("eval_loss", *dict.fromkeys(f"eval_{name}" for name in _returned(tree, computed)))
    values = ".*".join(f'"{name}": "?(?P<{name}>{_NUMBER})"?' for name in metrics)
    return Line(f'{values}.*"epoch": "?(?P<step>\\d+)'.replace('"', "."), metrics, has_step=True)


def _returned(tree: ast.Module, functions: set[str]) -> Iterator[str]:
    """The keys of the dictionaries that these functions return, as far as they can be groups of a pattern."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in functions:
            for node in ast.walk(function):
                if isinstance(node, ast.Return):
                    yield from (key for key in _keys(node.value) if key.isidentifier())


def _names_of_report(tree: ast.Module) -> Iterator[str]:
    """What the script calls `trialyard.report.report`, by how it imports that, or a copy that lies beside it."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module="trialyard", names=names):
                yield from (f"{each.asname or each.name}.report" for each in names if each.name == "report")
            case ast.ImportFrom(module="trialyard.report" | "report", names=names):
                yield from (each.asname or each.name for each in names if each.name == "report")
            case ast.Import(names=names):
                yield from (f"{each.asname or each.name}.report" for each in names if each.name in _REPORTS)


_REPORTS = ("trialyard.report", "report")


def _reported(call: ast.Call) -> Iterator[str]:
    """Of `report.report(epoch, {"val/loss": loss})` the names."""
    return (key for each in (*call.args, *(keyword.value for keyword in call.keywords)) for key in _keys(each))


def _keys(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        yield from (key for each in node.keys if isinstance(key := constant(each), str))


def _logged(tree: ast.Module) -> Iterator[str]:
    """What a LightningModule says with `self.log("val_loss", …)`."""
    if not {"lightning", "pytorch_lightning"} & _imported(tree):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(), attr="log"), args=[ast.Constant(value=str(name)), *_]):
                yield name


def _imported(tree: ast.Module) -> set[str]:
    """The packages and modules, by the first word of their names."""
    found = [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
    found += [
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level
    ]
    return {name.partition(".")[0] for name in found}


def _is_absent(name: str, folder: Path) -> bool:
    is_own = (folder / name).is_dir() or (folder / f"{name}.py").exists()
    return not is_own and find_spec(name) is None
