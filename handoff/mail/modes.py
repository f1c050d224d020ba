"""Who answers the customer: agents who write to us (`desk`), or a desk of their own that takes the ticket over.

In both modes the sender is our own address and the ticket is the registered address's; what differs is where a reply to
the agents' letter goes, and so what the letter may say and how it has to look to the program that receives it.
"""

from __future__ import annotations

from typing import Literal, Protocol

from handoff.models import Ticket

ModeName = Literal["desk", "external"]


class Mode(Protocol):
    """What the letters to the agents depend on.

    `automatic`: they say that a program wrote them. `confidential`: their text stays with the agents, so that it may
    hold what no customer reads.
    """

    @property
    def name(self) -> ModeName:
        """As in `HANDOFF_MODE`."""

    @property
    def automatic(self) -> bool:
        """See the class."""

    @property
    def confidential(self) -> bool:
        """See the class."""

    def reply_to(self, ticket: Ticket, ours: str) -> str:
        """Where a reply goes: to `ours`, the address signed for the agents, or past us."""


class DeskMode:
    """We are the desk: an agent's reply comes to us, and we send it on to the registered address."""

    name: ModeName = "desk"
    automatic = True
    confidential = True

    def reply_to(self, ticket: Ticket, ours: str) -> str:
        """See `Mode.reply_to`."""
        return ours


class ExternalMode:
    """A helpdesk or a shared mailbox takes over and writes to the customer by itself.

    Desks suppress or suspend what calls itself automatic. They show the letter as the customer's own message, and quote
    it in what they send to him.
    """

    name: ModeName = "external"
    automatic = False
    confidential = False

    def reply_to(self, ticket: Ticket, ours: str) -> str:
        """See `Mode.reply_to`; without a registered address we keep the reply until there is one."""
        return ticket.requester or ours


def mode_named(name: ModeName) -> Mode:
    """The mode that `HANDOFF_MODE` chooses."""
    return ExternalMode() if name == "external" else DeskMode()
