"""Codes in confirmation letters that bind a conversation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "binding_code",
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("ticket_number", sa.Integer(), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("tried_key", sa.String(length=255), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["ticket_number"], ["ticket.number"], name="fk_binding_code_ticket_number_ticket"),
        sa.PrimaryKeyConstraint("sender_id", name="pk_binding_code"),
    )
    op.create_index("ix_binding_code_expires_at", "binding_code", ["expires_at"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("binding_code")
