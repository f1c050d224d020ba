"""What the actions work with; made once where the service is wired together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rasa_sdk.interfaces import Action

from handoff.crm.port import CrmPort
from handoff.database import Database
from handoff.desk import Desk


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Services:
    """`titles` maps a topic to its title in each language."""

    database: Database
    crm: CrmPort
    desk: Desk
    titles: dict[str, dict[str, str]]
    now: Callable[[], datetime] = utc_now
    letters_waiting: Callable[[], None] = lambda: None
    """Called after a transaction that may have written letters."""


class CaseAction(Action):
    """An action that works with customers and their tickets."""

    def __init__(self, services: Services) -> None:
        self.services = services
