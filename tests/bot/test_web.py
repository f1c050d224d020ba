"""The chat's endpoints: what they take, what they refuse in the customer's words, what they show."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from bot import outbox
from bot.channels.web import WebChannel, web_router
from bot.inbox import MAX_TEXT_CHARACTERS
from bot.models import Button, InboxItem, OutboxItem
from handoff.models import StoredFile

VISITOR = "visitor-0123456789_abcDEF"
SENDER = f"web:{VISITOR}"
ID = "3f2a0c1e-0000-4000-8000-000000000001"

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
PDF = b"%PDF-1.4\n%%EOF\n"
CYRILLIC = {"ru": True, "en": False}


@pytest.fixture
def woken():
    """How often the gateway was told that there is something."""
    return []


@pytest.fixture
async def browser(database, texts, tmp_path, woken):
    app = FastAPI()
    app.include_router(web_router(database, tmp_path, texts, received=lambda: woken.append(1)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as browser:
        yield browser


@pytest.fixture
def inbox(database):
    def read():
        with database.session_scope() as session:
            return session.scalars(select(InboxItem).order_by(InboxItem.id)).all()

    return read


@pytest.fixture
def say(database):
    """The bot says something; it is sent unless told otherwise. Returns the keys of its buttons."""

    def put(text, *buttons, sender_id=SENDER, state="sent", at=None):
        now = at or datetime.now(UTC)
        with database.session_scope() as session:
            purpose = f"answer:{sender_id}:{text}"
            outbox.put(
                session, purpose=purpose, sender_id=sender_id, channel="web", text=text, now=now, buttons=buttons
            )
            row = session.scalars(select(OutboxItem).where(OutboxItem.purpose == purpose)).one()
            row.state = state
            return [button["key"] for button in row.buttons]

    return put


def message(**fields):
    return {"visitor": VISITOR, "id": ID, "language": "en", **fields}


async def post_photo(browser, content=PNG, name="photo.png", kind="image/png", **fields):
    form = {"visitor": VISITOR, "id": ID, "language": "en", **fields}
    return await browser.post("/web/photos", data=form, files={"file": (name, io.BytesIO(content), kind)})


async def test_a_message_is_kept_before_it_is_acknowledged(browser, inbox, woken):
    answer = await browser.post("/web/messages", json=message(text="  where is\x00 my order? "))

    assert answer.status_code == 202
    (item,) = inbox()
    assert (item.key, item.sender_id, item.channel) == (f"web:{VISITOR}:{ID}", SENDER, "web")
    assert (item.kind, item.text, item.language, item.state) == ("text", "where is my order?", "en", "waiting")
    assert woken == [1]


async def test_a_repeated_post_is_the_same_message(browser, inbox, woken):
    """The page repeats what was not acknowledged: a phone in a tunnel asks once."""
    answers = [await browser.post("/web/messages", json=message(text="hello")) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len(inbox()) == len(woken) == 1


async def test_the_same_id_of_another_visitor_is_another_message(browser, inbox):
    await browser.post("/web/messages", json=message(text="hello"))
    await browser.post("/web/messages", json=message(text="hello", visitor="v" * 22))

    assert [item.sender_id for item in inbox()] == [SENDER, f"web:{'v' * 22}"]


async def test_the_page_being_opened_is_a_step_of_its_own(browser, inbox):
    """Only this makes Rasa's command of greeting; typed text never does."""
    await browser.post("/web/messages", json=message(start=True))

    assert [(item.kind, item.text) for item in inbox()] == [("start", "")]


@pytest.mark.parametrize(
    "visitor", ["", "short", "v" * 21, "v" * 65, "v" * 22 + "\n", "../" * 10, "посетитель-посетитель-12", "v v" * 10]
)
async def test_a_visitor_must_be_an_unguessable_name(browser, inbox, visitor):
    """It is the only key to the conversation, and becomes part of file and conversation names."""
    posted = await browser.post("/web/messages", json=message(text="hello", visitor=visitor))
    shown = await browser.get("/web/messages", params={"visitor": visitor})
    photo = await post_photo(browser, visitor=visitor)

    assert {posted.status_code, shown.status_code, photo.status_code} == {422}
    assert inbox() == []


@pytest.mark.parametrize("wrong", [{"id": ""}, {"id": "1"}, {"id": "a b" * 5}, {"id": None}, {"language": "de"}])
async def test_what_the_page_never_sends_is_refused(browser, inbox, wrong):
    assert (await browser.post("/web/messages", json=message(text="hello", **wrong))).status_code == 422
    assert inbox() == []


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("text", [None, "", "  \n ", "\u200b\u2060", "\x00"])
async def test_an_empty_message_is_refused_in_the_customers_language(browser, inbox, texts, language, text):
    answer = await browser.post("/web/messages", json=message(text=text, language=language))

    assert answer.status_code == 422
    assert answer.json()["detail"] == texts.text("text_empty", language, "text_empty")
    assert inbox() == []


@pytest.mark.parametrize("language", ["ru", "en"])
async def test_a_message_that_is_too_long_is_refused_with_the_limit(browser, inbox, language):
    """Nothing is cut off silently: what the agents read is what the customer wrote."""
    too_long = await browser.post("/web/messages", json=message(text="x" * 4097, language=language))
    longest = await browser.post("/web/messages", json=message(text=f" {'x' * 4096} ", language=language))

    assert (too_long.status_code, longest.status_code) == (422, 202)
    assert str(MAX_TEXT_CHARACTERS) in too_long.json()["detail"]
    assert any("а" <= letter <= "я" for letter in too_long.json()["detail"].lower()) is CYRILLIC[language]
    assert [len(item.text) for item in inbox()] == [4096]


async def test_half_a_character_does_not_break_the_service(browser, inbox):
    """JSON can carry a lone surrogate (a cut-off emoji); no database can keep one."""
    body = b'{"visitor": "%s", "id": "%s", "text": "hi \\ud83d"}' % (VISITOR.encode(), ID.encode())

    answer = await browser.post("/web/messages", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 202
    assert [item.text for item in inbox()] == ["hi"]


async def test_a_pressed_button_says_what_our_table_says(browser, inbox, say, woken):
    """The page only knows the key; the customer sees the title in his conversation."""
    yes, _ = say("Is that right?", ("Yes", "/affirm"), ("No", "/deny"))

    answer = await browser.post("/web/messages", json=message(button=yes, text="/restart"))

    assert answer.status_code == 202
    (item,) = inbox()
    assert (item.kind, item.text, item.payload) == ("button", "Yes", "/affirm")
    assert woken == [1]


async def test_a_button_of_somebody_else_or_an_old_one_is_passed_over(browser, inbox, say, woken):
    """Accepted, so that the page does not repeat it; it just does nothing."""
    (theirs,) = say("Is that right?", ("Yes", "/affirm"), sender_id="web:somebody-else-0123456789")
    (old,) = say("And now?", ("Yes", "/affirm"))
    say("Something newer")

    answers = [await browser.post("/web/messages", json=message(button=key)) for key in (theirs, old, "nothing")]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert (inbox(), woken) == ([], [])


async def test_a_double_tap_and_a_repeated_post_are_one_press(browser, database, inbox, say):
    (yes,) = say("Is that right?", ("Yes", "/affirm"))

    await browser.post("/web/messages", json=message(button=yes))
    await browser.post("/web/messages", json=message(button=yes))
    await browser.post("/web/messages", json=message(button=yes, id=ID.replace("1", "2")))

    assert [item.payload for item in inbox()] == ["/affirm"]
    with database.session_scope() as session:
        assert session.get_one(Button, yes).pressed_at is not None


@pytest.mark.parametrize(
    ("content", "name", "kind", "media_type"),
    [
        (PNG, "photo.png", "image/png", "image/png"),
        (PNG, "letter.txt", "text/plain", "image/png"),
        (PDF, "чек.pdf", "application/octet-stream", "application/pdf"),
    ],
)
async def test_a_photo_is_known_by_its_content(browser, database, inbox, tmp_path, content, name, kind, media_type):
    """Neither the name nor the type that the browser gives is believed."""
    answer = await post_photo(browser, content, name, kind)

    assert answer.status_code == 202
    (item,) = inbox()
    with database.session_scope() as session:
        file = session.scalars(select(StoredFile)).one()
    assert (item.kind, item.text, item.photo) == ("photo", "", file.name)
    assert (file.media_type, file.sender_id) == (media_type, SENDER)
    assert (tmp_path / "files" / file.name).read_bytes() == content


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("content", [b"", b"hello", b"<svg onload='alert(1)'/>", b"MZ\x90\x00", b"PK\x03\x04"])
async def test_what_is_no_picture_is_refused_whatever_it_calls_itself(browser, inbox, texts, language, content):
    answer = await post_photo(browser, content, language=language)

    assert answer.status_code == 415
    assert answer.json()["detail"] == texts.text("photo_wrong_type", language, "photo_wrong_type")
    assert inbox() == []


@pytest.mark.parametrize("language", ["ru", "en"])
async def test_a_photo_of_30_megabytes_is_refused_with_the_limit(browser, inbox, tmp_path, language):
    answer = await post_photo(browser, PNG + bytes(30 * 2**20), language=language)

    assert answer.status_code == 413
    assert "20" in answer.json()["detail"]
    assert any("а" <= letter <= "я" for letter in answer.json()["detail"].lower()) is CYRILLIC[language]
    assert inbox() == []
    assert not (tmp_path / "files").exists()


async def test_a_caption_is_a_message_of_its_own_after_the_photo(browser, inbox):
    """ "Torn seam, order 47655" is understood and answered like any other message."""
    await post_photo(browser, caption=" torn seam, order 47655 ")

    assert [(item.kind, item.text) for item in inbox()] == [("photo", ""), ("text", "torn seam, order 47655")]
    assert len({item.key for item in inbox()}) == 2


async def test_a_repeated_photo_is_kept_once_with_its_caption(browser, database, inbox, woken):
    for _ in range(2):
        await post_photo(browser, caption="torn")

    assert [item.kind for item in inbox()] == ["photo", "text"]
    with database.session_scope() as session:
        assert len(session.scalars(select(StoredFile)).all()) == 1
    assert woken == [1, 1]


async def test_a_caption_that_is_too_long_keeps_nothing(browser, inbox, tmp_path):
    """The customer shortens it and sends both again; half of it would come twice."""
    answer = await post_photo(browser, caption="x" * 4097)

    assert answer.status_code == 422
    assert inbox() == []
    assert not (tmp_path / "files").exists()


async def test_a_photo_is_shown_as_what_it_is_and_runs_nothing(browser, inbox):
    """A PDF or picture of a stranger opens on our own address."""
    await post_photo(browser)
    name = inbox()[0].photo

    shown = await browser.get(f"/web/photos/{name}")

    assert (shown.status_code, shown.content) == (200, PNG)
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in shown.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["nothing.png", "..%2F..%2Fsupport.db", "support.db"])
async def test_no_other_file_is_shown(browser, name):
    assert (await browser.get(f"/web/photos/{name}")).status_code == 404


async def test_a_conversation_is_shown_in_the_order_in_which_it_was_said(browser, database, say):
    start = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)
    await browser.post("/web/messages", json=message(start=True))
    for number, text in enumerate(("where is it", "thanks")):
        await browser.post("/web/messages", json=message(text=text, id=f"message-{number}"))
    with database.session_scope() as session:
        for item in session.scalars(select(InboxItem)):
            item.received_at = start + timedelta(seconds={"where is it": 1, "thanks": 3}.get(item.text, 0))
            item.state = "waiting" if item.text == "thanks" else "answered"
    say("Hello", at=start + timedelta(seconds=0.5))
    (key,) = say("What's your order number?", ("Cancel", "/stop"), at=start + timedelta(seconds=2))

    shown = (await browser.get("/web/messages", params={"visitor": VISITOR})).json()

    assert [(m["author"], m["text"]) for m in shown["messages"]] == [
        ("bot", "Hello"),
        ("customer", "where is it"),
        ("bot", "What's your order number?"),
        ("customer", "thanks"),
    ]
    assert shown["messages"][2]["buttons"] == [{"title": "Cancel", "key": key}]
    assert shown["waiting"] is True
    assert len({m["id"] for m in shown["messages"]}) == 4


async def test_only_what_was_sent_to_this_visitor_is_shown(browser, say):
    """Another visitor's conversation, and what the outbox still holds back, is not for this page."""
    say("to somebody else", sender_id="web:somebody-else-0123456789")
    say("not yet", state="waiting")
    say("never", state="stuck")
    say("sent")

    shown = (await browser.get("/web/messages", params={"visitor": VISITOR})).json()

    assert [m["text"] for m in shown["messages"]] == ["sent"]
    assert shown["waiting"] is False


async def test_a_photo_of_the_customer_is_shown_by_its_address(browser, inbox):
    await post_photo(browser)

    shown = (await browser.get("/web/messages", params={"visitor": VISITOR})).json()

    assert [m["photo"] for m in shown["messages"]] == [f"/web/photos/{inbox()[0].photo}"]


async def test_the_web_channel_sends_by_marking(database, say):
    """The page fetches what is marked as sent; nothing leaves us."""
    say("hello", state="waiting")
    with database.session_scope() as session:
        row = session.scalars(select(OutboxItem)).one()

    assert await WebChannel().send(row) == str(row.id)


async def test_what_was_said_at_one_moment_is_shown_in_order(browser, say):
    """An agent's letter that answers and closes says two things at once: the answer, then the question for a mark."""
    now = datetime.now(UTC)
    for text in ("There is an answer", "How did we do?", "Goodbye"):
        say(text, at=now)

    shown = (await browser.get("/web/messages", params={"visitor": VISITOR})).json()

    assert [m["text"] for m in shown["messages"]] == ["There is an answer", "How did we do?", "Goodbye"]
