"""Why a ticket is urgent, for the letters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

#: What of it the tables tell already.
KNOWN = """
UPDATE ticket SET urgent_for = CASE
  WHEN EXISTS (SELECT 1 FROM csat WHERE csat.ticket_number = ticket.number AND csat.mark <= 2) THEN 'mark'
  WHEN EXISTS (SELECT 1 FROM ticket_entry AS entry WHERE entry.ticket_number = ticket.number
               AND entry.source_key IN ('step:late', 'told:late')) THEN 'late'
  WHEN EXISTS (SELECT 1 FROM ticket_entry AS entry WHERE entry.ticket_number = ticket.number
               AND entry.source_key = 'step:day_passed') THEN 'day'
  WHEN topic LIKE 'complaint/%' AND topic <> 'complaint/anger' THEN 'complaint'
  ELSE 'anger' END
WHERE priority = 'urgent'
"""


def upgrade() -> None:
    """Add the column and fill it for tickets that are urgent."""
    op.add_column("ticket", sa.Column("urgent_for", sa.String(length=16), nullable=True))
    op.execute(KNOWN)


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("ticket", "urgent_for")
