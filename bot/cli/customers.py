"""`support link`, `assign` and `erase`: what operators decide about customers."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer
from sqlalchemy import select

from bot.channels.links import link_makers
from bot.cli.common import Refused, connect_crm, open_database, read_desk, read_settings
from bot.erase import StillAnswering, erase_subject
from handoff.database import Database
from handoff.erase import is_conversation
from handoff.errors import HandoffError
from handoff.links import make_links
from handoff.matching import assign as assign_ticket
from handoff.models import CrmAddress

#: Channels that a link can lead to, with the names that people know them by.
MESSENGERS = {"telegram": "Telegram", "vk": "VK"}

#: Customers whose links are made in one transaction.
LINKS_AT_ONCE = 500


def link(
    customer: Annotated[str, typer.Argument(help="customer_id in the CRM")] = "",
    everybody: Annotated[bool, typer.Option("--all", help="all customers, as CSV: customer_id,telegram,vk")] = False,
) -> None:
    """Make personal links: the first tap within 30 days binds that messenger account to the customer."""
    if bool(customer) == everybody:
        raise Refused("name one customer, or write --all")
    database = open_database()
    known = _customers(database) if everybody else []
    if customer and not _has_address(database, customer):
        raise Refused(f"the CRM has no customer {customer!r} with an address")
    try:
        makers = asyncio.run(link_makers(read_settings()))
    except HandoffError as error:
        raise Refused(str(error)) from None
    for channel, name in MESSENGERS.items():
        if channel not in makers:
            typer.echo(f"{name} is not set up: {channel.upper()}_TOKEN", err=True)
    if not makers:
        raise typer.Exit(1)
    if customer:
        [(_, *links)] = _links(database, makers, [customer])
        typer.echo("\n".join(f"{name}: {made}" for name, made in zip(MESSENGERS.values(), links, strict=True) if made))
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["customer_id", *MESSENGERS])
    # In small transactions: the service writes into the same database.
    for first in range(0, len(known), LINKS_AT_ONCE):
        table.writerows(_links(database, makers, known[first : first + LINKS_AT_ONCE]))


def assign(
    ticket: Annotated[int, typer.Argument(help="number of an unverified ticket")],
    customer: Annotated[str, typer.Argument(help="customer_id in the CRM")],
    order: Annotated[str | None, typer.Option(help="the order it is about")] = None,
) -> None:
    """Say whose an unverified ticket is: the customer gets the confirmation, answers that waited go out."""
    database = open_database()
    try:
        asyncio.run(
            assign_ticket(database, connect_crm(database), ticket, customer, order, read_desk(), datetime.now(UTC))
        )
    except HandoffError as error:
        raise Refused(str(error)) from None
    typer.echo(f"ticket {ticket} belongs to {customer}")


def erase(
    whom: Annotated[str, typer.Argument(help="customer_id in the CRM, or one conversation: telegram:12345")],
    with_crm: Annotated[bool, typer.Option("--crm", help="the customer's rows in the embedded CRM as well")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be erased")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Erase what is kept of a customer or a conversation, and say what lies outside our reach."""
    if with_crm and is_conversation(whom):
        raise Refused("--crm goes with a customer_id: the CRM knows no conversations")
    settings, database = read_settings(), open_database()
    look = partial(erase_subject, database, whom, settings, crm=with_crm)
    found = look(dry_run=True)
    typer.echo("\n".join(found.lines(done=False)))
    if dry_run or not found.anything():
        return
    if not yes:
        typer.confirm("Erase all this? It cannot be undone", abort=True)
    try:
        typer.echo("\n".join(look(dry_run=False).lines(done=True)))
    except StillAnswering:
        raise Refused(
            "a message of this conversation is still being answered; try again, or stop the service"
        ) from None


def _customers(database: Database) -> Sequence[str]:
    """All customers that can be written to."""
    if read_settings().crm_url:
        raise Refused("only the embedded CRM can list its customers; make the links one by one: support link CUSTOMER")
    with database.session_scope() as session:
        return session.scalars(select(CrmAddress.customer_id).distinct().order_by(CrmAddress.customer_id)).all()


def _has_address(database: Database, customer_id: str) -> bool:
    try:
        customer = asyncio.run(connect_crm(database).customer(customer_id))
    except HandoffError as error:
        raise Refused(str(error)) from None
    return customer is not None and bool(customer.addresses)


def _links(
    database: Database, makers: dict[str, Callable[[str], str]], customers: Sequence[str]
) -> list[tuple[str, ...]]:
    """Each customer with a fresh link for each of `MESSENGERS`, "" for one that is not set up."""
    now = datetime.now(UTC)
    with database.session_scope() as session:
        tokens = {channel: make_links(session, customers, now) for channel in makers}
    return [
        (customer, *(makers[channel](tokens[channel][row]) if channel in makers else "" for channel in MESSENGERS))
        for row, customer in enumerate(customers)
    ]
