"""Several services: who is there, who does what alone, and who answers a message."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, change the columns; a lease now lasts as long as its holder is there."""
    op.create_table(
        "service",
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("holder", name="pk_service"),
    )
    with op.batch_alter_table("lease") as batch:
        batch.drop_column("until")
        batch.add_column(sa.Column("polled_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("inbox") as batch:
        batch.add_column(sa.Column("claimed_by", sa.String(length=255), nullable=True))


def downgrade() -> None:
    """Take it away again; nobody holds a lease then."""
    with op.batch_alter_table("inbox") as batch:
        batch.drop_column("claimed_by")
    op.execute("DELETE FROM lease")
    with op.batch_alter_table("lease") as batch:
        batch.drop_column("polled_at")
        batch.add_column(sa.Column("until", sa.DateTime(timezone=True), nullable=False))
    op.drop_table("service")
