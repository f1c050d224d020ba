"""Every text that a customer reads, and every example it is taught with, keeps the rules of the shop's voice.

A failure names the file, the topic, the sentence and what to do, for trainers who do not read Python.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ..nlu.report import classify, read_held_out

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
FILES = sorted(DATA.rglob("*.yml"))
TEMPLATES = sorted(path for path in (ROOT / "handoff/mail/templates").rglob("*") if path.is_file())

LEAST_EXAMPLES = 12
LEAST_VARIANTS = 3
LONGEST_TITLE = 30
LONGEST_TEXT = 600
#: Telegram and VK show about this much of a button's title; VK refuses more than 40 (its documentation of keyboards).
LONGEST_BUTTON = 40

CYRILLIC = re.compile("[а-яё]", re.I)
PLACEHOLDER = re.compile(r"{(\w*)}")
APOLOGY = re.compile("прост|извин|жаль|неловко|виноват|sorry|apolog", re.I)
#: Jinja's own words and the markup of a letter: no customer reads them.
MARKUP = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}|<style.*?</style>|<[^>]*>|^\s*#.*?$", re.S | re.M)

#: What `Shop.words` fills in, and what an action hands over with its response.
SHOP_WORDS = {"shop", "hours", "agents", "agent", "first_answer"}
CASE_WORDS = {"order_number", "address", "ticket", "masked", "deadline"}
NOTICE_WORDS = {"agent", "ticket", "masked", "megabytes", "characters"}

#: Something went wrong for the customer: the first sentence is an apology, and nothing is cheerful.
PROBLEMS = {
    *("case/compensation", "case/defect", "case/delay", "case/design_payout", "case/exchange_my_order"),
    *("case/lost_parcel", "case/payment_problem", "case/refund", "case/site_problem", "case/ticket_followup"),
    *("case/wrong_item", "case/delivery_problem_courier"),
    *("complaint/anger", "complaint/bot_frustration", "complaint/runaround", "complaint/slow_reply"),
}

#: Beginnings of words and phrases, with the reason that a trainer gets to read.
FORBIDDEN = {
    "the next step is ours, never the customer's": [
        *("write to us", "call us", "contact us", "обратитесь", "обращайтесь", "напишите нам на"),
    ],
    "an office wrote this, not a person": [
        *("в ближайшее время", "ваше обращение", "очень важно для", "согласно", "данный", "данная", "данные джинсы"),
        *("просьба ", "уважаем", "kindly", "please be advised", "inconvenience", "valued customer"),
        *("с уважением", "служба поддержки", "best regards"),
    ],
    "say what is known and offer to ask about the rest": [
        *(
            "кажется",
            "вроде",
            "наверное",
            "возможно,",
            "думаю",
            "we think",
            "probably",
            "maybe",
            "perhaps",
            "i believe",
        ),
    ],
    "it blames the customer": [
        *("вы сами", "вы должны были", "как указано", "you should have", "as stated", "if you experienced"),
    ],
    "it suspects the customer": ["мошен", "обман", "fraud", "scam", "cheat"],
    "it makes our promise smaller than it is": [
        *("в пределах срока", "within the stated", "только при браке", "only if faulty"),
    ],
    "it promises money or brags": ["скидк", "discount", "лучши"],
    "it belittles a worry": ["не бойтесь", "не волнуйтесь", "don't worry"],
}


@dataclass(frozen=True)
class Text:
    """One variant of a text as a customer may get it; `place` says where a trainer finds it."""

    place: str
    topic: str
    text: str
    buttons: tuple[tuple[str, str], ...] = ()

    @property
    def language(self) -> str:
        return "ru" if CYRILLIC.search(self.text) else "en"

    @property
    def says(self) -> str:
        return f"{self.place}: “{self.text}”"


@dataclass(frozen=True)
class Topic:
    """One intent of a file under data/."""

    file: str
    name: str
    title: dict[str, str]
    examples: tuple[str, ...]


@cache
def read(path: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(path) or {}


def inside(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def topics() -> tuple[Topic, ...]:
    return tuple(
        Topic(
            inside(path),
            intent["intent"],
            (intent.get("metadata") or {}).get("title") or {},
            tuple(line.removeprefix("- ").strip() for line in intent["examples"].splitlines() if line.strip()),
        )
        for path in FILES
        for intent in read(path).get("nlu") or []
    )


@cache
def responses() -> dict[str, tuple[Text, ...]]:
    """Response name ("utter_faq/care") to its variants, of the topics' files and of domain.yml."""
    return {
        name: tuple(
            Text(
                f"{inside(path)}, {name}",
                name.removeprefix("utter_"),
                variant["text"],
                tuple((b["title"], b["payload"]) for b in variant.get("buttons") or ()),
            )
            for variant in variants
        )
        for path in [*FILES, ROOT / "domain.yml"]
        for name, variants in (read(path).get("responses") or {}).items()
    }


@cache
def notices() -> tuple[Text, ...]:
    return tuple(
        Text(f"data/notices.yml, {name} ({language})", name, text)
        for name, languages in read(DATA / "notices.yml")["notices"].items()
        for language, texts in languages.items()
        for text in texts
    )


@cache
def letters() -> tuple[Text, ...]:
    """The readable part of each template of a letter or page."""
    found = []
    for path in TEMPLATES:
        words = re.sub(r"\s+", " ", MARKUP.sub(" ", path.read_text(encoding="utf-8"))).strip()
        found.append(Text(inside(path), path.stem, words))
    return tuple(found)


def spoken() -> Iterator[Text]:
    """What the assistant says in a chat."""
    for variants in responses().values():
        yield from variants
    yield from notices()


def of_topics(*routes: str) -> list[Text]:
    return [text for texts in responses().values() for text in texts if text.topic.split("/")[0] in routes]


def the_same(line: str) -> str:
    """A line without what does not make it another one: case, punctuation, ё."""
    return re.sub(r"\W+", " ", line.lower().replace("ё", "е")).strip()


def complain(findings: list[str], remedy: str) -> None:
    assert not findings, "\n".join([f"{remedy}:", *findings])


RETRIEVAL = pytest.mark.parametrize("topic", [t for t in topics() if "/" in t.name], ids=lambda t: t.name)
RESPONSE = pytest.mark.parametrize("name", sorted(name for name in responses() if "/" in name))


@pytest.mark.parametrize("path", [*FILES, ROOT / "domain.yml", ROOT / "shop.yml"], ids=inside)
def test_a_data_file_can_be_read_and_says_first_what_it_is_about(path):
    """Trainers open forty files a day; the first line tells them whether they are in the right one."""
    assert path.read_text(encoding="utf-8").startswith("# "), f"{inside(path)}: begin the file with a comment"
    assert isinstance(read(path), dict), f"{inside(path)}: expected keys such as `nlu:` at the top level"


@RETRIEVAL
def test_a_topic_has_enough_examples_in_both_languages(topic):
    """Below a dozen the classifier guesses, and one language starves beside the other."""
    russian = sum(bool(CYRILLIC.search(example)) for example in topic.examples)
    english = len(topic.examples) - russian

    assert min(russian, english) >= LEAST_EXAMPLES, (
        f"{topic.file}, {topic.name}: {russian} Russian and {english} English examples; "
        f"write at least {LEAST_EXAMPLES} of each"
    )


def test_an_example_belongs_to_one_topic_and_stands_there_once():
    """Two topics with the same line teach the classifier to toss a coin."""
    places = defaultdict(list)
    for topic in topics():
        for example in topic.examples:
            places[the_same(example)].append(f"{topic.file} ({topic.name})")
    findings = [f"  “{line}” in {', '.join(files)}" for line, files in places.items() if line and len(files) > 1]

    complain(findings, "keep each of these lines in one topic")


def test_no_example_is_a_held_out_line():
    """A message that was trained on measures nothing: the score would be a lie."""
    held_out = {the_same(message.text) for message in read_held_out()}
    findings = [
        f"  {topic.file} ({topic.name}): “{example}”"
        for topic in topics()
        for example in topic.examples
        if the_same(example) in held_out
    ]

    complain(findings, "these lines are kept for measuring (tests/nlu/heldout.tsv); write others")


def test_examples_hold_nothing_that_rasa_reads_as_markup():
    """Brackets are entities and a slash is a command in Rasa's format; an address has no place in training data."""
    findings = [
        f"  {topic.file} ({topic.name}): “{example}”"
        for topic in topics()
        for example in topic.examples
        if re.search(r"[\[\](){}|@]", example) or example.startswith("/")
    ]

    complain(findings, "take out brackets, |, @ and a leading /")


@RETRIEVAL
def test_a_topic_has_a_title_for_subjects_in_both_languages(topic):
    """The title becomes the subject of a letter: it has to be there, short, and in its language."""
    for language in ("ru", "en"):
        title = topic.title.get(language, "")

        assert title, f"{topic.file}, {topic.name}: add metadata.title.{language}"
        assert len(title) <= LONGEST_TITLE, (
            f"{topic.file}, {topic.name}: shorten “{title}” to {LONGEST_TITLE} characters"
        )
        assert bool(CYRILLIC.search(title)) == (language == "ru"), (
            f"{topic.file}, {topic.name}: “{title}” is not {language}"
        )
        assert not title.endswith((".", "!", ",")), f"{topic.file}, {topic.name}: no punctuation after “{title}”"


@RETRIEVAL
def test_a_topic_has_an_answer(topic):
    """A topic that is understood and has no text leaves the customer in silence."""
    assert f"utter_{topic.name}" in responses(), f"{topic.file}: add `utter_{topic.name}:` under `responses:`"


@RESPONSE
def test_an_answer_has_a_topic(name):
    """A text that no message can reach is a slip in its name."""
    assert name.removeprefix("utter_") in {topic.name for topic in topics()}, (
        f"{responses()[name][0].place}: no intent is called {name.removeprefix('utter_')}"
    )


@RESPONSE
def test_an_answer_has_enough_variants_that_need_no_fact_in_both_languages(name):
    """The customer who asks twice gets other words, and one whose fact is not set gets an answer at all."""
    plain = [text.language for text in responses()[name] if "{fact_" not in text.text]

    for language in ("ru", "en"):
        assert plain.count(language) >= LEAST_VARIANTS, (
            f"{responses()[name][0].place}: {plain.count(language)} {language} variants without a fact; "
            f"write at least {LEAST_VARIANTS}"
        )


@RESPONSE
def test_an_answer_that_can_use_a_fact_can_use_it_in_both_languages(name):
    """Otherwise setting a fact in shop.yml changes what half of the customers hear."""
    facts = {
        language: {p for text in responses()[name] if text.language == language for p in PLACEHOLDER.findall(text.text)}
        for language in ("ru", "en")
    }
    russian, english = ({p for p in facts[language] if p.startswith("fact_")} for language in ("ru", "en"))

    assert russian == english, (
        f"{responses()[name][0].place}: the facts {sorted(russian ^ english)} are in one language only"
    )


def test_texts_outside_topics_have_both_languages():
    """An error text in one language only is silence in the other: the answer would be empty and the turn repeated."""
    findings = [
        f"  {texts[0].place}"
        for texts in responses().values()
        if {text.language for text in texts} != {"ru", "en"}
    ]  # fmt: skip
    findings += [
        f"  data/notices.yml, {name}"
        for name, languages in read(DATA / "notices.yml")["notices"].items()
        if not all(languages.get(language) for language in ("ru", "en"))
    ]

    complain(findings, "write the missing language")


def test_texts_name_only_what_can_be_filled_in():
    """An unknown placeholder reaches the customer as "{agnet}"; a fact must stand in shop.yml, if only as null."""
    facts = {f"fact_{name}" for name in read(ROOT / "shop.yml")["facts"]}
    findings = []
    for texts in responses().values():
        for text in texts:
            known = SHOP_WORDS | facts | (set() if "/" in text.topic else CASE_WORDS)
            findings += [f"  {{{p}}} in {text.says}" for p in PLACEHOLDER.findall(text.text) if p not in known]
    for text in notices():
        findings += [f"  {{{p}}} in {text.says}" for p in PLACEHOLDER.findall(text.text) if p not in NOTICE_WORDS]

    complain(findings, "not known; see docs/trainers.md for the words in braces, shop.yml for the facts")


def test_texts_are_short_enough_to_be_read():
    """A messenger shows about this much without scrolling."""
    findings = [f"  {len(text.text)} characters: {text.says}" for text in spoken() if len(text.text) > LONGEST_TEXT]

    complain(findings, f"shorten to {LONGEST_TEXT} characters")


@pytest.mark.parametrize("reason", FORBIDDEN)
def test_texts_avoid_words_that_hurt(reason):
    """The shop's voice: the reasons stand in `FORBIDDEN`, and one of them is the message of this failure."""
    findings = []
    for text in [*spoken(), *letters()]:
        findings += [
            f"  “{b}” in {text.says}" for b in FORBIDDEN[reason] if re.search(rf"\b{re.escape(b)}", text.text, re.I)
        ]

    complain(findings, f"say it otherwise, {reason}")


def test_texts_hold_no_number_but_five_per_cent():
    """Prices, terms and addresses change in shop.yml; a number in a text goes stale there unseen."""
    findings = [
        f"  {text.says}"
        for text in spoken()
        # The form shows what an order number looks like.
        if not text.topic.startswith("ask_case_form_") and re.search(r"\d", re.sub(r"\b5 ?%", "", text.text))
    ]

    complain(findings, "put the number into a fact of shop.yml; only “5 %” may stand in a text")


def test_only_the_form_shows_an_example_address():
    """An address in a text invites to write there; the customer writes nowhere, we do."""
    findings = [
        f"  {t.says}" for t in spoken() if re.search(r"\S@\S", t.text) and not t.topic.startswith("ask_case_form_")
    ]

    complain(findings, "take the address out")


def test_a_problem_is_answered_with_an_apology_in_the_first_sentence():
    """Somebody whose jeans are late hears that we are sorry before anything else, and sorry about that very thing."""
    findings = [
        f"  {text.says}"
        for text in of_topics("case", "complaint")
        if text.topic in PROBLEMS and not APOLOGY.search(re.split(r"(?<=[.!?])\s", text.text)[0])
    ]

    complain(findings, "begin with прости-, извини-, жаль, неловко, виноват / sorry, apologise")


def test_cases_are_answered_without_a_question():
    """The form asks next; two questions in one message get one answer."""
    findings = [f"  {text.says}" for text in of_topics("case", "human", "complaint") if "?" in text.text]

    complain(findings, "make it a statement")


def test_exclamation_marks_are_rare_and_never_meet_a_problem():
    """One at most; cheerfulness towards somebody with a problem is mockery."""
    findings = [f"  {t.says}" for t in spoken() if t.text.count("!") > (0 if t.topic in PROBLEMS else 1)]

    complain(findings, "one “!” at most, none in a problem topic")


def test_doubts_are_met_in_three_sentences():
    """Name the worry, one fact, one small step: more sounds like talking somebody into it."""
    findings = [
        f"  {text.says}" for text in of_topics("reassure") if len(re.findall(r"[.!?](?=\s|$)", text.text)) > 3
    ]  # fmt: skip

    complain(findings, "cut it to three sentences")


def test_buttons_are_short_and_stand_in_the_language_of_their_text():
    """A cut title is a riddle, and VK refuses the whole keyboard."""
    findings = [
        f"  [{title}] under {text.says}"
        for text in spoken()
        for title, _ in text.buttons
        if len(title) > LONGEST_BUTTON or bool(CYRILLIC.search(title)) != (text.language == "ru")
    ]

    complain(findings, f"at most {LONGEST_BUTTON} characters, in the language of the text")


def test_a_button_that_steers_names_a_known_intent():
    """Rasa answers an unknown "/intent" with nothing."""
    intents = set(read(ROOT / "domain.yml")["intents"])
    findings = [
        f"  [{title}] {payload} under {text.says}"
        for text in spoken()
        for title, payload in text.buttons
        if payload.startswith("/") and payload.removeprefix("/") not in intents
    ]

    complain(findings, "not among the intents of domain.yml")


@pytest.mark.engine
def test_a_button_that_speaks_is_understood():
    """The customer pressed what we offered: "I didn't get that" would be absurd."""
    payloads = sorted({p for text in spoken() for _, p in text.buttons if not p.startswith("/")})
    readings = zip(payloads, classify(payloads), strict=True)

    findings = [f"  “{text}” is {read.topic}" for text, read in readings if read.route not in ("faq", "case", "human")]

    complain(findings, "no topic answers this button: add its text to the examples of one")
