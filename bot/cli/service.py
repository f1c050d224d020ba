"""`support run` and `support demo`."""

from __future__ import annotations

import threading
import time

import httpx
import typer
import uvicorn

from bot.app import create_app
from bot.cli.common import Refused, read_settings
from bot.logs import set_up_logs
from handoff.errors import HandoffError
from handoff.settings import Settings

#: In a folder where the demo ran; the real service refuses to start there.
DEMO_MARK = "demo"

#: How long the demo's page may take to answer before the user is told where to look.
DEMO_PATIENCE_S = 120


def run() -> None:
    """Run the service with the settings of the environment and `.env`."""
    settings = read_settings()
    if (settings.data_dir / DEMO_MARK).exists():
        raise Refused(
            f"{settings.data_dir} holds the demo's example customers; set another DATA_DIR or delete the folder"
        )
    _serve(settings, demo=False)


def demo() -> None:
    """Run everything with example data on one page: chat, agents' mailbox, customers' mailboxes."""
    own = read_settings()
    # No account anywhere: of the settings only the folder, the shop and the port count.
    settings = own.model_copy(
        update={
            "http_host": "127.0.0.1",
            "http_port": own.demo_port,
            "database_url": "",
            "public_url": "",
            "smtp_url": "",
            "imap_url": "",
            "lmtp_listen": "",
            "auth_results_id": "",
            "rasa_url": "",
            "engines": 1,
            "redis_url": "",
            "telegram_token": "",
            "vk_token": "",
            "crm_url": "",
            "support_address": "support@jeans.example",
            "agents_address": "agents@jeans.example",
            "handoff_mode": "desk",
        }
    )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / DEMO_MARK).touch()
    threading.Thread(target=_say_when_ready, args=(settings.base_url,), daemon=True).start()
    _serve(settings, demo=True)


def _serve(settings: Settings, *, demo: bool) -> None:
    set_up_logs(settings)
    try:
        service = create_app(settings, demo=demo)
    except HandoffError as error:
        raise Refused(str(error)) from None
    uvicorn.run(
        service, host=settings.http_host, port=settings.http_port, log_level="warning", access_log=False,
        log_config=None,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    if service.state.problem is not None:
        raise Refused(str(service.state.problem))


def _say_when_ready(address: str) -> None:
    """Tell the user where the demo is, once a message would be answered."""
    started = time.monotonic()
    typer.echo("starting: the language model takes some seconds ...")
    told = False
    while True:
        try:
            if httpx.get(f"{address}/readyz", timeout=3).status_code == 200:
                typer.echo(
                    f"\nThe demo is ready after {time.monotonic() - started:.0f} s: {address}\nCtrl+C ends it.\n"
                )
                return
        except httpx.HTTPError:
            pass
        if not told and time.monotonic() - started > DEMO_PATIENCE_S:
            typer.echo("this takes unusually long; the engine's log is engine.log in DATA_DIR", err=True)
            told = True
        time.sleep(0.3)
