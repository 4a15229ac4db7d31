"""Jobs that follow a study's trials: ensembles of them, predictions by them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("study", sa.Column("last_task", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "task",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON()),
        sa.Column("reason", sa.String()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(128)),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("started_at", AT),
        sa.Column("ended_at", AT),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_task")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_task_study_id_study"), ondelete="CASCADE"),
        sa.CheckConstraint("state IN ('QUEUED', 'RUNNING', 'COMPLETE', 'FAILED')", name=op.f("ck_task_state")),
        sa.CheckConstraint("(ended_at IS NOT NULL) = (state IN ('COMPLETE', 'FAILED'))", name=op.f("ck_task_ended")),
        sa.CheckConstraint("state <> 'COMPLETE' OR result IS NOT NULL", name=op.f("ck_task_complete_has_result")),
        sa.CheckConstraint("state <> 'FAILED' OR reason IS NOT NULL", name=op.f("ck_task_failed_has_reason")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_task_state"), "task", ["state"])


def downgrade() -> None:
    op.drop_table("task")
    op.drop_column("study", "last_task")
