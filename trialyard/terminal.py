"""What the commands share: their arguments, where they read and where they write."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from trialyard.client import Client
from trialyard.errors import BadInput

File = Annotated[Path, typer.Argument(help="A study file, YAML or JSON.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
TrialNumber = Annotated[int, typer.Argument(metavar="NUMBER", help="The trial's number.")]
Server = Annotated[str, typer.Option(envvar="TRIALYARD_SERVER_URL", help="The server's address.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def read_document(file: Path) -> dict[str, Any]:
    """The document in a study file. Raises: BadInput: it cannot be read, and where."""
    from trialyard.study_file import StudyFileError, from_yaml

    try:
        return from_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except (StudyFileError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {error}") from error


def read_parameters(text: str) -> dict[str, Any]:
    """What is written as JSON, or stands in a file. Raises: BadInput."""
    from trialyard.study_file import StudyFileError, from_yaml

    if not text.lstrip().startswith("{"):
        return read_document(Path(text))
    try:
        return from_yaml(text)
    except StudyFileError as error:
        raise BadInput(f"the JSON that was given: {error}") from error


def open_client(server: str) -> Client:
    return Client(server)


def screen() -> Console:
    # Into a file or a pipe a table is as wide as it wants to be. What a trial says in brackets is no markup.
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)


def complaints() -> Console:
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
