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
from typing import Any

from handoff.desk import Desk
from handoff.mail.addresses import link_token, message_id, reply_address
from handoff.mail.rendering import render
from handoff.models import Audience, Ticket
from handoff.words import words

#: Letters of up to 25 MB pass nearly everywhere (Gmail's limit); base64 makes 18 MB of files into 24.7 MB.
MAX_ATTACHED_BYTES = 18_000_000

#: Long enough for real names, too short for a message hidden in one.
MAX_NAME_LENGTH = 40

#: A sum that the CRM holds without a currency.
BARE_SUM = re.compile(r"\d[\d .,\u00a0\u202f]*")

#: Only well-formed ids of other people's letters are repeated in our headers.
MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,200}@[!-;=?-~]{1,200}>")


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a letter; `at` is when it came in a conversation, None for one that came by letter."""

    name: str
    media_type: str
    content: bytes
    at: datetime | None = None


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
    to_agents = draft.audience == "agents"
    language = desk.shop.language if to_agents else ticket.language
    ours = reply_address(desk.signing_key, desk.support_address, ticket.number, draft.audience)
    reply_to = desk.mode.reply_to(ticket, ours) if to_agents else ours
    reply = {"is_reply": bool(draft.thread), "replies_reach_us": reply_to == ours}
    facts = {**ticket_facts(desk, ticket, language), **draft.facts, **reply}
    letter["From"] = Address(_sender(desk, ticket, draft.audience), addr_spec=desk.support_address)
    letter["To"] = Address(addr_spec=draft.to_address)
    letter["Reply-To"] = Address(addr_spec=reply_to)
    letter["Subject"] = one_line(render(language, "letter.subject", facts), 200)
    letter["Date"] = now
    stamp = ticket.opened_at.isoformat()
    letter["Message-ID"] = message_id(desk.signing_key, desk.support_address, draft.purpose, stamp)
    thread = [known for known in draft.thread if MESSAGE_ID.fullmatch(known)]
    if thread:
        letter["In-Reply-To"] = thread[-1]
        # The root and the newest are enough for every mail program, and the header stays short.
        letter["References"] = " ".join(dict.fromkeys([thread[0], *thread[-5:]]))
    letter["X-Handoff-Ticket"] = str(ticket.number)
    if to_agents:
        if ticket.requester:
            letter["X-Handoff-Requester"] = ticket.requester
        letter["X-Handoff-Verified"] = "yes" if ticket.verified else "no"
        letter["X-Handoff-Channel"] = one_line(ticket.channel, MAX_NAME_LENGTH)
        if ticket.priority == "urgent":
            letter["X-Priority"] = "1"
    _fill(letter, language, draft, facts, automatic=draft.automatic and (desk.mode.automatic or not to_agents))
    if draft.facts.get("compensation") and not desk.mode.confidential:
        note = render(language, "for_agents.txt", facts)
        letter.add_attachment(note, filename=f"for-agents-{ticket.number}.txt", cte="base64")
    return letter


def compose_notice(desk: Desk, language: str, draft: Draft, now: datetime) -> EmailMessage:
    """A letter from the shop itself, about no ticket."""
    letter = EmailMessage(policy=SMTP)
    facts = {"language": language, "say": words(language), "shop": desk.shop.name, **draft.facts}
    letter["From"] = Address(_plain_name(desk.shop.name), addr_spec=desk.support_address)
    letter["To"] = Address(addr_spec=draft.to_address)
    letter["Subject"] = one_line(render(language, f"{draft.template}.subject", facts), 200)
    letter["Date"] = now
    letter["Message-ID"] = message_id(desk.signing_key, desk.support_address, draft.purpose, now.isoformat())
    _fill(letter, language, draft, facts, automatic=draft.automatic)
    return letter


def _fill(letter: EmailMessage, language: str, draft: Draft, facts: dict[str, Any], *, automatic: bool) -> None:
    if automatic:
        letter["Auto-Submitted"] = "auto-generated"
        letter["X-Auto-Response-Suppress"] = "All"
    # Base64 keeps every line short and ASCII, whatever people write and whichever server passes it on.
    letter.set_content(render(language, f"{draft.template}.txt", facts), cte="base64")
    letter.add_alternative(render(language, f"{draft.template}.html", facts), subtype="html", cte="base64")
    for attachment in draft.attachments:
        maintype, _, subtype = attachment.media_type.partition("/")
        if maintype == "message":  # a letter may not be in base64 (RFC 2046 5.2.1); its name says what it is
            maintype, subtype = "application", "octet-stream"
        letter.add_attachment(
            attachment.content, maintype=maintype, subtype=subtype, filename=one_line(attachment.name, 100)
        )


def ticket_facts(desk: Desk, ticket: Ticket, language: str) -> dict[str, Any]:
    """What every letter about a ticket may say, in its reader's language; moments are in the shop's time zone.

    `say` are the words of that language, `agent` is the name that the customer knows.
    """
    spoken = words(language)
    order, customer = ticket.snapshot.get("order"), ticket.snapshot.get("customer")
    return {
        "language": language,
        "say": spoken,
        "mode": desk.mode.name,
        "confidential": desk.mode.confidential,
        "number": ticket.number,
        "topic_title": ticket.topic_title,
        "shop": desk.shop.name,
        "agent": ticket.agent_names[ticket.language],
        "channel": spoken["channels"].get(ticket.channel, ticket.channel),
        "customer_name": one_line(customer["name"], 100) if customer else "",
        "first_name": first_name(customer["name"]) if customer else "",
        "customers_language": spoken["languages"][ticket.language] if ticket.language != desk.shop.language else "",
        "display_name": one_line(ticket.display_name, MAX_NAME_LENGTH),
        "order_number": one_line(ticket.shown_order or "", MAX_NAME_LENGTH),
        "order": _shown(order, desk, spoken) if order else None,
        "requester": ticket.requester,
        "verified": ticket.verified,
        "disputed": ticket.disputed,
        "waits": ticket.match_at is not None,
        "urgent": spoken["urgent"][ticket.urgent_for] if ticket.urgent_for else "",
        "claimed_order": one_line(ticket.claimed_order or "", 100),
        "claimed_address": one_line(ticket.claimed_address or "", 320),
        "opened_at": moment(desk, ticket.opened_at, language),
        "not_me_link": f"{desk.base_url}/not-me/{link_token(desk.signing_key, 'not-me', ticket.number)}",
    }


def _shown(order: dict[str, str], desk: Desk, spoken: dict[str, Any]) -> dict[str, str]:
    """The order as people read it: stages by name, sums with their currency, days as they are written."""
    days = {
        name: date.fromisoformat(order[name]).strftime(spoken["date"]) if order[name] else ""
        for name in ("promised_on", "placed_on")
    }
    bare = BARE_SUM.fullmatch(order["sum"].strip()) and desk.shop.currency
    return {
        **{name: one_line(value, 300) for name, value in order.items()},
        **days,
        "sum": f"{order['sum'].strip()} {desk.shop.currency}" if bare else one_line(order["sum"], 100),
        "status": spoken["stages"].get(order["status"].strip().casefold(), one_line(order["status"], 100)),
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


def _sender(desk: Desk, ticket: Ticket, audience: Audience) -> str:
    """The display name: agents see who asks and where, the customer sees who answers."""
    if audience == "customer":
        return _plain_name(f"{ticket.agent_names[ticket.language]}, {desk.shop.name}")
    spoken = words(desk.shop.language)
    customer = ticket.snapshot.get("customer")
    name = _plain_name(first_name(customer["name"] if customer else ticket.display_name)) or spoken["customer"]
    return f"{name} ({spoken['channels'].get(ticket.channel, ticket.channel)})"


def _plain_name(name: str) -> str:
    """Nothing in a display name may look like an address or end its quotes."""
    return re.sub(r"[\"<>@\\:;()\[\]]", "", one_line(name, MAX_NAME_LENGTH)).strip()
