"""How often somebody may try to identify himself; past a limit nothing looks or takes longer than any wrong pair.

The figures are those of docs/decisions/0015-privacy.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from handoff.models import Claim, LetterOut

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

#: What one conversation may claim. Enough for typing errors and several orders, too little for guessing.
CLAIMS_PER_CHAT = ((HOUR, 5), (DAY, 10))

#: Wrong addresses per order number, over all conversations.
FAILURES_PER_ORDER = ((DAY, 5),)

#: Confirmations that conversations may cause in one mailbox, so that nobody is mail-bombed through us.
CONFIRMATIONS_PER_ADDRESS = ((HOUR, 3), (DAY, 6))

#: How long a conversation, or an order, is refused after failures have used up its limit. Right pairs bring no
#: cool-off: whoever has six questions in an hour is no guesser.
COOL_OFF = timedelta(hours=24)

#: The same pair within this time is the same attempt. All tries of a turn that fails take less (`bot.gateway`).
SAME_ATTEMPT = timedelta(minutes=5)

#: Older rows matter to no limit: a day in which failures add up, and the cool-off after it.
CLAIMS_KEPT = DAY + COOL_OFF

Limits = Sequence[tuple[timedelta, int]]


def record_claim(session: Session, sender_id: str, number: str, address: str, now: datetime) -> tuple[int, bool]:
    """Count the attempt before it is looked at, so that attempts made at once cannot slip past a limit.

    Returns the claim's id, and whether the conversation may claim. If not, the claim names no order, or one
    conversation could use up the failures of any order, and `settle_claim` removes it. A turn that is played again
    brings the same pair again: that is the same attempt, or a database that fails for a moment would use up the limit.
    """
    forget_old_claims(session, now)
    made = session.scalars(select(Claim).where(Claim.sender_id == sender_id)).all()
    pair = number[:64], _digest(address)
    for claim in made:
        if (claim.order_number, claim.address_hash) == pair and claim.at > now - SAME_ATTEMPT:
            return claim.id, True
    may_claim = not (
        any(sum(claim.at > now - span for claim in made) >= most for span, most in CLAIMS_PER_CHAT)
        or _cools_off([claim.at for claim in made if not claim.matched], CLAIMS_PER_CHAT, now)
    )
    claim = Claim(
        sender_id=sender_id,
        order_number=number[:64] if may_claim else "",
        address_hash="",
        at=now,
    )
    session.add(claim)
    session.flush()
    return claim.id, may_claim


def settle_claim(
    session: Session,
    claim: int,
    may_claim: bool,
    number: str,
    address: str,
    *,
    matched: bool,
    now: datetime,
) -> bool:
    """Note whether the pair was right, and say whether the limits allow to act on it; always the same statements."""
    if may_claim:
        # The hash as well: SQLite writes nothing when nothing changes, and a wrong pair would take one disk write less.
        outcome = {"matched": matched, "address_hash": _digest(address)}
        session.execute(update(Claim).where(Claim.id == claim).values(outcome))
    else:
        forget_claim(session, claim)
    failed = session.scalars(select(Claim.at).where(Claim.order_number == number[:64], ~Claim.matched)).all()
    return may_claim and not _cools_off(failed, FAILURES_PER_ORDER, now)


def may_confirm(session: Session, address: str, now: datetime) -> bool:
    """Whether the mailbox takes one more confirmation; a case past the limit is opened without one."""
    letters = select(func.count()).where(LetterOut.to_address == address, LetterOut.template == "confirmation")
    return not any(
        session.scalars(letters.where(LetterOut.created_at > now - span)).one() >= most
        for span, most in CONFIRMATIONS_PER_ADDRESS
    )


def _digest(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()


def forget_claim(session: Session, claim: int) -> None:
    """Nothing was learned from an attempt, so it does not count, unless it was settled before."""
    session.execute(delete(Claim).where(Claim.id == claim, Claim.address_hash == ""))


def forget_old_claims(session: Session, now: datetime) -> None:
    """Remove claims that no limit looks at any more."""
    session.execute(delete(Claim).where(Claim.at < now - CLAIMS_KEPT))


def recent_claims(session: Session, now: datetime) -> dict[str, int]:
    """How many claims of the last hour were right and how many wrong, over all conversations."""
    found = select(Claim.matched, func.count()).where(Claim.at > now - HOUR).group_by(Claim.matched)
    counts = {"right": 0, "wrong": 0}
    for matched, count in session.execute(found):
        counts["right" if matched else "wrong"] = count
    return counts


def _cools_off(failed: Iterable[datetime], limits: Limits, now: datetime) -> bool:
    """Whether failures have used up a limit less than `COOL_OFF` ago."""
    times = sorted(failed)
    return any(
        now - last < COOL_OFF and sum(last - span < at <= last for at in times) >= most
        for last in times
        for span, most in limits
    )
