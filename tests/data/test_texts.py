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

from handoff.shop import load_shop

from ..nlu.report import classify, read_held_out

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
FILES = sorted(DATA.rglob("*.yml"))
TEMPLATES = sorted(path for path in (ROOT / "handoff/mail/templates").rglob("*") if path.is_file())

LEAST_EXAMPLES = 12
LEAST_VARIANTS = 4
#: Requirement R50: apologies vary more than anything else, and each is tied to its topic.
LEAST_APOLOGIES = 6
LONGEST_TITLE = 30
LONGEST_TEXT = 600
#: Telegram and VK show about this much of a button's title; VK refuses more than 40 (its documentation of keyboards).
LONGEST_BUTTON = 40
#: Telegram shows any number, VK refuses more than 10 in a message; 8 can still be read as a list.
MOST_BUTTONS = 8
#: `MOST_OPTIONS` of bot/engine/classifier.py: so many topics are put before the buttons of these texts.
OFFERED = {"unclear": 3}

CYRILLIC = re.compile("[а-яё]", re.I)
PLACEHOLDER = re.compile(r"{(\w*)}")
#: "{Пришлите|Пришли}", read as bot/engine/talk.py reads it.
EITHER = re.compile(r"{([^{}|]*)\|([^{}|]*)}")
PLURAL = re.compile(r"\b(?:вы|вас|вами?|ваш\w*)\b", re.I)
SINGULAR = re.compile(r"\b(?:ты|тебя|тебе|тобой|тво(?:й|я|[её]|и|его|ему|им|[её]м|ей|ю|их|ими))\b", re.I)
#: Verbs for one reader only: "пришлите", "хотите"; "хочешь", "спросишь".
PLURAL_VERB = re.compile(r"\b\w+(?:[иеё]|[йь])те(?:сь)?\b", re.I)
SINGULAR_VERB = re.compile(r"\b\w+[иеё]шь(?:ся)?\b", re.I)
NO_VERB = {"сайте", "лишь"}
EMOJI = re.compile("[\u2600-\u27bf\u2b50\ufe0f\U0001f000-\U0001faff]")
FIRST_SENTENCE = re.compile(r"(?<=[.!?])\s")
APOLOGY = re.compile("прост|извин|жаль|неловко|виноват|sorry|apolog", re.I)
#: Jinja's own words and the markup of a letter: no customer reads them.
MARKUP = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}|<style.*?</style>|<[^>]*>|^\s*#.*?$", re.S | re.M)

#: What `Shop.words` fills in, and what an action hands over with its response.
SHOP_WORDS = {"shop", "hours", "agents", "agent", "first_answer"}
CASE_WORDS = {"order_number", "address", "ticket", "masked", "deadline", "orders", "taken"}
NOTICE_WORDS = {"agent", "ticket", "masked", "megabytes", "characters"}

#: Something went wrong for the customer: the first sentence is an apology, and nothing is cheerful.
PROBLEMS = {
    *("case/compensation", "case/defect", "case/delay", "case/design_payout", "case/exchange_my_order"),
    *("case/lost_parcel", "case/payment_problem", "case/refund", "case/site_problem", "case/ticket_followup"),
    *("case/wrong_item", "case/delivery_problem_courier"),
    *("complaint/anger", "complaint/bot_frustration", "complaint/runaround", "complaint/slow_reply"),
}

#: Routes and texts in which one "!" is welcome; everywhere else somebody has a worry or a case (R51).
MAY_CHEER = {"faq", "smalltalk", "oos", "hello"}

#: Digits that may stand in a text: the pattern, the topics (beginnings), the source. All others come from shop.yml.
NUMBERS = [
    (r"\b5 ?%", ("faq/", "reassure/"), "requirement R12: no more than 5 % of clients decide to exchange"),
    (r"\b[15]\b", ("mark_question",), "scorecard P7: marks from 1 to 5"),
    (r"\b48213\b", ("ask_case_form_order_number",), "an example of ORDER_NUMBER in handoff/identifiers.py"),
]
#: Terms and prices in words go stale like those in digits; so does a currency.
SPELLED_OUT = re.compile(
    r"\b(?:один|одн[уа]|одного|дв[ае]|двух|тр[иё]х?|четыр\w+|пят[ьи]|шест[ьи]|сем[ьи]|восемь|девять|десят[ьи]|пару|"
    r"one|two|three|four|five|six|seven|eight|nine|ten|a couple of|an?|half an)[ -]"
    r"(?:(?:рабоч|календарн)\w+ |(?:working|business) )?"
    r"(?:час|дн[яе]|дней|день|недел|месяц|год|лет\b|минут|рубл|доллар|процент"
    r"|hours?\b|days?\b|weeks?\b|months?\b|years?\b|minutes?\b|per ?cent)"
    r"|[$€£₽]|\b(?:рубл|доллар|евро\b|dollar|euros?\b|roubles?\b|rubles?\b)",
    re.I,
)

#: Names that are written the same in every language.
NAMES = {"JPEG", "PNG", "HEIC", "WebP", "PDF"}

#: Beginnings of words and phrases (regular expressions), with the reason that a trainer gets to read.
FORBIDDEN = {
    "the next step is ours, never the customer's (R39)": [
        *("(?:write|e-mail|call|phone|contact|ring) us", "get in touch with us", "reach out to", "drop us a"),
        *("обра(?:титесь|тись|щайтесь|щайся)", "(?:напишите|напиши|пишите|пиши) нам", "(?:по)?звони(?:те)?\\b"),
        *("свяжитесь с", "свяжись с"),
    ],
    "an office wrote this, not a person (3.4, R53)": [
        *("в ближайшее время", "ваше обращение", "твоё обращение", "очень важно для", "согласно", "просьба "),
        *("данн(?:ый|ая|ое|ого|ой|ому|ом|ую)\\b", "данные джинсы", "уважаем", "в соответствии с", "в связи с"),
        *("kindly", "please be (?:advised|informed)", "inconvenience", "valued customer", "in accordance with"),
        *("as per", "с уважением", "служба поддержки", "команда поддержки", "(?:best|kind) regards", "ts help"),
        *("yours sincerely", "your support team"),
    ],
    "say what is known and offer to ask about the rest (R38)": [
        *("кажется", "вроде", "наверное", "возможно,", "думаю", "скорее всего", "по-видимому", "видимо"),
        *("(?:we|i) (?:think|guess|suppose)", "probably", "maybe", "perhaps", "i believe", "most likely"),
    ],
    "it blames the customer (R19)": [
        *("вы сами", "ты сама?\\b", "вы должны были", "ты должен был", "вам следовало", "тебе следовало"),
        *("как указано", "по (?:вашей|твоей) вине", "(?:ваша|твоя) (?:вина|ошибка)", "you should(?:'ve| have)\\b"),
        *("as stated", "if you experienced", "your own (?:fault|mistake)", "your (?:fault|mistake)"),
    ],
    "it suspects the customer (R16)": ["мошен", "обман", "подозр", "fraud", "scam", "cheat", "suspicio"],
    "it makes our promise smaller than it is (R6, R21)": [
        *("в пределах срока", "в рамках срока", "формально", "только (?:при|если) брак", "только в случае брака"),
        *("within the (?:stated|deadline|term)", "technically", "only if (?:it's )?(?:faulty|defective)"),
        *("only for defects", "only when faulty"),
    ],
    "it promises money, brags or presses (3.1, reassure)": [
        *("скидк", "discount", "лучши", "успейте", "успей\\b", "только сегодня", "hurry up", "last chance"),
    ],
    "it belittles a worry (R18)": [
        *("не (?:бойтесь|бойся|волнуйтесь|волнуйся|переживайте|переживай)", "don't worry", "ерунда", "пустяк"),
        *("nonsense", "silly"),
    ],
}

#: Said to somebody with a problem, any praise of ourselves is mockery (R22).
BOASTS = re.compile(
    r"\b(?:лучш(?!е\b)|самы[ей] |горд|best\b|proud|happy customers|довольн\w+ (?:клиент|покупател))", re.I
)


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
    def readings(self) -> tuple[str, str]:
        """As who says "вы" and who says "ты" gets it; English has only one."""
        return EITHER.sub(r"\1", self.text), EITHER.sub(r"\2", self.text)

    @property
    def says(self) -> str:
        return f"{self.place} [{self.language}]: “{self.text}”"


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
        Text(f"data/notices.yml, {name}", name, text)
        for name, languages in read(DATA / "notices.yml")["notices"].items()
        for texts in languages.values()
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


@cache
def must_contain() -> dict[str, Any]:
    return read(Path(__file__).parent / "must_contain.yml")


def plain(texts: tuple[Text, ...] | list[Text]) -> list[Text]:
    """The variants that are used while the fact is unset."""
    return [text for text in texts if "{fact_" not in text.text]


def lacks(text: Text, pattern: str) -> bool:
    return not all(re.search(pattern, reading, re.I) for reading in text.readings)


def first_sentence(reading: str) -> str:
    return FIRST_SENTENCE.split(reading)[0]


def the_same(line: str) -> str:
    """A line without what does not make it another one: case, punctuation, ё."""
    return re.sub(r"\W+", " ", line.lower().replace("ё", "е")).strip()


def complain(findings: list[str], remedy: str) -> None:
    assert not findings, "\n".join([f"{remedy}:", *dict.fromkeys(findings)])


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
    found = [text.language for text in plain(responses()[name])]

    for language in ("ru", "en"):
        assert found.count(language) >= LEAST_VARIANTS, (
            f"{responses()[name][0].place}: {found.count(language)} {language} variants without a fact; "
            f"write at least {LEAST_VARIANTS}"
        )


@pytest.mark.parametrize("topic", sorted(PROBLEMS))
@pytest.mark.parametrize("language", ["ru", "en"])
def test_a_problem_has_enough_apologies(topic, language):
    """Sorry in the same words every time is what robots say (R50)."""
    texts = [text for text in plain(responses()[f"utter_{topic}"]) if text.language == language]
    apologies = {the_same(s) for text in texts if APOLOGY.search(s := first_sentence(text.readings[0]))}

    assert len(apologies) >= LEAST_APOLOGIES, (
        f"{responses()[f'utter_{topic}'][0].place}: {len(apologies)} different {language} apologies without a fact; "
        f"write at least {LEAST_APOLOGIES}: {sorted(apologies)}"
    )


def test_no_variant_is_written_twice():
    """Chosen the second time, it would repeat the first word for word (R34)."""
    findings = []
    for texts in responses().values():
        lines = [the_same(text.readings[0]) for text in texts]
        findings += [f"  {text.says}" for text, line in zip(texts, lines, strict=True) if lines.count(line) > 1]

    complain(findings, "say it in other words")


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
    findings += [
        f"  data/notices.yml, {name} [{language}]: “{text}”"
        for name, languages in read(DATA / "notices.yml")["notices"].items()
        for language, texts in languages.items()
        for text in texts
        if bool(CYRILLIC.search(text)) != (language == "ru")
    ]

    complain(findings, "write the missing language")


def test_texts_name_only_what_can_be_filled_in():
    """An unknown placeholder reaches the customer as "{agnet}"; a fact must stand in shop.yml, if only as null."""
    facts = {f"fact_{name}" for name in read(ROOT / "shop.yml")["facts"]}
    findings = []
    for texts in responses().values():
        for text in texts:
            known = SHOP_WORDS | facts | (set() if "/" in text.topic else CASE_WORDS)
            worded = " ".join([text.text, *(title for title, _ in text.buttons)])
            findings += [f"  {{{p}}} in {text.says}" for p in PLACEHOLDER.findall(worded) if p not in known]
    for text in notices():
        findings += [f"  {{{p}}} in {text.says}" for p in PLACEHOLDER.findall(text.text) if p not in NOTICE_WORDS]

    complain(findings, "not known; see docs/trainers.md for the words in braces, shop.yml for the facts")


def test_words_for_both_manners_are_well_formed():
    """The engine reads "{вы|ты}" only without braces inside; anything else reaches the customer with its braces on.

    Notices and titles of buttons are not read so at all, and English has one word for both.
    """
    findings = []
    for text in spoken():
        pairs = EITHER.findall(text.text)
        rest = PLACEHOLDER.sub("", EITHER.sub("", text.text))
        if re.search(r"[{}|]", rest):
            findings.append(f"  stray brace or | in {text.says}")
        if any(formal.strip() == informal.strip() for formal, informal in pairs):
            findings.append(f"  both sides are the same in {text.says}")
        if pairs and (text.language == "en" or text in notices()):
            findings.append(f"  no place for {{a|b}} in {text.says}")
        findings += [f"  [{title}] under {text.says}" for title, _ in text.buttons if "|" in title]

    complain(findings, 'write "{Пришлите|Пришли}", without a placeholder inside')


def test_texts_hold_no_markup():
    """A messenger shows "<b>" as it is, or refuses the message."""
    findings = [f"  {text.says}" for text in spoken() if re.search(r"[<>]|&\w+;|\*\*|\]\(", text.text)]

    complain(findings, "plain words only, no HTML or Markdown")


def test_texts_hold_no_emoji():
    """The engine adds one for who sent one; a text with its own would smile at everybody (R51, 3.4)."""
    findings = [f"  {text.says}" for text in spoken() if EMOJI.search(text.text)]

    complain(findings, "take the emoji out")


@pytest.mark.parametrize(
    ("reading", "pronoun", "verb"),
    [(0, SINGULAR, SINGULAR_VERB), (1, PLURAL, PLURAL_VERB)],
    ids=["вы", "ты"],
)
def test_a_text_keeps_to_one_manner(reading, pronoun, verb):
    """Half "вы", half "ты" sounds like two people talking at once (R52).

    A notice does not know how the customer speaks: it asks with "пришлите" and names nobody.
    """
    findings = []
    for text in spoken():
        said = text.readings[reading]
        slips = set(pronoun.findall(said))
        if text not in notices():
            slips |= {word for word in verb.findall(said) if word.lower() not in NO_VERB}
        findings += [f"  “{word}” in {text.says}" for word in sorted(slips)]

    complain(findings, "write both, like {вам|тебе}")


def test_a_text_stays_in_its_language():
    """One foreign word, or one letter that only looks right, and the customer reads the work of a machine (R43)."""
    findings = []
    for text in spoken():
        if text.language == "ru":
            known = NAMES | set(re.findall(r"\S+@\S+", text.text))
            words = " ".join(word for word in PLACEHOLDER.sub(" ", text.text).split() if word.strip(".,") not in known)
            findings += [f"  “{word}” in {text.says}" for word in re.findall("[A-Za-z]+", words) if word not in NAMES]
        for title, payload in text.buttons:
            said = [title, *([] if payload.startswith("/") else [payload])]
            foreign = "[A-Za-z]" if text.language == "ru" else CYRILLIC
            findings += [f"  [{words}] under {text.says}" for words in said if re.search(foreign, words)]

    complain(findings, "say it in the language of the text; names stand in `NAMES`")


def test_texts_are_short_enough_to_be_read():
    """A messenger shows about this much without scrolling; counted as filled in and as "вы" and "ты" get it."""
    shop = load_shop(ROOT / "shop.yml")
    findings = []
    for text in spoken():
        words = shop.words(text.language, "telegram:1")
        filled = [PLACEHOLDER.sub(lambda p, w=words: w.get(p[1], p[0]), reading) for reading in text.readings]
        longest = max(map(len, filled))
        findings += [f"  {longest} characters: {text.says}"] if longest > LONGEST_TEXT else []

    complain(findings, f"shorten to {LONGEST_TEXT} characters")


@pytest.mark.parametrize("topic", must_contain()["topics"])
def test_an_answer_says_what_it_has_to(topic):
    """Whichever variant comes, the customer learns the fact: the table is must_contain.yml."""
    table, texts = must_contain()["topics"][topic], responses()[f"utter_{topic}"]
    findings = []
    for scope, among in (("every", texts), ("unset", plain(texts))):
        for what, patterns in (table.get(scope) or {}).items():
            findings += [f"  {what} missing in {t.says}" for t in among if lacks(t, patterns[t.language])]
    for what, patterns in (table.get("one") or {}).items():
        for language, pattern in patterns.items():
            if all(lacks(text, pattern) for text in plain(texts) if text.language == language):
                findings.append(f"  {what} in no variant of {texts[0].place} [{language}]")
    for fact in table.get("facts") or ():
        for language in ("ru", "en"):
            if not any(f"{{fact_{fact}}}" in text.text for text in texts if text.language == language):
                findings.append(f"  {{fact_{fact}}} in no variant of {texts[0].place} [{language}]")

    complain(findings, "add the words; tests/data/must_contain.yml says which")


@pytest.mark.parametrize("what", ["honest", "offer"])
def test_an_unset_fact_is_answered_honestly_and_with_an_offer(what):
    """No guess and no dead end: not known yet, shall I ask?"""
    patterns = must_contain()[what]
    findings = [
        f"  {text.says}"
        for name, texts in responses().items()
        if name.startswith("utter_faq/") and len(plain(texts)) < len(texts)
        for text in plain(texts)
        if lacks(text, patterns[text.language])
    ]

    remedies = {"honest": "say that it is not known yet", "offer": "offer to ask a person"}
    complain(findings, f"{remedies[what]}, in words that tests/data/must_contain.yml has under `{what}:`")


@pytest.mark.parametrize("reason", FORBIDDEN)
def test_texts_avoid_words_that_hurt(reason):
    """The shop's voice: the reasons stand in `FORBIDDEN`, and one of them is the message of this failure."""
    findings = []
    for text in [*spoken(), *letters()]:
        findings += [
            f"  “{found[0]}” in {text.says}"
            for b in FORBIDDEN[reason]
            if (found := next(filter(None, (re.search(rf"\b{b}", said, re.I) for said in text.readings)), None))
        ]

    complain(findings, f"say it otherwise, {reason}")


def test_a_problem_is_not_answered_with_praise_of_ourselves():
    """How can you be proud if you make mistakes yourself? (R22)"""
    findings = [
        f"  “{found[0]}” in {text.says}"
        for text in of_topics("case", "complaint", "human")
        if (found := next(filter(None, map(BOASTS.search, text.readings)), None))
    ]

    complain(findings, "take the praise out")


def test_texts_hold_no_number_but_those_with_a_source():
    """Prices, terms and addresses change in shop.yml; a number in a text goes stale there unseen (R4, R23, R32)."""
    findings = []
    for text in spoken():
        for said in [*text.readings, *(title for title, _ in text.buttons)]:
            rest = said
            for pattern, beginnings, _ in NUMBERS:
                rest = re.sub(pattern, "", rest) if text.topic.startswith(beginnings) else rest
            if found := re.search(r"\d", rest) or SPELLED_OUT.search(rest):
                findings.append(f"  “{found[0]}” in {text.says}")

    complain(findings, "put the number into a fact of shop.yml; `NUMBERS` says which may stand in a text, and why")


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
        if text.topic in PROBLEMS and not all(APOLOGY.search(first_sentence(said)) for said in text.readings)
    ]

    complain(findings, "begin with прости-, извини-, жаль, неловко, виноват / sorry, apologise")


def test_cases_are_answered_without_a_question():
    """The form asks next; two questions in one message get one answer."""
    findings = [f"  {text.says}" for text in of_topics("case", "human", "complaint") if "?" in text.text]

    complain(findings, "make it a statement")


def test_exclamation_marks_are_rare_and_never_meet_a_problem():
    """One at most; cheerfulness towards somebody with a problem or a doubt is mockery."""
    findings = [f"  {t.says}" for t in spoken() if t.text.count("!") > (t.topic.split("/")[0] in MAY_CHEER)]

    complain(findings, f"one “!” at most, and none outside {', '.join(sorted(MAY_CHEER))}")


def test_doubts_are_met_in_three_sentences():
    """Name the worry, one fact, one small step: more sounds like talking somebody into it."""
    findings = [
        f"  {text.says}" for text in of_topics("reassure") if len(re.findall(r"[.!?](?=\s|$)", text.text)) > 3
    ]  # fmt: skip

    complain(findings, "cut it to three sentences")


def test_buttons_fit_every_messenger():
    """A cut title is a riddle, and VK refuses the whole keyboard."""
    findings = []
    for text in spoken():
        titles = [title for title, _ in text.buttons]
        findings += [
            f"  [{title}] under {text.says}" for title in titles if not 0 < len(title.strip()) <= LONGEST_BUTTON
        ]
        if len(titles) + OFFERED.get(text.topic, 0) > MOST_BUTTONS:
            findings.append(f"  {len(titles)} buttons under {text.says}")
        if len(set(titles)) < len(titles):
            findings.append(f"  the same title twice under {text.says}")

    complain(findings, f"at most {MOST_BUTTONS} buttons, {LONGEST_BUTTON} characters each")


def test_variants_have_the_same_way_on_in_both_languages():
    """A button that only English customers get is half a feature."""
    findings = []
    for texts in responses().values():
        steering = [[p if p.startswith("/") else "" for _, p in text.buttons] for text in texts]
        for language in ("ru", "en"):
            of_language = [(t, s) for t, s in zip(texts, steering, strict=True) if t.language == language and s]
            if any(steering) and not of_language:
                findings.append(f"  no buttons [{language}]: {texts[0].place}")
        with_buttons = [(t, s) for t, s in zip(texts, steering, strict=True) if s]
        findings += [f"  {t.says}" for t, s in with_buttons if s != with_buttons[0][1]]

    complain(findings, "give these the same buttons as the first variant that has some")


def test_a_button_that_steers_names_a_known_intent():
    """Rasa answers an unknown "/intent" with nothing."""
    intents = set(read(ROOT / "domain.yml")["intents"])
    findings = [
        f"  [{title}] {payload} under {text.says}"
        for text in spoken()
        for title, payload in text.buttons
        if payload.startswith("/") and payload.removeprefix("/").partition("{")[0] not in intents
    ]

    complain(findings, "not among the intents of domain.yml")


@pytest.mark.engine
def test_a_button_that_speaks_is_understood():
    """The customer pressed what we offered: "I didn't get that" would be absurd."""
    payloads = sorted({p for text in spoken() for _, p in text.buttons if not p.startswith("/")})
    readings = zip(payloads, classify(payloads), strict=True)

    findings = [f"  “{text}” is {read.topic}" for text, read in readings if read.route not in ("faq", "case", "human")]

    complain(findings, "no topic answers this button: add its text to the examples of one")
