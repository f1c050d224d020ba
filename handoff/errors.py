"""The root of what `handoff` raises on purpose."""


class HandoffError(Exception):
    """Base of the errors that `handoff` raises on purpose; messages hold no personal data."""
