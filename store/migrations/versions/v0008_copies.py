"""Which member of a population went on from whose checkpoint."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "copied",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("turn", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double()),
        sa.Column("source", sa.Integer(), nullable=False),
        sa.Column("source_attempt", sa.Integer(), nullable=False),
        sa.Column("source_step", sa.Integer(), nullable=False),
        sa.Column("source_value", sa.Double(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("study_id", "number", "turn", name=op.f("pk_copied")),
        sa.ForeignKeyConstraint(
            ["study_id", "number"],
            ["trial.study_id", "trial.number"],
            name=op.f("fk_copied_study_id_trial"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["study_id", "source", "source_attempt"],
            ["attempt.study_id", "attempt.number", "attempt.attempt"],
            name=op.f("fk_copied_study_id_attempt"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("turn >= 1", name=op.f("ck_copied_counts_from_one")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("copied")
