"""Whether a failed identification can be told from another by its time: medians of every kind of mismatch.

    python -m bench.identity

On an SQLite file as the service has it, synchronous writes included. The kinds take turns in random order, so that
whatever else the machine does falls on all of them; each attempt is a conversation and an order of its own. One kind is
measured twice: how far it is from itself says how much of a difference is noise.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from handoff.crm.sql import SqlCrm
from handoff.database import Database
from handoff.identity import identify
from handoff.models import Claim, CrmAddress, CrmCustomer, CrmOrder

ROUNDS = 300

#: Sender, order and address of each kind; {n} is the round's number, and customer {n} has order 5000{n}.
KINDS = {
    "no such order": ("web:a{n}", "9000{n}", "c{n}@mail.example"),
    "no such order, again": ("web:b{n}", "9100{n}", "c{n}@mail.example"),
    "no such address": ("web:c{n}", "5000{n}", "nobody{n}@mail.example"),
    "another customer's address": ("web:d{n}", "5000{n}", "other@mail.example"),
    "neither": ("web:e{n}", "9200{n}", "nobody{n}@mail.example"),
    "wrong, past the chat's limit": ("web:full", "9300{n}", "c{n}@mail.example"),
    "right, past the chat's limit": ("web:full", "5000{n}", "c{n}@mail.example"),
    "right, past the order's limit": ("web:f{n}", "50777", "used.up@mail.example"),
}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'support.db'}")
        database.migrate()
        now = datetime.now(UTC)
        with database.session_scope() as session:
            _fill(session, now)
        times = asyncio.run(_measure(database, now))
        database.close()
    medians = {kind: statistics.median(taken) * 1000 for kind, taken in times.items()}
    first = medians["no such order"]
    for kind, median in medians.items():
        print(f"{median:7.2f} ms  {(median / first - 1) * 100:+6.1f} %  {kind}")  # noqa: T201
    spread = (max(medians.values()) / min(medians.values()) - 1) * 100
    print(f"largest difference between two medians: {spread:.1f} %")  # noqa: T201


def _fill(session: Session, now: datetime) -> None:
    """A customer with an order for each round, a chat and an order whose limits are used up."""
    known = [(f"c{number}", f"5000{number}", f"c{number}@mail.example") for number in range(ROUNDS)]
    known += [("other", "50666", "other@mail.example"), ("used-up", "50777", "used.up@mail.example")]
    session.add_all([CrmCustomer(customer_id=name, name="A", language="en") for name, _, _ in known])
    session.flush()
    session.add_all([CrmAddress(address=address, customer_id=name) for name, _, address in known])
    session.add_all([CrmOrder(number=order, customer_id=name, shown_number=order) for name, order, _ in known])
    at = now - timedelta(minutes=5)
    for chat, order in [("web:full", f"9400{n}") for n in range(5)] + [(f"web:g{n}", "50777") for n in range(5)]:
        session.add(Claim(sender_id=chat, order_number=order, address_hash="", at=at))


async def _measure(database: Database, now: datetime) -> dict[str, list[float]]:
    crm, times = SqlCrm(database), {kind: list[float]() for kind in KINDS}
    for number in range(ROUNDS):
        for kind, attempt in random.sample(list(KINDS.items()), len(KINDS)):
            begun = time.perf_counter()
            found = await identify(database, crm, *(part.format(n=number) for part in attempt), now)
            times[kind].append(time.perf_counter() - begun)
            assert found is None, kind  # noqa: S101 - or something else was measured
    return times


if __name__ == "__main__":
    main()
