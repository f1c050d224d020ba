"""The load is what it says: even, as much as asked for, by customers who do not write too quickly."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from bench.crowd import THINKS_S, plan


def test_each_messenger_gets_its_rate_in_every_second():
    """One second may hold a message of the next: nothing a messenger would refuse."""
    steps = plan({"telegram": 27.0, "vk": 17.0}, 60.0)

    for channel, rate in (("telegram", 27), ("vk", 17)):
        times = [step.at_s for step in steps if step.person.channel == channel]
        assert len(times) == 60 * rate
        assert all(sum(second <= at < second + 1 for at in times) - rate in (-1, 0, 1) for second in range(60))


def test_nobody_writes_before_he_has_thought():
    """Else the messenger's limit for one chat would be measured."""
    said = defaultdict(list)
    for step in plan({"telegram": 10.0}, 120.0):
        if step.act != "another photo":
            said[step.person].append(step.at_s)

    assert max(map(len, said.values())) > 1
    assert all(later - sooner >= THINKS_S[0] for times in said.values() for sooner, later in pairwise(times))


def test_photos_that_are_sent_together_gather_in_one_album():
    """The service waits a second for the pictures of an album."""
    steps = [step for step in plan({"telegram": 5.0}, 600.0) if "photo" in step.act]
    together = [(a, b) for a, b in pairwise(steps) if b.act == "another photo"]

    assert len(together) > 20
    assert all(a.person == b.person and b.at_s - a.at_s < 0.1 for a, b in together)


def test_the_same_seed_makes_the_same_load():
    """Runs can be compared."""
    assert plan({"vk": 5.0}, 30.0) == plan({"vk": 5.0}, 30.0)


def test_cases_are_complete_and_everybody_has_an_order_of_his_own():
    """A case ends with a yes after number and address, or no ticket would ever be opened."""
    said = defaultdict(list)
    for step in plan({"telegram": 10.0, "vk": 10.0}, 300.0):
        said[step.person].append(step)

    assert len({person.order for person in said}) == len(said)
    closed = [(person, steps) for person, steps in said.items() if steps[-1].act == "yes"]
    assert len(closed) > 100
    assert all([step.text for step in steps[-3:-1]] == [person.order, person.address] for person, steps in closed)
