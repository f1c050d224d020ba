"""Measures turns with actions: a case from its first words to its ticket, over the engine's REST channel.

    python -m bench.forms

The actions are the real ones, called over HTTP in a real service with a CRM full of orders: begin the case, check each
answer in the form, compare number and address with the CRM, open the ticket with its letters. Every case must end in a
ticket. All texts are new to the engine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from uuid import uuid4

import aiohttp

from bench.crowd import YES, Person
from bench.customers import fill_crm
from bench.engines import Engine, our_engine
from bench.figures import Figures, median_ms, milliseconds, percentile, show
from bench.texts import never_seen, opening_a_case
from bench.turns import say
from handoff.database import Database
from handoff.identity import keep_address

CASES = 60

#: Before the clock runs, as long as it takes until the first turns have loaded everything.
WARM_UP = 5

STEPS = ("begin", "number", "address", "yes")


def measure() -> Figures:
    """Median of all turns and of each step; 99th percentile of all."""
    people = [Person(number, "web", "ru" if number % 2 else "en") for number in range(1, WARM_UP + CASES + 1)]
    with our_engine() as engine:
        fill_crm(engine.service, engine.service.data_dir, people)
        with closing(Database(f"sqlite:///{engine.service.data_dir / 'support.db'}")) as database:
            times = asyncio.run(_cases(engine, database, people))
        tickets = engine.service.rows("SELECT count(*) FROM ticket")[0][0]
    if tickets != len(people):
        raise RuntimeError(f"{len(people)} cases made {tickets} tickets")
    measured = times[WARM_UP:]
    turns = [seconds for case in measured for seconds in case]
    return {
        "form_turn_p50_ms": median_ms(turns),
        "form_turn_p99_ms": milliseconds(percentile(turns, 99)),
        **{f"form_{step}_p50_ms": median_ms([case[place] for case in measured]) for place, step in enumerate(STEPS)},
    }


async def _cases(engine: Engine, database: Database, people: Sequence[Person]) -> list[list[float]]:
    rng = random.Random(1)  # noqa: S311 - a load, not a secret
    openings = never_seen(opening_a_case(), rng)
    times = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(keepalive_timeout=4)) as http:
        for person, opening in zip(people, openings, strict=False):
            sender = f"web:{uuid4().hex}"
            with database.session_scope() as session:  # the gateway's part: Rasa never hears an address
                address = keep_address(session, sender, person.address, datetime.now(UTC))
            said = (opening, person.order, address, rng.choice(YES[person.language]))
            times.append([await say(http, engine, sender, text) for text in said])
    return times


if __name__ == "__main__":
    show(measure())
