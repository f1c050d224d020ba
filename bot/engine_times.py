"""Hears from the engine's answers how long it took (`bot.engine.channel` says it in the header Server-Timing)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bot.metrics import ENGINE_LIVE, ENGINE_PARSE_SECONDS, ENGINE_TRACKERS, ENGINE_TURN_SECONDS

PLACES = ("memory", "table", "new")

_MEASURED = re.compile(r"(\w+);dur=(\d+(?:\.\d+)?)")
_DESCRIBED = re.compile(r"(\w+);desc=(\w+)")


def note_engine_times(headers: Mapping[str, str]) -> None:
    """Pass on what an engine of ours measured; one that says nothing, such as Rasa without our channel, has nothing."""
    said = headers.get("Server-Timing", "")
    for name, milliseconds in _MEASURED.findall(said):
        if name == "turn":
            ENGINE_TURN_SECONDS.observe(float(milliseconds) / 1000)
        elif name == "parse":
            ENGINE_PARSE_SECONDS.observe(float(milliseconds) / 1000)
    for name, word in _DESCRIBED.findall(said):
        if name == "tracker" and word in PLACES:
            ENGINE_TRACKERS.labels(word).inc()
        elif name == "live" and word.isdecimal():
            ENGINE_LIVE.set(int(word))
