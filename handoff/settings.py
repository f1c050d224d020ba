"""Settings of the service, from the environment or `.env`; every name is listed in README.md."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from handoff.identifiers import ADDRESS
from handoff.mail.modes import ModeName

TELEGRAM_TOKEN = re.compile(r"\d+:[\w-]+", re.ASCII)
WEBHOOK_SECRET = re.compile(r"[\w-]{1,256}", re.ASCII)


class Settings(BaseSettings):
    """What an operator may set. An unset messenger or mail server is simply off."""

    # An empty value is an unset one: that is how compose files and systemd units leave something out.
    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: str = ""
    data_dir: Path = Path("var")
    shop_file: Path = Path("shop.yml")
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8000, ge=0, le=65535)
    public_url: str = ""
    rasa_url: str = ""
    rasa_token: str = ""
    engines: int = Field(default=1, ge=1, le=64)
    redis_url: str = ""
    telegram_token: str = ""
    telegram_webhook_url: str = ""
    telegram_webhook_secret: str = ""
    telegram_api_base: str = ""
    telegram_file_base: str = ""
    vk_token: str = ""
    vk_group_id: int = Field(default=0, ge=0)
    vk_callback_secret: str = ""
    vk_confirmation: str = ""
    vk_api_base: str = ""
    crm_url: str = ""
    crm_token: str = ""
    crm_mapping: str = ""
    smtp_url: str = ""
    imap_url: str = ""
    lmtp_listen: str = ""
    auth_results_id: str = ""
    support_address: str = "support@jeans.example"
    agents_address: str = "agents@jeans.example"
    escalation_address: str = ""
    handoff_mode: ModeName = "desk"
    secret_key: str = ""
    keep_messages_days: int = Field(default=365, ge=0)
    keep_tickets_days: int = Field(default=1095, ge=0)
    keep_files_days: int = Field(default=365, ge=0)
    log_format: Literal["text", "json"] = "text"
    demo_port: int = Field(default=8000, ge=0, le=65535)

    @field_validator("database_url")
    @classmethod
    def _database_is_one_we_can_speak_to(cls, url: str) -> str:
        try:
            if url:
                make_url(url).get_dialect().import_dbapi()
        except (ArgumentError, ImportError):
            raise ValueError("write sqlite:///path or postgresql+psycopg://user:password@host/name") from None
        return url

    @field_validator("rasa_url")
    @classmethod
    def _engines_have_addresses(cls, urls: str) -> str:
        given = [url.strip().rstrip("/") for url in urls.split(",") if url.strip()]
        if not all(url.startswith(("https://", "http://")) for url in given):
            raise ValueError(
                "write whole addresses, with commas between them: http://10.0.0.5:5005,http://10.0.0.6:5005"
            )
        if len(set(given)) < len(given):
            raise ValueError("an address stands there twice")
        return ",".join(given)

    @field_validator("redis_url")
    @classmethod
    def _redis_has_an_address(cls, url: str) -> str:
        if url and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("write redis://:password@host:6379/0, or rediss:// for TLS")
        return url

    @field_validator("support_address", "agents_address", "escalation_address")
    @classmethod
    def _one_mailbox(cls, address: str) -> str:
        if address and not ADDRESS.fullmatch(address):
            raise ValueError("write one plain address: support@shop.example; for several people, one that leads to all")
        return address

    @field_validator("telegram_token")
    @classmethod
    def _token_as_botfather_gives_it(cls, token: str) -> str:
        if token and not TELEGRAM_TOKEN.fullmatch(token):
            raise ValueError("copy it whole from @BotFather: digits, a colon, letters and digits")
        return token

    @field_validator("telegram_webhook_url")
    @classmethod
    def _webhook_is_an_address(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("write the whole address that Telegram is to post to: https://support.example/telegram")
        return url

    @field_validator("telegram_webhook_secret")
    @classmethod
    def _secret_as_telegram_takes_it(cls, secret: str) -> str:
        if secret and not WEBHOOK_SECRET.fullmatch(secret):
            raise ValueError("1 to 256 of A-Z, a-z, 0-9, _ and - (Bot API, setWebhook)")
        return secret

    @model_validator(mode="after")
    def _whole_vk_set_up(self) -> Settings:
        if self.vk_token and not self.vk_group_id:
            raise ValueError("VK_GROUP_ID must be set with VK_TOKEN: the number of the community, without a minus")
        if self.vk_callback_secret and not self.vk_confirmation:
            raise ValueError(
                "VK_CONFIRMATION must be set with VK_CALLBACK_SECRET: the string from the group's settings"
            )
        return self

    @model_validator(mode="after")
    def _whole_crm_set_up(self) -> Settings:
        if bool(self.crm_url) != bool(self.crm_mapping):
            raise ValueError("CRM_URL and CRM_MAPPING must be set together; with neither the embedded CRM answers")
        if self.crm_url and not self.crm_url.startswith(("https://", "http://")):
            raise ValueError("CRM_URL: write the whole address: https://shop.retailcrm.ru")
        if not self.crm_token.isascii() or not self.crm_token.isprintable():
            raise ValueError("CRM_TOKEN: copy it again, there are characters in it that no key has")
        return self

    @model_validator(mode="after")
    def _secrets_that_others_share(self) -> Settings:
        if self.database_url.startswith("postgresql") and not self.secret_key:
            raise ValueError("SECRET_KEY must be set with PostgreSQL: every machine has to sign with the same one")
        if self.rasa_url and not self.rasa_token:
            raise ValueError("RASA_TOKEN must be set with RASA_URL: it protects the engine and its calls to us")
        return self

    @model_validator(mode="after")
    def _a_desk_of_its_own(self) -> Settings:
        if self.handoff_mode == "external" and self.agents_address.casefold() == self.support_address.casefold():
            raise ValueError("AGENTS_ADDRESS must be the other desk's own address with HANDOFF_MODE=external")
        return self

    @property
    def database(self) -> str:
        """The database to use: `DATABASE_URL`, or an SQLite file under `DATA_DIR`."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'support.db'}"

    @property
    def base_url(self) -> str:
        """Where customers' links lead to, without a slash at the end."""
        return self.public_url.rstrip("/") or f"http://{self.http_host}:{self.http_port}"

    @property
    def own_url(self) -> str:
        """Where this machine reaches the service; a server that listens everywhere is reached on loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.http_host, self.http_host)  # noqa: S104 - not listening
        return f"http://[{host}]:{self.http_port}" if ":" in host else f"http://{host}:{self.http_port}"

    def signing_key(self) -> bytes:
        """The key for reply addresses and links; made once and kept under `DATA_DIR` when `SECRET_KEY` is unset."""
        if self.secret_key:
            return self.secret_key.encode()
        path = self.data_dir / "secret_key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".new")
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(32))
            draft.replace(path)
        return path.read_text().strip().encode()
