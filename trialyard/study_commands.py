"""The commands for the studies of a running service."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from trialyard.client import ExportForm, ImportanceMethod
from trialyard.connection import DEFAULT_SERVER_URL
from trialyard.errors import BadInput
from trialyard.signals import StopSignals
from trialyard.terminal import (
    AsJson,
    File,
    Server,
    StudyName,
    TrialNumber,
    complaints,
    open_client,
    print_json,
    read_document,
    read_parameters,
    screen,
)

commands = typer.Typer()


@commands.command()
def submit(
    file: File,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until it ends, then the best trial.")] = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Send a study to a server."""
    from trialyard.follow import follow_to_the_end, page_of

    console = screen()
    document = read_document(file)
    with open_client(server) as client:
        study = client.create_study(document)
        console.print(f"{study.name}: {page_of(client, study.name)}", soft_wrap=True)
        if study.waiting_for:
            complaints().print(f"{study.name} waits: {study.waiting_for}")
        if wait:
            with StopSignals() as signals:
                follow_to_the_end(client, study, console, signals.check)


@commands.command()
def studies(as_json: AsJson = False, server: Server = DEFAULT_SERVER_URL) -> None:
    """List the studies."""
    from trialyard.tables import studies_table

    with open_client(server) as client:
        found = list(client.studies())
    if as_json:
        print_json([study.model_dump(mode="json") for study in found])
    else:
        screen().print(studies_table(found) if found else "no studies yet")


@commands.command()
def show(study: StudyName, as_json: AsJson = False, server: Server = DEFAULT_SERVER_URL) -> None:
    """Show where a study stands."""
    from trialyard.tables import print_study, room

    with open_client(server) as client:
        found = client.study(study)
        pareto = client.pareto(study) if len(found.objectives) > 1 and not as_json else None
        kinds = {} if as_json else client.storage(study)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    from trialyard.results import print_front

    print_study(screen(), found)
    if pareto is not None and pareto.front:
        print_front(screen(), pareto)
    screen().print(room(kinds))


@commands.command()
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

    with open_client(server) as client:
        found = list(islice(client.trials(study, state, sort), limit))
    if as_json:
        print_json([trial.model_dump(mode="json") for trial in found])
    else:
        screen().print(trials_table(found) if found else "no such trials")


@commands.command()
def log(
    study: StudyName,
    number: TrialNumber,
    attempt: Annotated[int | None, typer.Option(min=1, help="The newest one if left out.")] = None,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Print what a trial printed."""
    from trialyard.results import write_pieces

    with open_client(server) as client:
        write_pieces(client.log(study, number, attempt), None)


@commands.command()
def best(study: StudyName, as_json: AsJson = False, server: Server = DEFAULT_SERVER_URL) -> None:
    """Print the best trial and its parameters, ready to be used. Of several objectives: the trials that none beats."""
    from trialyard.resources import Pareto
    from trialyard.results import print_best, print_front

    with open_client(server) as client:
        several = len(client.study(study).objectives) > 1
        found = client.pareto(study) if several else client.best(study)
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif isinstance(found, Pareto):
        print_front(screen(), found)
    else:
        print_best(screen(), found)


@commands.command()
def importance(
    study: StudyName,
    metric: Annotated[str | None, typer.Option(help="Of which objective; the first one's if left out.")] = None,
    method: Annotated[
        ImportanceMethod, typer.Option(help="ped_anova: who is among the best tenth; fanova: the variance, in seconds.")
    ] = "ped_anova",
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Print how much each parameter decides."""
    from trialyard.tables import importance_table

    with open_client(server) as client:
        measured = [objective.metric for objective in client.study(study).objectives]
        if metric is not None and metric not in measured:
            raise BadInput(f"--metric {metric}: the study's objectives are {', '.join(measured)}")
        shares = client.importance(study, metric, method)
    if as_json:
        print_json(shares)
    else:
        screen().print(importance_table(shares) if shares else "two complete trials are needed")


@commands.command()
def rungs(study: StudyName, as_json: AsJson = False, server: Server = DEFAULT_SERVER_URL) -> None:
    """Print what became of the trials at the pruner's rungs."""
    from trialyard.tables import rungs_table

    with open_client(server) as client:
        found = client.rungs(study)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        screen().print(rungs_table(found) if found.brackets else f"the pruner {found.pruner} has no rungs")


@commands.command()
def pause(study: StudyName, server: Server = DEFAULT_SERVER_URL) -> None:
    """Let a study rest; its trials keep their checkpoints."""
    with open_client(server) as client:
        typer.echo(f"{study}: {client.pause(study).state}")


@commands.command()
def resume(study: StudyName, server: Server = DEFAULT_SERVER_URL) -> None:
    """Let a paused study go on."""
    with open_client(server) as client:
        typer.echo(f"{study}: {client.resume(study).state}")


@commands.command()
def cancel(
    study: StudyName,
    number: Annotated[int | None, typer.Argument(metavar="[NUMBER]", help="One trial, not the study.")] = None,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """End a study now, or one of its trials. What it has found stays."""
    with open_client(server) as client:
        if number is None:
            typer.echo(f"{study}: {client.cancel(study).state}")
        else:
            typer.echo(f"{study}, trial {number}: {client.cancel_trial(study, number).state}")


@commands.command()
def retry(
    study: StudyName,
    numbers: Annotated[list[int] | None, typer.Argument(metavar="[NUMBER]…", help="The trials' numbers.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that FAILED.")] = False,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Run FAILED or CANCELLED trials again. The study may have ended."""
    if failed == bool(numbers):
        raise BadInput("say which trials: their numbers, or --failed")
    with open_client(server) as client:
        for number in numbers or [trial.number for trial in client.trials(study, "FAILED")]:
            typer.echo(f"{study}, trial {number}: {client.retry_trial(study, number).state}")


@commands.command()
def enqueue(
    study: StudyName,
    parameters: Annotated[str, typer.Argument(help='A file (YAML or JSON), or JSON itself: {"lr": 0.01}.')],
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Make a trial with given parameters, the next one to begin. The sampler adds those that nothing says."""
    with open_client(server) as client:
        trial = client.enqueue(study, read_parameters(parameters))
    typer.echo(f"{study}, trial {trial.number}: {trial.state}")


@commands.command()
def edit(
    study: StudyName,
    changes: Annotated[
        str,
        typer.Argument(help='A file (YAML or JSON), or JSON itself: {"parameters": {"lr": {"low": 1e-5, "high": 1}}}.'),
    ],
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Change a study's budget, its priority or its parameters. One that has ended runs again if that gives it
    something to do."""
    from trialyard.tables import print_study

    with open_client(server) as client:
        print_study(screen(), client.edit(study, read_parameters(changes)))


@commands.command()
def delete(study: StudyName, server: Server = DEFAULT_SERVER_URL) -> None:
    """Delete a study with its trials and their files."""
    with open_client(server) as client:
        client.delete(study)
    typer.echo(f"{study}: deleted")


@commands.command()
def drain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A worker's name, or a machine's for all its workers.")],
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Have workers leave when their trials are done."""
    with open_client(server) as client:
        for worker_name in client.drain(name):
            typer.echo(f"{worker_name}: leaves when its trial is done")


@commands.command()
def export(
    study: StudyName,
    form: Annotated[ExportForm, typer.Option("--format", help="`optuna` is a journal that Optuna opens.")] = "csv",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")] = None,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Write the trials of a study as a file."""
    from trialyard.results import write_pieces

    with open_client(server) as client:
        write_pieces(client.export(study, form), output)
