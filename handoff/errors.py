"""The root of what is raised on purpose, for whoever can do something about it."""


class HandoffError(Exception):
    """Its message says what is wrong or what to do; it holds no personal data."""
