"""Marks that customers give for closed tickets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "csat",
        sa.Column("ticket_number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("how", sa.String(length=8), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mark", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("ticket_number", name="pk_csat"),
        sa.ForeignKeyConstraint(
            ["ticket_number"], ["ticket.number"], name="fk_csat_ticket_number_ticket", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_csat_asked_at", "csat", ["asked_at"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("csat")
