"""Measures the intake of letters: everything in tests/letters, one as large as is taken in, one that is too large.

    python -m bench.letters

Two figures: letters judged, shown and filed in a second, the answers they cause included, and the most memory that the
process ever held. The aim for the memory is less than 400 MB: the service may share a small machine.
"""

from __future__ import annotations

import base64
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import time as time_of_day
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail.inbound import MAX_LETTER_BYTES, take_in
from handoff.shop import Hours, Shop
from handoff.tickets import open_ticket
from tests.handoff.handoff_cases import NOW, RecordedNotices, a_case, letters, maria

LETTERS = Path(__file__).parent.parent / "tests" / "letters"

#: How often the whole corpus is taken in; each round is other letters.
ROUNDS = 2

#: A letter that a mail server with a limit of 30 MB still delivers.
TOO_LARGE_BYTES = 30 * 1024 * 1024


def take_in_all() -> dict[str, float]:
    """Letters a second, and the peak of this process's resident memory in MB before and after the large letters."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/shop.db")
        database.migrate()
        desk = desk_in(Path(folder))
        with database.session_scope() as session:
            open_ticket(session, a_case(), maria(), desk, NOW)
            (to_customer,), (to_agents,) = letters(session, "customer"), letters(session, "agents")
        filled = {
            b"{customer}": str(to_customer["Reply-To"]).encode(),
            b"{agents}": str(to_agents["Reply-To"]).encode(),
            b"{confirmation_id}": str(to_customer["Message-ID"]).encode(),
            b"{ticket_id}": str(to_agents["Message-ID"]).encode(),
        }
        corpus = [_filled(path.read_bytes(), filled) for path in sorted(LETTERS.glob("*.eml"))]
        begun = time.perf_counter()
        for number in range(ROUNDS):
            for raw in corpus:
                again = raw.replace(b"Message-ID: <", b"Message-ID: <%d." % number)
                _take_in(database, again, desk)
        seconds = time.perf_counter() - begun
        usual_mb = _peak_mb()
        head = b"From: maria@example.com\r\nTo: " + filled[b"{customer}"] + b"\r\nMessage-ID: <%d@bench.example>\r\n"
        _take_in(database, _with_attachment(head % 1, MAX_LETTER_BYTES), desk)
        _take_in(database, _with_attachment(head % 2, TOO_LARGE_BYTES), desk)
        database.close()
    return {
        "letters_per_s": round(ROUNDS * len(corpus) / seconds, 1),
        "letters_usual_peak_mb": usual_mb,
        "letters_peak_mb": _peak_mb(),
    }


def measure() -> dict[str, float]:
    """Both figures from a process of its own, so that the memory of other benchmarks does not count."""
    done = subprocess.run([sys.executable, "-m", "bench.letters"], capture_output=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _take_in(database: Database, raw: bytes, desk: Desk) -> None:
    with database.session_scope() as session:
        take_in(session, raw, [], desk, NOW + timedelta(minutes=30))


def _filled(raw: bytes, values: dict[bytes, bytes]) -> bytes:
    for placeholder, value in values.items():
        raw = raw.replace(placeholder, value)
    return raw


def _with_attachment(head: bytes, size: int) -> bytes:
    """A letter of just below `size` bytes, most of them a photo."""
    head += (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nSee the photo.\r\n--b\r\n'
        b"Content-Type: image/jpeg; name=photo.jpg\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    line = base64.encodebytes(bytes(range(57))).replace(b"\n", b"\r\n")
    return head + line * ((size - len(head) - 100) // len(line)) + b"--b--\r\n"


def desk_in(folder: Path) -> Desk:
    """A desk that works in this folder."""
    phrases = {"hours": "", "first_answer": "", "and": "&"}
    shop = Shop(
        name="Getwear",
        zone=ZoneInfo("Europe/Moscow"),
        hours=Hours(frozenset(range(5)), time_of_day(10), time_of_day(19), "RU"),
        first_answer=timedelta(hours=1),
        agents=({"ru": "Анна", "en": "Anna"},),
        overload=False,
        facts={},
        phrases={"ru": phrases, "en": phrases},
    )
    return Desk(
        shop=shop,
        support_address="support@jeans.example",
        agents_address="agents@jeans.example",
        base_url="https://jeans.example",
        data_dir=folder / "var",
        signing_key=b"bench",
        notices=RecordedNotices(),
    )


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    print(json.dumps(take_in_all(), indent=2))  # noqa: T201
