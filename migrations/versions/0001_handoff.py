"""The tables of customers, tickets and letters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "claim",
    "crm_customer",
    "ticket",
    "typed_address",
    "crm_address",
    "crm_order",
    "letter_in",
    "letter_out",
    "stored_file",
    "ticket_entry",
)


def upgrade() -> None:
    """Make handoff's tables."""
    op.create_table(
        "claim",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("order_number", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.String(length=64), nullable=False),
        sa.Column("matched", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_claim"),
    )
    op.create_index("ix_claim_order", "claim", ["order_number", "at"])
    op.create_index("ix_claim_sender", "claim", ["sender_id", "at"])

    op.create_table(
        "crm_customer",
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name="pk_crm_customer"),
    )
    op.create_table(
        "ticket",
        sa.Column("number", sa.Integer(), sa.Identity(always=False, start=1001), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("topic", sa.String(length=128), nullable=False),
        sa.Column("topic_title", sa.Text(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("opening_key", sa.String(length=255), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.String(length=64), nullable=True),
        sa.Column("requester", sa.String(length=320), nullable=True),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("disputed", sa.Boolean(), nullable=False),
        sa.Column("order_number", sa.String(length=64), nullable=True),
        sa.Column("claimed_address", sa.Text(), nullable=True),
        sa.Column("claimed_order", sa.Text(), nullable=True),
        sa.Column("priority", sa.String(length=8), nullable=False),
        sa.Column("agent_names", sa.JSON(), nullable=False),
        sa.Column("suggested_compensation", sa.String(length=64), nullable=True),
        sa.Column("snapshot", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_answer_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_ticket"),
        sa.UniqueConstraint("sender_id", "opening_key", name="uq_ticket_sender_id_opening_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ticket_case", "ticket", ["customer_id", "order_number", "topic", "state"])
    op.create_index("ix_ticket_opened_at", "ticket", ["opened_at"])

    op.create_table(
        "typed_address",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("typed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_typed_address"),
    )
    op.create_index("ix_typed_address_typed_at", "typed_address", ["typed_at"])

    op.create_table(
        "crm_address",
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["crm_customer.customer_id"], name="fk_crm_address_customer_id_crm_customer"
        ),
        sa.PrimaryKeyConstraint("address", name="pk_crm_address"),
    )
    op.create_index("ix_crm_address_customer_id", "crm_address", ["customer_id"])

    op.create_table(
        "crm_order",
        sa.Column("number", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=64), nullable=False),
        sa.Column("shown_number", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("sum", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("promised_on", sa.Date(), nullable=True),
        sa.Column("placed_on", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["crm_customer.customer_id"], name="fk_crm_order_customer_id_crm_customer"
        ),
        sa.PrimaryKeyConstraint("number", name="pk_crm_order"),
    )
    op.create_index("ix_crm_order_customer_id", "crm_order", ["customer_id"])

    op.create_table(
        "letter_in",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dedupe_key", sa.String(length=128), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ticket_number", sa.Integer(), nullable=True),
        sa.Column("author", sa.String(length=16), nullable=True),
        sa.Column("from_address", sa.Text(), nullable=False),
        sa.Column("recipients", sa.JSON(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("attachments", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_number"], ["ticket.number"], name="fk_letter_in_ticket_number_ticket"),
        sa.PrimaryKeyConstraint("id", name="pk_letter_in"),
        sa.UniqueConstraint("dedupe_key", name="uq_letter_in_dedupe_key"),
    )
    op.create_index("ix_letter_in_received_at", "letter_in", ["received_at"])
    op.create_index("ix_letter_in_ticket_number", "letter_in", ["ticket_number"])

    op.create_table(
        "letter_out",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=640), nullable=False),
        sa.Column("ticket_number", sa.Integer(), nullable=False),
        sa.Column("audience", sa.String(length=16), nullable=False),
        sa.Column("message_id", sa.String(length=255), nullable=False),
        sa.Column("to_address", sa.String(length=320), nullable=False),
        sa.Column("template", sa.String(length=64), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["ticket_number"], ["ticket.number"], name="fk_letter_out_ticket_number_ticket"),
        sa.PrimaryKeyConstraint("id", name="pk_letter_out"),
        sa.UniqueConstraint("message_id", name="uq_letter_out_message_id"),
        sa.UniqueConstraint("purpose", name="uq_letter_out_purpose"),
    )
    op.create_index("ix_letter_out_address", "letter_out", ["to_address", "created_at"])
    op.create_index("ix_letter_out_due", "letter_out", ["state", "not_before"])
    op.create_index("ix_letter_out_ticket_number", "letter_out", ["ticket_number"])

    op.create_table(
        "stored_file",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ticket_number", sa.Integer(), nullable=True),
        sa.Column("source_key", sa.String(length=512), nullable=False),
        sa.ForeignKeyConstraint(["ticket_number"], ["ticket.number"], name="fk_stored_file_ticket_number_ticket"),
        sa.PrimaryKeyConstraint("id", name="pk_stored_file"),
        sa.UniqueConstraint("name", name="uq_stored_file_name"),
        sa.UniqueConstraint("source_key", name="uq_stored_file_source_key"),
    )
    op.create_index("ix_stored_file_sender", "stored_file", ["sender_id", "received_at"])
    op.create_index("ix_stored_file_ticket_number", "stored_file", ["ticket_number"])

    op.create_table(
        "ticket_entry",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ticket_number", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("letter_in_id", sa.Integer(), nullable=True),
        sa.Column("source_key", sa.String(length=512), nullable=True),
        sa.ForeignKeyConstraint(["letter_in_id"], ["letter_in.id"], name="fk_ticket_entry_letter_in_id_letter_in"),
        sa.ForeignKeyConstraint(["ticket_number"], ["ticket.number"], name="fk_ticket_entry_ticket_number_ticket"),
        sa.PrimaryKeyConstraint("id", name="pk_ticket_entry"),
        sa.UniqueConstraint("ticket_number", "source_key", name="uq_ticket_entry_ticket_number_source_key"),
    )
    op.create_index("ix_ticket_entry_ticket_number", "ticket_entry", ["ticket_number"])
    if op.get_bind().dialect.name == "sqlite":
        # SQLite knows no start value; the next number is one above what this table says.
        op.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('ticket', 1000)")


def downgrade() -> None:
    """Drop them again."""
    for table in reversed(TABLES):
        op.drop_table(table)
