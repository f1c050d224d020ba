"""The demo page and what it asks for: texts, mailboxes, letters, replies. Never part of the real service."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from dataclasses import asdict
from email.errors import HeaderParseError
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, HTTPException
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, StringConstraints
from ruamel.yaml import YAML

from bot.demo.examples import ExampleCustomer
from bot.demo.letters import Letter, Part, correspondents, read_letter, safe_html
from bot.demo.mail_server import HOST, DemoMailServer
from bot.demo.mailboxes import Mailboxes, StoredLetter, UnknownMailbox
from bot.demo.replies import compose_reply, send_letter
from handoff.settings import Settings
from handoff.shop import Shop

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"

#: Letters bring style attributes along and are shown in a frame that inherits this policy; nothing else may be inline.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

#: A file that came with a letter: whatever it is, it runs nothing and is what its type says.
PART_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}

Language = Literal["ru", "en"]


class Reply(BaseModel):
    """What a person wrote below a letter. `id` stays the same when the page sends the reply once more."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{8,64}$")]
    text: Annotated[str, StringConstraints(max_length=100_000)]
    name: str = ""
    language: Language = "en"


def from_our_page(x_demo: Annotated[str, Header()] = "") -> None:
    """Refuse what a foreign page could send: a browser lets it post, but not with a header of its own."""
    if x_demo != "1":
        raise HTTPException(403, "X-Demo: 1 is missing")


def demo_router(
    mailboxes: Mailboxes,
    mail_server: DemoMailServer,
    settings: Settings,
    shop: Shop,
    customers: Sequence[ExampleCustomer],
) -> APIRouter:
    """Routes of the demo page; the mailboxes of the agents and of the example customers exist afterwards."""
    router = APIRouter(include_in_schema=False)
    texts = load_texts()
    owners = {address: customer for customer in customers for address in customer.addresses}
    for address in (settings.agents_address, *owners):
        mailboxes.create(address)

    def stored(address: str, letter_id: str) -> StoredLetter:
        if address != settings.agents_address and address not in owners:
            raise HTTPException(404)
        try:
            return mailboxes.letter(address, letter_id)
        except UnknownMailbox:
            raise HTTPException(404) from None

    def author_name(address: str, asked: str, language: Language) -> str:
        if address in owners:
            return owners[address].name
        names = [name for agent in shop.agents for name in agent.values()]
        return asked if asked in names else shop.agent_names(language)[0]

    @router.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=PAGE_HEADERS)

    @router.get("/demo/static/{name}")
    def static_file(name: str) -> FileResponse:
        if name not in {path.name for path in STATIC.iterdir()}:
            raise HTTPException(404)
        return FileResponse(STATIC / name, headers=PAGE_HEADERS)

    @router.get("/demo/page")
    def words_and_examples() -> dict[str, Any]:
        return {
            "shop": shop.name,
            "texts": texts,
            "agents": {"address": settings.agents_address, "names": list(shop.agents)},
            "customers": [asdict(customer) for customer in customers],
        }

    @router.get("/demo/mailboxes")
    def all_mailboxes() -> dict[str, Any]:
        return {
            "agents": _listed(mailboxes, settings.agents_address),
            "customers": [
                _listed(mailboxes, address) | {"name": customer.name, "language": customer.language}
                for address, customer in owners.items()
            ],
        }

    @router.get("/demo/letters/{address}/{letter_id}")
    def one_letter(address: str, letter_id: str) -> dict[str, Any]:
        return _opened(address, stored(address, letter_id))

    @router.get("/demo/letters/{address}/{letter_id}/parts/{number}")
    def one_part(address: str, letter_id: str, number: int) -> Response:
        parts = _read(stored(address, letter_id).raw).parts
        if not 0 <= number < len(parts):
            raise HTTPException(404)
        return _sent_as_file(parts[number])

    @router.post("/demo/letters/{address}/{letter_id}/read", dependencies=[Depends(from_our_page)], status_code=204)
    def mark_read(address: str, letter_id: str) -> None:
        stored(address, letter_id)
        mailboxes.mark(address, letter_id)

    @router.post("/demo/letters/{address}/{letter_id}/reply", dependencies=[Depends(from_our_page)])
    def reply(address: str, letter_id: str, written: Reply) -> dict[str, str]:
        letter = stored(address, letter_id)
        if not written.text.strip():
            raise HTTPException(422, texts[written.language]["reply_empty"])
        message_id = f"<{written.id}@{address.rpartition('@')[2]}>"
        name = author_name(address, written.name, written.language)
        try:
            raw = compose_reply(letter.raw, address, name, written.text, message_id=message_id)
        except (ValueError, HeaderParseError):
            raise HTTPException(422, texts[written.language]["reply_nobody"]) from None
        try:
            send_letter(raw, HOST, mail_server.port)
        except (smtplib.SMTPException, OSError):
            raise HTTPException(502, texts[written.language]["reply_refused"]) from None
        mailboxes.mark(address, letter_id, answered=True)
        recipients = ", ".join(to for _, to in correspondents(_read(letter.raw)))
        return {"to": recipients, "message_id": message_id}

    return router


def load_texts(path: Path = FOLDER / "texts.yml") -> dict[str, dict[str, str]]:
    """The words of the page, by language and key."""
    raw = YAML(typ="safe").load(path)
    return {language: {key: str(said[language]) for key, said in raw.items()} for language in ("ru", "en")}


@lru_cache(maxsize=256)
def _read(raw: bytes) -> Letter:
    """A letter never changes, but the page lists all of them every second or two."""
    return read_letter(raw)


def _listed(mailboxes: Mailboxes, address: str) -> dict[str, Any]:
    letters = mailboxes.letters(address)
    return {
        "address": address,
        "unread": sum(not letter.read for letter in letters),
        "letters": [_summary(letter) for letter in letters],
    }


def _summary(stored: StoredLetter) -> dict[str, Any]:
    letter = _read(stored.raw)
    return {
        "id": stored.id,
        "from": letter.sender,
        "subject": letter.subject,
        "snippet": letter.snippet,
        "at": stored.arrived.isoformat(),
        "unread": not stored.read,
        "answered": stored.answered,
        "attachments": len(letter.attachments),
    }


def _opened(address: str, stored: StoredLetter) -> dict[str, Any]:
    letter = _read(stored.raw)
    place = f"/demo/letters/{quote(address)}/{stored.id}/parts"
    pictures = {part.content_id: f"{place}/{part.number}" for part in letter.parts if part.content_id and part.is_image}
    body = safe_html(letter.html, pictures.get) if letter.html is not None else None
    return _summary(stored) | {
        "to": letter.to,
        "cc": letter.cc,
        "reply_to": letter.reply_to,
        "date": letter.sent.isoformat() if letter.sent else None,
        "headers": letter.headers,
        "text": letter.text,
        "html": body.html if body else None,
        "remote_images": body.remote_images if body else 0,
        "files": [
            {
                "name": part.name,
                "type": part.content_type,
                "bytes": len(part.content),
                "url": f"{place}/{part.number}",
                "image": part.is_image,
            }
            for part in letter.attachments
        ],
    }


def _sent_as_file(part: Part) -> Response:
    place = "inline" if part.is_image else "attachment"
    return Response(
        part.content,
        media_type=part.content_type if part.is_image else "application/octet-stream",
        headers=PART_HEADERS | {"Content-Disposition": f"{place}; filename*=UTF-8''{quote(part.name, safe='')}"},
    )
