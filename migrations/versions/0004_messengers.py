"""What Telegram and VK need: files that wait there, albums, pauses, places in rows of events, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ADDED = {
    "inbox": (
        sa.Column("remote_file", sa.JSON(), nullable=True),
        sa.Column("album", sa.String(length=64), nullable=True),
    ),
    "outbox": (sa.Column("maybe_sent", sa.Boolean(), nullable=False, server_default=sa.false()),),
    "conversation": (sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),),
}


def upgrade() -> None:
    """Add the columns, make the tables."""
    for table, columns in ADDED.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.add_column(column)
    op.create_table(
        "channel_state",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_channel_state"),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lease"),
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("lease", "channel_state"):
        op.drop_table(table)
    for table, columns in ADDED.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_column(column.name)
