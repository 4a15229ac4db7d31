"""Spaces that change while a study runs, and studies that begin with another one's trials."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("study", sa.Column("past_spaces", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("study", sa.Column("warm_start", sa.JSON(), nullable=True))
    op.add_column("trial", sa.Column("space_version", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "warm_trial",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_warm_trial_study_id_study", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "position", name="pk_warm_trial"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("warm_trial")
    op.drop_column("trial", "space_version")
    op.drop_column("study", "warm_start")
    op.drop_column("study", "past_spaces")
