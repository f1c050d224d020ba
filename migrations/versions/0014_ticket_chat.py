"""Further conversations of a ticket."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; who joined a ticket before stays as he was."""
    op.create_table(
        "ticket_chat",
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("ticket_number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_number"], ["ticket.number"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sender_id", "ticket_number"),
    )
    op.create_index("ix_ticket_chat_ticket_number", "ticket_chat", ["ticket_number"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("ticket_chat")
