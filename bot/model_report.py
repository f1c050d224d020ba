"""What `support model` prints: the models that are kept, and how far the services are with the one that is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bot.model_store import SERVING, ModelStore, Wanted

LOOKED_EVERY_S = 0.2


def lines(store: ModelStore) -> Iterator[str]:
    """Models, the oldest first, then services, then why the last one was refused."""
    serving, wanted, services = store.serving(), store.wanted(), store.services()
    for name in store.names():
        marks = ["serves" if services else "serves next"] if name == serving else []
        if wanted is not None and name == wanted.name != serving:
            marks.append("wanted")
        yield "  ".join([str(store.path(name)), *marks])
    if not store.names():
        yield "nothing was put into service yet: a start takes models/support.tar.gz"
    for doing in services:
        yield f"service {doing.service}: {doing.serving}, {doing.state}"
    if not services:
        yield "no service is running"
    if refused := store.refused():
        yield f"refused {refused}"


def follow(store: ModelStore, wanted: Wanted, tell: Callable[[str], object]) -> bool:
    """Tell what the services do until all have the model; whether they do, or will with the next start."""
    if not store.services():
        tell("no service is running: the next start tries it and puts it into service")
        return True
    told: set[str] = set()
    while True:
        services = store.services()
        for doing in services:
            if doing.wanted == wanted.name and (line := f"{doing.service}: {doing.state}") not in told:
                told.add(line)
                tell(line)
        if store.refused().startswith(wanted.name):
            tell(f"refused, the old model goes on: {store.refused()}")
            return False
        if not services:
            tell("the service has ended; its next start tries the model again")
            return False
        if all(doing.serving == wanted.name and doing.state == SERVING for doing in services):
            return True
        time.sleep(LOOKED_EVERY_S)
