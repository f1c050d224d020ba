"""How likely a message's routes and topics are, and how Rasa is told."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, NamedTuple

#: Routes that are told to Rasa; nothing reads more, and each tracker keeps them for each message.
MOST_RANKED = 3


class Ranking(NamedTuple):
    """How likely each route and each topic is, likeliest first; empty when a text is like no example."""

    routes: dict[str, float]
    #: By route: its topics, and how likely each is if it is this route.
    topics: dict[str, list[tuple[str, float]]]

    @classmethod
    def of(cls, routes: dict[str, float], topics: dict[str, dict[str, float]]) -> Ranking:
        """From probabilities in any order; a route without topics counts as its own topic."""
        ranked = {route: by_likelihood(topics.get(route, {route: 1.0})) for route in routes}
        return cls(dict(by_likelihood(routes)), ranked)

    @property
    def likeliest(self) -> tuple[str, str]:
        """The likeliest route and its likeliest topic; empty when there is none."""
        route = next(iter(self.routes), "")
        return (route, self.topics[route][0][0]) if route else ("", "")


def route_of(topic: str) -> str:
    """The route of a topic: "faq" of "faq/care"."""
    return topic.split("/")[0]


def by_likelihood(likely: dict[str, float]) -> list[tuple[str, float]]:
    """The likeliest first."""
    return sorted(likely.items(), key=itemgetter(1), reverse=True)


def outcome(
    ranking: Ranking, entities: list[dict[str, Any]], threshold: float, with_topics: list[str]
) -> dict[str, Any]:
    """A ranking in Rasa's words; below the threshold it is Rasa's `nlu_fallback`."""
    intents = [{"name": route, "confidence": p} for route, p in ranking.routes.items()]
    if not intents or intents[0]["confidence"] < threshold:
        intents.insert(0, {"name": "nlu_fallback", "confidence": 1 - (intents[0]["confidence"] if intents else 0.0)})
    selector: dict[str, Any] = {"all_retrieval_intents": with_topics}
    route = intents[0]["name"]
    if route in with_topics:
        topic, probability = ranking.topics[route][0]
        response = {
            "responses": [],
            "confidence": ranking.routes[route] * probability,
            "intent_response_key": topic,
            "utter_action": f"utter_{topic}",
        }
        selector[route] = {"response": response, "ranking": []}
    return {
        "intent": intents[0],
        "intent_ranking": intents[:MOST_RANKED],
        "response_selector": selector,
        "entities": entities,
    }
