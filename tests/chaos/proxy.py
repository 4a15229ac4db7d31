"""A small TCP proxy between a part of the service and its Redis: it passes on, delays, cuts, or falls silent."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from types import TracebackType
from typing import Self

CHUNK = 2**16


class Proxy:
    """Listens on a free port of 127.0.0.1. `delay` and `is_silent` act on what passes from now on."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.delay = 0.0  # seconds before each piece is passed on
        self.is_silent = False  # connections stay open and nothing passes: what a half-open connection looks like
        self._target = target
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection that there is; new ones are taken."""
        for pair in list(self._pairs):
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing.is_set():
            if _readable(self._listener):
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=2)
        except OSError:
            client.close()
            return
        pair = (client, server)
        self._pairs.add(pair)
        try:
            self._pass(client, server)
        except OSError:
            pass  # one of them is gone, which ends both
        finally:
            self._pairs.discard(pair)
            client.close()
            server.close()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        while not self._closing.is_set():
            if self.is_silent:
                time.sleep(0.05)
                continue
            for end in _readable(client, server):
                data = end.recv(CHUNK)
                if not data:
                    return
                time.sleep(self.delay)
                other[end].sendall(data)


def _readable(*ends: socket.socket) -> list[socket.socket]:
    """Within a tenth of a second. `select.select` would take no descriptor beyond 1,023."""
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    found = {number for number, _ in poll.poll(100)}
    return [end for end in ends if end.fileno() in found]
