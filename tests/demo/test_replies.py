from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest

from bot.demo.replies import compose_reply

MARIA = "maria.sokolova@mail.example"
AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def reply_to(letter, text="Thank you!"):
    return message_from_bytes(compose_reply(letter.as_bytes(), MARIA, "Мария Соколова", text, at=AT), policy=default)


def plain(message):
    return message.get_body(("plain",)).get_content().replace("\r\n", "\n")


def html(message):
    return message.get_body(("html",)).get_content()


def test_a_reply_goes_to_reply_to(letter):
    """The reply token is in Reply-To; a mail program that used From would lose the ticket."""
    reply = reply_to(letter(headers={"Reply-To": "Getwear <support+t0ken@jeans.example>"}))

    assert reply["To"] == "Getwear <support+t0ken@jeans.example>"
    assert reply["From"] == f"Мария Соколова <{MARIA}>"


def test_a_reply_without_reply_to_goes_to_the_sender(letter):
    assert reply_to(letter())["To"] == "Getwear <support@jeans.example>"


@pytest.mark.parametrize("subject", ["Re: Jeans", "RE: Jeans", "Re[2]: Jeans", "Отв: Джинсы", "Ответ: Джинсы"])
def test_re_is_not_doubled(letter, subject):
    assert reply_to(letter(subject))["Subject"] == subject


def test_re_is_put_before_a_subject(letter):
    """ "Report" begins like "Re" but is no reply."""
    assert reply_to(letter("Report [#12] джинсы"))["Subject"] == "Re: Report [#12] джинсы"


def test_the_thread_is_kept(letter):
    reply = reply_to(letter(headers={"References": "<first@a.example> <second@a.example>"}))

    assert reply["In-Reply-To"] == "<one@jeans.example>"
    assert reply["References"].split() == ["<first@a.example>", "<second@a.example>", "<one@jeans.example>"]
    assert reply["Message-ID"].endswith("@mail.example>")


def test_a_long_message_id_is_not_encoded(letter):
    """Outlook's are longer than a line; =?utf-8?q?...?= there would break the thread."""
    long_id = f"<{'A1b2' * 30}@eurprd04.prod.outlook.example>"
    raw = b"Message-ID: " + long_id.encode() + b"\r\nFrom: a@b.example\r\nSubject: x\r\n\r\nhello"

    reply = compose_reply(raw, MARIA, "Maria", "ok", at=AT)

    assert f"In-Reply-To: {long_id}\r\nReferences: {long_id}\r\n".encode() in reply


def test_a_long_thread_keeps_its_first_and_latest_letters(letter):
    thread = [f"<{number}@a.example>" for number in range(60)]

    references = reply_to(letter(headers={"References": " ".join(thread)}))["References"].split()

    assert len(references) == 20
    assert references[0] == thread[0]
    assert references[-2:] == [thread[-1], "<one@jeans.example>"]


def test_the_quote_is_below_as_gmail_writes_it(letter):
    reply = reply_to(letter(text="Hello Maria\n\n> older\n"))

    assert plain(reply) == (
        "Thank you!\n\nOn Fri, 20 Nov 2026 at 12:30, Getwear <support@jeans.example> wrote:\n\n"
        "> Hello Maria\n>\n>> older\n"
    )
    assert html(reply).startswith('<div dir="ltr">Thank you!</div><br><div class="gmail_quote')


def test_a_russian_letter_is_quoted_in_russian(letter):
    reply = reply_to(letter(text="Здравствуйте"))

    assert "20.11.2026 12:30, Getwear <support@jeans.example> пишет:" in plain(reply)


def test_html_of_the_letter_is_quoted_without_scripts(letter):
    reply = reply_to(letter(html="<p>Your <b>jeans</b></p><script>alert(1)</script>"))

    assert "<b>jeans</b>" in html(reply)
    assert "alert" not in html(reply)


def test_what_a_person_writes_is_text_not_html(letter):
    reply = reply_to(letter(), "1 < 2 & <b>bold</b>\nsecond line")

    assert "1 &lt; 2 &amp; &lt;b&gt;bold&lt;/b&gt;<br>second line" in html(reply)
    assert plain(reply).startswith("1 < 2 & <b>bold</b>\nsecond line\n")


def test_a_letter_from_nobody_cannot_be_answered():
    with pytest.raises(ValueError):
        compose_reply(b"Subject: x\r\n\r\nhello", MARIA, "Maria", "ok")


def test_a_letter_without_date_and_id_can_be_answered():
    reply = message_from_bytes(compose_reply(b"From: a@b.example\r\n\r\nhello", MARIA, "Maria", "ok"), policy=default)

    assert "a@b.example wrote:" in plain(reply)
    assert reply["References"] is None
