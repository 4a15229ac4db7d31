"""What samplers remember of a study: evolution its parents, a sequence how far it came."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("study", sa.Column("system_attrs", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("study", "system_attrs")
