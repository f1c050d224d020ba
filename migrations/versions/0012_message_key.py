"""Which message an answer in the outbox belongs to, for the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("outbox", sa.Column("message_key", sa.String(length=255), nullable=True))


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("outbox", "message_key")
