from __future__ import annotations

import smtplib
import socket
from email import message_from_bytes

import pytest

from bot.demo.mail_server import MAX_LETTER_BYTES

AGENTS = "agents@jeans.example"
MARIA = "maria.sokolova@mail.example"
SUPPORT = "support@jeans.example"


@pytest.fixture
def smtp(mail_server):
    with smtplib.SMTP("127.0.0.1", mail_server.port, timeout=10) as connection:
        yield connection


@pytest.mark.parametrize("recipient", [SUPPORT, "support+t0ken@jeans.example", "Support+T0ken@Jeans.example"])
def test_letters_to_the_shop_are_taken_in(smtp, taken_in, letter, recipient):
    """The part after the plus is the reply token; it must arrive as it was written."""
    smtp.sendmail(MARIA, [recipient], letter().as_bytes())

    [(raw, recipients)] = taken_in.letters
    assert recipients == [recipient]
    assert raw.endswith(letter().as_bytes())


def test_only_the_trace_of_the_last_server_is_added(smtp, mailboxes, letter):
    """What comes before the letter is Return-Path, Delivered-To and Received; the letter itself is untouched."""
    smtp.sendmail(SUPPORT, [MARIA], letter().as_bytes())

    [stored] = mailboxes.letters(MARIA)
    added = message_from_bytes(stored.raw).items()[:3]
    assert [name for name, _ in added] == ["Return-Path", "Delivered-To", "Received"]
    assert dict(added)["Return-Path"] == f"<{SUPPORT}>"
    assert stored.raw.endswith(letter().as_bytes())


def test_a_bounce_has_an_empty_return_path(smtp, taken_in, letter):
    smtp.sendmail("", [SUPPORT], letter().as_bytes())

    assert taken_in.letters[0][0].startswith(b"Return-Path: <>\r\n")


def test_a_letter_for_several_reaches_each(smtp, mailboxes, taken_in, letter):
    smtp.sendmail(MARIA, [SUPPORT, AGENTS, MARIA], letter().as_bytes())

    assert len(taken_in.letters) == len(mailboxes.letters(AGENTS)) == len(mailboxes.letters(MARIA)) == 1


def test_the_same_letter_twice_lies_in_the_mailbox_once(smtp, mailboxes, letter):
    for _ in range(2):
        smtp.sendmail(SUPPORT, [MARIA], letter().as_bytes())

    assert len(mailboxes.letters(MARIA)) == 1


@pytest.mark.parametrize("recipient", ["nobody@mail.example", "someone@elsewhere.test", "supportx@jeans.example"])
def test_an_unknown_recipient_is_refused_for_good(smtp, letter, recipient):
    """550, so that the sender gives up at once; nothing ever leaves for the Internet."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        smtp.sendmail(SUPPORT, [recipient], letter().as_bytes())

    assert refused.value.recipients[recipient][0] == 550


def test_what_could_not_be_taken_in_stays_with_the_sender(smtp, taken_in, mailboxes, letter):
    """451 means "try again"; the second attempt then finds nothing half done."""
    taken_in.failing = True
    with pytest.raises(smtplib.SMTPDataError) as refused:
        smtp.sendmail(MARIA, [SUPPORT, AGENTS], letter().as_bytes())
    assert refused.value.smtp_code == 451
    assert mailboxes.letters(AGENTS) == []

    taken_in.failing = False
    smtp.sendmail(MARIA, [SUPPORT, AGENTS], letter().as_bytes())

    assert len(taken_in.letters) == len(mailboxes.letters(AGENTS)) == 1


def test_size_limit_and_international_letters_are_announced(smtp):
    smtp.ehlo()

    assert smtp.esmtp_features["size"] == str(MAX_LETTER_BYTES)
    assert smtp.has_extn("smtputf8")


def test_a_stopped_server_hangs_up_and_can_be_started_again(mail_server):
    """Its port stays the same, so the sender finds it again."""
    port = mail_server.port
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(100)
        mail_server.stop()
        assert connection.recv(100) == b""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)

    mail_server.start()

    assert mail_server.port == port
