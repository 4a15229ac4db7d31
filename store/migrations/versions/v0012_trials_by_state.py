"""The trials of a state are found by the state first, so that a single one is only ever looked up by its key."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_trial_study_id_state", "trial")
    op.create_index("ix_trial_state_study_id", "trial", ["state", "study_id"])


def downgrade() -> None:
    op.drop_index("ix_trial_state_study_id", "trial")
    op.create_index("ix_trial_study_id_state", "trial", ["study_id", "state"])
