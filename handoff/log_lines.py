"""One line for each event, with the message it is about; never an address or a secret, whoever has logged it.

Service and engine write the same lines (so this runs on Python 3.10 too): one key finds one message's way in both logs.
Our own code logs ids. But libraries put a token into an error's text, mail servers quote addresses in a refusal, and
PostgreSQL the values of a row: so the last word is said here, where a line is written, tracebacks included.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import datetime, timezone
from types import MappingProxyType

from handoff.identifiers import ADDRESS, mask_address

FORM = "%(asctime)s %(levelname)s %(name)s%(about)s: %(message)s"

#: Secrets of a session, which no setting names: the engine's token, the key of VK's long poll.
IN_ADDRESSES = re.compile(r"(?i)([?&](?:access_token|token|key|secret)=)[^&\s\"'>]+")

#: The password of a database, a mail server or Redis, wherever its address turns up.
PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")

#: Message-IDs of ours (`handoff.mail.addresses.message_id`): an operator looks for them in the mail server's log.
MESSAGE_ID = re.compile(r"[a-z2-7]{26}@")

#: Shorter ones would be found everywhere, and protect nothing.
SHORTEST_SECRET = 6

_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))


def follow(**facts: object) -> None:
    """What this task logs from now on is about these, such as `key` and `ticket`; None ends one."""
    _about.set({name: fact for name, fact in {**_about.get(), **facts}.items() if fact is not None})


def followed(name: str) -> str | None:
    """What is followed just now under this name, such as the message's "key"."""
    fact = _about.get().get(name)
    return None if fact is None else str(fact)


class DiscreetFormatter(logging.Formatter):
    """Writes no secrets and no addresses; lines for people, or JSON with one object a line."""

    def __init__(self, secrets: Iterable[str], *, process: str = "service", as_json: bool = False) -> None:
        super().__init__(FORM)
        # The longest first: one may be the beginning of another.
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known)) or r"(?!)")
        self._process = process
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        if self._as_json:
            # Masked before it becomes JSON: there a quote in a password would look different.
            return json.dumps({name: self._masked(said) for name, said in self._fields(record)}, ensure_ascii=False)
        about = " ".join(f"{name}={fact}" for name, fact in _about.get().items())
        record.about = f" [{about}]" if about else ""
        return self._masked(super().format(record))

    def _fields(self, record: logging.LogRecord) -> Iterable[tuple[str, str]]:
        yield "time", datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        yield from (("level", record.levelname), ("process", self._process), ("logger", record.name))
        yield "message", record.getMessage()
        yield from ((name, str(fact)) for name, fact in _about.get().items())
        if record.exc_info:
            yield "traceback", self.formatException(record.exc_info)
        if record.stack_info:
            yield "stack", self.formatStack(record.stack_info)

    def _masked(self, said: str) -> str:
        line = IN_ADDRESSES.sub(r"\1***", self._secrets.sub("***", said))
        if "@" not in line:  # most lines: looking for an address is what takes longest
            return line
        line = PASSWORD.sub(r"\1***", line)
        return ADDRESS.sub(lambda found: found.group() if MESSAGE_ID.match(found.group()) else _mask(found), line)


def _mask(found: re.Match[str]) -> str:
    return mask_address(found.group())
