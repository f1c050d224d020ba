"""Shows the rules only the latest turns: constant time for each prediction, however long the conversation.

Read against Rasa 3.6.21: `RulePolicy` asks `DialogueStateTracker.past_states` for the states after every event of the
conversation, and compares its rules with the last few. No rule of data/rules.yml looks back further than `TURNS`.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from rasa.shared.core.domain import Domain, State
from rasa.shared.core.events import ActionExecuted, ActiveLoop, Event, UserUttered
from rasa.shared.core.trackers import DialogueStateTracker

#: Messages of the customer that rules may look back on.
TURNS = 5


def look_back_only_so_far() -> None:
    """Put our way of looking back into Rasa's place."""

    def past_states(self: DialogueStateTracker, domain: Domain, **options: Any) -> list[State]:
        states: list[State] = domain.states_for_tracker_history(_recent(self), **options)
        return states

    DialogueStateTracker.past_states = past_states


def _recent(tracker: DialogueStateTracker) -> DialogueStateTracker:
    """A tracker of the latest turns alone, in the form if the conversation was in one when they began."""
    events: deque[Event] = deque()
    turns = 0
    form = None
    for event in reversed(tracker.events):
        if turns < TURNS or not isinstance(events[0], ActionExecuted):
            turns += isinstance(event, UserUttered)
            events.appendleft(event)
        elif isinstance(event, ActiveLoop):
            form = event
            break
    if form is not None:
        events.appendleft(form)
    return DialogueStateTracker.from_events(tracker.sender_id, events, tracker.slots.values())
