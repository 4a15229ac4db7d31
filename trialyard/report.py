"""Reports from your own training script to Trialyard.

This file needs the standard library alone: copy it beside your script if you do not want to install anything. Outside
Trialyard nothing is sent: `report` prints, and always says "continue", so that the script still runs by itself.
"""

from __future__ import annotations

import http.client
import json
import operator
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Decision(str):
    """What to do after a report: "continue", or else "prune", "stop" or "pause"."""

    __slots__ = ()

    @property
    def stop(self) -> bool:
        """Whether the script shall save what it wants to keep, and end."""
        return self != "continue"


def start(defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The trial's parameters by name; the defaults, where it does not say otherwise."""
    return {**(defaults or {}), **_document("TRIALYARD_PARAMETERS")}


def options() -> dict[str, Any]:
    """The study's `trial.options`."""
    return _document("TRIALYARD_OPTIONS")


def checkpoint_dir() -> Path:
    """The trial's own folder. What an earlier attempt of the trial has written there is there again.

    Outside Trialyard it is a new temporary folder.
    """
    return Path(os.environ.get("TRIALYARD_CHECKPOINT_DIR") or tempfile.mkdtemp(prefix="checkpoints-"))


def report(step: int, metrics: Mapping[str, float]) -> Decision:
    """Report metrics of a step, all at once or one after the other, and hear whether to go on.

    Raises:
        ValueError: the step is negative, or a metric is no finite number.
    """
    return Decision(_post("/report", step=step, metrics=metrics).get("decision", "continue"))


def finish(metrics: Mapping[str, float]) -> None:
    """Report the final metrics, where they are others than the last step's."""
    _post("/finish", metrics=metrics)


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["TRIALYARD_REPORT_SOCKET"])


def _post(path: str, metrics: Mapping[str, float], **rest: int) -> dict[str, Any]:
    said = {**rest, "metrics": {name: float(value) for name, value in metrics.items()}}
    body = json.dumps(said, default=operator.index)  # a step may be NumPy's or torch's whole number
    if "TRIALYARD_REPORT_SOCKET" not in os.environ:
        print(path.strip("/"), body, flush=True)  # noqa: T201 - there is nobody else to tell
        return {}
    connection = _Connection("trialyard")
    headers = {"Authorization": f"Bearer {os.environ['TRIALYARD_REPORT_TOKEN']}"}
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    document: dict[str, Any] = json.load(answer)
    connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise ValueError(document["error"])
    return document


def _document(variable: str) -> dict[str, Any]:
    path = os.environ.get(variable)
    document: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    return document
