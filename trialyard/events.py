"""Server-sent events: the text of a stream, taken apart as the HTML standard says (section 9.2.6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from trialyard.resources import Event


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a stream's lines. Comments (a server's pings) and events without an id or data are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "id" in fields and "data" in fields:
                yield _event(fields)
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value


def _event(fields: dict[str, str]) -> Event:
    return Event(id=int(fields["id"]), kind=fields.get("event", "message"), body=json.loads(fields["data"]))
