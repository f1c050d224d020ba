"""The page behind the "this was not me" link in a confirmation.

Mail scanners open every link, so looking at the page changes nothing; only its button does.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail.addresses import read_not_me_token
from handoff.mail.compose import render_page
from handoff.models import Ticket
from handoff.shop import LANGUAGES
from handoff.tickets import dispute_ticket

#: The token is in the address: it must reach neither search engines nor other sites nor a cache.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
}


def not_me_pages(database: Database, desk: Desk) -> APIRouter:
    """The routes GET and POST /not-me/{token}."""
    router = APIRouter()

    @router.get("/not-me/{token}", response_class=HTMLResponse)
    async def ask(token: str) -> HTMLResponse:
        number = read_not_me_token(desk.signing_key, token)
        ticket = await database.run(lambda session: _ticket(session, number))
        if ticket is None:
            return _page(LANGUAGES[0], "not_me_unknown.html", desk, 404)
        return _page(ticket.language, "not_me_done.html" if ticket.disputed else "not_me.html", desk)

    @router.post("/not-me/{token}", response_class=HTMLResponse)
    async def dispute(token: str) -> HTMLResponse:
        number = read_not_me_token(desk.signing_key, token)
        now = datetime.now(UTC)

        def work(session: Session) -> Ticket | None:
            ticket = _ticket(session, number)
            if ticket is not None:
                dispute_ticket(session, ticket.number, desk, now)
            return ticket

        ticket = await database.run(work)
        if ticket is None:
            return _page(LANGUAGES[0], "not_me_unknown.html", desk, 404)
        return _page(ticket.language, "not_me_done.html", desk)

    return router


def _ticket(session: Session, number: int | None) -> Ticket | None:
    return session.get(Ticket, number) if number is not None else None


def _page(language: str, template: str, desk: Desk, status: int = 200) -> HTMLResponse:
    facts = {"language": language, "shop": desk.shop.name}
    return HTMLResponse(render_page(language, template, facts), status, HEADERS)
