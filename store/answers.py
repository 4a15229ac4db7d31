"""Answers to requests that carried an `Idempotency-Key`: a repeat within a day gets the same one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from store.errors import Conflict, Unprocessable
from store.models import IdempotencyKeyRow

KEPT = timedelta(days=1)
LONGEST_KEY = 255
UNANSWERED = 0  # the status of a request that is being carried out,
LONGEST_WORK = timedelta(minutes=2)  # for so long at most; then whoever did so is dead


class Answers:
    """The remembered answers of one database session. Nothing here commits: the caller's boundary does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def recall(self, key: str, request_digest: str) -> dict[str, Any] | None:
        """What was answered to this request before; None if it is new.

        Raises:
            Unprocessable: the key came with another request.
        """
        row = self._known(key, request_digest)
        return None if row is None else row.body

    def begin(self, key: str, request_digest: str, at: datetime) -> dict[str, Any] | None:
        """What was settled for this request before; None if whoever asks is to carry it out, and to settle it.

        Raises:
            Unprocessable: the key came with another request.
            Conflict: the same request is being carried out.
            IntegrityError: it began at this very moment.
        """
        row = self._known(key, request_digest)
        if row is None:
            self.remember(key, request_digest, UNANSWERED, {}, at)
            return None
        if row.status != UNANSWERED:
            return row.body
        late = (IdempotencyKeyRow.key == key, IdempotencyKeyRow.created_at < at - LONGEST_WORK)
        taken = update(IdempotencyKeyRow).where(*late).values(created_at=at).returning(IdempotencyKeyRow.key)
        if self._session.execute(taken).first() is None:
            raise Conflict("the request of this Idempotency-Key is still being carried out; send it again in a moment")
        return None

    def settle(self, key: str, status: int, body: dict[str, Any]) -> None:
        """What has begun came to this."""
        row = update(IdempotencyKeyRow).where(IdempotencyKeyRow.key == key)
        self._session.execute(row.values(status=status, body=body))

    def forget(self, key: str) -> None:
        """What has begun came to nothing: it may be sent again."""
        self._session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.key == key))

    def remember(self, key: str, request_digest: str, status: int, body: dict[str, Any], at: datetime) -> None:
        """Raises: IntegrityError: another transaction answered a request with this key at this very moment."""
        self._session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.created_at < at - KEPT))
        row = IdempotencyKeyRow(key=key, request_digest=request_digest, status=status, body=body, created_at=at)
        self._session.add(row)
        self._session.flush()

    def _known(self, key: str, request_digest: str) -> IdempotencyKeyRow | None:
        row = self._session.get(IdempotencyKeyRow, key)
        if row is not None and row.request_digest != request_digest:
            raise Unprocessable(
                "this Idempotency-Key came with another request before; use a new key for a new request"
            )
        return row
