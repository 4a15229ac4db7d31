"""Studies of texts keep what is a word to them: what is meant where nothing is said now heeds all scripts."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_BEFORE = "plain"
_STUDY = sa.table("study", sa.column("id", sa.Integer), sa.column("definition", sa.JSON))


def upgrade() -> None:
    connection = op.get_bind()
    for study_id, definition in connection.execute(sa.select(_STUDY.c.id, _STUDY.c.definition)).all():
        trial = definition.get("trial", {})
        if _divides_texts(trial):
            written = definition | {"trial": trial | {"data": trial["data"] | {"words": _BEFORE}}}
            connection.execute(sa.update(_STUDY).where(_STUDY.c.id == study_id).values(definition=written))


def _divides_texts(trial: dict[str, Any]) -> bool:
    """Pretrained models bring along how they read."""
    data, model = trial.get("data", {}), trial.get("model", {})
    return data.get("text") is not None and "words" not in data and model.get("name") != "pretrained"


def downgrade() -> None:
    """What is written down would be refused as a key that is not known."""
    connection = op.get_bind()
    for study_id, definition in connection.execute(sa.select(_STUDY.c.id, _STUDY.c.definition)).all():
        trial = definition.get("trial", {})
        if "words" in trial.get("data", {}):
            data = {key: value for key, value in trial["data"].items() if key != "words"}
            written = definition | {"trial": trial | {"data": data}}
            connection.execute(sa.update(_STUDY).where(_STUDY.c.id == study_id).values(definition=written))
