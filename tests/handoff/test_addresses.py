"""Signed reply addresses and links."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.mail.addresses import (
    link_token,
    message_id,
    read_link_token,
    read_reply_address,
    reply_address,
    without_reply_addresses,
)

KEY = b"key"
SUPPORT = "support@jeans.example"


@given(st.binary(min_size=1), st.integers(1, 999_999_999), st.sampled_from(["agents", "customer"]))
def test_an_address_says_its_ticket_and_its_side_whatever_becomes_of_its_case(key: bytes, number: int, side) -> None:
    """Mail servers change case, and a local part has at most 64 octets."""
    address = reply_address(key, SUPPORT, number, side)

    assert read_reply_address(key, address) == (number, side)
    assert read_reply_address(key, address.upper()) == (number, side)
    assert len(address.split("@")[0]) <= 64
    assert read_reply_address(key + b"x", address) is None


@pytest.mark.parametrize(
    "address",
    [
        "support@jeans.example",
        "support+t1042@jeans.example",
        "support+t1042.aaaaaaaaaaaaaaaa@jeans.example",
        reply_address(KEY, SUPPORT, 1041, "agents").replace("t1041", "t1042"),
        "support+t١٠٤٢.aaaaaaaaaaaaaaaa@jeans.example",
        "",
        "@",
    ],
)
def test_an_address_that_we_did_not_sign_says_nothing(address: str) -> None:
    """FreeScout CVE-2026-47123: an id that can be guessed let anybody speak as an agent."""
    assert read_reply_address(KEY, address) is None


def test_a_link_says_its_number_and_is_good_for_nothing_else() -> None:
    """A reply address is no link, a link no reply address, and the link of a ticket ends no binding."""
    token = link_token(KEY, "not-me", 1042)

    assert read_link_token(KEY, "not-me", token) == 1042
    assert read_link_token(KEY, "unlink", token) is None
    assert read_link_token(KEY, "not-me", token.replace("1042", "1043")) is None
    assert read_link_token(b"other", "not-me", token) is None
    assert read_reply_address(KEY, f"support+t{token[:-10]}@jeans.example") is None


def test_a_message_id_is_the_same_every_time_and_differs_between_databases() -> None:
    """A letter that is sent again is the same letter; a new database that begins at 1001 again writes new ones."""
    first = message_id(KEY, SUPPORT, "opened:1001:agents", "2026-11-20")

    assert first == message_id(KEY, SUPPORT, "opened:1001:agents", "2026-11-20")
    assert first != message_id(KEY, SUPPORT, "opened:1001:agents", "2026-11-21")
    assert first.endswith("@jeans.example>")


def test_signed_addresses_are_taken_out_of_quotations() -> None:
    """What an agent quotes goes to the customer."""
    text = f"20.11, {reply_address(KEY, SUPPORT, 1042, 'agents')} пишет:"

    assert without_reply_addresses(text, SUPPORT) == "20.11, support@jeans.example пишет:"
