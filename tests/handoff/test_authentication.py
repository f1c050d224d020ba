"""What is believed of what a mail server says about a letter's sender."""

from __future__ import annotations

from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.mail.authentication import authenticate

OURS = "mx.jeans.example"
MARIA = "maria@example.com"


def verdict(*fields: str, sender: str = MARIA, server_id: str = OURS) -> str:
    head = "".join(f"Authentication-Results: {field}\r\n" for field in fields)
    return authenticate(message_from_bytes(f"{head}From: {sender}\r\n\r\nx".encode()), sender, server_id)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("mx.jeans.example; dmarc=pass (p=none) header.from=example.com", "pass"),
        ("MX.Jeans.example; DMARC=Pass header.from=Example.COM", "pass"),
        ("mx.jeans.example 1; dmarc=fail (p=reject dis=none) header.from=example.com", "fail"),
        ("mx.jeans.example; dkim=pass header.d=example.com; dmarc=fail header.from=example.com", "fail"),
        ("mx.jeans.example; none", "none"),
        ("mx.jeans.example; dmarc=none header.from=example.com", "none"),
        ("mx.jeans.example; dmarc=temperror header.from=example.com; dkim=pass header.d=example.com", "pass"),
        ("mx.jeans.example; dkim=pass header.i=@mail.example.com", "pass"),
        ("mx.jeans.example; dkim=pass header.d=evil.example", "none"),
        ("mx.jeans.example; dkim=pass header.d=com", "none"),
        ("mx.jeans.example; dkim=pass header.d=ample.com", "none"),
        ("mx.jeans.example; spf=pass smtp.mailfrom=bounces@example.com", "pass"),
        ("mx.jeans.example; spf=pass smtp.mail=maria@example.com", "pass"),
        ("mx.jeans.example; spf=pass smtp.mailfrom=evil.example", "none"),
        ("mx.jeans.example; spf=softfail smtp.mailfrom=example.com", "none"),
        ("mx.jeans.example; spf=fail smtp.mailfrom=example.com", "fail"),
        ("mx.jeans.example; spf=fail smtp.mailfrom=example.com; dkim=pass header.d=example.com", "pass"),
        # What was checked is not the sender that we see.
        ("mx.jeans.example; dmarc=pass header.from=evil.example", "none"),
        # As Gmail folds it.
        (
            "mx.jeans.example;\r\n       dkim=pass header.i=@example.com header.s=1;\r\n       spf=pass (google.com:"
            " domain of a@example.com designates 1.2.3.4 as permitted sender) smtp.mailfrom=a@example.com;\r\n"
            "       dmarc=pass (p=NONE sp=QUARANTINE dis=NONE) header.from=example.com",
            "pass",
        ),
        # From ARC, without a server, cut off, and nothing at all: nobody can tell.
        ("i=1; mx.jeans.example; dmarc=pass header.from=example.com", "none"),
        ("dmarc=pass header.from=example.com", "none"),
        ("mx.jeans.example; dmarc=pass header.from=", "pass"),
        ("mx.jeans.example; dmarc", "none"),
        ("mx.jeans.example", "none"),
        ("", "none"),
    ],
)
def test_what_a_field_means(field: str, expected: str) -> None:
    """DMARC decides; where nobody looked it up, a signature or a sender of the same house."""
    assert verdict(field) == expected


def test_only_our_servers_topmost_field_counts() -> None:
    """Fields below it came with the letter, and anybody can write one; other servers are not ours to believe."""
    forged = "mx.jeans.example; dmarc=pass header.from=example.com"
    found = "mx.jeans.example; dmarc=fail header.from=example.com"

    assert verdict(found, forged) == "fail"
    assert verdict("elsewhere.example; dmarc=fail header.from=example.com", forged) == "pass"
    assert verdict("mx.evil.example; dmarc=pass header.from=example.com") == "none"
    assert verdict("mx.jeans.example; broken", forged) == "none"


def test_without_a_server_of_ours_nothing_is_believed() -> None:
    """AUTH_RESULTS_ID unset: the signed address decides alone, as before."""
    assert verdict("mx.jeans.example; dmarc=fail header.from=example.com", server_id="") == "unchecked"


def test_a_letter_of_nobody_or_of_two_cannot_be_authentic() -> None:
    """Which of two senders was checked is not said."""
    for field in ("dmarc=pass header.from=example.com", "dmarc=pass", "dkim=pass header.d=example.com"):
        assert verdict(f"mx.jeans.example; {field}", sender="") == "none"
    assert verdict("mx.jeans.example; dmarc=fail header.from=example.com", sender="") == "fail"


@given(st.text(max_size=80))
def test_no_field_hurts(text: str) -> None:
    """Whatever stands there, the letter is judged."""
    assert verdict(f"mx.jeans.example; {text}".replace("\n", " ").replace("\r", " ")) in ("pass", "fail", "none")
