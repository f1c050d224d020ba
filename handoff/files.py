"""Photos and documents from conversations: checked by content, kept on disk under names nobody can guess."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import filetype  # type: ignore[import-untyped]
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.errors import HandoffError
from handoff.models import StoredFile

#: Telegram gives bots files up to 20 MB (Bot API, getFile); more would not fit into a letter either.
MAX_FILE_BYTES = 20 * 1024 * 1024

#: What a receipt or a photo of jeans can be; everything else may carry more than a picture.
ACCEPTED_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "image/heic", "image/gif", "application/pdf"})

#: A file is written before its row.
OWNER_FOLLOWS = timedelta(days=1)


class FileTooLarge(HandoffError):
    """The file has more bytes than we take."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes, at most {MAX_FILE_BYTES} are taken")
        self.size = size
        self.max_bytes = MAX_FILE_BYTES


class FileTypeRefused(HandoffError):
    """The content is no picture and no PDF; `media_type` is what it is, None when that is unknown."""

    def __init__(self, media_type: str | None) -> None:
        super().__init__(f"files of type {media_type or 'unknown'} are not taken")
        self.media_type = media_type


def keep_file(
    session: Session, data_dir: Path, sender_id: str, content: bytes, source_key: str, now: datetime
) -> StoredFile:
    """Keep a file that came in a conversation; the same `source_key` gives the same file again.

    Raises:
        FileTooLarge: more than `MAX_FILE_BYTES`.
        FileTypeRefused: not one of `ACCEPTED_TYPES`, whatever its name said.
    """
    known = session.scalar(select(StoredFile).where(StoredFile.source_key == source_key))
    if known is not None:
        return known
    if len(content) > MAX_FILE_BYTES:
        raise FileTooLarge(len(content))
    kind = filetype.guess(content)
    if kind is None or kind.mime not in ACCEPTED_TYPES:
        raise FileTypeRefused(kind.mime if kind else None)
    name = f"{secrets.token_urlsafe(24)}.{kind.extension}"
    _write(data_dir / "files" / name, content)
    row = StoredFile(
        name=name,
        media_type=kind.mime,
        size=len(content),
        sender_id=sender_id,
        received_at=now,
        source_key=source_key,
    )
    session.add(row)
    session.flush()
    return row


def file_path(data_dir: Path, file: StoredFile) -> Path:
    """Where the bytes of a file lie."""
    return data_dir / "files" / file.name


def unattached_files(session: Session, sender_id: str, since: datetime) -> Sequence[StoredFile]:
    """Files of a conversation received at or after `since` that belong to no ticket yet, oldest first."""
    return session.scalars(
        select(StoredFile)
        .where(StoredFile.sender_id == sender_id, StoredFile.received_at >= since, StoredFile.ticket_number.is_(None))
        .order_by(StoredFile.received_at, StoredFile.id)
    ).all()


def remove_files(data_dir: Path, names: Iterable[str]) -> None:
    """Remove files from the disk, once their rows are gone; one that is gone already does no harm."""
    for name in names:
        (data_dir / "files" / name).unlink(missing_ok=True)


def ownerless_files(session: Session, data_dir: Path, now: datetime) -> list[str]:
    """Names on the disk that no row knows: a crash came between row and file. The newest may still get their row."""
    folder, settled = data_dir / "files", (now - OWNER_FOLLOWS).timestamp()
    if not folder.exists():
        return []
    found = [path.name for path in folder.iterdir() if path.stat().st_mtime < settled]
    known = set(session.scalars(select(StoredFile.name)))
    return [name for name in found if name not in known]


def _write(path: Path, content: bytes) -> None:
    """On disk completely or not at all, before the row that names it: a row without its file would be a lost photo."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
