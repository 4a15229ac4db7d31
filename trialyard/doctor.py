"""`trialyard doctor`: what works here, what does not, and what to do about it; and the knobs of a training."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from store.addresses import without_password
from store.bus import open_redis
from store.embedded_redis import find_redis_server
from store.errors import SettingsError
from store.migrate import is_current
from store.session import connect
from store.settings import Settings
from trainer.config import LAYERED, MOST_LAYERS, ONLY_WITH, TrainConfig, in_words, knob_paths
from trialyard.connection import DEFAULT_SERVER_URL
from trialyard.errors import BadInput
from trialyard.joining import join
from worker.objectives_file import read_objectives

SERVER_PACKAGES = ("fastapi", "uvicorn", "sse_starlette", "jinja2", "plotly", "optuna", "rq", "redis", "sqlalchemy")
WORKER_PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "sklearn", "safetensors", "rq")

Verdict = Literal["good", "note", "bad"]
_COLOURS: dict[Verdict, str] = {"good": "green", "note": "yellow", "bad": "red"}


class Finding(NamedTuple):
    """What a check found. A note is no fault: something that is not there, and need not be."""

    verdict: Verdict
    text: str


class StudyAt(NamedTuple):
    """The document of a study file, and the folder that it lies in, whose files it may read."""

    document: dict[str, Any]
    folder: Path


def examine(topic: str, study: StudyAt | None, settings: Settings, console: Console) -> int:
    """Print what was found.

    Returns:
        The exit code: 1 if something is bad.
    """
    if topic == "knobs":
        console.print(knobs_table())
        return 0
    if topic in ("model", "data"):
        _look_at(topic, study, settings, console)
        return 0
    if topic != "installation":
        raise BadInput(f"doctor: there is no topic {topic!r}; say `trialyard doctor`, or one of knobs, model and data")
    table = Table(box=None, show_header=False, pad_edge=False)
    worst = 0
    for name, check in CHECKS.items():
        for finding in check(settings):
            table.add_row(name, Text(finding.verdict, style=_COLOURS[finding.verdict]), finding.text)
            worst |= finding.verdict == "bad"
    console.print(table)
    return worst


def _look_at(topic: str, study: StudyAt | None, settings: Settings, console: Console) -> None:
    from trialyard import blueprint  # which needs torch

    if study is None:
        raise BadInput(f"doctor: name a study file, as in `trialyard doctor {topic} examples/digits.yaml`")
    folders = [*settings.data_folders, study.folder]
    show = blueprint.print_model if topic == "model" else blueprint.print_data
    show(study.document, folders, console)


def _python(_settings: Settings) -> Iterator[Finding]:
    verdict: Verdict = "good" if sys.version_info >= (3, 11) else "bad"
    yield Finding(verdict, f"{platform.python_version()} at {sys.executable}; 3.11 or newer is needed")


def _packages(_settings: Settings) -> Iterator[Finding]:
    yield Finding("good", f"trialyard {importlib.metadata.version('trialyard')}")
    for part, names in (("the server", SERVER_PACKAGES), ("a worker", WORKER_PACKAGES)):
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        if missing:
            yield Finding("note", f"{part} cannot run here: {', '.join(missing)} missing; see `make setup`")
        else:
            yield Finding("good", f"everything that {part} needs is installed")


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    if not home.exists():
        yield Finding("note", f"{home} is not there yet; it is made when needed")
    elif os.access(home, os.W_OK | os.X_OK):
        yield Finding("good", str(home))
    else:
        yield Finding("bad", f"{home} cannot be written; name another with TRIALYARD_HOME_DIR")


def _database(settings: Settings) -> Iterator[Finding]:
    url = make_url(settings.database)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        yield Finding("note", f"{shown} is not there yet; it is made at the first start")
        return
    try:
        newest = _has_newest_schema(settings.database)
    except (SQLAlchemyError, SettingsError) as error:
        yield Finding("bad", f"{shown}: {str(error).splitlines()[0]}")
        return
    if newest:
        yield Finding("good", f"{shown}, newest schema")
    else:
        yield Finding("bad", f"{shown} has an older schema, or none; run `trialyard migrate`")


def _has_newest_schema(database_url: str) -> bool:
    engine = connect(database_url)
    try:
        with engine.connect() as connection:
            return is_current(connection)
    finally:
        engine.dispose()


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        try:
            yield Finding("good", f"`run` and `up` start {find_redis_server()}; TRIALYARD_REDIS_URL is not set")
        except SettingsError as error:
            yield Finding("bad", str(error))
        return
    try:
        with closing(open_redis(settings.redis_url, retries=0)) as client:
            version = client.info("server")["redis_version"]
        yield Finding("good", f"Redis {version} answers at {without_password(settings.redis_url)}")
    except RedisError as error:
        yield Finding("bad", f"TRIALYARD_REDIS_URL: {error}")
    except SettingsError as error:
        yield Finding("bad", str(error))


def _server(_settings: Settings) -> Iterator[Finding]:
    url = os.environ.get("TRIALYARD_SERVER_URL", DEFAULT_SERVER_URL)
    try:
        answer = httpx.get(f"{url}/readyz", timeout=3)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield Finding("note", f"none answers at {url} ({error}); `trialyard up` starts one")
        return
    if answer.is_success or answer.status_code == httpx.codes.UNAUTHORIZED:
        yield Finding("good", f"answers at {url}")
    else:
        yield Finding("bad", f"{url}/readyz says {answer.status_code}: {answer.text[:200]}")


def _joining(settings: Settings) -> Iterator[Finding]:
    url = os.environ.get("TRIALYARD_SERVER_URL")
    if url is None or settings.redis_url:
        yield Finding("note", "by TRIALYARD_REDIS_URL, or by TRIALYARD_SERVER_URL with the key of a worker")
        return
    said: list[str] = []
    try:
        join(settings, url, said.append, patience=0)
    except SettingsError as error:
        said.append(f"a worker could not join from here: {error}")  # no fault where none is to run
    for text in said[:-1]:
        yield Finding("note", escape(text))
    yield Finding("good" if said[-1].startswith("joining") else "note", escape(said[-1]))


def _data(settings: Settings) -> Iterator[Finding]:
    if not settings.data_folders:
        yield Finding(
            "note", "TRIALYARD_DATA_DIR is not set: `file:` sources lie beside the study file, with `run` alone"
        )
    for folder in settings.data_folders:
        if folder.is_dir():
            yield Finding("good", str(folder))
        else:
            yield Finding("bad", f"{folder}, named in TRIALYARD_DATA_DIR, is no folder")


def _objectives(settings: Settings) -> Iterator[Finding]:
    file = settings.objectives_file
    if file is None:
        yield Finding("note", "none; TRIALYARD_OBJECTIVES_FILE or --objectives names a file that registers some")
        return
    try:
        registered = read_objectives(file)
    except SettingsError as error:
        yield Finding("bad", escape(str(error)))
        return
    for name, entry in registered.items():
        what = entry if isinstance(entry, str) else f"{shlex.join(entry.command)} in {entry.directory}"
        yield Finding("good", escape(f"{name}: {what}"))


def _gpus(_settings: Settings) -> Iterator[Finding]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Finding("note", f"none ({error}); trials run on the processor")
        return
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            gigabytes = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30
            yield Finding("good", f"{index}: {pynvml.nvmlDeviceGetName(handle)}, {gigabytes:.0f} GiB")
    finally:
        pynvml.nvmlShutdown()


CHECKS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "Python": _python,
    "packages": _packages,
    "home": _home,
    "database": _database,
    "Redis": _redis,
    "server": _server,
    "joining": _joining,
    "data": _data,
    "objectives": _objectives,
    "GPUs": _gpus,
}


def knobs_table() -> Table:
    """Every knob of the built-in training: what it may be, what it is if nothing is said, and when it acts."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("knob", "may be", "default", "acts with"):
        table.add_column(column, overflow="fold", no_wrap=column == "knob")
    schema = TrainConfig.model_json_schema()
    for path in knob_paths():
        leaf = _leaf(schema, path)
        ways = ONLY_WITH.get(path, ())
        acts = "; or ".join(", ".join(f"{each} {in_words(allowed)}" for each, allowed in way.items()) for way in ways)
        table.add_row(path, _allowed(leaf), _default(leaf), acts)
        if path in LAYERED:
            table.add_row(f"{path}.N", f"one of them, N from 0 to {MOST_LAYERS - 1}", "", acts)
    return table


def _leaf(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The JSON schema of the knob at a dotted path."""
    leaf = schema
    for name in path.split("."):
        leaf = _resolved(leaf, schema)["properties"][name]
    return leaf


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    options = [part, *part.get("anyOf", ()), *part.get("allOf", ())]
    reference = next((option["$ref"] for option in options if "$ref" in option), None)
    found: dict[str, Any] = schema["$defs"][reference.rsplit("/", 1)[-1]] if reference else part
    return found


def _allowed(leaf: dict[str, Any]) -> str:
    if "anyOf" in leaf:
        return " or ".join(map(_allowed, leaf["anyOf"]))
    if "const" in leaf:
        return _written(leaf["const"])
    if "enum" in leaf:
        return ", ".join(map(_written, leaf["enum"]))
    if leaf.get("type") == "array":
        return f"list of ({_allowed(leaf['items'])})"
    kind = {"number": "float", "integer": "int", "boolean": "true, false", "null": "none", "string": "text"}
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = ", ".join(f"{words} {leaf[key]}" for key, words in bounds.items() if key in leaf)
    return " ".join(filter(None, [kind.get(leaf.get("type", ""), ""), limits]))


def _default(leaf: dict[str, Any]) -> str:
    if "default" not in leaf:
        return "(must be given)"
    return "none" if leaf["default"] is None else _written(leaf["default"])


def _written(value: object) -> str:
    """As a study file has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
