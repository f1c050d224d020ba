"""The pages behind the links in our letters: "this was not me", the end of a binding, the mark for a closed ticket.

Mail scanners open every link, so looking at a page changes nothing; only its button does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from handoff.database import Database
from handoff.desk import Desk
from handoff.links import revoke
from handoff.mail.addresses import LinkPurpose, read_link_token
from handoff.mail.rendering import render
from handoff.marks import LOWEST_GOOD, MARKS, keep_mark
from handoff.models import Binding, Csat, Ticket
from handoff.ownership import dispute_ticket
from handoff.shop import LANGUAGES

#: The token is in the address: it must reach neither search engines nor other sites nor a cache.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
}

#: Language and template.
Page = tuple[str, str]

#: For a link of which only a part arrived, or that leads to nothing any more; it speaks both languages.
UNKNOWN: Page = (LANGUAGES[0], "unknown_link.html")


def not_me_pages(database: Database, desk: Desk) -> APIRouter:
    """The routes GET and POST /not-me/{token}."""

    def page(session: Session, number: int) -> Page:
        ticket = session.get(Ticket, number)
        if ticket is None:
            return UNKNOWN
        return ticket.language, "not_me_done.html" if ticket.disputed else "not_me.html"

    def press(session: Session, number: int, now: datetime) -> None:
        if session.get(Ticket, number) is not None:
            dispute_ticket(session, number, desk, now)

    return _pages("not-me", database, desk, page, press)


def unlink_pages(database: Database, desk: Desk) -> APIRouter:
    """The routes GET and POST /unlink/{token}. A binding that is gone, by whatever hand, is what its owner wanted."""

    def page(session: Session, binding_id: int) -> Page:
        binding = session.get(Binding, binding_id)
        return (binding.language, "unlink.html") if binding else (LANGUAGES[0], "unlink_done.html")

    def press(session: Session, binding_id: int, now: datetime) -> None:
        binding = session.get(Binding, binding_id)
        if binding is not None:
            revoke(session, binding, desk, now)

    return _pages("unlink", database, desk, page, press)


def mark_pages(database: Database, desk: Desk, marked: Callable[[], None]) -> APIRouter:
    """The routes GET and POST /mark/{token}; the links in the letter choose a mark, only the page's button gives it.

    `marked` is called after a mark was given: a low one is a letter to the agents.
    """
    router = APIRouter()

    def page(session: Session, number: int) -> Page:
        row, ticket = session.get(Csat, number), session.get(Ticket, number)
        if row is None or ticket is None:
            return UNKNOWN
        if row.mark is None:
            return ticket.language, "mark_page.html"
        return ticket.language, "mark_done.html" if row.mark >= LOWEST_GOOD else "mark_low.html"

    async def show(token: str, chosen: str) -> HTMLResponse:
        number = read_link_token(desk.signing_key, "mark", token)
        found = await database.run(page, number) if number is not None else UNKNOWN
        return _shown(desk, found, marks=[str(mark) for mark in MARKS], chosen=chosen)

    @router.get("/mark/{token}", response_class=HTMLResponse)
    async def look(token: str, mark: str = "") -> HTMLResponse:
        return await show(token, mark)

    @router.post("/mark/{token}", response_class=HTMLResponse)
    async def pressed(
        token: str, mark: Annotated[str, Form()] = "", words: Annotated[str, Form()] = ""
    ) -> HTMLResponse:
        number = read_link_token(desk.signing_key, "mark", token)
        if number is not None and mark in map(str, MARKS):
            await database.run(keep_mark, number, int(mark), words, "", desk, datetime.now(UTC))
            marked()
        return await show(token, mark)

    return router


def _pages(
    purpose: LinkPurpose,
    database: Database,
    desk: Desk,
    page: Callable[[Session, int], Page],
    press: Callable[[Session, int, datetime], None],
) -> APIRouter:
    """GET shows a page, POST presses its button and shows what it has become."""
    router = APIRouter()

    @router.get(f"/{purpose}/{{token}}", response_class=HTMLResponse)
    async def look(token: str) -> HTMLResponse:
        number = read_link_token(desk.signing_key, purpose, token)
        return _shown(desk, await database.run(page, number) if number is not None else UNKNOWN)

    @router.post(f"/{purpose}/{{token}}", response_class=HTMLResponse)
    async def pressed(token: str) -> HTMLResponse:
        number = read_link_token(desk.signing_key, purpose, token)
        if number is None:
            return _shown(desk, UNKNOWN)
        await database.run(press, number, datetime.now(UTC))
        return _shown(desk, await database.run(page, number))

    return router


def _shown(desk: Desk, page: Page, **facts: object) -> HTMLResponse:
    language, template = page
    content = render(language, template, {"language": language, "shop": desk.shop.name, **facts})
    return HTMLResponse(content, 404 if page == UNKNOWN else 200, HEADERS)
