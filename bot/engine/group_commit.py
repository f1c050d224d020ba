"""Writes for all turns on one thread: whoever waits while the disk is busy is committed together with the others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

Work = Callable[[Any], Any]


class Waiting(NamedTuple):
    """A piece of work: about whom it is, and the future that hears of it."""

    sender_id: str
    work: Work
    stored: Future[Any]


class GroupCommit:
    """Runs pieces of work on a connection of `engine`; each is reported when it is stored."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._queue: SimpleQueue[Waiting] = SimpleQueue()
        Thread(target=self._run, name="trackers", daemon=True).start()

    def put(self, sender_id: str, work: Work) -> Future[Any]:
        """Run `work(connection)` in its turn; the future holds what it returns, once that is committed.

        It is run a second time when other work that was to be committed with it broke.
        """
        stored: Future[Any] = Future()
        self._queue.put(Waiting(sender_id, work, stored))
        return stored

    def _run(self) -> None:
        while True:
            waiting = [self._queue.get()]
            try:
                while True:
                    waiting.append(self._queue.get_nowait())
            except Empty:
                # Whoever called for a turn may have hung up meanwhile, and Rasa's server then cancels the turn.
                waiting = [one for one in waiting if one.stored.set_running_or_notify_cancel()]
                # Each locks its conversation: in one order, or two engines wait for each other.
                self._store(sorted(waiting, key=lambda one: one.sender_id))

    def _store(self, waiting: list[Waiting]) -> None:
        results = None
        try:
            with self._engine.begin() as connection:
                results = [one.work(connection) for one in waiting]
        except Exception as problem:  # noqa: BLE001 - the turn hears of it
            # One that broke must not break the others. A commit that broke may be stored: that is told to all.
            if results is None and len(waiting) > 1:
                for one in waiting:
                    self._store([one])
            else:
                for one in waiting:
                    one.stored.set_exception(problem)
        else:
            for one, result in zip(waiting, results, strict=True):
                one.stored.set_result(result)
