"""`support model`: the language model is swapped while customers are answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.common import Refused, read_settings
from bot.engine_process import MODEL
from bot.model_report import follow, lines
from bot.model_store import ModelStore, Wanted
from handoff.errors import HandoffError

app = typer.Typer(no_args_is_help=True, help="The language model: swapped while customers are answered.")


@app.command()
def deploy(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="what `make train` made")] = MODEL,
) -> None:
    """Try a model and put it into service; without a running service, the next start does."""
    _swap(lambda store: Wanted(store.keep(file, datetime.now(UTC))))


@app.command()
def rollback() -> None:
    """Go back to the model that served before."""
    _swap(lambda store: Wanted(store.before(), proved=True))


@app.command("list")
def list_models() -> None:
    """List the models that are kept, and what the running services are doing."""
    store = _models()
    typer.echo("\n".join(lines(store)))


def _models() -> ModelStore:
    settings = read_settings()
    if settings.rasa_url:
        raise Refused(
            "RASA_URL names engines that are not ours: start one with the new model beside each, write its address into"
            " RASA_URL in the old one's place, restart the service, then end the old ones"
        )
    return ModelStore(settings.data_dir, MODEL)


def _swap(choose: Callable[[ModelStore], Wanted]) -> None:
    store = _models()
    try:
        with store.deploying():
            wanted = choose(store)
            store.want(wanted)
            typer.echo(f"{store.path(wanted.name)} is wanted")
            done = follow(store, wanted, typer.echo)
    except HandoffError as error:
        raise Refused(str(error)) from None
    if not done:
        raise typer.Exit(1)
