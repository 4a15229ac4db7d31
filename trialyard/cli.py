"""The command `trialyard`. A command of the service imports it when it is called: the rest runs on the SDK alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import httpx
import typer

from trialyard.dataset_commands import commands as datasets
from trialyard.errors import ApiError, BadInput, CommandError, InvalidRequest, Unauthorized
from trialyard.importing.command import commands as importing
from trialyard.model_commands import commands as models
from trialyard.signals import StopSignals
from trialyard.study_commands import commands as studies
from trialyard.terminal import File, read_document, screen

if TYPE_CHECKING:
    from store.settings import Settings

app = typer.Typer(
    help="Hyperparameter search as a service.",
    no_args_is_help=True,
    rich_markup_mode=None,  # errors stay one sentence on one line
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
keys = typer.Typer(help="Keys that open the API.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(studies)
app.add_typer(datasets, name="datasets")
app.add_typer(importing)
app.add_typer(models)

Home = Annotated[Path | None, typer.Option(help="The folder where everything lies.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="The port of the API and its page.")]
Objectives = Annotated[Path | None, typer.Option(help="objectives.toml: your own scripts and functions by name.")]
Host = Annotated[str | None, typer.Option(help="The address to listen on; another than 127.0.0.1 needs a key.")]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"trialyard {version('trialyard')}")
        raise typer.Exit


@app.callback()
def every_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command. Whatever goes wrong is told in a sentence on standard error."""
    try:
        app(prog_name="trialyard")
    except CommandError as error:
        _fail(str(error), error.exit_code)
    except InvalidRequest as error:
        _fail(str(error), BadInput.exit_code)
    except Unauthorized as error:
        _fail(f"{error}; {_what_was_sent()}" if error.status == httpx.codes.UNAUTHORIZED else str(error), 1)
    except ApiError as error:
        _fail(str(error), 1)
    except Exception as error:
        if os.environ.get("TRIALYARD_TRACEBACK"):
            raise
        text = f"{type(error).__name__}: {error}. This is a fault of Trialyard's; TRIALYARD_TRACEBACK=1 shows where."
        _fail(text, 1)


def _what_was_sent() -> str:
    known = "is none that it knows" if os.environ.get("TRIALYARD_API_KEY") else "is not set"
    return f"the commands send that in TRIALYARD_API_KEY, which {known}"


# A service of one's own


@app.command()
def init(
    data: Annotated[
        str,
        typer.Argument(help="A file of rows, a folder of class folders of images, sklearn:NAME, or a Python script."),
    ],
    target: Annotated[str | None, typer.Option(help="The column to predict; a guess if left out.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of texts to learn from.")] = None,
    missing: Annotated[
        list[str] | None, typer.Option(help="What stands where a value is missing, as in unknown.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column not to learn from; may be said again.")] = None,
    channels: Annotated[
        Literal["auto", "first", "last"],
        typer.Option(help="Where arrays of images have channels, if both could be."),
    ] = "auto",
    name: Annotated[str | None, typer.Option(help="The study's name; the data's if left out.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The study file; NAME.yaml if not given.")
    ] = None,
) -> None:
    """Write a first study file for your data or your script. It says what was found in them."""
    if data.endswith(".py"):
        from trialyard import first_script

        first_script.say(first_script.write_first_script(Path(data), name, output), screen())
        return
    with _service():
        from trialyard.first_look import Given
        from trialyard.first_study import say, write_first_study

        given = Given(data, target, text, tuple(missing or ()), tuple(drop or ()), channels, name, output)
        say(write_first_study(given, _settings()), screen())


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
    """Search as a study file says, and start all that this needs. Shows the progress, prints the best trial, and stops
    everything."""
    with StopSignals() as signals, _service():
        from trialyard import run as runner

        code = runner.run(_settings(objectives_file=objectives), file, home, workers, port, signals)
    raise typer.Exit(code)


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    home: Home = None,
    workers: Annotated[int, typer.Option(min=0, help="CPU workers, and workers on each GPU.")] = 2,
    objectives: Objectives = None,
) -> None:
    """Start server, scheduler and workers here, to stay."""
    with StopSignals() as signals, _service():
        from trialyard import run as runner

        slots = ["--cpu-slots", str(workers), "--slots-per-gpu", str(workers)] if workers else []
        settings = _settings(host=host, port=port, home_dir=home, objectives_file=objectives)
        raise typer.Exit(runner.up(settings, slots, signals))


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
    gpus: Annotated[
        str | None,
        typer.Option(help="GPUs to use: all, none, or their numbers as in 0,2; all that there are if left out."),
    ] = None,
    slots_per_gpu: Annotated[
        str, typer.Option(metavar="N", help="Trials at a time on each GPU; auto: as many as raise its throughput.")
    ] = "1",
    gpus_per_trial: Annotated[
        str, typer.Option(metavar="N", help="GPUs that one trial has for itself; 4,2,2 for groups of several sizes.")
    ] = "1",
    cpu_slots: Annotated[
        str | None,
        typer.Option(metavar="N", help="Trials at a time without a GPU, or auto; one a core where no GPU is used."),
    ] = None,
    memory_per_slot: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The host's memory that a trial may use, as in 8GiB.")
    ] = None,
    pool: Annotated[str, typer.Option(help="The pool whose trials are taken.")] = "default",
    name: Annotated[str | None, typer.Option(help="The workers' name; the machine's if left out.")] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The server, which tells where Redis and the artifacts are (needs a key)."),
    ] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="The Redis of the service; TRIALYARD_REDIS_URL if left out.")
    ] = None,
    objectives: Objectives = None,
) -> None:
    """Train trials: one process a slot."""
    with _service():
        from trialyard import services
        from worker.division import read_division

        settings = _settings(objectives_file=objectives, redis_url=redis)
        if not settings.redis_url:
            server = server or os.environ.get("TRIALYARD_SERVER_URL")
        division = read_division(gpus, slots_per_gpu, gpus_per_trial, cpu_slots, memory_per_slot)
        raise typer.Exit(services.work(settings, server, pool, division, name))


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema. The scheduler does so too when it starts."""
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
    """Check this installation, list the knobs, or explain a study. Of a study it says what is trained, and on what."""
    with _service():
        from trialyard import doctor as doctors

        study = doctors.StudyAt(read_document(file), file.absolute().parent) if file else None
        raise typer.Exit(doctors.examine(topic, study, _settings(), screen()))


# Keys


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    role: Annotated[
        Literal["user", "worker"], typer.Option(help="user opens the API and its page; worker lets workers join.")
    ] = "user",
) -> None:
    """Make a key. It is shown once."""
    with _service():
        from store.models import KeyRole
        from trialyard import services

        typer.echo(services.create_key(_settings(), name, KeyRole(role)))


@keys.command("list")
def list_keys() -> None:
    """List the keys by name."""
    with _service():
        from trialyard import services

        screen().print(services.keys_table(_settings()))


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


def _fail(text: str, exit_code: int) -> NoReturn:
    print(text, file=sys.stderr)  # noqa: T201 - what a command has to say
    raise SystemExit(exit_code)
