"""Copies a tracker as it stands, instead of playing all its events again: constant time for each action of a turn.

Read against Rasa 3.6.21: `MessageProcessor._run_action` lets every action run on `DialogueStateTracker.copy`, which
builds a new tracker and updates it with every event of the conversation, three times a turn.
"""

from __future__ import annotations

from copy import copy

from rasa.shared.core.trackers import DialogueStateTracker


def copy_state() -> None:
    """Put our copy into Rasa's place."""
    DialogueStateTracker.copy = _copy


def _copy(self: DialogueStateTracker) -> DialogueStateTracker:
    """See `DialogueStateTracker.copy`. Events are shared, as there; what an update changes is not."""
    tracker = copy(self)
    tracker.events = self.events.copy()
    tracker.slots = {name: copy(slot) for name, slot in self.slots.items()}
    tracker.active_loop = copy(self.active_loop)
    return tracker
