"""Studies under asha keep the rungs that they have: the reduction factor that is meant where none is given is now 2."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_BEFORE = 3
_STUDY = sa.table("study", sa.column("id", sa.Integer), sa.column("definition", sa.JSON))


def upgrade() -> None:
    connection = op.get_bind()
    for study_id, definition in connection.execute(sa.select(_STUDY.c.id, _STUDY.c.definition)).all():
        pruner = definition.get("pruner", {})
        if pruner.get("name") == "asha" and "reduction_factor" not in pruner:
            written = definition | {"pruner": pruner | {"reduction_factor": _BEFORE}}
            connection.execute(sa.update(_STUDY).where(_STUDY.c.id == study_id).values(definition=written))


def downgrade() -> None:
    """What is written down holds in every version."""
