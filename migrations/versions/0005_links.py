"""Links that bind a messenger account to a customer, the bindings they make, and letters that belong to no ticket."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "link",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_by", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name="pk_link"),
    )
    op.create_index("ix_link_expires_at", "link", ["expires_at"])
    op.create_table(
        "binding",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.Column("registered_address", sa.String(length=320), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_binding"),
        sa.UniqueConstraint("sender_id", name="uq_binding_sender_id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("letter_out") as batch:
        batch.alter_column("ticket_number", existing_type=sa.Integer(), nullable=True)


def downgrade() -> None:
    """Take them away again, with the letters that belong to no ticket."""
    op.execute("DELETE FROM letter_out WHERE ticket_number IS NULL")
    with op.batch_alter_table("letter_out") as batch:
        batch.alter_column("ticket_number", existing_type=sa.Integer(), nullable=False)
    op.drop_table("binding")
    op.drop_table("link")
