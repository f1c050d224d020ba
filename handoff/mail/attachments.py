"""Photos and documents of a ticket, as they are attached to letters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.files import file_path
from handoff.mail.compose import Attachment
from handoff.models import StoredFile, Ticket

#: Order numbers are typed by customers; file names are not the place for whatever else they typed.
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
MAX_ORDER_LENGTH = 24


def attachments_of(session: Session, ticket: Ticket, files: Sequence[StoredFile], desk: Desk) -> list[Attachment]:
    """The newest files of a ticket under names that say what they are: "photo-48213-1.jpg".

    They are counted through the whole ticket, so that no two letters of its thread have different files of one name.
    The name on the disk stays there: it is a secret.
    """
    session.flush()
    known = select(func.count()).select_from(StoredFile).where(StoredFile.ticket_number == ticket.number)
    before = session.scalars(known).one() - len(files)
    about = NOT_IN_NAMES.sub("-", ticket.shown_order or "")[:MAX_ORDER_LENGTH].strip("-") or f"ticket-{ticket.number}"
    return [
        Attachment(
            f"{'photo' if file.media_type.startswith('image/') else 'document'}-{about}-{before + index}"
            f"{PurePath(file.name).suffix}",
            file.media_type,
            file_path(desk.data_dir, file).read_bytes(),
            file.received_at,
        )
        for index, file in enumerate(files, 1)
    ]
