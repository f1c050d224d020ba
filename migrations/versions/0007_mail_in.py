"""How far the mailbox has been read, and how often a letter's delivery was cut off when it may have arrived."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column."""
    op.create_table(
        "mailbox_place",
        sa.Column("mailbox", sa.String(length=512), nullable=False),
        sa.Column("uid_validity", sa.BigInteger(), nullable=False),
        sa.Column("last_uid", sa.BigInteger(), nullable=False),
        sa.Column("owed", sa.JSON(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("mailbox", name="pk_mailbox_place"),
    )
    op.add_column("letter_out", sa.Column("unanswered", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Take them away again."""
    with op.batch_alter_table("letter_out") as batch:
        batch.drop_column("unanswered")
    op.drop_table("mailbox_place")
