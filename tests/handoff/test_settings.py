"""What an operator may set, and what he is told of a slip."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from handoff.settings import Settings


@pytest.mark.parametrize("name", ["SUPPORT_ADDRESS", "AGENTS_ADDRESS", "ESCALATION_ADDRESS"])
@pytest.mark.parametrize("value", ["Getwear <help@shop.test>", "a@shop.test, b@shop.test", "nobody"])
def test_a_mailbox_is_one_plain_address(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Told at the start: the first ticket would be too late."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=f"{name.lower()}\n.*write one plain address"):
        Settings(_env_file=None)


def test_an_empty_value_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As compose files and systemd units leave something out."""
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")

    assert Settings(_env_file=None) == Settings.model_construct()


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg", "nothing"])
def test_a_database_driver_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql+{driver}://me@host/support")
    monkeypatch.setenv("SECRET_KEY", "a secret")

    with pytest.raises(ValidationError, match=r"write sqlite:///path or postgresql\+psycopg://"):
        Settings(_env_file=None)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("192.0.2.2", "http://192.0.2.2:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("support.internal", "http://support.internal:8000"),
    ],
)
def test_the_engine_reaches_the_actions_wherever_the_service_listens(host: str, url: str) -> None:
    assert Settings(_env_file=None, http_host=host).own_url == url
