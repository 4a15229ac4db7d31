"""By how much a trial breaks the constraints of its study."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trial", sa.Column("violation", sa.Double()))


def downgrade() -> None:
    op.drop_column("trial", "violation")
