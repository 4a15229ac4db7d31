"""`trialyard run` and `trialyard up`: the whole service on this machine, for one study or to stay."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from search.definition import Definition, parse, submitted
from store.settings import Settings
from trialyard.again import larger_budget
from trialyard.client import Client
from trialyard.connection import DEFAULT_SERVER_URL
from trialyard.errors import BadInput, NotFound
from trialyard.follow import follow_to_the_end
from trialyard.local import free_port, local_service
from trialyard.resources import Study
from trialyard.signals import Stopped, StopSignals
from trialyard.terminal import complaints, read_document, screen

MOMENT_SECONDS = 0.2


def run(
    settings: Settings,
    file: Path,
    home: Path | None,
    workers: int,
    port: int | None,
    signals: StopSignals,
) -> int:
    """Search as a study says, with a service of its own that ends with it: 0, or 128 and the signal that stopped it.

    Args:
        settings: the environment's; what it says of home, database and address is not used.
        file: the study; data files may lie beside it.
        home: where everything lies; a new temporary folder, which is kept, if there is none given.
        port: the page's; any free one if none is given.

    Raises:
        BadInput, DefinitionError: the study is wrong; nothing was started.
        CommandError: it failed, or the service cannot run here.
    """
    document, console = read_document(file), screen()
    definition = submitted(document)
    check_gpus(definition)
    _check_objectives(settings)
    home = (home or Path(tempfile.mkdtemp(prefix="trialyard-"))).absolute()
    settings = _settings_of_run(settings, definition, file, home, port)
    try:
        with local_service(settings, _slots(definition, workers), signals, complaints().print) as service:
            console.print(f"page: {service.server_url}/studies/{definition.name}\nhome: {home}", soft_wrap=True)
            with Client(service.server_url, _api_key(settings)) as client:
                study = _create_or_resume(client, document, home, console)
                follow_to_the_end(client, study, console, service.check)
    except Stopped as stopped:
        console.print(f"Stopped. To carry on: {_again(settings, file, home)}", markup=False, soft_wrap=True)
        return stopped.exit_code
    console.print(f"\nTo look at the study again: {up_again(settings, definition)}", markup=False, soft_wrap=True)
    return 0


def up(settings: Settings, worker: Sequence[str], signals: StopSignals) -> int:
    """Run the service on this machine until a signal comes.

    Returns:
        128 and the number of the signal.

    Raises:
        CommandError, TrialyardError: it cannot run here, and why.
    """
    _check_objectives(settings)
    console = screen()
    try:
        with local_service(settings, worker, signals, complaints().print) as service:
            console.print(
                f"Trialyard is up: {service.server_url} (home {settings.home}; Ctrl-C stops it)", soft_wrap=True
            )
            server = "" if service.server_url == DEFAULT_SERVER_URL else f" --server {service.server_url}"
            console.print(
                f"Send it a study from another terminal: trialyard submit FILE --wait{server}", soft_wrap=True
            )
            while True:
                service.check()
                time.sleep(MOMENT_SECONDS)
    except Stopped as stopped:
        console.print("Stopped.")
        return stopped.exit_code


def up_again(settings: Settings, definition: Definition) -> str:
    """The command that serves this home; with the study's own folder where its data lie in files, as `run` had it."""
    command = f"trialyard up --home {shlex.quote(str(settings.home))}"
    source = str(definition.trial.get("data", {}).get("source", ""))
    return f"TRIALYARD_DATA_DIR={shlex.quote(settings.data_dir)} {command}" if source.startswith("file:") else command


def check_gpus(definition: Definition) -> None:
    """Before anything is started. Raises: BadInput: a trial wants more GPUs than this machine has."""
    from worker.gpu import list_gpus

    wanted = definition.resources.gpus if definition.kind != "external" else 0
    if wanted > (there := len(list_gpus()) if wanted else 0):
        message = f"resources.gpus: a trial wants {wanted}, and this machine has {there or 'none'}"
        raise BadInput(f"{message}; with gpus: 0 it runs on the processor, and `trialyard submit` sends it to a pool")


def _again(settings: Settings, file: Path, home: Path) -> str:
    """The command that carries on."""
    command = ["trialyard", "run", str(file), "--home", str(home)]
    if settings.objectives_file is not None:
        command += ["--objectives", str(settings.objectives_file)]
    return shlex.join(command)


def _settings_of_run(settings: Settings, definition: Definition, file: Path, home: Path, port: int | None) -> Settings:
    """The environment's settings, but with everything in this home, and the study file's own folder readable."""
    folders = [settings.data_dir, str(file.absolute().parent)]
    changes: dict[str, Any] = {
        "home_dir": home,
        "database_url": "",
        "artifact_url": "",
        "host": "127.0.0.1",
        "port": port or free_port(),
        "data_dir": os.pathsep.join(filter(None, folders)),
        "warm_runners": settings.warm_runners and definition.kind == "train",
    }
    return settings.model_copy(update=changes)


def _check_objectives(settings: Settings) -> None:
    """Before anything is started. Raises: SettingsError."""
    if settings.objectives_file is not None:
        from worker.objectives_file import read_objectives

        read_objectives(settings.objectives_file)


def _slots(definition: Definition, workers: int) -> list[str]:
    """The arguments of `trialyard worker` for one study; none for one whose trials are run by others."""
    if definition.kind == "external":
        return []
    if definition.resources.gpus > 1:
        kind = ["--gpus", "all", "--gpus-per-trial", str(definition.resources.gpus), "--cpu-slots", "0"]
    elif definition.resources.gpus:
        kind = ["--gpus", "all", "--slots-per-gpu", str(workers), "--cpu-slots", "0"]
    else:
        kind = ["--gpus", "none", "--cpu-slots", str(workers)]
    return [*kind, "--pool", definition.resources.pool]


def _create_or_resume(client: Client, document: dict[str, Any], home: Path, console: Console) -> Study:
    """The study in this home: a new one, or the one that was begun here, with a larger budget if the file has one.

    Raises:
        BadInput: there is another study of this name.
        Conflict: it has ended, and the larger budget gives it nothing to do.
    """
    try:
        study = client.study(document["name"])
    except NotFound:
        return client.create_study(document)
    stored = parse(study.definition)
    if more := larger_budget(stored, document, home):
        study = client.edit(study.name, {"budget": more})
        before = stored.budget.model_dump()
        told = ", ".join(f"budget.{key} {value} in place of {before[key]}" for key, value in more.items())
        console.print(f"{study.name} goes on: {told}", highlight=False, markup=False, soft_wrap=True)
    return client.resume(study.name) if study.state == "PAUSED" else study


def _api_key(settings: Settings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None
