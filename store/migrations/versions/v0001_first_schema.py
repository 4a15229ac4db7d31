"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("digest", name="uq_api_key_digest"),
        sa.UniqueConstraint("name", name="uq_api_key_name"),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_key"),
    )
    op.create_table(
        "scheduler_lease",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("beat", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_scheduler_lease_single"),
        sa.PrimaryKeyConstraint("id", name="pk_scheduler_lease"),
    )
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("errors", sa.JSON(), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=True),
        sa.Column("last_event", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(ended_at IS NOT NULL) = (state IN ('COMPLETE', 'CANCELLED', 'FAILED'))", name="ck_study_ended"
        ),
        sa.CheckConstraint(
            "state IN ('PREPARING', 'RUNNING', 'PAUSED', 'COMPLETE', 'CANCELLED', 'FAILED')", name="ck_study_state"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
        sa.UniqueConstraint("name", name="uq_study_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_study_state", "study", ["state"])

    op.create_table(
        "event",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_event_study_id_study", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "sequence", name="pk_event"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trial",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("system_attrs", sa.JSON(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(ended_at IS NOT NULL) = (state IN ('COMPLETE', 'PRUNED', 'FAILED', 'CANCELLED'))", name="ck_trial_ended"
        ),
        sa.CheckConstraint("state <> 'FAILED' OR reason IS NOT NULL", name="ck_trial_failed_has_reason"),
        sa.CheckConstraint(
            "state IN ('WAITING', 'QUEUED', 'RUNNING', 'PAUSED', 'COMPLETE', 'PRUNED', 'FAILED', 'CANCELLED')",
            name="ck_trial_state",
        ),
        sa.CheckConstraint("state <> 'COMPLETE' OR \"values\" IS NOT NULL", name="ck_trial_complete_has_values"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_trial_study_id_study", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "number", name="pk_trial"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trial_study_id_state", "trial", ["study_id", "state"])

    op.create_table(
        "attempt",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=False),
        sa.Column("device", sa.String(length=128), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('finished', 'pruned', 'failed', 'cancelled', 'paused', 'returned', 'lost')",
            name="ck_attempt_outcome",
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ck_attempt_ended"),
        sa.CheckConstraint("attempt >= 1", name="ck_attempt_counts_from_one"),
        sa.ForeignKeyConstraint(
            ["study_id", "number"],
            ["trial.study_id", "trial.number"],
            name="fk_attempt_study_id_trial",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_id", "number", "attempt", name="pk_attempt"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "uq_attempt_open",
        "attempt",
        ["study_id", "number"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )

    op.create_table(
        "report",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id", "number", "attempt"],
            ["attempt.study_id", "attempt.number", "attempt.attempt"],
            name="fk_report_study_id_attempt",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_id", "number", "attempt", "step", name="pk_report"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("report")
    op.drop_table("attempt")
    op.drop_table("trial")
    op.drop_table("event")
    op.drop_table("study")
    op.drop_table("scheduler_lease")
    op.drop_table("idempotency_key")
    op.drop_table("api_key")
