"""Tells for each message that was sent which answer came, how late, whether none or two: from what customers saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sent:
    """A customer's message; `due` is when it was to be sent, `left` when it was, both by the monotonic clock.

    `key` is what the messenger calls it, and so does the service's inbox; photos that came with another have its key,
    for one answer is to all of them, and its time is that of the first.
    """

    key: str
    sender_id: str
    due: float
    left: float


@dataclass(frozen=True)
class Heard:
    """A message on a customer's screen; `remote_id` is the messenger's number of it."""

    sender_id: str
    remote_id: str
    at: float


@dataclass(frozen=True)
class Written:
    """What the service says that it has sent: the answer to the message `key`, or with None something else.

    A long answer comes in parts; only its last one is `complete`.
    """

    key: str | None
    complete: bool = True


@dataclass
class Verdict:
    """`seconds` from when each message was due to its answer, by the message's key, in the order of sending.

    `waiting` are messages that the service still has and has not answered in all the time that it was given;
    `outdated` presses of buttons that count no longer, whose customers were told so on the spot.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unexplained: list[Heard] = field(default_factory=list)
    notices: int = 0


def judge(
    sent: Sequence[Sent],
    heard: Collection[Heard],
    written: Mapping[tuple[str, str], Written],
    waiting: Collection[str] = (),
    outdated: Collection[str] = (),
) -> Verdict:
    """Compare what was sent with what was heard.

    What counts is what was heard; `written`, by sender and number, only says which message it answers. So a message
    that the service believes to have answered is lost if nobody heard the answer, and what it sent a second time
    without knowing is `unexplained`: somebody heard it twice. `waiting` are the keys of what the service still has,
    `outdated` those of presses that were told to be too late.
    """
    verdict = Verdict()
    answered: dict[str, float] = {}
    times: Counter[str] = Counter()
    for message in heard:
        told = written.get((message.sender_id, message.remote_id))
        if told is None:
            verdict.unexplained.append(message)
        elif told.key is None:
            verdict.notices += 1
        elif told.complete:
            times[told.key] += 1
            answered[told.key] = min(message.at, answered.get(told.key, message.at))
    for one in sent:
        if one.key in answered:
            verdict.seconds.setdefault(one.key, answered[one.key] - one.due)
        elif one.key in outdated:
            verdict.outdated.append(one.key)
        else:
            (verdict.waiting if one.key in waiting else verdict.lost).append(one.key)
    verdict.doubled = [key for key, count in times.items() if count > 1]
    unknown = times.keys() - {one.key for one in sent}
    verdict.doubled += sorted(unknown)
    return verdict
