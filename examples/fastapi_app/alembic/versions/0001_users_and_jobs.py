"""Users, and the queue's tables."""

import sqlalchemy as sa
from alembic import op

from oban_sqla import migrations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String, nullable=False, unique=True),
        sa.Column("welcomed_at", sa.DateTime(timezone=True)),
    )
    migrations.upgrade(op)


def downgrade() -> None:
    migrations.downgrade(op, version=0)
    op.drop_table("users")
