"""Grammar that tells a question in general from somebody's own case: tense, mood, person, condition, fear.

"Do you exchange?", "what if I have to exchange?", "exchange mine" share their words; what differs is grammar. N-grams
see each form of each verb as another word, so they learn this slowly; a handful of features says it outright.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import combinations, pairwise

from pymorphy3 import MorphAnalyzer

WORD = re.compile(r"[a-zа-я]+(?:['’][a-z]+)?|[?!.]")

#: One word or two, by what they tell. Russian "ё" is written "е" here (see `bot.engine.mentions.to_understand`).
LEXICON: dict[str, set[str]] = {
    "own": {"my", "mine", "our", "this", "these"},
    "condition": {"если", "if", "would", "could", "should", "when", "suppose", "случае", "whether", "ever"},
    "habit": {"обычно", "вообще", "всегда", "бывает", "usually", "normally", "generally", "typically", "always"},
    "possible": {"можно", "нельзя", "возможно", "реально", "can", "possible", "able", "allowed"},
    "fear": {
        "боюсь", "страшно", "вдруг", "опасаюсь", "сомневаюсь", "переживаю", "волнуюсь", "сомнения", "стремно", "боязно",
        "тревожно", "подвох", "afraid", "scared", "worried", "nervous", "fear", "hesitant", "doubt", "worry", "unsure",
        "catch", "trick", "risky", "seriously", "правда", "точно",
    },
    "still": {"еще", "уже", "до сих", "still", "yet", "already", "anymore", "longer", "since", "ago"},
    "again": {"опять", "снова", "again", "another", "сколько можно", "издеваетесь", "unbelievable", "ridiculous"},
    "asks": {
        "как", "где", "когда", "сколько", "какой", "какая", "какие", "какое", "куда", "кто", "зачем", "почему", "что",
        "how", "where", "when", "what", "which", "who", "why",
    },
    "you do": {"do", "does", "are", "is"},
    "done": {
        "didn't", "didnt", "haven't", "havent", "hasn't", "hasnt", "wasn't", "was", "were", "got", "came", "broke",
        "went", "sent", "lost", "tore", "has", "have", "had", "been", "i've", "arrived", "never", "won't", "wont",
    },
    "not": {"не", "нет", "not", "don't", "doesn't", "no", "never", "nobody", "никто", "n't"},
    "but": {"но", "but", "however", "only", "instead", "вместо"},
    "please": {"please", "pls", "пожалуйста", "прошу", "пж"},
    "want": {"хочу", "хотел", "хотела", "нужно", "надо", "want", "need", "i'd"},
    "thanks": {"спасибо", "благодарю", "thanks", "thank"},
    "too": {"слишком", "очень", "too", "way", "so"},
}  # fmt: skip

#: Verbs that begin an English sentence are requests; questions begin with other words.
NOT_REQUESTS = re.compile(
    r"^(?:how|where|when|what|which|who|why|is|are|do|does|can|could|would|will|if|the|a|i|my|no|ok)$"
)


@lru_cache(maxsize=1)
def _analyser() -> MorphAnalyzer:
    return MorphAnalyzer()


@lru_cache(maxsize=20_000)
def _grammar(word: str) -> frozenset[str]:
    """What the form of one Russian word tells."""
    tag = _analyser().parse(word)[0].tag
    found = set()
    if tag.POS == "VERB" and tag.mood == "impr":
        found.add("request")
    elif tag.POS == "VERB" and tag.tense == "past":
        found.add("past")
    elif tag.POS == "VERB" and tag.person == "2per":
        found.add("you do")
    elif tag.POS == "VERB" and tag.person == "1per":
        found.add("i do")
    elif tag.POS == "VERB" and tag.tense == "futr":
        found.add("future")
    elif tag.POS == "VERB":
        found.add("present")
    elif tag.POS == "INFN":
        found.add("infinitive")
    elif tag.POS in ("PRTS", "PRTF"):
        found.add("past")
    if "Apro" in tag and word.startswith(("мо", "сво", "наш")):
        found.add("own")
    if tag.POS == "NPRO" and tag.person == "1per":
        found.add("me")
    return frozenset(found)


def cues_of(text: str) -> list[str]:
    """The cues of a lower-case text, in order; pairs of neighbours and of any two, and where they begin and end."""
    found: list[str] = []
    words = WORD.findall(text)
    for position, word in enumerate(words):
        here = {cue for cue, forms in LEXICON.items() if word in forms}
        if re.match(r"[а-я]{2}", word):
            here |= _grammar(word)
        elif word.endswith("ed") and len(word) > 4:
            here.add("past")
        elif word in ("i", "me", "i'm", "im"):
            here.add("me")
        elif position == 0 and word.isalpha() and not here and not NOT_REQUESTS.match(word):
            here.add("first word other")
        if word in "?!.":
            here = {word}
        found += sorted(here)
    marks = [f"{a}>{b}" for a, b in pairwise(found)]
    edges = [f"^{found[0]}", f"{found[-1]}$"] if found else []
    length = "short" if len(words) <= 3 else "middle" if len(words) <= 8 else "long"
    both = [f"{a}&{b}" for a, b in combinations(sorted({cue for cue in found if cue != "."}), 2)]
    return [*found, *marks, *both, *edges, length]
