"""The commands that use what a study has found: its models, in predictions and to take away."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Annotated, Literal

import typer

from trialyard.connection import DEFAULT_SERVER_URL
from trialyard.errors import BadInput, CommandError
from trialyard.resources import Artifact
from trialyard.terminal import AsJson, Server, StudyName, open_client, print_json, screen

commands = typer.Typer()

Form = Literal["onnx", "torch", "int8"]
Method = Literal["average", "greedy", "stacking", "bagging", "boosting", "refit"]

OfTrial = Annotated[int | None, typer.Option("--trial", help="The trial; the best one if left out.")]
OfEnsemble = Annotated[int | None, typer.Option("--ensemble", help="An ensemble, by its number.")]


@commands.command("predict")
def predict(
    study: StudyName,
    files: Annotated[
        list[Path], typer.Argument(help="A table (.csv .tsv .jsonl), texts (.txt), or images, also by their folder.")
    ],
    trial: OfTrial = None,
    ensemble: OfEnsemble = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The CSV file to write; standard output if left out.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="With linear layers in eight bits.")] = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Predict for the rows of a file. Beside each row stands a class with its probability, or a value."""
    from trialyard.predict import predict_file

    with open_client(server) as client:
        for note in predict_file(client, study, files, trial, ensemble, output, int8=int8):
            typer.echo(note, err=True)


@commands.command("export-model")
def export_model(
    study: StudyName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    trial: OfTrial = None,
    ensemble: OfEnsemble = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also as ONNX, compared with the original.")] = False,
    torch: Annotated[bool, typer.Option("--torch-export", help="Also as a program of torch.export, likewise.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Also with linear layers in eight bits, measured.")] = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Write a model into a folder. There are weights, configuration, preprocessing, class names and a card.

    Of a script of one's own, what the trial has written into its folder.
    """
    if output.exists() and any(output.iterdir()):
        raise BadInput(f"{output}: there are files in it already")
    if ensemble is not None and trial is not None:
        raise BadInput("--ensemble takes no --trial")
    wanted: dict[Form, bool] = {"onnx": onnx, "torch": torch, "int8": int8}
    forms = [form for form, is_wanted in wanted.items() if is_wanted]
    with open_client(server) as client:
        if ensemble is not None:
            what = f"ensemble {ensemble}"
            _tell([client.convert_refit(study, ensemble, form) for form in forms])
            _unpack(client.download_ensemble(study, ensemble), output)
        else:
            number = client.best(study).number if trial is None else trial
            what = f"trial {number}"
            is_ours = client.study(study).definition["trial"].get("kind", "train") == "train"
            if forms and not is_ours:
                raise BadInput("other forms are made of models that Trialyard has trained")
            _tell([client.convert(study, number, form) for form in forms])
            _unpack(client.download(study, number, "model" if is_ours else "checkpoints"), output)
    typer.echo(f"{study}, {what}: {', '.join(sorted(file.name for file in output.iterdir()))}")


@commands.command("rescore")
def rescore(
    study: StudyName,
    best: Annotated[int, typer.Option(min=1, max=100, help="So many of the best trials.")] = 10,
    seeds: Annotated[int, typer.Option(min=2, max=50, help="From so many other seeds each.")] = 5,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Train a study's best trials again from other seeds. The best of many noisy values flatters itself."""
    from trialyard.rescoring import rescores_table, wait_for

    with open_client(server) as client:
        ordered = [each.number for each in client.rescore(study, best, seeds)]
        found = wait_for(client, study, ordered)
        metric = client.study(study).objective.metric
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    else:
        screen().print(rescores_table(found, metric))


@commands.command("ensemble")
def build_ensemble(
    study: StudyName,
    method: Annotated[
        Method | None, typer.Option(help="How it is made; without it the study's ensembles are listed.")
    ] = None,
    candidates: Annotated[int | None, typer.Option(min=2, max=200, help="The most trials to choose from.")] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=200, help="Of greedy selection; trainings of bagging, boosting and refit.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Build an ensemble of a study's trials, or list them. Shows what it came to."""
    from trialyard.ensembles import ensembles_table, how_to_use, wait_for

    given = {"candidates": candidates, "rounds": rounds, "seed": seed}
    options = {name: value for name, value in given.items() if value is not None}
    with open_client(server) as client:
        if method is None:
            found = list(client.ensembles(study))
        else:
            found = [wait_for(client, study, client.build_ensemble(study, method, **options).number)]
        metric = client.study(study).objective.metric
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    elif not found:
        typer.echo(f"{study} has no ensembles yet; build one with --method")
    else:
        console = screen()
        console.print(ensembles_table(found, metric))
        if method is not None:
            typer.echo(how_to_use(study, found[0]))


@commands.command("refit")
def refit(
    study: StudyName,
    seeds: Annotated[int, typer.Option(min=1, max=50, help="From so many seeds, whose answers are averaged.")] = 1,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Train the best configuration on validation rows too. It is an ensemble by the method refit."""
    build_ensemble(study, "refit", None, seeds, as_json=as_json, server=server)


@commands.command("report")
def write_report(
    study: StudyName,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; STUDY.html if left out.")] = None,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Write a study into one HTML file, pictures and all."""
    file = output or Path(f"{study}.html")
    with open_client(server) as client:
        text = b"".join(client.report_page(study))
    try:
        file.write_bytes(text)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    typer.echo(f"{study}: {file}")


def _tell(artifacts: Sequence[Artifact]) -> None:
    """What a model in eight bits, if it is among them, is worth and costs, beside the original."""
    from trialyard.tables import figure

    for measured in (artifact.measured or {} for artifact in artifacts):
        before, after = measured.get("original", {}), measured.get("int8", {})
        for name in before:
            unit = " (ms for 64 rows)" if name == "latency" else ""
            typer.echo(f"{name}{unit}: {figure(before[name])}, int8 {figure(after[name])}")


def _unpack(pieces: Iterable[bytes], output: Path) -> None:
    """The files of a zip, without the folder that they are in there. Raises: CommandError"""
    with TemporaryFile() as file:
        for piece in pieces:
            file.write(piece)
        try:
            output.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    path = output.joinpath(*PurePosixPath(name).parts[1:])
                    if not path.resolve().is_relative_to(output.resolve()):
                        raise CommandError(f"{name}: would be written outside of {output}")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as source, path.open("wb") as target:
                        shutil.copyfileobj(source, target)
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}") from error
