"""Which parts of a letter hold its text, and which are files that came with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message

from handoff.mail import tnef
from handoff.mail.charsets import part_bytes, part_text
from handoff.mail.compose import Attachment, one_line

TEXT_TYPES = ("text/plain", "text/html")

#: What signs or wraps a letter and is no file to its reader.
PHANTOM_TYPES = frozenset(
    {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature",
     "application/pgp-encrypted"}
)  # fmt: skip

#: Names for parts that come without one, so that a program knows how to open them.
DEFAULT_NAMES = {"message/rfc822": "letter.eml", "text/calendar": "invite.ics", "application/pkcs7-mime": "smime.p7m"}


def has_winmail(message: Message) -> bool:
    """Whether a part is Outlook's own format."""
    return any(part.get_content_type() in tnef.TYPES for part in _leaves(message))


def open_winmail(message: Message) -> None:
    """Put what is in winmail.dat in its place; its text only if the letter has no other."""
    has_text = any(part_text(part).strip() for part in text_parts(message))
    for part in [part for part in _leaves(message) if part.get_content_type() in tnef.TYPES]:
        opened = tnef.opened(part_bytes(part))
        if opened is not None:
            inner: list[Message | str] = [inner for inner in _inner(opened) if inner.get_filename() or not has_text]
            for name in ("Content-Type", "Content-Disposition", "Content-Transfer-Encoding"):
                del part[name]
            part["Content-Type"] = "multipart/mixed"
            part.set_payload(inner)


def text_parts(message: Message) -> list[Message]:
    """The parts that make up the text, in order: of alternatives one, plain before HTML, but never an empty one."""
    if not message.is_multipart():
        # Without its boundary a multipart letter cannot be taken apart; then all of it is text.
        is_text = message.get_content_type() in TEXT_TYPES or message.get_content_maintype() == "multipart"
        return [message] if is_text and not _is_file(message) else []
    if message.get_content_maintype() == "message" or message.get_content_type() == "multipart/report":
        # A letter inside the letter is a file; of a report only the words for people count.
        words = _inner(message)[:1] if message.get_content_maintype() == "multipart" else []
        return [part for inner in words for part in text_parts(inner)]
    found = [text_parts(part) for part in _inner(message)]
    if message.get_content_type() != "multipart/alternative":
        return [part for parts in found for part in parts]
    written = [parts for parts in found if any(part_text(part).strip() for part in parts)]
    plain = [parts for parts in written if all(part.get_content_type() == "text/plain" for part in parts)]
    return next(iter([*plain, *written]), [])


def html_parts(message: Message) -> list[Message]:
    """Every piece of HTML that belongs to the text, whether it is shown or has a plain alternative."""
    return [part for part in _leaves(message) if part.get_content_type() == "text/html" and not _is_file(part)]


def pictures(message: Message) -> list[Message]:
    """The images that HTML may show in its text."""
    return [part for part in _leaves(message) if part.get_content_maintype() == "image" and content_id(part)]


def files(message: Message, unshown: frozenset[str]) -> Iterator[Attachment]:
    """Everything that came with the text. `unshown` are Content-IDs of pictures in the history or a signature."""
    if message.get_content_type() == "multipart/report":
        return
    text = {id(part) for part in [*text_parts(message), *_alternatives(message)]}
    for part in _leaves(message):
        kind, name = part.get_content_type(), file_name(part)
        if id(part) in text or kind in PHANTOM_TYPES or (kind in TEXT_TYPES and not _is_file(part)):
            continue
        if part.get_content_maintype() == "image" and content_id(part) in unshown:
            continue
        content = _letter_inside(part) if kind == "message/rfc822" else part_bytes(part)
        if content:
            yield Attachment(name or DEFAULT_NAMES.get(kind, "file"), kind, content)


def file_name(part: Message) -> str:
    """A file's name on one line, "" if it has none; some programs write it as an encoded word (not in RFC 2231)."""
    name = part.get_filename() or ""
    with suppress(HeaderParseError, LookupError, UnicodeError, ValueError):
        name = str(make_header(decode_header(name)))
    return one_line(name.replace("\0", "").encode(errors="replace").decode(), 100)


def content_id(part: Message) -> str:
    """The name under which HTML shows this picture, "" if it has none."""
    return str(part.get("Content-ID", "")).strip().strip("<>")


def _is_file(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


def _inner(message: Message) -> list[Message]:
    payload = message.get_payload()
    return [part for part in payload if isinstance(part, Message)] if isinstance(payload, list) else []


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that hold something; a letter inside the letter is one of them."""
    if message.is_multipart() and message.get_content_maintype() != "message":
        for part in _inner(message):
            yield from _leaves(part)
    else:
        yield message


def _alternatives(message: Message) -> Iterator[Message]:
    """Other forms of the same text; an invitation among them is still a file, and so are pictures."""
    for part in message.walk():
        if part.get_content_type() == "multipart/alternative":
            for leaf in _leaves(part):
                is_form = leaf.get_content_maintype() == "text" and leaf.get_content_type() != "text/calendar"
                if is_form and leaf.get_content_disposition() != "attachment":
                    yield leaf


def _letter_inside(part: Message) -> bytes:
    """An attached letter as it was."""
    inner = _inner(part)
    return inner[0].as_bytes() if inner else part_bytes(part)
