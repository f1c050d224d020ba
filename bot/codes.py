"""Takes a code from our letter out of a message: Rasa must not hear it, and the inbox does not keep it.

Six digits may be an order number as well. They count as a code when the conversation's code is the same, or when the
message says so and nothing else.
"""

from __future__ import annotations

import re
from datetime import datetime

from sqlalchemy.orm import Session

from bot.claims import claimed_item
from bot.models import InboxItem
from bot.notices import ConversationNotices
from handoff.codes import try_codes
from handoff.desk import Desk
from handoff.identifiers import mask_address

#: Six digits, perhaps with a gap in the middle; no part of a longer number, a date or an address.
CODE = re.compile(r"(?<![\w@+/.-])(?<!\d )[0-9]{3}[ -]?[0-9]{3}(?![\w@]|[ .,:/-]?\d)")

#: What is left in the inbox instead.
HIDDEN = "••••••"

CODE_WORDS = frozenset({"код", "кода", "code", "kod"})
#: Words beside a code that ask for nothing.
FILLERS = frozenset(
    {
        *("вот", "мой", "ваш", "это", "из", "письма", "письме", "в", "с", "пришёл", "пришел", "подтверждения"),
        *("привязки", "пожалуйста", "держите", "ввожу", "бот", "да", "привет", "здравствуйте"),
        *("here", "s", "is", "my", "your", "the", "it", "from", "in", "letter", "email", "mail", "e", "confirmation"),
        *("please", "got", "i", "hi", "hello", "yes"),
    }
)


def holds_code(item: InboxItem) -> bool:
    """Whether anything in the message looks like a code."""
    return item.kind == "text" and CODE.search(item.text) is not None


def take_code(
    session: Session, item: InboxItem, holder: str, desk: Desk, notices: ConversationNotices, now: datetime
) -> bool:
    """Bind the conversation if the message holds its code, and say so, in one transaction.

    Returns:
        Whether the message said nothing else and is answered. Else `item` goes on, without the code.

    Raises:
        ClaimLost: the message is no longer `holder`'s to answer.
    """
    found = CODE.findall(item.text) if holds_code(item) else []
    if not found:
        return False
    words = set(re.findall(r"[^\W\d]+", CODE.sub(" ", item.text).casefold()))
    alone = words <= CODE_WORDS | FILLERS
    row = claimed_item(session, item.id, holder)
    fitting = try_codes(session, row.sender_id, [_digits(code) for code in found], row.key, desk, now)
    if fitting is not None:
        binding, code = fitting
        hidden = {typed for typed in found if _digits(typed) == code}
        notices.about(session, row, "code_fits", now, masked=mask_address(binding.registered_address))
    elif alone and words & CODE_WORDS:
        hidden = set(found)
        notices.about(session, row, "code_wrong", now)
    else:
        return False
    row.text = item.text = CODE.sub(lambda typed: HIDDEN if typed.group() in hidden else typed.group(), item.text)
    if alone:
        row.state, row.done_at = "answered", now
    return alone


def _digits(typed: str) -> str:
    return re.sub(r"\D", "", typed)
