"""A real Postfix and a real Dovecot on loopback, in a folder of their own; no system service is touched."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

from imap_tools import BaseMailBox, MailBoxUnencrypted, MailMessage, MailMessageFlags

CONFIG = Path(__file__).parent / "config"
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
PATIENCE_S = 20.0

#: Dovecot keeps mail under a user that is not root; every Debian has this one.
USER, GROUP = "mail", "mail"

PORTS = ("mx", "submission", "gone", "dovecot_lmtp", "our_lmtp", "auth", "imap", "imaps")


def missing() -> str:
    """Why the servers cannot be started here, "" when they can."""
    if os.getuid() != 0:
        return "Postfix starts as root only"
    absent = [name for name in ("postfix", "dovecot", "openssl") if not shutil.which(name, path=SYSTEM_PATH)]
    absent += [name for name in ("imap", "lmtp") if not Path("/usr/lib/dovecot", name).exists()]
    return f"not installed: {', '.join(absent)} (tests/install-mail-servers.sh)" if absent else ""


class MailServers:
    """Both servers, and what people with a mail program do with them."""

    def __init__(self) -> None:
        # Not under pytest's folder, which only its owner may look into: the servers have users of their own.
        self.folder = Path(tempfile.mkdtemp(prefix="support-mail-"))
        self.folder.chmod(0o755)
        self.ports = _free_ports(PORTS)
        for name in ("postfix", "spool", "postfix-data", "mail", "run"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "postfix-data", "postfix")
        shutil.chown(self.folder / "mail", USER, GROUP)
        self.certificate = self.folder / "cert.pem"
        self._run(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost", "-keyout", str(self.folder / "key.pem"),
            "-out", str(self.certificate),
        )  # fmt: skip
        for name in ("main.cf", "master.cf", "verdicts", "header_checks"):
            self._write(name, self.folder / "postfix" / name)
        self._write("dovecot.conf", self.folder / "dovecot.conf")

    def start(self) -> None:
        self.start_dovecot()
        self.start_postfix()

    def stop(self) -> None:
        """Both, whichever still runs, and everything that they have written."""
        if self._is_open("mx"):
            self.stop_postfix()
        if self._is_open("imap"):
            self.stop_dovecot()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_postfix(self) -> None:
        self._run("postfix", "-c", str(self.folder / "postfix"), "start")
        self._until("mx", "submission", "gone", is_open=True)

    def stop_postfix(self) -> None:
        self._run("postfix", "-c", str(self.folder / "postfix"), "abort")
        self._until("mx", "submission", "gone", is_open=False)

    def start_dovecot(self) -> None:
        self._run("dovecot", "-c", str(self.folder / "dovecot.conf"))
        self._until("imap", "dovecot_lmtp", "auth", is_open=True)

    def stop_dovecot(self) -> None:
        os.kill(int((self.folder / "run" / "master.pid").read_text()), signal.SIGTERM)
        self._until("imap", "dovecot_lmtp", "auth", is_open=False)

    def try_again(self) -> None:
        """Have Postfix try what waits in its queue now."""
        self._run("postqueue", "-c", str(self.folder / "postfix"), "-f")

    def queue(self) -> str:
        """What waits in Postfix's queue, as JSON lines."""
        return self._run("postqueue", "-c", str(self.folder / "postfix"), "-j")

    def post(self, letter: EmailMessage, envelope_from: str, recipient: str) -> None:
        """Hand a letter in as somebody out there does, without a password."""
        with smtplib.SMTP("127.0.0.1", self.ports["mx"], timeout=PATIENCE_S) as connection:
            connection.send_message(letter, envelope_from, [recipient])

    def letters(self, address: str, at_least: int = 1, *, open_them: bool = False) -> list[MailMessage]:
        """The letters in somebody's mailbox, the oldest first, once there are enough of them."""
        until = time.monotonic() + PATIENCE_S
        while True:
            with self._mailbox(address) as box:
                found = list(box.fetch(mark_seen=False))
                if open_them:
                    box.flag([letter.uid for letter in found if letter.uid], MailMessageFlags.SEEN, True)
            if len(found) >= at_least or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def empty_mailboxes(self) -> None:
        """Letters of an earlier test must not be found by the next."""
        for address in (self.folder / "mail").glob("*/*"):
            with self._mailbox(f"{address.name}@{address.parent.name}") as box:
                box.delete(box.uids())

    def log(self) -> str:
        """What the servers said last, for whoever reads a failed test."""
        logs = [path for path in (self.folder / "maillog", self.folder / "dovecot.log") if path.exists()]
        return "\n".join(line for log in logs for line in log.read_text(errors="replace").splitlines()[-20:])

    def _mailbox(self, address: str) -> BaseMailBox:
        return MailBoxUnencrypted("127.0.0.1", self.ports["imap"], timeout=PATIENCE_S).login(address, "pass")

    def _write(self, name: str, to: Path) -> None:
        text = (CONFIG / name).read_text()
        values = {"folder": self.folder, "user": USER, "group": GROUP, **self.ports}
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        to.write_text(text)

    def _run(self, *command: str) -> str:
        # Into a file: a server that stays would keep a pipe open, and we would wait for its end.
        said = self.folder / "said"
        with said.open("w") as output:
            done = subprocess.run(
                command, env={**os.environ, "PATH": SYSTEM_PATH}, stdout=output, stderr=output, check=False, timeout=60
            )
        assert done.returncode == 0, f"{command}: {said.read_text()}\n{self.log()}"
        return said.read_text()

    def _until(self, *names: str, is_open: bool) -> None:
        until = time.monotonic() + PATIENCE_S
        while any(self._is_open(name) != is_open for name in names):
            assert time.monotonic() < until, f"waited in vain for {names}\n{self.log()}"
            time.sleep(0.02)

    def _is_open(self, name: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports[name])) == 0


def _free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """Free ports, all open at once so that no two are the same."""
    probes = [socket.socket() for _ in names]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}
    for probe in probes:
        probe.close()
    return ports
