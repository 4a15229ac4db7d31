"""The command `trialyard`. A command of the service imports it when it is called: the rest runs on the SDK alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from trialyard.client import DEFAULT_SERVER_URL, Client, ExportForm
from trialyard.dataset_commands import commands as datasets
from trialyard.errors import ApiError, BadInput, CommandError, InvalidRequest
from trialyard.importing.command import commands as importing
from trialyard.model_commands import commands as models
from trialyard.signals import StopSignals

if TYPE_CHECKING:
    from store.settings import Settings

app = typer.Typer(
    help="Hyperparameter search as a service.",
    no_args_is_help=True,
    rich_markup_mode=None,  # errors stay one sentence on one line
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(help="Keys that open the API.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(datasets, name="datasets")
app.add_typer(importing)
app.add_typer(models)

File = Annotated[Path, typer.Argument(help="A study file, YAML or JSON.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
TrialNumber = Annotated[int, typer.Argument(metavar="NUMBER", help="The trial's number.")]
Server = Annotated[str, typer.Option(envvar="TRIALYARD_SERVER_URL", help="The server's address.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Home = Annotated[Path | None, typer.Option(help="The folder where everything lies.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="The port of the API and its page.")]
Objectives = Annotated[Path | None, typer.Option(help="objectives.toml: your own scripts and functions by name.")]
Host = Annotated[str | None, typer.Option(help="The address to listen on; another than 127.0.0.1 needs a key.")]


def main() -> None:
    """Run a command. Whatever goes wrong is told in a sentence on standard error."""
    try:
        app(prog_name="trialyard")
    except CommandError as error:
        _fail(str(error), error.exit_code)
    except InvalidRequest as error:
        _fail(str(error), BadInput.exit_code)
    except ApiError as error:
        _fail(str(error), 1)
    except Exception as error:
        if os.environ.get("TRIALYARD_TRACEBACK"):
            raise
        text = f"{type(error).__name__}: {error}. This is a fault of Trialyard's; TRIALYARD_TRACEBACK=1 shows where."
        _fail(text, 1)


# A service of one's own


@app.command()
def run(
    file: File,
    home: Annotated[Path | None, typer.Option(help="Keep everything here, and carry on with what is here.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time (per GPU, where the study wants one).")] = 2,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The page's port; any free one if left out.")
    ] = None,
    objectives: Objectives = None,
) -> None:
    """Search as a study file says: start everything, show the progress, print the best trial, stop everything."""
    with StopSignals() as signals, _service():
        from trialyard import run as runner

        settings = _settings(objectives_file=objectives)
        code = runner.run(settings, file, _read(file), home, workers, port, signals, _console(), _complaints())
    raise typer.Exit(code)


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    home: Home = None,
    workers: Annotated[int, typer.Option(min=0, help="CPU workers, and workers on each GPU.")] = 2,
    objectives: Objectives = None,
) -> None:
    """Start server, scheduler and workers on this machine, to stay."""
    with StopSignals() as signals, _service():
        from trialyard import run as runner

        slots = ["--cpu-slots", str(workers), "--slots-per-gpu", str(workers)] if workers else []
        settings = _settings(host=host, port=port, home_dir=home, objectives_file=objectives)
        raise typer.Exit(runner.up(settings, slots, signals, _console(), _complaints()))


@app.command()
def serve(host: Host = None, port: Port = None) -> None:
    """Serve the REST API and the page."""
    with _service():
        from trialyard import services

        raise typer.Exit(services.serve(_settings(host=host, port=port)))


@app.command()
def scheduler() -> None:
    """Propose trials and account for them. One is active at a time; further ones stand by."""
    with _service():
        from trialyard import services

        raise typer.Exit(services.schedule(_settings()))


@app.command()
def worker(
    gpus: Annotated[str, typer.Option(help="GPUs to use: all, none, or their numbers as in 0,2.")] = "all",
    slots_per_gpu: Annotated[int, typer.Option(min=1, help="Trials at a time on each GPU.")] = 1,
    cpu_slots: Annotated[
        int | None, typer.Option(min=0, help="Trials at a time without a GPU; one a core where no GPU is used.")
    ] = None,
    memory_per_slot: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The host's memory that a trial may use, as in 8GiB.")
    ] = None,
    pool: Annotated[str, typer.Option(help="The pool whose trials are taken.")] = "default",
    name: Annotated[str | None, typer.Option(help="The workers' name; the machine's if left out.")] = None,
    objectives: Objectives = None,
) -> None:
    """Train trials: one process a slot."""
    with _service():
        from trialyard import services

        raise typer.Exit(
            services.work(
                _settings(objectives_file=objectives), pool, cpu_slots, gpus, slots_per_gpu, memory_per_slot, name
            )
        )


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema (the scheduler does so too when it starts)."""
    with _service():
        from trialyard import services

        services.migrate(_settings())


@app.command()
def doctor(
    topic: Annotated[
        str, typer.Argument(help="`knobs` lists what a study may search over; `model` and `data` look at a study file.")
    ] = "installation",
    file: Annotated[Path | None, typer.Argument(help="The study file, with `model` and `data`.")] = None,
) -> None:
    """Check this installation, list the knobs, or show what a study trains and on what."""
    with _service():
        from trialyard import doctor as doctors

        study = doctors.StudyAt(_read(file), file.absolute().parent) if file else None
        raise typer.Exit(doctors.examine(topic, study, _settings(), _console()))


# Studies of a running service


@app.command()
def submit(
    file: File,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until it ends, then the best trial.")] = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Send a study to a server."""
    from trialyard.follow import follow, page_of
    from trialyard.results import conclude

    console = _console()
    document = _read(file)
    with _client(server) as client:
        study = client.create_study(document)
        console.print(f"{study.name}: {page_of(client, study.name)}", soft_wrap=True)
        if study.waiting_for:
            _complaints().print(f"{study.name} waits: {study.waiting_for}")
        if wait:
            with StopSignals() as signals:
                ended = follow(client, study, console, signals.check)
            conclude(console, client, ended)


@app.command()
def studies(as_json: AsJson = False, server: Server = DEFAULT_SERVER_URL) -> None:
    """List the studies."""
    from trialyard.tables import studies_table

    with _client(server) as client:
        found = list(client.studies())
    if as_json:
        _print_json([study.model_dump(mode="json") for study in found])
    else:
        _console().print(studies_table(found) if found else "no studies yet")


@app.command()
def show(study: StudyName, as_json: AsJson = False, server: Server = DEFAULT_SERVER_URL) -> None:
    """Show where a study stands."""
    from trialyard.tables import print_study

    with _client(server) as client:
        found = client.study(study)
        pareto = client.pareto(study) if len(found.objectives) > 1 and not as_json else None
    if as_json:
        _print_json(found.model_dump(mode="json"))
        return
    from trialyard.results import print_front

    print_study(_console(), found)
    if pareto is not None and pareto.front:
        print_front(_console(), pareto)


@app.command()
def trials(
    study: StudyName,
    state: Annotated[str | None, typer.Option(help="Only those in this state; several with commas.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="number, value, duration, started_at, ended_at; -value: descending.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """List the trials of a study."""
    from trialyard.tables import trials_table

    with _client(server) as client:
        found = list(islice(client.trials(study, state, sort), limit))
    if as_json:
        _print_json([trial.model_dump(mode="json") for trial in found])
    else:
        _console().print(trials_table(found) if found else "no such trials")


@app.command()
def best(study: StudyName, as_json: AsJson = False, server: Server = DEFAULT_SERVER_URL) -> None:
    """Print the best trial and its parameters, ready to be used; of several objectives the trials that none beats."""
    from trialyard.resources import Pareto
    from trialyard.results import print_best, print_front

    with _client(server) as client:
        several = len(client.study(study).objectives) > 1
        found = client.pareto(study) if several else client.best(study)
    if as_json:
        _print_json(found.model_dump(mode="json"))
    elif isinstance(found, Pareto):
        print_front(_console(), found)
    else:
        print_best(_console(), found)


@app.command()
def pause(study: StudyName, server: Server = DEFAULT_SERVER_URL) -> None:
    """Let a study rest; its trials keep their checkpoints."""
    with _client(server) as client:
        typer.echo(f"{study}: {client.pause(study).state}")


@app.command()
def resume(study: StudyName, server: Server = DEFAULT_SERVER_URL) -> None:
    """Let a paused study go on."""
    with _client(server) as client:
        typer.echo(f"{study}: {client.resume(study).state}")


@app.command()
def cancel(
    study: StudyName,
    number: Annotated[int | None, typer.Argument(metavar="[NUMBER]", help="One trial, not the study.")] = None,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """End a study now, or one of its trials; what it has found stays."""
    with _client(server) as client:
        if number is None:
            typer.echo(f"{study}: {client.cancel(study).state}")
        else:
            typer.echo(f"{study}, trial {number}: {client.cancel_trial(study, number).state}")


@app.command()
def retry(study: StudyName, number: TrialNumber, server: Server = DEFAULT_SERVER_URL) -> None:
    """Run a FAILED or CANCELLED trial again."""
    with _client(server) as client:
        typer.echo(f"{study}, trial {number}: {client.retry_trial(study, number).state}")


@app.command()
def enqueue(
    study: StudyName,
    parameters: Annotated[str, typer.Argument(help='A file (YAML or JSON), or JSON itself: {"lr": 0.01}.')],
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Make a trial with given parameters, the next one to begin."""
    with _client(server) as client:
        trial = client.enqueue(study, _parameters(parameters))
    typer.echo(f"{study}, trial {trial.number}: {trial.state}")


@app.command()
def edit(
    study: StudyName,
    changes: Annotated[
        str,
        typer.Argument(help='A file (YAML or JSON), or JSON itself: {"parameters": {"lr": {"low": 1e-5, "high": 1}}}.'),
    ],
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Change a study's budget or priority, or change or add parameters, while it runs."""
    from trialyard.tables import print_study

    with _client(server) as client:
        print_study(_console(), client.edit(study, _parameters(changes)))


@app.command()
def delete(study: StudyName, server: Server = DEFAULT_SERVER_URL) -> None:
    """Delete a study with its trials and their files."""
    with _client(server) as client:
        client.delete(study)
    typer.echo(f"{study}: deleted")


@app.command()
def drain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A worker's name, or a machine's for all its workers.")],
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Have workers leave when the trials they have in hand are done."""
    with _client(server) as client:
        for worker_name in client.drain(name):
            typer.echo(f"{worker_name}: leaves when its trial is done")


@app.command()
def export(
    study: StudyName,
    form: Annotated[ExportForm, typer.Option("--format", help="`optuna` is a journal that Optuna opens.")] = "csv",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")] = None,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Write the trials of a study as a file."""
    from trialyard.results import write_pieces

    with _client(server) as client:
        write_pieces(client.export(study, form), output)


# Keys


@keys.command("create")
def create_key(name: Annotated[str, typer.Argument(help="Whose key it is.")]) -> None:
    """Make a key. It is shown once."""
    with _service():
        from trialyard import services

        typer.echo(services.create_key(_settings(), name))


@keys.command("list")
def list_keys() -> None:
    """List the keys by name."""
    with _service():
        from trialyard import services

        _console().print(services.keys_table(_settings()))


@keys.command("revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="Whose key it is.")]) -> None:
    """Make a key worthless, at once."""
    with _service():
        from trialyard import services

        services.revoke_key(_settings(), name)
        typer.echo(f"{name}: revoked")


@contextmanager
def _service() -> Iterator[None]:
    """For commands that import the service: what it raises on purpose becomes the command's own failure."""
    try:
        from store.errors import DefinitionError, TrialyardError

        yield
    except ModuleNotFoundError as error:
        raise CommandError(
            f"this command needs the whole service, and {error.name!r} is not installed: "
            "run it from a checkout after `make setup`, or from the image"
        ) from error
    except DefinitionError as error:
        raise BadInput(str(error)) from error
    except TrialyardError as error:
        raise CommandError(str(error)) from error


def _settings(**given: Any) -> Settings:
    """The environment's settings, with what the command line gave instead."""
    from pydantic import ValidationError

    from store.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = (f"TRIALYARD_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise BadInput("\n".join(problems)) from error


def _read(file: Path) -> dict[str, Any]:
    """The document in a study file. Raises: BadInput: it cannot be read, and where."""
    from trialyard.study_file import StudyFileError, from_yaml

    try:
        return from_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except (StudyFileError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {error}") from error


def _parameters(text: str) -> dict[str, Any]:
    """What is written as JSON, or stands in a file. Raises: BadInput."""
    from trialyard.study_file import StudyFileError, from_yaml

    if not text.lstrip().startswith("{"):
        return _read(Path(text))
    try:
        return from_yaml(text)
    except StudyFileError as error:
        raise BadInput(f"the JSON that was given: {error}") from error


def _client(server: str) -> Client:
    return Client(server, os.environ.get("TRIALYARD_API_KEY"))


def _console() -> Console:
    # Into a file or a pipe a table is as wide as it wants to be.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _complaints() -> Console:
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _fail(text: str, exit_code: int) -> NoReturn:
    print(text, file=sys.stderr)  # noqa: T201 - what a command has to say
    raise SystemExit(exit_code)
