"""Signed reply addresses and links: whoever holds one has been given it by us, and for one purpose only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Literal

from handoff.models import Audience

#: What pressing the button behind a link in a letter does: say "this was not me", end a binding, give a mark.
LinkPurpose = Literal["not-me", "unlink", "mark"]

AUDIENCES: tuple[Audience, ...] = ("agents", "customer")

#: 80 bits: 16 base32 characters, which survive mail servers that change case and leave the local part below the 64
#: octets of RFC 5321 4.5.3.1.1.
REPLY_SIGNATURE_BYTES = 10

#: A link may be long, so it carries 128 bits.
LINK_SIGNATURE_BYTES = 16

REPLY_ADDRESS = re.compile(r"[^\s@<>\"]+\+t(?P<number>\d{1,9})\.(?P<signature>[a-z2-7]{16})@[^\s@<>\"]+", re.IGNORECASE)
LINK_TOKEN = re.compile(r"(?P<number>\d{1,9})\.(?P<signature>[a-z2-7]{26})", re.IGNORECASE)


def reply_address(key: bytes, support_address: str, number: int, audience: Audience) -> str:
    """Where letters of `audience` about a ticket come back to: "support+t1042.<16 characters>@jeans.example"."""
    local, _, domain = support_address.rpartition("@")
    return f"{local}+t{number}.{_signature(key, f'reply|{number}|{audience}', REPLY_SIGNATURE_BYTES)}@{domain}"


def read_reply_address(key: bytes, address: str) -> tuple[int, Audience] | None:
    """Ticket number and audience of an address made by `reply_address`, None for any other."""
    found = REPLY_ADDRESS.fullmatch(address.strip())
    if found is None:
        return None
    number, signature = int(found["number"]), found["signature"].lower()
    for audience in AUDIENCES:
        expected = _signature(key, f"reply|{number}|{audience}", REPLY_SIGNATURE_BYTES)
        if hmac.compare_digest(signature, expected):
            return number, audience
    return None


def link_token(key: bytes, purpose: LinkPurpose, number: int) -> str:
    """The token of a link in a letter: good for one purpose and for one ticket or binding."""
    return f"{number}.{_signature(key, f'{purpose}|{number}', LINK_SIGNATURE_BYTES)}"


def read_link_token(key: bytes, purpose: LinkPurpose, token: str) -> int | None:
    """The number in a token made by `link_token` for this purpose, None for any other."""
    found = LINK_TOKEN.fullmatch(token)
    if found is None:
        return None
    number = int(found["number"])
    expected = _signature(key, f"{purpose}|{number}", LINK_SIGNATURE_BYTES)
    return number if hmac.compare_digest(found["signature"].lower(), expected) else None


def message_id(key: bytes, support_address: str, purpose: str, stamp: str) -> str:
    """The Message-ID of the letter for `purpose`: always the same one, and unknown to whoever did not get the letter.

    `stamp` tells two databases apart that both begin at the first ticket number.
    """
    domain = support_address.rpartition("@")[2]
    return f"<{_signature(key, f'letter|{purpose}|{stamp}', LINK_SIGNATURE_BYTES)}@{domain}>"


def without_reply_addresses(text: str, support_address: str) -> str:
    """The text with signed addresses replaced: an agent's must never reach the customer in a quotation."""
    return REPLY_ADDRESS.sub(support_address, text)


def _signature(key: bytes, text: str, length_bytes: int) -> str:
    digest = hmac.digest(key, text.encode(), hashlib.sha256)[:length_bytes]
    return base64.b32encode(digest).decode().rstrip("=").lower()
