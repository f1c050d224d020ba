"""Measures how quickly letters leave: tickets opened one after the other, their letters handed to a real SMTP server.

    python -m bench.letters_out

Every letter must arrive, and none twice; the server runs in a thread beside the sender. How long a case takes to its
ticket and to its letter while the whole system is busy is measured by `bench.sustained`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.figures import Figures, show
from bench.letters import desk_in
from bench.mail_sink import MailSink
from handoff.database import Database
from handoff.mail.outgoing import LetterSender
from handoff.models import LetterOut
from handoff.tickets import open_ticket
from tests.handoff.handoff_cases import NOW, a_case, maria
from tests.system.running import wait_for

TICKETS = 200
WITHIN_S = 120


def measure() -> Figures:
    """Tickets opened and letters handed over in a second."""
    with tempfile.TemporaryDirectory() as name, MailSink() as mail:
        database = Database(f"sqlite:///{name}/shop.db")
        database.migrate()
        try:
            tickets_s, letters_s, letters = asyncio.run(_run(database, mail, Path(name)))
        finally:
            database.close()
    arrived = {one.message_id for one in mail.letters}
    if len(arrived) != letters or len(mail.letters) != letters:
        raise RuntimeError(f"{letters} letters, {len(mail.letters)} came, {len(arrived)} different ones")
    return {"tickets_opened_per_s": round(TICKETS / tickets_s, 1), "letters_out_per_s": round(letters / letters_s, 1)}


async def _run(database: Database, mail: MailSink, folder: Path) -> tuple[float, float, int]:
    desk = desk_in(folder)

    def open_one(session: Session, number: int) -> None:
        case = replace(a_case(f"case-{number}"), sender_id=f"telegram:{number}")
        order = replace(maria().order, number=str(50_000 + number))
        open_ticket(session, case, replace(maria(), order=order), desk, NOW)

    begun = time.perf_counter()
    for number in range(TICKETS):
        await database.run(open_one, number)
    opened = time.perf_counter()
    letters = await database.read(lambda session: session.scalar(select(func.count()).select_from(LetterOut)) or 0)
    sending = asyncio.create_task(LetterSender(database, mail.url).run())
    await asyncio.to_thread(wait_for, lambda: len(mail.letters) >= letters, "all letters", WITHIN_S, 0.02)
    sent = time.perf_counter()
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    return opened - begun, sent - opened, letters


if __name__ == "__main__":
    show(measure())
