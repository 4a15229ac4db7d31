"""What a key opens. Those that there are open what they did."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    role = sa.Column("role", sa.String(16), nullable=False, server_default="user")
    with op.batch_alter_table("api_key") as table:
        table.add_column(role)
        table.create_check_constraint(op.f("ck_api_key_role"), "role IN ('user', 'worker')")


def downgrade() -> None:
    with op.batch_alter_table("api_key") as table:
        table.drop_constraint(op.f("ck_api_key_role"), type_="check")
        table.drop_column("role")
