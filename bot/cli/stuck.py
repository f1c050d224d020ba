"""`support stuck`: what was given up and waits for a person."""

from __future__ import annotations

import typer

from bot.cli.common import decide, open_database
from bot.stuck import Kind, stuck_lines
from bot.stuck import dismiss as dismiss_stuck
from bot.stuck import retry as retry_stuck

app = typer.Typer()


@app.callback(invoke_without_command=True)
def list_stuck(context: typer.Context) -> None:
    """List what was given up and waits for a person: messages, answers, letters; send it again or tick it off."""
    if context.invoked_subcommand is None:
        with open_database().session_scope() as session:
            for line in stuck_lines(session):
                typer.echo(line)


@app.command()
def retry(kind: Kind, number: int) -> None:
    """Send it again, as if for the first time: `retry letter 31`."""
    decide(lambda session, now: retry_stuck(session, kind, number, now))
    typer.echo(f"{kind} {number} waits")


@app.command("dismiss")
def dismiss_given_up(kind: Kind, number: int) -> None:
    """Tick it off; it is kept: `dismiss answer 7`."""
    decide(lambda session, now: dismiss_stuck(session, kind, number))
    typer.echo(f"{kind} {number} is dismissed")
