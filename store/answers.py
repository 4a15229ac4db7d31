"""Answers to requests that carried an `Idempotency-Key`: a repeat within a day gets the same one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from store.errors import Unprocessable
from store.models import IdempotencyKeyRow

KEPT = timedelta(days=1)


class Answers:
    """The remembered answers of one database session. Nothing here commits: the caller's boundary does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def recall(self, key: str, request_digest: str) -> dict[str, Any] | None:
        """What was answered to this request before; None if it is new.

        Raises:
            Unprocessable: the key came with another request.
        """
        row = self._session.get(IdempotencyKeyRow, key)
        if row is None:
            return None
        if row.request_digest != request_digest:
            raise Unprocessable(
                "this Idempotency-Key came with another request before; use a new key for a new request"
            )
        return row.body

    def remember(self, key: str, request_digest: str, status: int, body: dict[str, Any], at: datetime) -> None:
        """Raises: IntegrityError: another transaction answered a request with this key at this very moment."""
        self._session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.created_at < at - KEPT))
        row = IdempotencyKeyRow(key=key, request_digest=request_digest, status=status, body=body, created_at=at)
        self._session.add(row)
        self._session.flush()
