"""Sets up the service's log: its form, and the secrets that no line may hold (`handoff.log_lines`)."""

from __future__ import annotations

import logging
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url

from handoff.log_lines import DiscreetFormatter
from handoff.settings import Settings

#: A line for every request (with the token in its address), every command of an SMTP session, every migration ...
TALKATIVE = ("httpx", "httpcore", "mail.log", "alembic", "rasa_sdk", "telegram", "urllib3")


def set_up_logs(settings: Settings) -> None:
    """Log to standard error, and nothing that belongs to somebody."""
    handler = logging.StreamHandler()
    handler.setFormatter(DiscreetFormatter(secrets_of(settings), as_json=settings.log_format == "json"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def secrets_of(settings: Settings) -> set[str]:
    """Every secret that the settings hold, as it is and as it stands in an address."""
    tokens = {settings.telegram_token, settings.vk_token, settings.rasa_token, settings.secret_key, settings.crm_token}
    hooks = {settings.telegram_webhook_secret, settings.vk_callback_secret}
    # What `signing_key` makes for itself when nothing is set.
    own = {settings.signing_key().decode()}
    passwords = {_password(url) for url in (settings.smtp_url, settings.imap_url, settings.redis_url)}
    database = str(make_url(settings.database).password or "")
    return {*tokens, *hooks, *own, *passwords, *map(unquote, passwords), database} - {""}


def _password(url: str) -> str:
    with suppress(ValueError):  # no address at all: whoever uses it will say so
        return urlsplit(url).password or ""
    return ""
