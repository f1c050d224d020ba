"""The whole service ends when it is told to, whatever its mail servers are doing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from handoff.database import Database

ROOT = Path(__file__).parent.parent.parent

#: docs/operators.md: SIGTERM ends every process within ten seconds.
STOP_WITHIN_S = 10


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """Takes connections and never says a word, as a server does that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def test_a_mailbox_that_hangs_does_not_hold_up_the_end(silent_server: socket.socket, tmp_path: Path) -> None:
    """A thread that waits for a server's word must not keep the process alive."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(tmp_path / "var"),
        "HTTP_PORT": "0",
        "RASA_URL": "http://127.0.0.1:1",
        "RASA_TOKEN": "secret",
        "IMAP_URL": f"imap://support:secret@127.0.0.1:{silent_server.getsockname()[1]}",
        "LMTP_LISTEN": str(tmp_path / "lmtp"),
    }
    service = subprocess.Popen(
        [sys.executable, "-c", "from bot.cli import app; app()", "run"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with service:
        connection, _ = silent_server.accept()
        with connection:
            service.send_signal(signal.SIGTERM)
            try:
                _, said = service.communicate(timeout=STOP_WITHIN_S)
            finally:
                service.kill()

    assert "Traceback" not in said, said


def test_tables_of_a_newer_version_end_it_with_a_word(tmp_path: Path) -> None:
    """Somebody went back to an older version: a process that goes on without doing anything would look well."""
    database = Database(f"sqlite:///{tmp_path / 'newer.db'}")
    database.migrate()
    with database.session_scope() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(tmp_path / "var"),
        "DATABASE_URL": database.url,
        "HTTP_PORT": "0",
        "RASA_URL": "http://127.0.0.1:1",
        "RASA_TOKEN": "secret",
    }

    ended = subprocess.run(
        [sys.executable, "-c", "from bot.cli import app; app()", "run"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )

    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False), ended.stderr
    assert "support: the database was made by a newer version" in ended.stderr
