"""Cursors of lists: opaque to those who carry them, and good only for the very list that made them."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from store.errors import BadRequest

T = TypeVar("T")


class Cursor(Generic[T]):
    """The cursors of one list.

    Args:
        of: the list, with its filter and its order.
        shape: what names a place in it.
    """

    def __init__(self, of: str, shape: type[T]) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(tuple[str, shape])  # type: ignore[valid-type]
        self._of = of

    def encode(self, place: T) -> str:
        return base64.urlsafe_b64encode(self._adapter.dump_json((self._of, place))).decode().rstrip("=")

    def decode(self, text: str | None) -> T | None:
        """Raises: BadRequest: the text is no cursor, or one of another list."""
        if text is None:
            return None
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            of, place = self._adapter.validate_json(raw)
        except (binascii.Error, ValueError, ValidationError):
            raise BadRequest("cursor: this is none; use `next_cursor` of the page before, as it is") from None
        if of != self._of:
            raise BadRequest("cursor: this one belongs to another list, filter or order; begin without a cursor")
        found: T = place
        return found
