"""`support tickets`, `gaps` and `feedback`: what there is to read."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import func, select

from bot.cli.common import open_database, print_rows
from bot.models import InboxItem, KnowledgeGap
from handoff.reports import tickets_as_json

#: Messages of these topics are kept for the shop to read: the bot says that they are passed on.
FEEDBACK_TOPICS = ("smalltalk/feedback", "smalltalk/compliment", "oos/business")


def tickets(as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False) -> None:
    """List the tickets."""
    with open_database().session_scope() as session:
        print_rows(tickets_as_json(session), as_json)


def gaps() -> None:
    """Count the questions whose fact shop.yml does not set."""
    asked = select(KnowledgeGap.fact, func.count()).group_by(KnowledgeGap.fact).order_by(func.count().desc())
    with open_database().session_scope() as session:
        for fact, times in session.execute(asked):
            typer.echo(f"{times:5} {fact}")


def feedback() -> None:
    """List advice, praise and business offers, the newest last."""
    said = select(InboxItem).where(InboxItem.topic.in_(FEEDBACK_TOPICS)).order_by(InboxItem.id)
    with open_database().session_scope() as session:
        for message in session.scalars(said):
            typer.echo(f"{message.received_at:%F %R}  {message.text}")
