"""Where a command reports: HTTP on a unix socket and on 127.0.0.1, for the one trial that knows the token.

POST /report {"step": 3, "metrics": {"val/loss": 0.4}}  →  {"decision": "continue"}
POST /finish {"metrics": {"val/loss": 0.4}}             →  {}
"""

from __future__ import annotations

import functools
import hmac
import json
import secrets
import socketserver
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search.findings import of_model, problems
from store.errors import TrialyardError
from store.messages import MAX_STEP, DecisionName, MetricName

MOST_BODY_BYTES = 2**20
SILENCE_SECONDS = 60.0  # a connection that says nothing for so long is closed


class Listener(Protocol):
    """Who hears the reports. Called by several threads."""

    def report(self, step: int, metrics: Mapping[str, float]) -> DecisionName: ...

    def finish(self, metrics: Mapping[str, float]) -> None: ...


class Endpoint:
    """Serves while it is open."""

    def __init__(self, socket_path: Path, listener: Listener) -> None:
        self.token = secrets.token_urlsafe(24)
        self._socket_path = socket_path
        self._handler = functools.partial(_Handler, self.token, listener)

    def __enter__(self) -> Self:
        self._servers = (
            _UnixServer(str(self._socket_path), self._handler),
            _TcpServer(("127.0.0.1", 0), self._handler),
        )
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(_STOP_SECONDS,), name="endpoint", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def variables(self) -> dict[str, str]:
        """What a command must know, as variables of its environment."""
        return {
            "TRIALYARD_REPORT_SOCKET": str(self._socket_path),
            "TRIALYARD_REPORT_URL": f"http://127.0.0.1:{self._servers[1].server_address[1]}",
            "TRIALYARD_REPORT_TOKEN": self.token,
        }


_STOP_SECONDS = 0.1  # how soon a server notices that it shall stop


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Report(_Body):
    step: Annotated[int, Field(ge=0, le=MAX_STEP)]
    metrics: dict[MetricName, float]


class _Finish(_Body):
    metrics: dict[MetricName, float] = {}


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        super().__init__(message)


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENCE_SECONDS

    def __init__(self, token: str, listener: Listener, *connection: Any) -> None:
        self._token = token
        self._listener = listener
        super().__init__(*connection)

    def do_POST(self) -> None:
        try:
            self._answer(HTTPStatus.OK, self._settle(self._body()))
        except _Refused as refusal:
            self._answer(refusal.status, {"error": str(refusal)})
        except ValidationError as error:
            model = _Report if self.path == "/report" else _Finish
            found = problems(of_model(error, model), {})
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "; ".join(map(str, found))})
        except TrialyardError as error:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the signature that is overridden
        """Nothing: standard error is the trial's log."""

    def _body(self) -> bytes:
        """Raises: _Refused: it is not from this trial, or not to be read."""
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            message = "send the header Authorization: Bearer $TRIALYARD_REPORT_TOKEN"
            raise _Refused(HTTPStatus.UNAUTHORIZED, message)
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send a Content-Length of at most {MOST_BODY_BYTES} bytes"
            )
        return self.rfile.read(int(length))

    def _settle(self, body: bytes) -> dict[str, str]:
        """Raises: ValidationError, TrialyardError: what was said cannot be right."""
        match self.path:
            case "/report":
                report = _Report.model_validate_json(body)
                return {"decision": self._listener.report(report.step, report.metrics)}
            case "/finish":
                self._listener.finish(_Finish.model_validate_json(body).metrics)
                return {}
        raise _Refused(HTTPStatus.NOT_FOUND, f"there is no {self.path:.80}; POST to /report or /finish")

    def _answer(self, status: HTTPStatus, document: Mapping[str, str]) -> None:
        words = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)
