"""How long each attempt has held its devices."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Until now no attempt had more than one device.
_POSTGRESQL = "extract(epoch FROM ended_at - started_at)"
_SQLITE = "(julianday(ended_at) - julianday(started_at)) * 86400"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("device_seconds", sa.Double()))
    seconds = _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE
    op.execute(f"UPDATE attempt SET device_seconds = {seconds} WHERE ended_at IS NOT NULL")  # noqa: S608 - one of ours


def downgrade() -> None:
    op.drop_column("attempt", "device_seconds")
