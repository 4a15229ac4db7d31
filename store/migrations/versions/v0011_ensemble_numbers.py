"""Ensembles are counted by themselves. Those that there are keep their numbers; the next one follows them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NEWEST = "SELECT coalesce(max(ordinal), 0) FROM task WHERE task.study_id = study.id"


def upgrade() -> None:
    op.add_column("study", sa.Column("last_ensemble", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("task", sa.Column("ordinal", sa.Integer()))
    op.execute("UPDATE task SET ordinal = number WHERE kind = 'ensemble'")
    op.execute(f"UPDATE study SET last_ensemble = ({_NEWEST})")  # noqa: S608 - one of ours
    op.create_index(op.f("ix_task_study_id_ordinal"), "task", ["study_id", "ordinal"], unique=True)


def downgrade() -> None:
    op.drop_index(op.f("ix_task_study_id_ordinal"), "task")
    op.drop_column("task", "ordinal")
    op.drop_column("study", "last_ensemble")
