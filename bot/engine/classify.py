"""Classifies texts with a trained model, outside the server: JSON strings in, one result a line out."""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Read one JSON string a line; write `language`, `route`, `topic`, `confidence` of each."""
    import asyncio
    import logging

    from bot.engine.light import leave_tensorflow_out

    logging.disable(logging.WARNING)
    leave_tensorflow_out()
    from rasa.core.agent import Agent
    from rasa.utils.log_utils import configure_structlog

    # Rasa's structured log goes to standard output, which is for the results.
    configure_structlog(logging.ERROR)
    agent = Agent.load(sys.argv[1])
    for line in sys.stdin:
        if line.strip():
            parsed = asyncio.run(agent.parse_message(json.loads(line)))
            sys.stdout.write(json.dumps(found(parsed)) + "\n")


def found(parsed: dict) -> dict[str, object]:  # type: ignore[type-arg]
    """What the first message of a conversation would be taken for."""
    intent = parsed["intent"]["name"]
    if intent == "identifiers":  # a number alone is about that order; the chat asks what about it
        intent, topic = "case", "case/order_question"
    else:
        topic = parsed.get("response_selector", {}).get(intent, {}).get("response", {}).get("intent_response_key")
    route = "oos" if intent == "nlu_fallback" else intent if topic else "smalltalk"
    languages = [e["value"] for e in parsed["entities"] if e["entity"] in ("language", "language_hint")]
    return {
        "language": languages[0] if languages else "ru",
        "route": route,
        "topic": (topic or intent).rpartition("/")[2],
        "confidence": round(float(parsed["intent"]["confidence"]), 4),
    }


if __name__ == "__main__":
    main()
