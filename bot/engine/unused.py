"""Leaves out what Rasa imports at every start and a running engine never uses: 23 MB of memory.

Read against Rasa 3.6.21: `rasa.core.channels` imports Rasa's channels of all messengers, each with that messenger's
library; ours are in bot/channels, and the engine is told by its own (`bot.engine.channel`). `rasa.nlu.test` imports
Matplotlib for the plots of `rasa test`, which is a program of its own (`python -m bot.engine.rasa test`) and has them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NoReturn

#: Modules below `rasa.core.channels`: the class, and what the channel is called in credentials.yml.
CHANNELS = {
    "botframework": ("BotFrameworkInput", "botframework"),
    "facebook": ("FacebookInput", "facebook"),
    "hangouts": ("HangoutsInput", "hangouts"),
    "mattermost": ("MattermostInput", "mattermost"),
    "rocketchat": ("RocketChatInput", "rocketchat"),
    "slack": ("SlackInput", "slack"),
    "telegram": ("TelegramInput", "telegram"),
    "twilio": ("TwilioInput", "twilio"),
    "twilio_voice": ("TwilioVoiceInput", "twilio_voice"),
    "webexteams": ("WebexTeamsInput", "webexteams"),
}
PLOTS = "rasa.utils.plotting"


class LeftOutChannel:
    """Stands in Rasa's list of channels, under its name; it cannot be used."""

    channel = ""

    @classmethod
    def name(cls) -> str:
        """See `rasa.core.channels.channel.InputChannel.name`."""
        return cls.channel

    @classmethod
    def from_credentials(cls, credentials: dict[str, Any] | None) -> NoReturn:
        """See `rasa.core.channels.channel.InputChannel.from_credentials`; raises SystemExit, which says what to do."""
        raise SystemExit(
            f"credentials.yml: Rasa's own channel {cls.channel} is left out of this engine; take it out, and set the "
            "messenger up in .env (docs/operators.md)"
        )


class LeftOutPlots(ModuleType):
    """A module that can be imported and draws nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself looks for
            raise AttributeError(name)
        raise NotImplementedError("a running engine draws no plots: python -m bot.engine.rasa test")


def leave_unused_out() -> None:
    """Before the rest of Rasa is imported."""
    for place, (name, channel) in CHANNELS.items():
        module = ModuleType(f"rasa.core.channels.{place}")
        setattr(module, name, type(name, (LeftOutChannel,), {"channel": channel}))
        sys.modules[module.__name__] = module
    sys.modules[PLOTS] = LeftOutPlots(PLOTS)
