"""What is written to the log, and what never is: addresses are masked and secrets left out, whoever has logged them.

Our own code logs ids. But libraries put a token into an error's text, mail servers quote addresses in a refusal, and
PostgreSQL the values of a row: so the last word is said here, where a line is written, tracebacks included.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url

from handoff.identifiers import ADDRESS, mask_address
from handoff.settings import Settings

#: A line for every request (with the token in its address), every command of an SMTP session, every migration ...
TALKATIVE = ("httpx", "httpcore", "mail.log", "alembic", "rasa_sdk", "telegram", "urllib3")

FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"

#: Secrets of a session, which no setting names: the engine's token, the key of VK's long poll.
IN_ADDRESSES = re.compile(r"(?i)([?&](?:access_token|token|key|secret)=)[^&\s\"'>]+")

#: Message-IDs of ours (`handoff.mail.addresses.message_id`): an operator looks for them in the mail server's log.
MESSAGE_ID = re.compile(r"[a-z2-7]{26}@")

#: Shorter ones would be found everywhere, and protect nothing.
SHORTEST_SECRET = 6


class DiscreetFormatter(logging.Formatter):
    """Writes no secrets and no addresses."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORM)
        # The longest first: one may be the beginning of another.
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known)) or r"(?!)")

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line = IN_ADDRESSES.sub(r"\1***", self._secrets.sub("***", super().format(record)))
        return ADDRESS.sub(lambda found: found.group() if MESSAGE_ID.match(found.group()) else _mask(found), line)


def set_up_logs(settings: Settings) -> None:
    """Log to standard error, and nothing that belongs to somebody."""
    handler = logging.StreamHandler()
    handler.setFormatter(DiscreetFormatter(secrets_of(settings)))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def secrets_of(settings: Settings) -> set[str]:
    """Every secret that the settings hold, as it is and as it stands in an address."""
    tokens = {settings.telegram_token, settings.vk_token, settings.rasa_token, settings.secret_key}
    hooks = {settings.telegram_webhook_secret, settings.vk_callback_secret}
    # What `signing_key` makes for itself when nothing is set.
    own = {settings.signing_key().decode()}
    passwords = {_password(url) for url in (settings.smtp_url, settings.imap_url)}
    database = str(make_url(settings.database).password or "")
    return {*tokens, *hooks, *own, *passwords, *map(unquote, passwords), database} - {""}


def _password(url: str) -> str:
    with suppress(ValueError):  # no address at all: whoever uses it will say so
        return urlsplit(url).password or ""
    return ""


def _mask(found: re.Match[str]) -> str:
    return mask_address(found.group())
