"""The command `trialyard import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from trialyard.errors import BadInput
from trialyard.importing.study import Form, Given, convert, slug
from trialyard.study_file import StudyFileError

commands = typer.Typer()

Source = Annotated[Path, typer.Argument(help="The other tool's file, YAML or JSON.")]
From = Annotated[
    Form, typer.Option("--from", help="Sweep YAML, Experiment YAML, distributions, search space, study configuration.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")]


@commands.command("import")
def import_definition(
    file: Source,
    form: From,
    output: Output = None,
    name: Annotated[str | None, typer.Option(help="The study's name; the file's own if left out.")] = None,
    metric: Annotated[str | None, typer.Option(help="The metric to search by.")] = None,
    direction: Annotated[Literal["minimize", "maximize"] | None, typer.Option(help="Which way is better.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials to run.")] = None,
    objective: Annotated[str | None, typer.Option(help="The registered objective that a trial runs.")] = None,
    external: Annotated[bool, typer.Option("--external", help="Trials are handed out by ask-and-tell.")] = False,
) -> None:
    """Make a study file of another tool's search."""
    if objective is not None and external:
        raise BadInput("--objective and --external exclude each other: a trial is one or the other")
    trial: dict[str, Any] | None = {"kind": "external"} if external else None
    if objective is not None:
        trial = {"kind": "objective", "name": objective}
    given = Given(slug(file.stem) or "imported", name, metric, direction, trials, trial)
    try:
        imported = convert(_text(file), form, given)
    except StudyFileError as error:
        raise BadInput(f"{file}: {error}") from error
    for note in imported.notes:
        typer.echo(note, err=True)
    if output is None:
        typer.echo(imported.text, nl=False)
    else:
        output.write_text(imported.text, encoding="utf-8")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: {error}") from error
