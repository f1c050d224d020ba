"""Lets a turn in which something breaks fail as a whole: Rasa then answers nothing, and the turn is played again.

Read against Rasa 3.6.21. `rasa.core.processor.MessageProcessor._run_action` logs an action that broke and goes on as
if it had done nothing; the customer would get half an answer and no ticket. And `rasa.core.channels.rest` answers with
what was said before an error, when the tracker could not be stored for instance, as if that were all.
"""

from __future__ import annotations

from typing import Any

from rasa.core.actions.action import Action, ActionExecutionRejection
from rasa.core.channels.channel import CollectingOutputChannel, UserMessage
from rasa.core.processor import MessageProcessor


def fail_as_a_whole() -> None:
    """Put both into Rasa's place."""
    run_action, handle_message = MessageProcessor._run_action, MessageProcessor.handle_message

    async def run_or_fail(self: MessageProcessor, action: Action, *arguments: Any, **named: Any) -> bool:
        run, failures = action.run, []

        async def watched(*given: Any) -> Any:
            try:
                return await run(*given)
            except ActionExecutionRejection:  # a form that does not understand: part of the dialogue
                raise
            except Exception as failure:
                failures.append(failure)
                raise

        action.run = watched  # made for this call alone, see `MessageProcessor._get_action`
        goes_on = await run_action(self, action, *arguments, **named)
        if failures:
            raise failures[0]
        return bool(goes_on)

    async def handle_or_say_nothing(self: MessageProcessor, message: UserMessage) -> Any:
        try:
            return await handle_message(self, message)
        except Exception:
            if isinstance(message.output_channel, CollectingOutputChannel):
                message.output_channel.messages.clear()
            raise

    MessageProcessor._run_action = run_or_fail
    MessageProcessor.handle_message = handle_or_say_nothing
