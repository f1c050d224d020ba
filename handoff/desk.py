"""What every ticket and letter needs to know about the place it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from handoff.mail.modes import DeskMode, Mode
from handoff.notices import Notices
from handoff.shop import Shop


@dataclass(frozen=True)
class Desk:
    """The shop's support desk: who we are, where letters go, what signs our addresses and links, who answers.

    `escalation_address` is a manager's, who also hears of answers that are late; "" when there is none.
    """

    shop: Shop
    support_address: str
    agents_address: str
    base_url: str
    data_dir: Path
    signing_key: bytes
    notices: Notices
    mode: Mode = field(default_factory=DeskMode)
    #: The name of the mail server whose Authentication-Results are believed; "" believes none.
    auth_results_id: str = ""
    escalation_address: str = ""
