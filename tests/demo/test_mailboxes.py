from __future__ import annotations

import mailbox
from concurrent.futures import ThreadPoolExecutor

import pytest

from bot.demo.mailboxes import Mailboxes, UnknownMailbox

MARIA = "maria.sokolova@mail.example"


def test_a_letter_that_is_delivered_twice_is_there_once(mailboxes, letter):
    """A sender that missed our answer sends again; mail programs go by the Message-ID, whatever else was added."""
    mailboxes.deliver(MARIA, letter().as_bytes())
    mailboxes.deliver(MARIA, b"Received: from elsewhere\r\n" + letter().as_bytes())

    assert len(mailboxes.letters(MARIA)) == 1


def test_a_letter_that_was_read_stays_read_when_it_is_delivered_again(mailboxes, letter):
    """The second delivery must not bring back the dot of an unread letter."""
    letter_id = mailboxes.deliver(MARIA, letter().as_bytes())
    mailboxes.mark(MARIA, letter_id)

    mailboxes.deliver(MARIA, letter().as_bytes())

    assert [stored.read for stored in mailboxes.letters(MARIA)] == [True]


def test_deliveries_at_the_same_moment_keep_one_letter(mailboxes, letter):
    """The mail server's thread and the page's threads share the mailboxes."""
    raw = letter().as_bytes()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: mailboxes.deliver(MARIA, raw), range(40)))

    assert len(mailboxes.letters(MARIA)) == 1


def test_letters_without_a_message_id_are_told_apart_by_their_content(mailboxes):
    for text in (b"first", b"second", b"second"):
        mailboxes.deliver(MARIA, b"Subject: no id\r\n\r\n" + text)

    assert len(mailboxes.letters(MARIA)) == 2


def test_the_newest_letter_comes_first(mailboxes, letter):
    for number in range(20):
        mailboxes.deliver(MARIA, letter(str(number), headers={"Message-ID": f"<{number}@a.example>"}).as_bytes())

    subjects = [stored.raw.partition(b"Subject: ")[2].split(b"\r\n")[0] for stored in mailboxes.letters(MARIA)]

    assert subjects == [str(number).encode() for number in reversed(range(20))]


def test_marks_are_kept_on_disk(mailboxes, letter):
    letter_id = mailboxes.deliver(MARIA, letter().as_bytes())

    mailboxes.mark(MARIA, letter_id, answered=True)
    mailboxes.mark(MARIA, letter_id)

    stored = Mailboxes(mailboxes.folder).letter(MARIA, letter_id)
    assert (stored.read, stored.answered) == (True, True)
    assert stored.raw == letter().as_bytes()


def test_the_folder_is_a_maildir_any_mail_program_can_read(mailboxes, letter):
    mailboxes.deliver(MARIA, letter("Jeans").as_bytes())

    assert [message["Subject"] for message in mailbox.Maildir(mailboxes.folder / MARIA)] == ["Jeans"]


def test_case_does_not_matter_in_an_address(mailboxes, letter):
    mailboxes.deliver(MARIA.upper(), letter().as_bytes())

    assert len(mailboxes.letters(MARIA)) == 1


@pytest.mark.parametrize("address", ["nobody@mail.example", "../x@mail.example", "..", "a@b/../../c.example", ""])
def test_what_is_no_mailbox_is_never_looked_for_on_disk(mailboxes, letter, address):
    assert address not in mailboxes
    with pytest.raises(UnknownMailbox):
        mailboxes.deliver(address, letter().as_bytes())


@pytest.mark.parametrize("letter_id", ["0" * 32, "../../secret_key", ""])
def test_a_letter_that_is_not_there_is_unknown(mailboxes, letter_id):
    with pytest.raises(UnknownMailbox):
        mailboxes.letter(MARIA, letter_id)


def test_an_address_that_is_no_folder_name_gets_no_mailbox(mailboxes):
    with pytest.raises(ValueError):
        mailboxes.create("../../etc@mail.example")
