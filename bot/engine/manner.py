"""How a message is said: angrily, on first-name terms (Russian "ты"), with an emoji."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

#: Words of anger, by how they begin. Russian "ё" is written "е" here.
ANGRY = re.compile(
    r"\b(?:достал[аио]|надоел|задолбал|заебал|охренел|офигел|обнаглел|бесит|бесите|взбешен|возмутительн|безобрази|"
    r"кошмар|позор|хамств|издеваетесь|издевательств|сколько можно|отвратительн|омерзительн|наплевать|плевать|"
    r"идиот|дебил|придурк|сволоч|козл|уроды|урод[аыу]?\b|бля|пизд|хуй|хуе|хуи|нахер|нахрен|нафиг|ебан|"
    r"роспотребнадзор|прокуратур|в суд\b|судиться|никогда больше|больше никогда|худший|ужасн|верните немедленно|"
    r"ridiculous|unacceptable|disgust|outrag|furious|angry|pissed|wtf|fuck|shit|bullshit|damn|crap|pathetic|useless|"
    r"appalling|disgrace|fed up|sick of|sick and tired|worst|never again|lawyer|my solicitor|trading standards|sue you|"
    r"idiots?\b|morons?\b|stupid|how dare|are you kidding|joke of a|rip ?off|shame on)",
    re.I,
)
ANGRY_SIGNS = re.compile(r"[😡🤬😠👿💢🖕]")
EMOJI = re.compile(r"[\U0001F300-\U0001FAFF\u2600-\u27BF]|[:;]-?[)D]|\){2,}")
#: "ты" and its forms, and imperatives to one person that thousands write to a shop.
INFORMAL = re.compile(
    r"\b(?:ты|тебя|тебе|тобой|тво[йяеюи]|твоего|твоему|твоей|твоих|скажи|подскажи|расскажи|помоги|покажи|напиши|пиши|"
    r"ответь|отвечай|слушай|смотри|дай|давай|посмотри|передай|позови|объясни|можешь|знаешь|умеешь|хочешь|понимаешь|"
    r"думаешь|будешь|видишь|слышишь)\b",
    re.I,
)


@dataclass(frozen=True)
class Manner:
    """What an answer mirrors: no emoji and no exclamation marks for the angry, "ты" for who says it, and so on."""

    angry: bool
    informal: bool
    emoji: bool

    def as_json(self) -> dict[str, bool]:
        """For Rasa's parse output."""
        return asdict(self)


def manner_of(text: str) -> Manner:
    """How a text is said. Two signs make it angry; one angry word alone may be a worry ("is it the worst?")."""
    plain = text.lower().replace("ё", "е")
    letters = [letter for letter in text if letter.isalpha()]
    shouted = len(letters) >= 12 and sum(letter.isupper() for letter in letters) > 0.7 * len(letters)
    marks = len(re.findall(r"!{2,}|\?{3,}|[?!]*(?:\?!|!\?)[?!]*", text))
    signs = 2 * len(ANGRY_SIGNS.findall(text)) + len(ANGRY.findall(plain)) + shouted + (marks > 0)
    return Manner(angry=signs >= 2, informal=bool(INFORMAL.search(plain)), emoji=bool(EMOJI.search(text)))
