"""What goes wrong with the fake VK: planned by a test, or at random like weather."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

#: error: VK answers with `code`. 500, drop and garbage (200 with HTML): before or after the call took effect. hang: no
#: answer for `seconds`, then the connection closes and nothing was done. slow: done after `seconds`. failed: the long
#: poll has lost its history (1), its key (2) or both (3), for good.
KINDS = {
    "error",
    "500_before",
    "500_after",
    "drop_before",
    "drop_after",
    "hang",
    "slow",
    "garbage",
    "garbage_after",
    "failed",
}


@dataclass(frozen=True)
class Fault:
    """One thing to go wrong; `times` None means always."""

    method: str
    kind: str
    peer_id: int | None = None
    times: int | None = 1
    code: int = 10
    seconds: float = 1.0
    failed: int = 1

    def __post_init__(self) -> None:
        never = {"poll": "error"}.get(self.method, "failed")
        if self.kind not in KINDS - {never}:
            raise ValueError(f"no fault of {self.method}: {self.kind}")

    def fits(self, method: str, params: dict[str, str]) -> bool:
        peer = params.get("peer_id") or params.get("user_id")
        return method == self.method and (self.peer_id is None or str(self.peer_id) == peer)


@dataclass(frozen=True)
class Weather:
    """Sends and polls fail at random; what is drawn depends on the seed and the order of the calls."""

    random: Random
    probability: float
    kinds: Sequence[str]
    options: dict[str, Any]

    def fault(self, method: str) -> Fault | None:
        never = {"poll": "error", "messages.send": "failed", "execute": "failed"}.get(method)
        fitting = [kind for kind in self.kinds if kind != never]
        if never is None or not fitting or self.random.random() >= self.probability:
            return None
        kind = self.random.choice(fitting)
        return Fault(method, kind, **{"failed": self.random.choice((1, 2, 3)), **self.options})


class Faults:
    """The faults to come; the caller holds the lock."""

    def __init__(self) -> None:
        self.planned: list[Fault] = []
        self.weather: Weather | None = None

    def next_for(self, method: str, params: dict[str, str], *, within: bool = False) -> Fault | None:
        """The first planned fault that fits, one time less; else the weather.

        A call `within` another has only errors of its own, and no weather.
        """
        for place, fault in enumerate(self.planned):
            if fault.fits(method, params) and (fault.kind == "error" or not within):
                left = None if fault.times is None else fault.times - 1
                self.planned[place : place + 1] = [] if left == 0 else [replace(fault, times=left)]
                return fault
        return self.weather.fault(method) if self.weather and not within else None
