"""What an answered message was taken for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("inbox", sa.Column("topic", sa.String(length=64), nullable=True))
    op.create_index("ix_inbox_topic", "inbox", ["topic"], unique=False)


def downgrade() -> None:
    """Drop it again."""
    op.drop_index("ix_inbox_topic", "inbox")
    op.drop_column("inbox", "topic")
