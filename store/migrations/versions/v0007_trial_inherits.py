"""Which finished trial of the same study a trial began with."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trial", sa.Column("inherits", sa.Integer()))


def downgrade() -> None:
    op.drop_column("trial", "inherits")
