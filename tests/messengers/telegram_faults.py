"""What may go wrong with a call to the fake Telegram, on request or by chance."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

SENDS = ("sendMessage", "sendPhoto", "sendDocument")

#: Of these only "slow" and "..._after" have an effect; after "..._after" the caller does not get to know.
KINDS = {
    *("400", "401", "403", "404", "429", "hang", "slow", "garbage", "garbage_after"),
    *("500_before", "500_after", "drop_before", "drop_after"),
}


@dataclass
class Fault:
    """A call that will go wrong, `times` times."""

    method: str
    kind: str
    chat_id: int | None = None
    times: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long a call hangs, or how slow it is."""
        return float(self.options.get("seconds", 1))

    @property
    def retry_after(self) -> int:
        """How many seconds the caller is told to wait."""
        return int(self.options.get("retry_after", 1))


class Faults:
    """The faults that are still to come; not thread-safe."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []
        self._weather: tuple[random.Random, float, list[str], dict[str, Any]] | None = None

    def plan(self, fault: Fault) -> None:
        """Let a coming call go wrong."""
        assert fault.kind in KINDS, f"{fault.kind!r} is none of {sorted(KINDS)}"
        self._planned.append(fault)

    def set_weather(self, rng: random.Random, probability: float, kinds: list[str], options: dict[str, Any]) -> None:
        """Let sends and polls go wrong by chance from now on."""
        assert set(kinds) <= KINDS, f"{kinds} are not all in {sorted(KINDS)}"
        self._weather = (rng, probability, kinds, options)

    def next(self, method: str, chat_id: object) -> Fault | None:
        """What goes wrong with this call; planned faults come first."""
        for fault in self._planned:
            if fault.method == method and (fault.chat_id is None or str(fault.chat_id) == str(chat_id)):
                fault.times -= 1
                if not fault.times:
                    self._planned.remove(fault)
                return fault
        if self._weather and method in (*SENDS, "getUpdates"):
            rng, probability, kinds, options = self._weather
            if rng.random() < probability:
                return Fault(method, rng.choice(kinds), options=options)
        return None
