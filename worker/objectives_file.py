"""`objectives.toml`: what the operator of a worker lets studies call, by name.

[objectives]
rastrigin = "my_objectives:rastrigin"    # a Python function; modules beside the file can be imported

[objectives.my-script]                   # a command in any language
command = ["python", "train.py", "--lr", "{optimizer.lr}"]
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Literal

from pydantic import ByteSize, Field, JsonValue, ValidationError, field_validator

from search.findings import Finding, of_model, problems
from search.sections import Seconds, Section
from store.errors import SettingsError
from worker.overrides import check_value, override

NAME = r"[a-z0-9_.-]{1,64}"

# What a command may have put into an argument beside the parameters. Not what lets it report: all can read arguments.
VARIABLES = frozenset(
    f"TRIALYARD_{name}" for name in ("STUDY", "TRIAL", "ATTEMPT", "CHECKPOINT_DIR", "PARAMETERS", "OPTIONS")
)

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_SHELLS = {"sh", "ash", "bash", "dash", "ksh", "zsh", "fish"}


class CommandObjective(Section):
    """A command, how it gets a trial's parameters, how it is read, and what it may use."""

    command: Annotated[list[str], Field(min_length=1)]
    directory: Path = Path()  # relative to the file's own folder
    environment: dict[str, str] = Field(default_factory=dict)
    parameters: Literal["arguments", "flags", "overrides", "environment", "json"] = "json"
    pattern: str | None = None
    timeout: Seconds | None = None
    grace: Seconds = 5.0
    max_log: Annotated[ByteSize, Field(ge=1024)] = ByteSize(2**20)
    max_disk: Annotated[ByteSize, Field(ge=1)] = ByteSize(20 * 10**9)

    @field_validator("command")
    @classmethod
    def _keeps_parameters_out_of_shell_scripts(cls, command: list[str]) -> list[str]:
        script = _shell_script(command)
        if script is not None and any(_names(script)):
            raise ValueError(
                "has a parameter inside a shell's script, where its value could be any command; "
                """hand it over as an argument, as in ["sh", "-c", "train --lr \\"$1\\"", "sh", "{lr}"]; """
                "a brace that stands for itself is written twice, {{ and }}"
            )
        return command

    @field_validator("command")
    @classmethod
    def _names_variables_that_there_are(cls, command: list[str]) -> list[str]:
        named = {name for argument in command for name in _names(argument) if name.startswith("TRIALYARD_")}
        if unknown := sorted(named - VARIABLES):
            raise ValueError(
                f"names {unknown[0]}, which is no variable of a trial; these are: {', '.join(sorted(VARIABLES))}"
            )
        return command

    @field_validator("pattern")
    @classmethod
    def _can_be_read_by(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            check_pattern(pattern)
        return pattern

    @property
    def placeholders(self) -> list[str]:
        """The parameters that the command names, each once."""
        named = dict.fromkeys(name for argument in self.command for name in _names(argument))
        return [name for name in named if name not in VARIABLES]

    def arguments(self, parameters: Mapping[str, JsonValue], variables: Mapping[str, str]) -> list[str]:
        """The command with a trial's parameters put in. Those without a place are added where it wants arguments.

        The first word `python` is the interpreter that runs this worker.

        Args:
            variables: the values of `VARIABLES`.

        Raises:
            UnfitOverride: it wants overrides, and a parameter may be none.
        """
        if self.parameters == "overrides":
            check_value([*parameters.values()])  # of those that the command names too
        words = [_put_in(argument, {**parameters, **variables}) for argument in self.command]
        if words[0] == "python":
            words[0] = sys.executable
        if self.parameters in ("arguments", "flags", "overrides"):
            placed = set(self.placeholders)
            words += [word for name in parameters if name not in placed for word in self._word(name, parameters[name])]
        return words

    def _word(self, name: str, value: JsonValue) -> Iterator[str]:
        """A parameter as an argument; none for a switch that is off."""
        if self.parameters == "flags" and isinstance(value, bool):
            if value:
                yield f"--{name}"
            return
        yield override(name, value) if self.parameters == "overrides" else f"--{name}={as_text(value)}"

    def variables(self, parameters: Mapping[str, JsonValue]) -> dict[str, str]:
        """The environment's variables that carry the parameters; none unless it wants them so."""
        if self.parameters != "environment":
            return {}
        return {variable_of(name): as_text(value) for name, value in parameters.items()}


Registered = str | CommandObjective


def read_objectives(file: Path) -> dict[str, Registered]:
    """What is registered, by name: the import path of a function, or a command whose directory is resolved.

    Raises:
        SettingsError: the file is not what it must be; says everything that is wrong with it, and where.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"TRIALYARD_OBJECTIVES_FILE: {file} cannot be read: {error}") from error
    entries = document.get("objectives")
    if not isinstance(entries, dict):
        hint = """name = "package.module:function", or tables [objectives.name]"""
        raise SettingsError(f"TRIALYARD_OBJECTIVES_FILE: {file} must hold a table [objectives] of entries {hint}")
    registered: dict[str, Registered] = {}
    findings: list[Finding] = []
    for name, entry in entries.items():
        read, wrong = _read_entry(name, entry, file.absolute().parent)
        findings += wrong
        if read is not None:
            registered[name] = read
    if findings:
        lines = "\n".join(f"  {problem}" for problem in problems(findings, document))
        raise SettingsError(f"TRIALYARD_OBJECTIVES_FILE: {file} cannot be used:\n{lines}")
    return registered


def as_text(value: JsonValue) -> str:
    """A parameter as a word of a command: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def variable_of(name: str) -> str:
    """The environment's variable for a parameter: optimizer.lr is TRIALYARD_PARAM_OPTIMIZER_LR."""
    return "TRIALYARD_PARAM_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def check_pattern(pattern: str) -> None:
    """Raises: ValueError: it is no regular expression, or reads no metric."""
    try:
        groups = set(re.compile(pattern).groupindex)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if ("name" in groups) != ("value" in groups):
        raise ValueError("has one of the groups name and value; they go together")
    if not groups - {"step"}:
        raise ValueError(r"reads no metric; name a group after one, as in 'loss=(?P<loss>\S+)'")


def _read_entry(name: str, entry: object, folder: Path) -> tuple[Registered | None, list[Finding]]:
    at = ("objectives", name)
    if not re.fullmatch(NAME, name):
        return None, [Finding(at, "is no name", "use 1 to 64 of a-z, 0-9, hyphen, underscore and dot")]
    if isinstance(entry, str) and ":" in entry:
        return entry, []
    if not isinstance(entry, dict):
        hint = 'write "package.module:function", or a table with a command'
        return None, [Finding(at, f"{entry!r:.60} is neither a function nor a command", hint)]
    try:
        command = CommandObjective.model_validate(entry)
    except ValidationError as error:
        return None, of_model(error, CommandObjective, at)
    command = command.model_copy(update={"directory": folder / command.directory})
    return command, [Finding((*at, *finding.at), finding.message, finding.hint) for finding in _not_here(command)]


def _not_here(objective: CommandObjective) -> Iterator[Finding]:
    """What the command needs and this machine does not have."""
    if not objective.directory.is_dir():
        yield Finding(("directory",), f"{objective.directory} is no folder here")
        return
    program = objective.arguments(dict.fromkeys(objective.placeholders, ""), dict.fromkeys(VARIABLES, ""))[0]
    if PurePath(program).name != program:  # a path; execve takes it from the directory
        program = str(objective.directory / program)
    if shutil.which(program, path=objective.environment.get("PATH")) is None:
        yield Finding(("command",), f"there is no program {objective.command[0]!r} here")


def _names(argument: str) -> Iterator[str]:
    return (match[1] for match in _PLACEHOLDER.finditer(argument) if match[1])


def _put_in(argument: str, parameters: Mapping[str, JsonValue]) -> str:
    """Doubled braces stand for themselves."""
    return _PLACEHOLDER.sub(lambda match: as_text(parameters[match[1]]) if match[1] else match[0][0], argument)


def _shell_script(command: list[str]) -> str | None:
    """The script in `sh -c SCRIPT`; None if it is no such command."""
    if PurePath(command[0]).name not in _SHELLS:
        return None
    flags = (place for place, word in enumerate(command[1:], 1) if re.fullmatch(r"-[a-zA-Z]*c", word))
    place = next(flags, None)
    return None if place is None or place + 1 >= len(command) else command[place + 1]
