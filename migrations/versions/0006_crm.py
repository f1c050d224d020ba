"""Tickets whose customer the CRM could not name because it was away: when it is asked again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the moment; tickets that are there already wait for nobody."""
    op.add_column("ticket", sa.Column("match_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_ticket_match_at", "ticket", ["match_at"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_index("ix_ticket_match_at", "ticket")
    with op.batch_alter_table("ticket") as batch:
        batch.drop_column("match_at")
