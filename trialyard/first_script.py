"""`trialyard init train.py`: a first study and an objectives file for a script of one's own, which stays as it is."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from rich.console import Console

from trialyard.errors import BadInput
from trialyard.importing.study import slug
from trialyard.script_options import Option
from trialyard.script_reading import TRIAL_FOLDER, Script, read_script
from trialyard.study_file import as_yaml

TRIALS = 20
PRUNER = {"name": "median", "n_startup_trials": 5, "n_warmup_steps": 1}

_WORDS = re.compile(r"[a-z0-9]+")
# What is no matter of how good the model is, or is decided by how long one is willing to wait.
_TECHNICAL = set(
    _WORDS.findall(
        "seed epoch epochs step steps worker workers thread threads jobs device devices gpu gpus port rank verbose "
        "interval every version patience log logging print save resume debug rows samples examples limit"
    )
)
_PLACES = {"out", "output", "save", "checkpoint", "checkpoints", "ckpt", "logdir", "outdir", "workdir", "savedir"}
_FOLDERS = {"dir", "folder", "path", "root"}
_WRITTEN = {"log", "logs", "run", "runs", "work", "exp", "experiment", "model", "result", "results", "default"}
_SHARES = {"dropout", "drop", "momentum", "smoothing", "prob", "ratio", "beta", "beta1", "beta2", "alpha", "gamma"}
_PARTS = {"subsample", "colsample", "fraction", "frac"}  # of the rows or the columns: all of them is the most
_RATES = {"lr", "eta", "rate"}  # of learning: above 1 nothing learns
_LARGER_IS_BETTER = re.compile(
    r"acc|auc|f1|score|precision|recall|(?<![a-z])map(?![a-z])|iou|dice|bleu|rouge|r2|psnr|ssim|reward|return",
    re.IGNORECASE,
)
_SMALLER_IS_BETTER = re.compile(r"loss|err|mse|mae|nll|ppl|perplexity|entropy|cost|fid|distance", re.IGNORECASE)
_HELD_OUT = re.compile(r"val|test|eval|dev", re.IGNORECASE)


@dataclass(frozen=True)
class FirstScript:
    """The two files that were written, and what is to be looked at in them."""

    study: Path
    objectives: Path
    notes: tuple[str, ...]


def write_first_script(file: Path, name: str | None, output: Path | None) -> FirstScript:
    """Read a script and write what it takes to tune it.

    Raises:
        BadInput: it takes no options in a way that is known, or a file is there already.
    """
    script = read_script(file)
    name = name or slug(file.stem) or "script"
    study = (output or Path(f"{name}.yaml")).absolute()
    objectives = study.with_suffix(".toml")
    metric, notes = _metric(script)
    texts = {
        study: study_text(name, script, metric),
        objectives: objectives_text(name, script, file, objectives.parent),
    }
    for path in texts:
        if path.exists():
            raise BadInput(f"{path}: is there already; --output names another")
    try:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{study}: {error.strerror}") from error
    required = [option.flag for option in script.options if option.is_required and not _is_searched(option)]
    if required:
        them = "it" if len(required) == 1 else "them"
        notes += (f"{', '.join(required)}: required by the script; add {them} to `command` in {objectives.name}",)
    if script.absent:
        notes += (
            f"{', '.join(script.absent)}: not installed beside Trialyard; where the script has an environment of its "
            f"own, name its interpreter in place of `python` in {objectives.name}",
        )
    return FirstScript(study, objectives, notes)


def say(written: FirstScript, console: Console) -> None:
    """What to look at, and what to do next."""
    here = Path.cwd()
    study, objectives = (
        str(path.relative_to(here) if path.is_relative_to(here) else path)
        for path in (written.study, written.objectives)
    )
    for note in written.notes:
        console.print(note, markup=False, soft_wrap=True)
    again = f"trialyard run {shlex.quote(study)} --objectives {shlex.quote(objectives)}"
    console.print(f"written: {study}, {objectives}; look at the ranges, then `{again}`", markup=False, soft_wrap=True)


def study_text(name: str, script: Script, metric: str) -> str:
    """The study file: YAML, with comments."""
    searched = [(option.name, _entry(option)) for option in script.options if _is_searched(option)]
    width = max((len(as_yaml(name)) for name, _ in searched), default=0) + 1
    rest = [option.name for option in script.options if not _is_searched(option) and not _is_place(option)]
    direction = "maximize" if _LARGER_IS_BETTER.search(metric) else "minimize"
    lines = [
        f"name: {as_yaml(name)}",
        f"objective: {as_yaml({'metric': metric, 'direction': direction})}",
        "",
        "parameters:   # guessed from the script's defaults: which are worth searching, and how far?",
        *(f"  {as_yaml(name) + ':':<{width}} {as_yaml(entry)}" for name, entry in searched),
        *([f"  # left as the script has them: {', '.join(rest)}; `{rest[0]}: {{value: …}}` sets one"] if rest else []),
        "",
        *([f"pruner: {as_yaml(PRUNER)}   # ends trials that fall behind"] if script.line or script.reports else []),
        f"budget: {{trials: {TRIALS}}}",
        "trial: " + as_yaml({"kind": "objective", "name": name}),
        "resources: {gpus: 0}   # 1: a GPU for each trial",
    ]
    return "\n".join(lines) + "\n"


def objectives_text(name: str, script: Script, file: Path, folder: Path) -> str:
    """The objectives file: TOML. What the script writes goes into the trial's own folder."""
    directory = file.absolute().parent
    command = ["python", file.name, *script.fixed]
    for option in filter(_is_place, script.options):
        last = PurePath(str(option.default or "")).name if PurePath(str(option.default or "")).suffix else ""
        place = "/".join([TRIAL_FOLDER, *([last] if last else [])])
        command += [f"{option.flag}={place}"] if script.style == "overrides" else [option.flag, place]
    lines = [
        f"[objectives.{name}]",
        f"command = {json.dumps(command, ensure_ascii=False)}",
        *([] if directory == folder else [f"directory = {json.dumps(str(directory), ensure_ascii=False)}"]),
        f'parameters = "{script.style}"',
    ]
    if script.line:
        lines.append(f"pattern = '{script.line.pattern}'")
    return "\n".join(lines) + "\n"


def _metric(script: Script) -> tuple[str, tuple[str, ...]]:
    """What to search by: of held-out rows, and rather what is to be large than a loss."""
    names = script.line.metrics if script.line else script.told
    listed = ", ".join(names)
    if script.line:
        note = f"read from what it prints: {listed}"
    elif script.reports:
        note = f"it reports {listed}" if names else "it reports: give the study's metric as the script calls it"
    elif names:
        note = (
            f"Lightning is told {listed}, and prints no line that could be read: add the callback of "
            "docs/how-to/tune-your-own-script.md to the script's Trainer"
        )
    else:
        note = (
            "nothing that is printed in a loop names a metric, as in print(f'epoch {epoch} val_loss {loss:.4f}'): "
            "give the study's metric, and a `pattern` or `trialyard.report`"
        )
    if not names:
        return "val_loss", (note,)
    return min(names, key=_how_unfit), (note,)


def _how_unfit(name: str) -> tuple[bool, bool, bool]:
    """As what to search by; a share of the epoch in a progress bar is no measure of anything."""
    is_larger_better = bool(_LARGER_IS_BETTER.search(name))
    is_measure = is_larger_better or bool(_SMALLER_IS_BETTER.search(name))
    return not is_measure, not _HELD_OUT.search(name), not is_larger_better


def _words(option: Option) -> set[str]:
    return set(_WORDS.findall(option.name.lower()))


def _is_place(option: Option) -> bool:
    """Whether it says where the script writes."""
    words = _words(option)
    is_folder = bool(words & _FOLDERS and words & _WRITTEN)
    return (
        isinstance(option.default, str | None)
        and not option.choices
        and not option.is_positional
        and (bool(words & _PLACES) or is_folder)
    )


def _is_searched(option: Option) -> bool:
    words = _words(option)
    return ("batch" in words or not words & _TECHNICAL) and _entry(option) is not None


def _entry(option: Option) -> dict[str, Any] | None:
    """Its range, around the default; None where nothing tells one."""
    default = option.default
    if option.choices:
        return {"values": list(option.choices)}
    if option.is_switch:
        return {"values": [True, False]}
    if isinstance(default, bool) or not isinstance(default, int | float):
        return None
    return next(_around(default, _words(option)), None)


def _around(default: float, words: set[str]) -> Iterator[dict[str, Any]]:
    if isinstance(default, int):
        if default >= 8 and default & (default - 1) == 0:
            yield {"values": [default // 2, default, 2 * default]}
        elif default > 0:
            yield {"low": max(1, default // 2), "high": 2 * default}
    elif words & _PARTS and 0 < default <= 1:
        yield {"low": 0.3 if default > 0.3 else _rounded(default / 10), "high": 1.0}
    elif words & _SHARES and 0 <= default < 1:
        yield {"low": 0.0, "high": 0.6 if default <= 0.5 else 0.99}
    elif default > 0:
        most = 1.0 if words & _RATES and default < 1 else math.inf
        yield {"low": _rounded(default / 10), "high": _rounded(min(default * 10, most)), "log": True}


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
