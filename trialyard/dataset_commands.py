"""The commands for data sets that a server keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from trialyard.connection import DEFAULT_SERVER_URL
from trialyard.errors import BadInput
from trialyard.tables import moment
from trialyard.terminal import Server, open_client, screen

commands = typer.Typer(help="Data sets that the server keeps, for studies everywhere.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The data set's name.")]


@commands.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(help=".csv .tsv .parquet .jsonl or .npz, each also as .gz.")],
    name: Annotated[str | None, typer.Option(help="What studies call it; the file's name if left out.")] = None,
    server: Server = DEFAULT_SERVER_URL,
) -> None:
    """Send a file, for studies whose data.source is `dataset:NAME`."""
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file")
    chosen = name or re.sub(r"[^a-z0-9._-]+", "-", file.name.partition(".")[0].lower()).strip("-._") or "data"
    with open_client(server) as client:
        kept = client.upload_dataset(chosen, file)
    typer.echo(f"dataset:{kept.name}: {kept.bytes:,} bytes")


@commands.command("list")
def list_datasets(server: Server = DEFAULT_SERVER_URL) -> None:
    """List the data sets that were uploaded."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("data.source", "file", "bytes", "uploaded"):
        table.add_column(column, justify="right" if column == "bytes" else "left")
    with open_client(server) as client:
        for kept in client.datasets():
            table.add_row(f"dataset:{kept.name}", kept.ending, f"{kept.bytes:,}", moment(kept.created_at))
    screen().print(table)


@commands.command("delete")
def delete(name: Name, server: Server = DEFAULT_SERVER_URL) -> None:
    """Forget a data set. It is refused while a study that trains on it has not ended."""
    with open_client(server) as client:
        client.delete_dataset(name)
