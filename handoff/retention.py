"""Once a day what has been kept for long enough goes: in small batches, so that nobody has to wait for the database.

Open tickets and whatever waits to be sent stay, however old they are. Of closed tickets stays what statistics need.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from handoff.database import Database
from handoff.erase import Erased, anonymise_tickets, blank_letters_in, counted, is_erased
from handoff.files import ownerless_files, remove_files
from handoff.identity import ADDRESS_KEPT, BINDING_LASTS
from handoff.limits import CLAIMS_KEPT
from handoff.models import (
    Binding,
    BindingCode,
    Claim,
    LetterIn,
    LetterOut,
    Link,
    StoredFile,
    Ticket,
    TicketEntry,
    TypedAddress,
)
from handoff.settings import Settings

log = logging.getLogger(__name__)

EVERY = timedelta(days=1)

#: Rows in one transaction: a few milliseconds on SQLite, which has one writer.
BATCH = 200
#: Between two batches others write.
PAUSE_S = 0.1

#: Clears a batch of what is older than the moment, and says what that was.
Sweep = Callable[[Session, datetime], Erased]


@dataclass(frozen=True)
class Rule:
    """What goes after how long."""

    keep: timedelta
    sweep: Sweep


@dataclass(frozen=True)
class RuleElsewhere:
    """What goes after how long from somewhere else than our database; `clear` says how much that was."""

    name: str
    keep: timedelta
    clear: Callable[[datetime], int]


def rules(settings: Settings) -> list[Rule]:
    """The rules of handoff's tables; a setting of 0 keeps for ever."""
    always = [
        Rule(CLAIMS_KEPT, older_rows("claims", Claim.id, Claim.at)),
        Rule(ADDRESS_KEPT, older_rows("typed addresses", TypedAddress.id, TypedAddress.typed_at)),
        Rule(timedelta(), older_rows("personal links", Link.token_hash, Link.expires_at)),
        Rule(timedelta(), older_rows("codes", BindingCode.sender_id, BindingCode.expires_at)),
        Rule(BINDING_LASTS, older_rows("bindings", Binding.id, Binding.used_at)),
    ]
    files = days_of(settings.keep_files_days, old_files)
    # A letter about no ticket is kept as long as one about a ticket.
    return [*always, *files, *days_of(settings.keep_tickets_days, old_tickets, old_letters_in, old_notices)]


def days_of(days: int, *sweeps: Sweep) -> list[Rule]:
    """A rule for each sweep; none when everything is kept for ever."""
    return [Rule(timedelta(days=days), sweep) for sweep in sweeps] if days else []


class Retention:
    """Applies rules every day."""

    def __init__(
        self, database: Database, data_dir: Path, rules: Sequence[Rule], elsewhere: Sequence[RuleElsewhere] = ()
    ) -> None:
        self._database = database
        self._data_dir = data_dir
        self._rules = rules
        self._elsewhere = elsewhere

    async def run(self) -> None:
        """Clear now and every day, until cancelled."""
        while True:
            gone = await self.clear(datetime.now(UTC))
            if gone:
                log.info("kept long enough: %s", ", ".join(f"{rows} {name}" for name, rows in sorted(gone.items())))
            await asyncio.sleep(EVERY.total_seconds())

    async def clear(self, now: datetime) -> Counter[str]:
        """Clear everything whose time is over at `now`; how many rows of which kind."""
        gone: Counter[str] = Counter()
        for rule in self._rules:
            while True:
                done: Erased = await self._database.run(rule.sweep, now - rule.keep)
                await asyncio.to_thread(remove_files, self._data_dir, done.file_names)
                gone += done.counts
                if not any(done.counts.values()):
                    break
                await asyncio.sleep(PAUSE_S)
        for other in self._elsewhere:
            gone[other.name] += await asyncio.to_thread(other.clear, now - other.keep)
        lost = await self._database.run(ownerless_files, self._data_dir, now)
        await asyncio.to_thread(remove_files, self._data_dir, lost)
        gone["files that nobody knew"] += len(lost)
        return +gone


def older_rows(
    name: str,
    key: InstrumentedAttribute[Any],
    at: InstrumentedAttribute[datetime],
    *conditions: ColumnElement[bool],
    before: Callable[[Session, list[Any], Erased], None] | None = None,
) -> Sweep:
    """A sweep that deletes rows by age; `before` clears what refers to them."""
    table: Any = key.class_

    def sweep(session: Session, moment: datetime) -> Erased:
        done = Erased()
        keys = list(session.scalars(select(key).where(at < moment, *conditions).order_by(at).limit(BATCH)))
        if before is not None:
            before(session, keys, done)
        counted(session, done, name, delete(table).where(key.in_(keys)))
        return done

    return sweep


def old_tickets(session: Session, moment: datetime) -> Erased:
    """Closed tickets in which nothing has happened since the moment become anonymous."""
    done = Erased()
    entry = select(TicketEntry.id).where(TicketEntry.ticket_number == Ticket.number, TicketEntry.at >= moment)
    letter = select(LetterIn.id).where(LetterIn.ticket_number == Ticket.number, LetterIn.received_at >= moment)
    unsent = select(LetterOut.id).where(
        LetterOut.ticket_number == Ticket.number, LetterOut.state.in_(("waiting", "sending"))
    )
    ended = select(Ticket).where(Ticket.state == "closed", Ticket.opened_at < moment, ~is_erased())
    still = ended.where(~entry.exists(), ~letter.exists(), ~unsent.exists())
    anonymise_tickets(session, session.scalars(still.order_by(Ticket.number).limit(BATCH)).all(), done)
    return done


def old_letters_in(session: Session, moment: datetime) -> Erased:
    """Letters about no ticket; what still lies in quarantine then will not be looked at any more."""
    done = Erased()
    of_none = LetterIn.ticket_number.is_(None), LetterIn.received_at < moment, LetterIn.reason != "erased"
    keys = session.scalars(select(LetterIn.id).where(*of_none).order_by(LetterIn.id).limit(BATCH)).all()
    blank_letters_in(session, LetterIn.id.in_(keys), done)
    return done


old_notices = older_rows(
    "letters out",
    LetterOut.id,
    LetterOut.created_at,
    LetterOut.ticket_number.is_(None),
    LetterOut.state.in_(("sent", "stuck")),
)


def old_files(session: Session, moment: datetime) -> Erased:
    """Photos and documents that belong to no open ticket."""
    done = Erased()
    closed = select(Ticket.number).where(Ticket.state == "closed")
    free = or_(StoredFile.ticket_number.is_(None), StoredFile.ticket_number.in_(closed))
    old = select(StoredFile).where(StoredFile.received_at < moment, free).order_by(StoredFile.id).limit(BATCH)
    files = session.scalars(old).all()
    done.file_names += [file.name for file in files]
    keys = [file.id for file in files]
    counted(session, done, "photos and files", delete(StoredFile).where(StoredFile.id.in_(keys)))
    return done
