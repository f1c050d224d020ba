"""Writes for all turns on one thread: whoever waits while the disk is busy is committed together with the others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

Work = Callable[[Any], Any]


class GroupCommit:
    """Runs pieces of work on a connection of `engine`; each is reported when it is stored."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._queue: SimpleQueue[tuple[Work, Future[Any]]] = SimpleQueue()
        Thread(target=self._run, name="trackers", daemon=True).start()

    def put(self, work: Work) -> Future[Any]:
        """Run `work(connection)` in its turn; the future holds what it returns, once that is committed."""
        stored: Future[Any] = Future()
        self._queue.put((work, stored))
        return stored

    def _run(self) -> None:
        while True:
            waiting = [self._queue.get()]
            try:
                while True:
                    waiting.append(self._queue.get_nowait())
            except Empty:
                self._store(waiting)

    def _store(self, waiting: list[tuple[Work, Future[Any]]]) -> None:
        # Whoever called for a turn may have hung up meanwhile, and Rasa's server then cancels the turn.
        waiting = [(work, stored) for work, stored in waiting if stored.set_running_or_notify_cancel()]
        try:
            with self._engine.begin() as connection:
                results = [work(connection) for work, _ in waiting]
        except Exception as problem:  # noqa: BLE001 - each turn hears of it
            for _, stored in waiting:
                stored.set_exception(problem)
        else:
            for (_, stored), result in zip(waiting, results, strict=True):
                stored.set_result(result)
