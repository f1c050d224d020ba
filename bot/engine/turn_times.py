"""What one turn took, noted along its way and told to the caller at its end. Read against Rasa 3.6.21."""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter
from typing import Any

from rasa.core.processor import MessageProcessor

_times: ContextVar[dict[str, str]] = ContextVar("times")


def begin_turn() -> None:
    """A message has come: what is noted in this task from now on belongs to its turn."""
    _times.set({})


def note_seconds(name: str, seconds: float) -> None:
    """Something of this turn took so long."""
    _note(name, f"dur={seconds * 1000:.1f}")


def note_word(name: str, word: str) -> None:
    """Something of this turn was so; what is noted first counts."""
    _note(name, f"desc={word}")


def server_timing() -> str:
    """What was noted, as the header Server-Timing (W3C) has it: "parse;dur=4.1, tracker;desc=memory", milliseconds."""
    return ", ".join(f"{name};{what}" for name, what in _times.get({}).items())


def time_parsing() -> None:
    """Note of each turn how long its message took to be understood."""
    parse_message = MessageProcessor.parse_message

    async def timed(self: MessageProcessor, *arguments: Any, **options: Any) -> dict[str, Any]:
        began = perf_counter()
        parsed: dict[str, Any] = await parse_message(self, *arguments, **options)
        note_seconds("parse", perf_counter() - began)
        return parsed

    MessageProcessor.parse_message = timed


def _note(name: str, what: str) -> None:
    # Outside a turn, as when the service looks at a tracker, nobody asks.
    _times.get({}).setdefault(name, what)
