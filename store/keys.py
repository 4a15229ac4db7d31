"""API keys: made once, kept as digests, revoked by name."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store.errors import BadRequest, Conflict, NotFound
from store.models import ApiKeyRow, KeyRole

PREFIX = "ty_"  # so that scanners for leaked secrets, and people, recognise one


class Keys:
    """The API keys of one database session. Nothing here commits: the caller's boundary does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, name: str, at: datetime, role: KeyRole = KeyRole.USER) -> str:
        """Make a key.

        Returns:
            Its text, which is kept nowhere.

        Raises:
            BadRequest: the name cannot be one.
            Conflict: there is, or was, a key of this name.
        """
        if not re.fullmatch(r"[\w.@ -]{1,64}", name):
            raise BadRequest(
                f"the key's name {name[:70]!r} must have 1 to 64 letters, digits, spaces or any of . _ @ -"
            )
        if self._session.scalar(select(ApiKeyRow.id).where(ApiKeyRow.name == name)) is not None:
            raise Conflict(f"there is, or was, a key named {name!r}; give this one another name")
        text = PREFIX + secrets.token_urlsafe(32)
        self._session.add(ApiKeyRow(name=name, digest=digest(text), role=str(role), created_at=at, revoked_at=None))
        self._session.flush()
        return text

    def all(self) -> Sequence[ApiKeyRow]:
        """Every key that was ever made, oldest first."""
        return self._session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.id)).all()

    def revoke(self, name: str, at: datetime) -> None:
        """End a key's validity. One that was revoked before stays so.

        Raises:
            NotFound: there is no key of this name.
        """
        statement = update(ApiKeyRow).where(ApiKeyRow.name == name, ApiKeyRow.revoked_at.is_(None))
        self._session.execute(statement.values(revoked_at=at))
        if self._session.scalar(select(ApiKeyRow.id).where(ApiKeyRow.name == name)) is None:
            raise NotFound(f"there is no key named {name!r}; `trialyard keys list` shows those that there are")

    def were_any(self) -> bool:
        """Whether a key was ever made."""
        return self._session.scalar(select(ApiKeyRow.id).limit(1)) is not None

    def valid(self) -> dict[str, KeyRole]:
        """The roles of the keys that have not been revoked, by their digests."""
        query = select(ApiKeyRow.digest, ApiKeyRow.role).where(ApiKeyRow.revoked_at.is_(None))
        return {row.digest: KeyRole(row.role) for row in self._session.execute(query)}


def digest(text: str) -> str:
    """How a key is kept. It is random and long, so a plain hash cannot be searched."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def role_of(text: str, keys: Mapping[str, KeyRole]) -> KeyRole | None:
    """The role of a key, given those of all by their digests; None if it is no key. The time tells nothing of them."""
    given = digest(text)
    found = [role for each, role in keys.items() if hmac.compare_digest(given, each)]
    return found[0] if found else None
