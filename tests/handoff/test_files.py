"""Files from conversations."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from handoff_cases import NOW, PNG, a_case
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.files import MAX_FILE_BYTES, FileTooLarge, FileTypeRefused, file_path, keep_file, unattached_files
from handoff.tickets import open_ticket


def test_a_picture_is_kept_under_a_name_nobody_can_guess(session: Session, tmp_path: Path) -> None:
    """The name is all that protects a photo of a receipt."""
    file = keep_file(session, tmp_path, "telegram:7", PNG, "update:1", NOW)

    assert file.media_type == "image/png"
    assert file.size == len(PNG)
    assert len(file.name) >= 32
    assert file_path(tmp_path, file).read_bytes() == PNG


def test_the_same_update_keeps_one_file(session: Session, tmp_path: Path) -> None:
    """Messengers deliver updates again."""
    first = keep_file(session, tmp_path, "telegram:7", PNG, "update:1", NOW)
    second = keep_file(session, tmp_path, "telegram:7", PNG, "update:1", NOW)

    assert first.id == second.id
    assert len(list((tmp_path / "files").iterdir())) == 1


@pytest.mark.parametrize("content", [b"MZ\x90\x00" + b"\0" * 60, b"just text", b"<svg onload=alert(1)>", b""])
def test_other_types_are_refused_whatever_they_are_called(session: Session, tmp_path: Path, content: bytes) -> None:
    """The type is read from the content; agents open these files."""
    with pytest.raises(FileTypeRefused):
        keep_file(session, tmp_path, "telegram:7", content, "update:1", NOW)

    assert not (tmp_path / "files").exists()


def test_a_pdf_is_a_receipt_too(session: Session, tmp_path: Path) -> None:
    """Shops and banks send receipts as PDF."""
    assert keep_file(session, tmp_path, "s", b"%PDF-1.7\n...", "k", NOW).media_type == "application/pdf"


def test_a_file_that_is_too_large_is_refused_with_its_size(session: Session, tmp_path: Path) -> None:
    """The customer can be told how large it may be."""
    with pytest.raises(FileTooLarge) as refused:
        keep_file(session, tmp_path, "telegram:7", PNG + b"\0" * MAX_FILE_BYTES, "update:1", NOW)

    assert (refused.value.size, refused.value.max_bytes) == (MAX_FILE_BYTES + len(PNG), MAX_FILE_BYTES)


def test_files_wait_for_a_ticket_of_their_own_conversation(session: Session, desk: Desk) -> None:
    """A photo sent before the case belongs to it, once, and never to somebody else's."""
    mine = keep_file(session, desk.data_dir, "telegram:7", PNG, "1", NOW)
    other = keep_file(session, desk.data_dir, "telegram:8", PNG, "2", NOW)
    old = keep_file(session, desk.data_dir, "telegram:7", PNG, "3", NOW - timedelta(hours=25))

    opened = open_ticket(session, a_case(), None, desk, NOW)

    assert (mine.ticket_number, other.ticket_number, old.ticket_number) == (opened.number, None, None)
    assert unattached_files(session, "telegram:8", NOW) == [other]
