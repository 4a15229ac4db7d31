"""Studies of tables leave out columns of dates that they say nothing of: where nothing is said, these are learned from."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_BEFORE = {"find_dates": False}
_LATER = {"dates", "find_dates"}
_STUDY = sa.table("study", sa.column("id", sa.Integer), sa.column("definition", sa.JSON))


def upgrade() -> None:
    connection = op.get_bind()
    for study_id, definition in connection.execute(sa.select(_STUDY.c.id, _STUDY.c.definition)).all():
        trial = definition.get("trial", {})
        if _may_hold_dates(trial.get("data", {})):
            _write(study_id, definition | {"trial": trial | {"data": trial["data"] | _BEFORE}})


def _may_hold_dates(data: dict[str, Any]) -> bool:
    if "find_dates" in data or data.get("text") is not None:
        return False
    return str(data.get("source")).startswith(("file:", "dataset:"))


def downgrade() -> None:
    """What is written down would be refused as a key that is not known."""
    connection = op.get_bind()
    for study_id, definition in connection.execute(sa.select(_STUDY.c.id, _STUDY.c.definition)).all():
        trial = definition.get("trial", {})
        if _LATER & {*trial.get("data", {})}:
            data = {key: value for key, value in trial["data"].items() if key not in _LATER}
            _write(study_id, definition | {"trial": trial | {"data": data}})


def _write(study_id: int, definition: dict[str, Any]) -> None:
    op.get_bind().execute(sa.update(_STUDY).where(_STUDY.c.id == study_id).values(definition=definition))
