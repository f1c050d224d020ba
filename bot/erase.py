"""Erases a customer or a conversation everywhere at once: our tables in one transaction, Rasa's trackers, the disk."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, or_, select, text
from sqlalchemy.orm import Session

from bot.lease import services_run
from bot.models import Button, Conversation, InboxItem, KnowledgeGap, OutboxItem
from bot.trackers import Place, delete_conversations, place_of_trackers
from handoff.database import Database
from handoff.erase import Erased, Subject, counted, erase_case_data, find_subject
from handoff.files import remove_files
from handoff.settings import Settings

#: An answer takes seconds; a message that waits longer waits for an engine that is away.
PATIENCE_S = 30.0
ASKED_EVERY_S = 0.5


class StillAnswering(Exception):
    """A message of the conversation is being answered: Rasa would write its tracker back after the turn."""


class _OnlyLooking(Exception):
    """Takes a dry run's transaction back."""


@dataclass(frozen=True)
class Report:
    """What `support erase` tells the operator."""

    subject: Subject
    erased: Erased
    settings: Settings
    crm: bool

    def anything(self) -> bool:
        """Whether there was anything to erase."""
        return any(self.erased.counts.values())

    def lines(self, *, done: bool) -> list[str]:
        """What went or would go, and what the operator has to do himself."""
        told = [f"conversation {sender_id}" for sender_id in sorted(self.subject.sender_ids)]
        if not self.anything():
            return [*told, "nothing is kept"]
        verb = "erased" if done else "to be erased"
        told += [f"{verb}: {rows} {name}" for name, rows in self.erased.counts.items() if rows]
        return [*told, *self._beyond()] if done else told

    def _beyond(self) -> list[str]:
        readers = [self.settings.agents_address, self.settings.escalation_address, "the customer"]
        mailboxes = f"letters already sent to {', '.join(filter(None, readers))}"
        if self.settings.imap_url:
            mailboxes += f", and those in the mailbox of {self.settings.support_address}"
        beyond = [
            mailboxes,
            "the chat as the messenger shows it",
            "backups",
            "logs, which name conversations by number",
        ]
        if not self.crm:
            beyond.append("the customer's rows in the CRM")
        if self.settings.rasa_url and not self.erased.counts.get("tracker events"):
            beyond.append("the engine at RASA_URL: delete these sender_ids from its table `events` while it is stopped")
        return [f"not in our reach: {place}" for place in beyond]


def erase_subject(database: Database, name: str, settings: Settings, *, crm: bool, dry_run: bool) -> Report:
    """Erase what the settings' service keeps of a customer_id or sender_id, once its messages are answered.

    Raises:
        StillAnswering: they were not for half a minute, and the service is running.
    """
    trackers = place_of_trackers(settings)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            subject, erased = erase(
                database,
                name,
                settings.data_dir,
                trackers=trackers,
                service_runs=_service_runs(database),
                crm=crm,
                dry_run=dry_run,
            )
        except StillAnswering:
            if time.monotonic() > deadline:
                raise
            time.sleep(ASKED_EVERY_S)
        else:
            database.empty_log()
            return Report(subject, erased, settings, crm)


def _service_runs(database: Database) -> bool:
    """Whether any service works on the database."""
    with database.session_scope() as session:
        return services_run(session, datetime.now(UTC))


def erase(
    database: Database,
    name: str,
    data_dir: Path,
    *,
    trackers: Place | None,
    service_runs: bool,
    crm: bool = False,
    dry_run: bool = False,
) -> tuple[Subject, Erased]:
    """Erase a customer_id or a sender_id; again, it finds nothing more.

    Args:
        database: where everything but trackers and files is.
        name: a customer_id, or a sender_id such as "telegram:12345".
        data_dir: the files lie in its folder `files`.
        trackers: where Rasa's events are, None when nobody knows.
        service_runs: whether waiting messages may be in the middle of a turn.
        crm: his rows in the embedded CRM too.
        dry_run: count only.

    Raises:
        StillAnswering: try again when the waiting messages are answered; nothing was changed.
    """
    found: list[tuple[Subject, Erased]] = []

    def work(session: Session) -> None:
        hold_inbox(session)
        subject = find_subject(session, name)
        if service_runs and not dry_run and _waits(session, subject.sender_ids):
            raise StillAnswering
        done = erase_case_data(session, subject, crm=crm)
        erase_messages(session, subject.sender_ids, done)
        if trackers is not None:
            # Before our own commit: if this fails nothing has happened yet, and the other way round would lose track
            # of whose conversations they are.
            done.counts["tracker events"] = delete_conversations(trackers, subject.sender_ids, dry_run=dry_run)
        found.append((subject, done))
        if dry_run:
            raise _OnlyLooking

    try:
        with database.session_scope() as session:
            work(session)
    except _OnlyLooking:
        return found[0]
    remove_files(data_dir, found[0][1].file_names)
    return found[0]


def erase_messages(session: Session, sender_ids: Collection[str], done: Erased) -> None:
    """Erase both sides of conversations, what waits to be sent included."""
    messages = select(InboxItem.id).where(InboxItem.sender_id.in_(sender_ids))
    answers = select(OutboxItem.id).where(OutboxItem.sender_id.in_(sender_ids))
    buttons = or_(Button.sender_id.in_(sender_ids), Button.outbox_id.in_(answers))
    counted(session, done, "knowledge gaps", delete(KnowledgeGap).where(KnowledgeGap.inbox_id.in_(messages)))
    counted(session, done, "buttons", delete(Button).where(buttons))
    counted(session, done, "messages in", delete(InboxItem).where(InboxItem.sender_id.in_(sender_ids)))
    counted(session, done, "messages out", delete(OutboxItem).where(OutboxItem.sender_id.in_(sender_ids)))
    counted(session, done, "conversations", delete(Conversation).where(Conversation.sender_id.in_(sender_ids)))


def hold_inbox(session: Session) -> None:
    """Let no message come in before this transaction ends: no turn can begin. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE inbox IN SHARE ROW EXCLUSIVE MODE"))


def _waits(session: Session, sender_ids: Collection[str]) -> bool:
    waiting = select(InboxItem.id).where(InboxItem.sender_id.in_(sender_ids), InboxItem.state == "waiting")
    return session.scalar(waiting.limit(1)) is not None
