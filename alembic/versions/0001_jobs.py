"""The tables of the queue.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

from oban_sqla import migrations

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    migrations.upgrade(op)


def downgrade() -> None:
    migrations.downgrade(op, version=0)
