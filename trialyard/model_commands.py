"""The commands that use what a study has found: its models, in predictions and to take away."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer

from trialyard.client import DEFAULT_SERVER_URL, Client
from trialyard.errors import BadInput, CommandError

commands = typer.Typer()

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
Server = Annotated[str, typer.Option(envvar="TRIALYARD_SERVER_URL", help="The server's address.")]
OfTrial = Annotated[int | None, typer.Option("--trial", help="The trial; the best one if left out.")]


@commands.command("predict")
def predict(
    study: StudyName,
    files: Annotated[list[Path], typer.Argument(help="A table (.csv .tsv .jsonl), texts (.txt), or images.")],
    trial: OfTrial = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The CSV file to write; standard output if left out.")
    ] = None,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Predict for the rows of a file: a class with its probability, or a value, beside each row."""
    from trialyard.predict import predict_file

    with _client(server) as client:
        for note in predict_file(client, study, files, trial, output):
            typer.echo(note, err=True)


@commands.command("export-model")
def export_model(
    study: StudyName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    trial: OfTrial = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also as ONNX, compared with the original.")] = False,
    torch: Annotated[bool, typer.Option("--torch-export", help="Also as a program of torch.export, likewise.")] = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Write a model into a folder: weights, configuration, preprocessing, class names and a card."""
    if output.exists() and any(output.iterdir()):
        raise BadInput(f"{output}: there are files in it already")
    with _client(server) as client:
        number = client.best(study).number if trial is None else trial
        if onnx:
            client.convert(study, number, "onnx")
        if torch:
            client.convert(study, number, "torch")
        _unpack(client, study, number, output)
    typer.echo(f"{study}, trial {number}: {', '.join(sorted(file.name for file in output.iterdir()))}")


def _unpack(client: Client, study: str, number: int, output: Path) -> None:
    """The files of the model's zip, without the folder that they are in there."""
    with TemporaryFile() as file:
        for piece in client.download(study, number, "model"):
            file.write(piece)
        try:
            output.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    (output / Path(name).name).write_bytes(archive.read(name))
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}") from error


def _client(server: str) -> Client:
    return Client(server, os.environ.get("TRIALYARD_API_KEY"))
