"""`support crm`: customers and orders of the embedded CRM, and what a CRM answers."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.common import Refused, connect_crm, open_database
from handoff.crm.csv_import import import_csv
from handoff.errors import HandoffError
from handoff.identifiers import mask_address, normalise_order_number

app = typer.Typer(no_args_is_help=True, help="Customers and orders of the embedded CRM.")


@app.command("import")
def crm_import(
    customers: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="customer_id,email,name,language")],
    orders: Annotated[
        Path,
        typer.Option(
            exists=True, dir_okay=False, help="number,customer_id,status,item,sum,address,promised_on,placed_on"
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would happen and change nothing")] = False,
) -> None:
    """Add and change customers and orders; prints what changed and what was refused."""
    database = open_database()
    with database.session_scope() as session:
        report = import_csv(session, customers, orders)
        if dry_run:
            session.rollback()
    for name, counts in (("customers", report.customers), ("orders", report.orders)):
        typer.echo(f"{name}: {counts.added} added, {counts.changed} changed, {counts.unchanged} unchanged")
    for refusal in report.refused:
        typer.echo(f"refused: {refusal.file}, line {refusal.line}: {refusal.reason}", err=True)
    if dry_run:
        typer.echo("dry run: nothing was changed", err=True)
    if report.refused:
        raise typer.Exit(1)


@app.command("find")
def crm_find(number: Annotated[str, typer.Argument(help="an order number, as a customer types it")]) -> None:
    """Show what the CRM answers about an order and its customer: to try out CRM_URL and a mapping."""
    database = open_database()
    try:
        source = connect_crm(database)
        order = asyncio.run(source.order(normalise_order_number(number)))
        customer = asyncio.run(source.customer(order.customer_id if order else ""))
        orders = asyncio.run(source.orders_of(customer.customer_id)) if customer else []
    except HandoffError as error:
        raise Refused(str(error)) from None
    if order is None:
        raise Refused(f"the CRM has no order {number!r}")
    for name, value in asdict(order).items():
        typer.echo(f"{name}: {value or 'nothing'}")
    if customer is None:
        raise Refused(f"the CRM has no customer {order.customer_id!r}, so nobody can be identified by this order")
    typer.echo(f"customer {customer.customer_id}: {customer.name or 'no name'}, letters in {customer.language!r}")
    typer.echo(
        f"addresses: {', '.join(map(mask_address, sorted(customer.addresses))) or 'none that can be written to'}"
    )
    typer.echo(f"newest orders: {', '.join(one.shown_number for one in orders) or 'none'}")
