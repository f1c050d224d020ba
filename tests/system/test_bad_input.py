"""Whatever people send gets a clear answer, breaks nothing and brings nothing to light."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from .chat import NOTICES, Chat, Said, png
from .running import AGENTS, ROOT, Running, wait_for

pytestmark = pytest.mark.engine

RESPONSES = YAML(typ="safe").load(ROOT / "domain.yml")["responses"]


@pytest.fixture(autouse=True)
def _unharmed(demo: Running) -> Iterator[None]:
    """After each test: the same engine, ready, nothing given up, and no word of how we are made in the answers."""
    engine = demo.engine()
    yield
    assert demo.ready()
    assert demo.engine() == engine
    assert demo.rows("SELECT id, last_error FROM inbox WHERE state != 'answered'") == []
    said = "\n".join(text for (text,) in demo.rows("SELECT text FROM outbox"))
    assert not re.search(r"Traceback|Exception|None\b|utter_|\{\w+\}", said)


@pytest.fixture(params=["ru", "en"])
def chat(demo: Running, request: pytest.FixtureRequest) -> Chat:
    return Chat(demo, request.param)


def is_notice(answer: httpx.Response, name: str, language: str) -> bool:
    """Whether a refusal says in the customer's language what data/notices.yml has for it, filled in."""
    detail = answer.json()["detail"]
    forms = [re.escape(text).replace(r"\{", "{").replace(r"\}", "}") for text in NOTICES[name][language]]
    return any(re.fullmatch(re.sub(r"{\w+}", r"\\d+", form), detail) for form in forms)


def is_response(said: Said, *names: str) -> bool:
    """Whether an answer is built from these responses, whichever of their wordings was taken."""
    text = said.text
    for name in names:
        forms = [re.sub(r"\\{\w+\\}", r".+?", re.escape(text)) for text in _texts(name)]
        found = next((found for form in forms if (found := re.match(form, text))), None)
        if found is None:
            return False
        text = text[found.end() :].strip()
    return True


def _texts(name: str) -> list[str]:
    """The wordings of a response for a customer who says «вы»."""
    return [re.sub(r"{([^{}|]*)\|[^{}|]*}", r"\1", form["text"]) for form in RESPONSES[name]]


@pytest.mark.parametrize("text", ["", "  \n\t ", "\x00\x1b\u202e\ufeff"], ids=["nothing", "blanks", "invisible"])
def test_a_message_without_words_is_refused_in_the_customers_language(chat: Chat, text: str):
    """There is nothing to answer, so the page says at once that nothing came through."""
    answer = chat.post(text=text)

    assert answer.status_code == 422
    assert is_notice(answer, "text_empty", chat.language)
    assert chat.conversation() == []


def test_ten_thousand_characters_are_refused_with_the_limit(chat: Chat):
    """No messenger lets through more than 4096; the page says how much fits instead of cutting it silently."""
    answer = chat.post(text="джинсы jeans " * 770)

    assert answer.status_code == 422
    assert is_notice(answer, "text_too_long", chat.language)


def test_the_longest_message_is_answered(chat: Chat):
    """What fits is understood like any other message."""
    said = chat.say(("Как снять мерки? " if chat.language == "ru" else "How do I measure myself? ").ljust(4096, "a"))

    assert said.text


@pytest.mark.parametrize(
    "text",
    [
        "🙂👖🙂",
        '/intent{"x":1}',
        '/case{"x":1}',
        "/restart",
        "/affirm",
        "Привет\x00\x07\u202e, это я",
        "'; DROP TABLE--",
    ],
)
def test_odd_messages_are_answered_as_plain_words(demo: Running, chat: Chat, text: str):
    """Rasa takes a leading slash for a command; a customer must not be able to give one."""
    said = chat.say(text)

    assert said.text
    kept = demo.rows("SELECT text FROM inbox WHERE key = ?", chat.keys[-1])
    assert not re.search(r"[\x00\u202e]", kept[0][0])
    assert demo.rows("SELECT number FROM ticket WHERE sender_id = ?", chat.sender_id) == []


@pytest.mark.parametrize("typed", ["james.carter@mail", "james.carter (at) mail", "@mail.example"])
def test_a_wrong_address_in_the_form_is_asked_for_again(chat: Chat, typed: str):
    """The form stays where it is, whatever was typed instead of an address."""
    chat.say("Шов разошёлся, заказ 48120" if chat.language == "ru" else "A seam tore, order 48120")

    said = chat.say(typed)

    assert any(said.text.endswith(form) for form in _texts("utter_ask_case_form_address")), said.text


@pytest.mark.parametrize("typed", ["№ 47 902", "47-902", "№47902", "N 47902"])
def test_an_order_number_is_understood_as_people_write_it(demo: Running, typed: str):
    """Blanks, dashes and number signs come from receipts and habits; the customer need not guess our spelling."""
    chat = Chat(demo, "ru")
    chat.say("Хочу отменить заказ")

    chat.say(typed)
    said = chat.say("elena.kim@mail.example")

    assert is_response(said, "utter_ask_case_form__confirmed")
    assert "47902" in said.text


def test_look_alike_letters_in_an_order_number_lead_to_the_order(demo: Running, tmp_path: Path):
    """ "АВ-51234" typed with Cyrillic letters looks the same as the Latin one on the receipt."""
    customers, orders = tmp_path / "customers.csv", tmp_path / "orders.csv"
    customers.write_text("customer_id,email,name,language\nc-104,james.carter@mail.example,James Carter,en\n")
    orders.write_text("number,customer_id,status,item,sum,address,promised_on,placed_on\nAB-51234,c-104,order,,,,,\n")
    demo.command("crm", "import", "--customers", customers, "--orders", orders)
    chat = Chat(demo, "en")

    asks = chat.say("The zip broke, order АВ-51234, james.carter@mail.example")
    said = chat.press(asks)

    assert is_response(said, "utter_ticket_opened")
    ticket = next(ticket for ticket in demo.tickets() if str(ticket["number"]) in said.text)
    assert (ticket["order"], ticket["requester"]) == ("AB-51234", "james.carter@mail.example")


def test_strangers_learn_nothing_and_are_passed_on_to_the_agents_alone(demo: Running):
    """Unknown order, other's order, unknown address: one and the same sentence. After two tries a person is offered,
    and the ticket is unverified: nobody but the agents gets a letter.
    """
    owners = [address for (address,) in demo.rows("SELECT address FROM crm_address")]
    mailed = {owner: len(demo.letters(owner)) for owner in owners}
    pairs = [
        ("90909", "daniel.novak@mail.example"),
        ("48120", "daniel.novak@mail.example"),
        ("48120", "nobody.at.all@mail.example"),
    ]

    ends = [_two_tries(Chat(demo, "en"), order, address) for order, address in pairs]
    chat, offer = ends[1]
    passed = chat.press(offer)

    assert is_response(passed, "utter_ticket_unmatched")
    number = int(re.search(r"\b\d{4}\b", passed.text)[0])
    ticket = next(ticket for ticket in demo.tickets() if ticket["number"] == number)
    assert (ticket["verified"], ticket["requester"]) == (False, None)
    wait_for(
        lambda: demo.rows("SELECT 1 FROM letter_out WHERE ticket_number = ? AND state = 'sent'", number), "a letter"
    )
    assert demo.rows("SELECT to_address FROM letter_out WHERE ticket_number = ?", number) == [(AGENTS,)]
    assert {owner: len(demo.letters(owner)) for owner in owners} == mailed
    shown = "\n".join(message["text"] for chat, _ in ends for message in chat.answers())
    assert not re.search(r"carter|leeds|slim|james|10200", shown, re.IGNORECASE)


def _two_tries(chat: Chat, order: str, address: str) -> tuple[Chat, Said]:
    """Claim an order twice; both answers must be what everybody hears whose pair does not match."""
    asks = chat.say(f"My jeans are late, order {order}, {address}")
    first = chat.press(asks)
    assert is_response(first, "utter_mismatch"), first.text
    second = chat.press(chat.say(f"{order}, {address}"))
    assert is_response(second, "utter_mismatch_again"), second.text
    return chat, second


def test_a_photo_of_30_megabytes_is_refused_with_the_limit(demo: Running, chat: Chat):
    """It would not fit into a letter; nothing of it stays on the disk."""
    answer = chat.send_file(png() + bytes(30 * 2**20))

    assert answer.status_code == 413
    assert is_notice(answer, "photo_too_large", chat.language)
    assert demo.rows("SELECT name FROM stored_file WHERE sender_id = ?", chat.sender_id) == []


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text", b"<svg><script>alert(1)</script></svg>", b"MZ" + bytes(99)]
)
def test_what_only_pretends_to_be_a_photo_is_refused(demo: Running, chat: Chat, content: bytes):
    """Its content decides what a file is, never its name."""
    answer = chat.send_file(content, "x.png")

    assert answer.status_code == 415
    assert is_notice(answer, "photo_wrong_type", chat.language)
    assert demo.rows("SELECT name FROM stored_file WHERE sender_id = ?", chat.sender_id) == []


def test_another_visitors_button_does_nothing(demo: Running):
    """Keys of buttons are secrets of one conversation; pressed in another they say nothing there."""
    owner, stranger = Chat(demo, "en"), Chat(demo, "en")
    asks = owner.say("The zip of my jeans broke")

    answer = stranger.post(button=next(iter(asks.buttons.values())))

    assert answer.status_code == 202
    assert stranger.conversation() == []


def test_logs_hold_no_address(demo: Running):
    """Logs are read by people and programs who need not know who wrote; addresses stay in the database."""
    chat = Chat(demo, "en")
    chat.say("The courier never came, order 47988, daniel.novak@mail.example, also reach me at my.other@post.example")

    logs = demo.log.read_text() + (demo.data_dir / "engine.log").read_text()

    assert not re.search(r"[\w.]+@(mail|post)\.example", logs)
    assert b"my.other@" not in (demo.data_dir / "trackers.db").read_bytes()
