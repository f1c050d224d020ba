"""A benchmark is believed when it notices what goes wrong: here answers get lost, come twice and come late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from bench.bookkeeping import Heard, Sent, Written, judge


@dataclass
class FakeService:
    """Answers every message after a second, but for those that are named."""

    loses: set[int] = field(default_factory=set)
    doubles: set[int] = field(default_factory=set)
    is_late_with: dict[int, float] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    written: dict[tuple[str, str], Written] = field(default_factory=dict)
    remote_ids: Iterator[int] = field(default_factory=lambda: iter(range(100, 1000)))

    def takes(self, number: int, due: float = 0.0) -> None:
        key = f"7:{number}"
        self.sent.append(Sent(key, "vk:7", due, due))
        for _ in range(0 if number in self.loses else 2 if number in self.doubles else 1):
            self.says(Written(key), due + self.is_late_with.get(number, 1.0))

    def says(self, what: Written | None, at: float) -> None:
        remote_id = str(next(self.remote_ids))
        self.heard.append(Heard("vk:7", remote_id, at))
        if what is not None:
            self.written["vk:7", remote_id] = what


def test_what_nobody_heard_is_lost_though_the_service_believes_that_it_was_sent():
    """Only the customers' screens count."""
    service = FakeService(loses={2})
    for number in (1, 2, 3):
        service.takes(number)
    service.written["vk:7", "99"] = Written("7:2")

    verdict = judge(service.sent, service.heard, service.written)

    assert verdict.lost == ["7:2"]
    assert verdict.seconds == {"7:1": 1.0, "7:3": 1.0}
    assert not verdict.doubled


def test_what_the_service_still_has_is_not_lost():
    """An overloaded service is late; whether it loses anything is another question."""
    service = FakeService(loses={1, 2})
    for number in (1, 2):
        service.takes(number)

    verdict = judge(service.sent, service.heard, service.written, waiting={"7:2"})

    assert (verdict.lost, verdict.waiting) == (["7:1"], ["7:2"])


def test_a_press_that_was_told_to_be_too_late_is_not_lost():
    """Under overload customers press buttons of questions that they have answered meanwhile."""
    service = FakeService(loses={1, 2})
    for number in (1, 2):
        service.takes(number)

    verdict = judge(service.sent, service.heard, service.written, outdated={"7:2"})

    assert (verdict.lost, verdict.outdated) == (["7:1"], ["7:2"])


def test_an_answer_that_came_twice_is_doubled_and_still_an_answer():
    """A crash between sending and noting it would look like this."""
    service = FakeService(doubles={2})
    for number in (1, 2, 3):
        service.takes(number)

    verdict = judge(service.sent, service.heard, service.written)

    assert verdict.doubled == ["7:2"]
    assert not verdict.lost


def test_a_message_that_the_service_does_not_know_to_have_sent_is_unexplained():
    """Sent again after an ambiguous failure: the first copy is known to nobody but the customer."""
    service = FakeService()
    service.takes(1)
    service.says(None, 5.0)

    verdict = judge(service.sent, service.heard, service.written)

    assert [one.at for one in verdict.unexplained] == [5.0]


def test_an_answer_to_a_message_that_nobody_sent_is_doubled():
    """The same delivery taken in under a second key would be answered a second time."""
    service = FakeService()
    service.takes(1)
    service.says(Written("7:1:again"), 1.0)

    assert judge(service.sent, service.heard, service.written).doubled == ["7:1:again"]


def test_the_time_runs_from_when_a_message_was_due():
    """A load that falls behind must not make the service look quick."""
    service = FakeService(is_late_with={1: 7.5})
    service.takes(1, due=10.0)
    late = [Sent(one.key, one.sender_id, one.due, left=one.due + 5) for one in service.sent]

    assert judge(late, service.heard, service.written).seconds == {"7:1": 7.5}


def test_one_late_answer_does_not_shift_the_others():
    """Answers are told apart by what they answer, not by their place in the row."""
    service = FakeService(is_late_with={1: 60.0})
    for number in (1, 2, 3):
        service.takes(number, due=float(number))

    seconds = judge(service.sent, sorted(service.heard, key=lambda one: one.at), service.written).seconds

    assert seconds == pytest.approx({"7:1": 60.0, "7:2": 1.0, "7:3": 1.0})


def test_one_answer_is_to_all_photos_of_an_album():
    """None of them is lost, and the customer has waited since the first."""
    service = FakeService()
    service.takes(1, due=10.0)
    album = [*service.sent, Sent("7:1", "vk:7", 10.1, 10.1)]

    verdict = judge(album, service.heard, service.written)

    assert (verdict.seconds, verdict.lost, verdict.doubled) == ({"7:1": 1.0}, [], [])


def test_notices_and_the_first_parts_of_a_long_answer_are_neither_answers_nor_doubles():
    """ "It takes longer" answers nothing; of a long answer the last part counts."""
    service = FakeService()
    service.takes(1)
    service.says(Written(None), 0.5)
    service.says(Written("7:1", complete=False), 0.8)

    verdict = judge(service.sent, service.heard, service.written)

    assert (verdict.notices, verdict.seconds, verdict.doubled) == (1, {"7:1": 1.0}, [])
