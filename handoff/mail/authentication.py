"""What our mail server found out about a letter's sender, from its Authentication-Results (RFC 8601)."""

from __future__ import annotations

import re
from email.message import Message
from typing import Literal

import authres
from authres.core import AuthenticationResult, AuthResError

from handoff.mail.reading import storable

#: "pass": the sender's domain stands for this letter; "fail": it says the letter is not from there; "none": nobody can
#: tell; "unchecked": AUTH_RESULTS_ID is not set, so nothing in a letter is believed.
Authenticity = Literal["pass", "fail", "none", "unchecked"]

#: The name of the server that checked, before anything else in the field.
SERVER = re.compile(r"[\s\"]*([^\s;\"]+)")

#: Where DKIM and SPF say which domain they have checked (RFC 8601 2.7; Yandex writes smtp.mail).
CHECKED = {"dkim": (("header", "d"), ("header", "i")), "spf": (("smtp", "mailfrom"), ("smtp", "mail"))}


def authenticate(message: Message, from_address: str, server_id: str) -> Authenticity:
    """Whether the domain of `from_address` stands for the letter, as the server named `server_id` has found.

    Only the topmost field of that server counts: it was added last, and strangers' copies below it are theirs.
    """
    if not server_id:
        return "unchecked"
    domain = from_address.rpartition("@")[2].lower()
    for value in message.get_all("Authentication-Results", []):
        text = storable(str(value))
        named = SERVER.match(text)
        if named is None or named[1].lower() != server_id.lower():
            continue
        try:
            found = authres.parse_value(" ".join(text.split()))  # type: ignore[no-untyped-call]
        except AuthResError:  # what comes from ARC is written otherwise, for example
            return "none"
        return _judge(found.results, domain)
    return "none"


def _judge(results: list[AuthenticationResult], domain: str) -> Authenticity:
    """DMARC's answer; from a server that does not give one, that of an aligned signature or sender."""
    for result in results:
        if result.method.lower() == "dmarc":
            about = _property(result, "header", "from").lower()
            said = result.result.lower()
            if said == "fail":
                return "fail"
            if said == "pass":
                # A letter with two senders may show us another one than the one that was checked.
                return "pass" if domain and about in ("", domain) else "none"
    found = {
        (result.method.lower(), result.result.lower())
        for result in results
        if any(_is_aligned(_property(result, *name), domain) for name in CHECKED.get(result.method.lower(), ()))
    }
    if {("dkim", "pass"), ("spf", "pass")} & found:
        return "pass"
    return "fail" if {("dkim", "fail"), ("spf", "fail")} & found else "none"


def _property(result: AuthenticationResult, kind: str, name: str) -> str:
    return next(
        (str(item.value) for item in result.properties if (item.type.lower(), item.name.lower()) == (kind, name)), ""
    )


def _is_aligned(checked: str, domain: str) -> bool:
    """Whether an address or a domain is of the same house: the domain itself, one above it or one below it."""
    other = checked.rpartition("@")[2].lower()
    return "." in other and (other == domain or other.endswith(f".{domain}") or domain.endswith(f".{other}"))
