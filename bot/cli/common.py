"""What several commands need: the settings, what they describe, and how a command is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.desk import desk_of, notices_of
from handoff.crm.connect import connect
from handoff.crm.port import CrmPort
from handoff.database import Database, TablesUnknown
from handoff.desk import Desk
from handoff.errors import HandoffError
from handoff.settings import Settings
from handoff.shop import load_shop


class Refused(typer.Exit):
    """Ends the command with a sentence that says what to do."""

    def __init__(self, message: str) -> None:
        typer.echo(f"support: {message}", err=True)
        super().__init__(1)


def read_settings() -> Settings:
    """The settings of the environment and `.env`."""
    try:
        return Settings()
    except ValidationError as error:
        raise Refused(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    """Which settings are wrong, and how."""
    return "; ".join(f"{'_'.join(map(str, e['loc'])).upper() or 'settings'}: {e['msg']}" for e in error.errors())


def open_database() -> Database:
    """The database, its tables in their newest shape."""
    database = Database(read_settings().database)
    try:
        database.migrate()
    except SQLAlchemyError as error:
        raise Refused(f"the database is away: {error}") from None
    except TablesUnknown as error:
        raise Refused(str(error)) from None
    return database


def connect_crm(database: Database) -> CrmPort:
    """The CRM that is set; what it logs for the service, a command prints as its error."""
    logging.getLogger("handoff.crm").addHandler(logging.NullHandler())
    return connect(read_settings(), database)


def read_desk() -> Desk:
    """The desk as the settings and shop.yml describe it.

    Raises:
        HandoffError: a file cannot be used; with what to do.
    """
    settings = read_settings()
    shop = load_shop(settings.shop_file)
    return desk_of(settings, shop, notices_of(shop))


def decide(work: Callable[[Session, datetime], None]) -> None:
    """What a person decides, in one transaction."""
    database = open_database()
    try:
        with database.session_scope() as session:
            work(session, datetime.now(UTC))
    except HandoffError as error:
        raise Refused(str(error)) from None


def print_rows(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    """One row a line, as JSON or for people."""
    for row in rows:
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            typer.echo("  ".join(str(value) for value in row.values() if value not in (None, "")))
