"""Alembic's entry point: `Database.migrate` hands in the connection of its transaction."""

from __future__ import annotations

import importlib
import importlib.util

from alembic import context

import handoff.models  # noqa: F401  registers its tables
from handoff.database import Base

# The customers' side adds its tables to the same database; handoff works without it.
if importlib.util.find_spec("bot") and importlib.util.find_spec("bot.models"):
    importlib.import_module("bot.models")

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a table in place; batches copy it.
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
