"""A PostgreSQL server of its own, for tests and benchmarks that must not meet anybody's data."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.engine_process import free_port


def is_installed() -> bool:
    """Whether the server's programs are found."""
    return bool(shutil.which("initdb") and shutil.which("pg_ctl"))


@contextmanager
def own_server(*, durable: bool = False) -> Iterator[str]:
    """The address of an empty database; `durable` waits for the disk at each commit, as a real one does."""
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/handoff-pg-XXXXXX"], text=True).strip())
    become: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port = free_port()
    options = f"-p {port} -c unix_socket_directories={folder} -c listen_addresses=127.0.0.1"
    options += "" if durable else " -c fsync=off"
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*become, "initdb", "-D", folder / "db", "-U", "shop", "-A", "trust", "-E", "UTF8"], **run)
    subprocess.run([*become, "pg_ctl", "-D", folder / "db", "-o", options, "-l", folder / "log", "-w", "start"], **run)
    try:
        yield f"postgresql+psycopg://shop@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*become, "pg_ctl", "-D", folder / "db", "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder)
