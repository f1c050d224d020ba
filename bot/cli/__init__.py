"""The command line: each module holds the commands of one purpose."""

from __future__ import annotations

import typer

from bot.cli import classify, crm, customers, letters, lists, model, service, stuck

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (
    service.run,
    service.demo,
    classify.classify,
    lists.tickets,
    customers.assign,
    customers.link,
    customers.erase,
    lists.gaps,
    lists.feedback,
):
    app.command()(command)
for name, group in (("crm", crm), ("letters", letters), ("model", model), ("stuck", stuck)):
    app.add_typer(group.app, name=name)
