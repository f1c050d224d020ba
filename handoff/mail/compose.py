"""Puts complete letters together: who writes to whom in which thread, as plain text and HTML."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup, escape

from handoff.desk import Desk
from handoff.mail.addresses import link_token, message_id, reply_address
from handoff.models import Audience, Ticket
from handoff.words import TEMPLATES, words

#: Letters of up to 25 MB pass nearly everywhere (Gmail's limit); base64 makes 18 MB of files into 24.7 MB.
MAX_ATTACHED_BYTES = 18_000_000

#: Long enough for real names, too short for a message hidden in one.
MAX_NAME_LENGTH = 40

#: Only well-formed ids of other people's letters are repeated in our headers.
MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,200}@[!-;=?-~]{1,200}>")


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a letter."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Draft:
    """A letter before it is put together.

    `purpose` exists once ("opened:1001:agents"), `template` names the files in templates/<language>, `facts` is what
    they need besides the facts of the ticket, `thread` are the Message-IDs before this one, oldest first.
    `automatic` letters tell other programs not to answer them.
    """

    purpose: str
    audience: Audience
    template: str
    to_address: str
    facts: dict[str, Any]
    thread: Sequence[str] = ()
    attachments: Sequence[Attachment] = field(default=())
    automatic: bool = True


def compose(desk: Desk, ticket: Ticket, draft: Draft, now: datetime) -> EmailMessage:
    """The complete letter, headers and all; the same draft always gives the same Message-ID."""
    letter = EmailMessage(policy=SMTP)
    facts = {**ticket_facts(desk, ticket), **draft.facts, "is_reply": bool(draft.thread)}
    letter["From"] = Address(_sender(desk, ticket, draft.audience), addr_spec=desk.support_address)
    letter["To"] = Address(addr_spec=draft.to_address)
    letter["Reply-To"] = Address(
        addr_spec=reply_address(desk.signing_key, desk.support_address, ticket.number, draft.audience)
    )
    letter["Subject"] = one_line(_render(ticket.language, "letter.subject", facts), 200)
    letter["Date"] = now
    stamp = ticket.opened_at.isoformat()
    letter["Message-ID"] = message_id(desk.signing_key, desk.support_address, draft.purpose, stamp)
    thread = [known for known in draft.thread if MESSAGE_ID.fullmatch(known)]
    if thread:
        letter["In-Reply-To"] = thread[-1]
        # The root and the newest are enough for every mail program, and the header stays short.
        letter["References"] = " ".join(dict.fromkeys([thread[0], *thread[-5:]]))
    letter["X-Handoff-Ticket"] = str(ticket.number)
    if draft.audience == "agents":
        if ticket.requester:
            letter["X-Handoff-Requester"] = ticket.requester
        letter["X-Handoff-Verified"] = "yes" if ticket.verified else "no"
        letter["X-Handoff-Channel"] = one_line(ticket.channel, MAX_NAME_LENGTH)
        if ticket.priority == "urgent":
            letter["X-Priority"] = "1"
    _fill(letter, ticket.language, draft, facts)
    return letter


def compose_notice(desk: Desk, language: str, draft: Draft, now: datetime) -> EmailMessage:
    """A letter from the shop itself, about no ticket."""
    letter = EmailMessage(policy=SMTP)
    facts = {"language": language, "shop": desk.shop.name, **draft.facts}
    letter["From"] = Address(_plain_name(desk.shop.name), addr_spec=desk.support_address)
    letter["To"] = Address(addr_spec=draft.to_address)
    letter["Subject"] = one_line(_render(language, f"{draft.template}.subject", facts), 200)
    letter["Date"] = now
    letter["Message-ID"] = message_id(desk.signing_key, desk.support_address, draft.purpose, now.isoformat())
    _fill(letter, language, draft, facts)
    return letter


def _fill(letter: EmailMessage, language: str, draft: Draft, facts: dict[str, Any]) -> None:
    if draft.automatic:
        letter["Auto-Submitted"] = "auto-generated"
        letter["X-Auto-Response-Suppress"] = "All"
    # Base64 keeps every line short and ASCII, whatever people write and whichever server passes it on.
    letter.set_content(_render(language, f"{draft.template}.txt", facts), cte="base64")
    letter.add_alternative(_render(language, f"{draft.template}.html", facts), subtype="html", cte="base64")
    for attachment in draft.attachments:
        maintype, _, subtype = attachment.media_type.partition("/")
        letter.add_attachment(
            attachment.content, maintype=maintype, subtype=subtype, filename=one_line(attachment.name, 100)
        )


def ticket_facts(desk: Desk, ticket: Ticket) -> dict[str, Any]:
    """What every letter about a ticket may say; moments are in the shop's time zone."""
    spoken = words(ticket.language)
    order, customer = ticket.snapshot.get("order"), ticket.snapshot.get("customer")
    return {
        "language": ticket.language,
        "number": ticket.number,
        "topic_title": ticket.topic_title,
        "shop": desk.shop.name,
        "agent": ticket.agent_names[ticket.language],
        "channel": spoken["channels"].get(ticket.channel, ticket.channel),
        "customer_name": one_line(customer["name"], 100) if customer else "",
        "first_name": first_name(customer["name"]) if customer else "",
        "display_name": one_line(ticket.display_name, MAX_NAME_LENGTH),
        "order_number": one_line(ticket.shown_order or "", MAX_NAME_LENGTH),
        "order": {**order, **_dates(order, spoken["date"])} if order else None,
        "requester": ticket.requester,
        "verified": ticket.verified,
        "disputed": ticket.disputed,
        "waits": ticket.match_at is not None,
        "urgent": ticket.priority == "urgent",
        "claimed_order": one_line(ticket.claimed_order or "", 100),
        "claimed_address": one_line(ticket.claimed_address or "", 320),
        "opened_at": moment(desk, ticket.opened_at, ticket.language),
        "not_me_link": f"{desk.base_url}/not-me/{link_token(desk.signing_key, 'not-me', ticket.number)}",
    }


def _dates(order: dict[str, str], form: str) -> dict[str, str]:
    """The order's days as people write them; the snapshot holds them in ISO 8601."""
    return {
        name: date.fromisoformat(order[name]).strftime(form) if order[name] else ""
        for name in ("promised_on", "placed_on")
    }


def moment(desk: Desk, at: datetime, language: str) -> str:
    """A moment as letters write it, in the shop's time zone."""
    return at.astimezone(desk.shop.zone).strftime(words(language)["moment"])


def first_name(name: str) -> str:
    """The first word of a name, "" when there is none."""
    return next(iter(one_line(name, MAX_NAME_LENGTH).split()), "")


def one_line(text: str, length: int) -> str:
    """Text fit for a header or one line: no line breaks, no control or direction characters, at most `length` long."""
    visible = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    return " ".join(visible.split())[:length].strip()


def split_attachments(files: Sequence[Attachment]) -> tuple[list[Attachment], list[str]]:
    """The files that fit into one letter, and the names of those that do not."""
    fitting, left_out, size = [], [], 0
    for file in files:
        if size + len(file.content) <= MAX_ATTACHED_BYTES:
            fitting.append(file)
            size += len(file.content)
        else:
            left_out.append(file.name)
    return fitting, left_out


def render_page(language: str, name: str, facts: dict[str, Any]) -> str:
    """A page of the small web side from templates/<language>."""
    return _render(language, name, facts)


def _sender(desk: Desk, ticket: Ticket, audience: Audience) -> str:
    """The display name: agents see who asks and where, the customer sees who answers."""
    if audience == "customer":
        return _plain_name(f"{ticket.agent_names[ticket.language]}, {desk.shop.name}")
    spoken = words(ticket.language)
    customer = ticket.snapshot.get("customer")
    name = _plain_name(first_name(customer["name"] if customer else ticket.display_name)) or spoken["customer"]
    return f"{name} ({spoken['channels'].get(ticket.channel, ticket.channel)})"


def _plain_name(name: str) -> str:
    """Nothing in a display name may look like an address or end its quotes."""
    return re.sub(r"[\"<>@\\:;()\[\]]", "", one_line(name, MAX_NAME_LENGTH)).strip()


def _render(language: str, name: str, facts: dict[str, Any]) -> str:
    return _environment(language).get_template(name).render(facts)


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        # The shared layout lies beside the languages' folders.
        loader=FileSystemLoader([TEMPLATES / language, TEMPLATES]),
        undefined=StrictUndefined,
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["lines"] = _lines
    environment.globals["plain"] = _plain
    return environment


@pass_context
def _plain(context: Context, name: str) -> str:
    """A plain-text part inside a page: as a string, so that the page escapes it, which `include` would not."""
    return context.environment.get_template(name).render(context.get_all()).strip()


def _lines(text: str) -> Markup:
    """Text with its line breaks, as HTML."""
    return Markup("<br>\n").join(escape(line) for line in text.splitlines())
