"""The messages of workers and scheduler have a version, which is raised with what they say."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from store.messages import PROTOCOL, REQUESTS, Reply

FINGERPRINTS = {7: "0bdd35f82eea"}


def test_messages_that_change_have_a_new_protocol() -> None:
    """A worker of an older version is then given nothing, instead of what it cannot read.

    When it fails: raise PROTOCOL in store/messages.py and put the new fingerprint here.
    """
    schemas = [REQUESTS.json_schema(), Reply.model_json_schema()]
    document = json.dumps(shape_of(schemas), sort_keys=True)

    assert {PROTOCOL: hashlib.sha256(document.encode()).hexdigest()[:12]} == FINGERPRINTS


def shape_of(schema: Any) -> Any:
    """A schema without what is written for people."""
    if isinstance(schema, list):
        return [shape_of(part) for part in schema]
    if isinstance(schema, dict):
        return {name: shape_of(part) for name, part in schema.items() if name not in ("description", "title")}
    return schema
