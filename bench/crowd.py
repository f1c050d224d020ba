"""Plans who writes what and when, before anybody has written: a late answer must not slow the crowd down.

Each messenger's messages are spread evenly, each moved a little by chance. At the limit of a messenger nothing else can
be sustained: with arrivals by pure chance a queue that is 97 % busy grows whatever the service does. Crowds that write
in one moment are measured by `bench.messengers`.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from bench.texts import Drawn, held_out

#: What a person takes to read an answer and write again, in seconds.
THINKS_S = (8.0, 25.0)

#: How far a message may lie from its even place, as a share of the distance between two.
JITTER = 0.4

#: Of the conversations: how many are cases with number, address and a yes, and how many of these bring photos.
CASES, PHOTOS = 0.2, 0.4

#: Photos at once. On Telegram each is a message, and one answer is to all of them; on VK all are one message.
MOST_PHOTOS = 4
#: Between two photos of an album, in seconds.
ALBUM_S = 0.02

#: Messages of a conversation that is no case, and how often each number occurs.
LENGTHS, LENGTH_WEIGHTS = (1, 2, 3, 4, 6), (30, 28, 20, 14, 8)

#: Of the customers; the others write English.
RUSSIAN = 0.75

YES = {"ru": ("да, всё верно", "да", "всё верно", "Да"), "en": ("yes, that's right", "yes", "correct", "Yes")}

Act = Literal["text", "photo", "another photo", "yes"]


@dataclass(frozen=True)
class Person:
    """A customer with one order, as the CRM knows him."""

    number: int
    channel: str
    language: str

    @property
    def order(self) -> str:
        """His order's number."""
        return str(5_000_000 + self.number)

    @property
    def address(self) -> str:
        """His registered address."""
        return f"customer.{self.number}@mail.example"


@dataclass(frozen=True)
class Step:
    """One message, so many seconds after the start; a "yes" presses the button that offers it, if there is one."""

    at_s: float
    person: Person
    act: Act
    text: str = ""


def plan(rates: dict[str, float], seconds: float, *, first: int = 1, seed: int = 1) -> list[Step]:
    """All messages of all customers in the order in which they are sent.

    Args:
        rates: messages a second, by channel.
        seconds: how long.
        first: the number of the first customer.
        seed: the same seed makes the same plan.
    """
    rng = random.Random(seed)  # noqa: S311 - a load, not a secret
    texts = {
        language: Drawn([row.text for row in held_out() if row.language == language], rng) for language in ("ru", "en")
    }
    cases = {
        language: [row.text for row in held_out() if row.language == language and row.route == "case"]
        for language in ("ru", "en")
    }
    numbers = count(first)
    steps: list[Step] = []
    for channel, per_s in rates.items():
        # Who has more to write, by the moment when he has thought; the number keeps the order when moments are equal.
        thinking: list[tuple[float, int, deque[Step]]] = []
        for slot in range(round(per_s * seconds)):
            at_s = (slot + 0.5 + rng.uniform(-JITTER, JITTER)) / per_s
            if thinking and thinking[0][0] <= at_s:
                _, number, left = heapq.heappop(thinking)
            else:
                number = next(numbers)
                person = Person(number, channel, "ru" if rng.random() < RUSSIAN else "en")
                left = deque(_conversation(person, texts[person.language], cases[person.language], rng))
            step = left.popleft()
            if step.act == "another photo":  # right after the one before, which is his own
                at_s = steps[-1].at_s + ALBUM_S
            steps.append(replace(step, at_s=at_s))
            if left:
                goes_on = 0.0 if left[0].act == "another photo" else at_s + rng.uniform(*THINKS_S)
                heapq.heappush(thinking, (goes_on, number, left))
    return sorted(steps, key=lambda step: step.at_s)


def _conversation(person: Person, texts: Drawn, cases: Sequence[str], rng: random.Random) -> Iterator[Step]:
    if rng.random() < CASES:
        yield Step(0, person, "text", rng.choice(cases))
        if rng.random() < PHOTOS:
            yield Step(0, person, "photo")
            for _ in range(rng.randrange(MOST_PHOTOS) if person.channel == "telegram" else 0):
                yield Step(0, person, "another photo")
        yield Step(0, person, "text", person.order)
        yield Step(0, person, "text", person.address)
        yield Step(0, person, "yes", rng.choice(YES[person.language]))
    else:
        for _ in range(rng.choices(LENGTHS, LENGTH_WEIGHTS)[0]):
            yield Step(0, person, "text", texts.draw())
