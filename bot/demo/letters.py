"""A letter as a mail program shows it: headers in words, a body that can do no harm, attachments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from html import escape

import nh3
from inscriptis import get_text

#: The only kinds a browser may show by itself; anything else is saved. SVG is left out, it may hold a script.
SHOWN_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

#: Length of the first words of a letter in a list of letters.
SNIPPET_LENGTH = 140

#: The line above which a reply is written says nothing about the letter.
REPLY_MARK = re.compile(r"^—— .* ——$", re.MULTILINE)

#: How a letter may look; nothing that could cover the page around it or fetch a picture.
_STYLES = {
    f"{box}{side}" for box in ("border", "margin", "padding") for side in ("", "-top", "-right", "-bottom", "-left")
}
_STYLES |= {"background-color", "border-collapse", "border-color", "border-radius", "border-style", "border-width"}
_STYLES |= {"color", "font-family", "font-size", "font-style", "font-weight", "line-height", "list-style-type"}
_STYLES |= {"display", "height", "max-width", "overflow-wrap", "text-align", "text-decoration", "vertical-align"}
_STYLES |= {"white-space", "width", "word-break"}


@dataclass(frozen=True)
class Part:
    """A piece of a letter that is not its text. `number` is its place in the letter."""

    number: int
    name: str
    content_type: str
    content: bytes
    content_id: str

    @property
    def is_image(self) -> bool:
        """Whether a browser may show it."""
        return self.content_type in SHOWN_IMAGES


@dataclass(frozen=True)
class Letter:
    """A letter read from its bytes; unreadable pieces are shown as well as they can be, never refused."""

    subject: str
    sender: str
    to: str
    cc: str
    reply_to: str
    sent: datetime | None
    headers: tuple[tuple[str, str], ...]
    text: str
    html: str | None
    parts: tuple[Part, ...]

    @property
    def attachments(self) -> list[Part]:
        """The parts a mail program lists below the text: all but the pictures inside it."""
        return [part for part in self.parts if not (part.content_id and f"cid:{part.content_id}" in (self.html or ""))]

    @property
    def snippet(self) -> str:
        """The first words, for a list of letters."""
        text = REPLY_MARK.sub("", self.text, count=1)
        return " ".join(text.split())[:SNIPPET_LENGTH]


@dataclass(frozen=True)
class SafeHtml:
    """HTML of a letter without scripts, forms and anything that is fetched from elsewhere."""

    html: str
    remote_images: int


def read_letter(raw: bytes) -> Letter:
    """Read a letter."""
    message = message_from_bytes(raw, policy=policy.compat32)
    texts: dict[str, str] = {}
    parts: list[Part] = []
    for leaf in _leaves(message):
        kind = leaf.get_content_type()
        is_text = kind in ("text/plain", "text/html") and leaf.get_content_disposition() != "attachment"
        if is_text and kind not in texts and not leaf.get_filename():
            texts[kind] = _decoded(leaf)
        else:
            parts.append(_part(len(parts), leaf))
    html = texts.get("text/html")
    return Letter(
        subject=_header(message, "Subject"),
        sender=_header(message, "From"),
        to=_header(message, "To"),
        cc=_header(message, "Cc"),
        reply_to=_header(message, "Reply-To"),
        sent=_moment(message),
        headers=tuple((name, _words(value)) for name, value in message.items()),
        text=texts["text/plain"] if "text/plain" in texts else _plain(html or ""),
        html=html,
        parts=tuple(parts),
    )


def safe_html(html: str, address_of: Callable[[str], str | None]) -> SafeHtml:
    """Clean a letter's HTML.

    Args:
        html: as it came.
        address_of: where the picture with a Content-ID is found here, None if the letter has no such picture.
    """
    remote = 0

    def keep(tag: str, attribute: str, value: str) -> str | None:
        nonlocal remote
        if tag == "img" and attribute == "src":
            if value.startswith("cid:"):
                return address_of(value.removeprefix("cid:"))
            remote += 1
            return None
        # A link without a host would lead into this page.
        return None if attribute == "href" and ":" not in value.partition("/")[0] else value

    attributes = deepcopy(nh3.ALLOWED_ATTRIBUTES)
    attributes["*"] = {"style", "dir", "lang", "align"}
    attributes.setdefault("table", set()).update({"width", "cellpadding", "cellspacing", "border"})
    cleaned = nh3.clean(
        html,
        attributes=attributes,
        attribute_filter=keep,
        url_schemes={"http", "https", "mailto", "tel", "cid"},
        set_tag_attribute_values={"a": {"target": "_blank"}},
        filter_style_properties=_STYLES,
        clean_content_tags={"script", "style", "title"},
    )
    return SafeHtml(cleaned, remote)


def text_as_html(text: str) -> str:
    """Plain text for a page that shows HTML."""
    return "<br>".join(escape(line, quote=False) for line in text.splitlines())


def correspondents(letter: Letter) -> list[tuple[str, str]]:
    """Whom an answer goes to, as (name, address): Reply-To if the letter has one, else From."""
    return [(name, address) for name, address in getaddresses([letter.reply_to or letter.sender]) if "@" in address]


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that hold something; a letter inside a letter is one part."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for inner in message.get_payload():
            if isinstance(inner, Message):
                yield from _leaves(inner)
    else:
        yield message


def _part(number: int, leaf: Message) -> Part:
    kind = leaf.get_content_type()
    if leaf.is_multipart():  # message/rfc822, message/delivery-status
        content = b"\n".join(inner.as_bytes() for inner in leaf.get_payload() if isinstance(inner, Message))
    else:
        payload = leaf.get_payload(decode=True)
        content = payload if isinstance(payload, bytes) else b""
    name = _words(leaf.get_filename() or "") or ("letter.eml" if kind == "message/rfc822" else f"part-{number + 1}")
    # A name is only a name: no folders, no control characters.
    name = re.sub(r"[\x00-\x1f\x7f\"]", "", name.replace("\\", "/").rpartition("/")[2]).strip() or f"part-{number + 1}"
    return Part(number, name[:120], kind, content, str(leaf.get("Content-ID", "")).strip().strip("<>"))


def _decoded(leaf: Message) -> str:
    payload = leaf.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        text = content.decode(leaf.get_content_charset("utf-8"), "replace")
    except LookupError:  # a charset nobody knows
        text = content.decode("utf-8", "replace")
    return text.replace("\r\n", "\n").replace("\x00", "")


def _plain(html: str) -> str:
    return get_text(html).strip() if html.strip() else ""


def _header(message: Message, name: str) -> str:
    return _words(message.get(name, ""))


def _words(value: object) -> str:
    """A header's value with RFC 2047 words decoded and on one line."""
    line = " ".join(str(value).split())
    try:
        return " ".join(str(make_header(decode_header(line))).split())
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return line


def _moment(message: Message) -> datetime | None:
    try:
        moment = parsedate_to_datetime(str(message.get("Date", "")))
    except (TypeError, ValueError, OverflowError):
        return None
    # "-0000" means that the sender's zone is not known (RFC 5322 3.3).
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
