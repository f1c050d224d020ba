"""`support letters`: what came in, and what waits there for a person."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bot.cli.common import decide, open_database, print_rows, read_desk
from handoff.mail.queue import dismiss_letter, place_letter, quarantined
from handoff.reports import letters_as_json

app = typer.Typer()


@app.callback(invoke_without_command=True)
def list_letters(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="only what waits for a person, and what to do about it")
    ] = False,
) -> None:
    """List the letters taken in; file a quarantined one or tick it off."""
    if context.invoked_subcommand is not None:
        return
    with open_database().session_scope() as session:
        if not queue:
            print_rows(letters_as_json(session), as_json)
            return
        for letter in quarantined(session):
            typer.echo(f"{letter.id}  {letter.received_at:%F %R}  {letter.from_address}: {letter.reason}")
            where = letter.ticket_number or "TICKET"
            side = letter.author if letter.author in ("customer", "agent") else "customer"
            typer.echo(f"    support letters place {letter.id} {where} --as {side}")


@app.command()
def place(
    letter: Annotated[int, typer.Argument(help="number of a quarantined letter")],
    ticket: Annotated[int, typer.Argument(help="number of the ticket it belongs to")],
    author: Annotated[Literal["customer", "agent"], typer.Option("--as", help="who wrote it")],
) -> None:
    """File a quarantined letter as if it had come right: the other side of the ticket gets it."""
    decide(lambda session, now: place_letter(session, letter, ticket, author, read_desk(), now))
    typer.echo(f"letter {letter} is filed in ticket {ticket}")


@app.command("dismiss")
def dismiss_quarantined(letter: Annotated[int, typer.Argument(help="number of a quarantined letter")]) -> None:
    """Tick a quarantined letter off; it is kept."""
    decide(lambda session, now: dismiss_letter(session, letter))
    typer.echo(f"letter {letter} is dismissed")
