"""Understands one message: language, route, topic, order number and address.

One joint Russian and English model in two levels, first the route, then the topic within each route: TF-IDF of words
and characters, a multilingual sentence embedding where its package is installed, logistic regression on top
(docs/decisions/0003 has the measurements). The route is reported as the intent, the topic through `response_selector`,
so Rasa's retrieval actions answer without a selector.
"""

from __future__ import annotations

import json
import logging
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.nlu.classifiers.classifier import IntentClassifier
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData
from scipy.sparse import csr_matrix

from bot.engine.features import EMBEDDING_WEIGHT, Features
from bot.engine.normaliser import Normaliser
from bot.engine.regression import Weights, fit
from handoff.identifiers import ADDRESS_REFERENCE, find_order_numbers

log = logging.getLogger(__name__)

#: Stands in for any order number, so that the model learns "has a number" and not the digits.
NUMBER_WORD = " номерзаказа "

SENTENCE_END = re.compile(r"(?<=[.?!…])\s+")

#: What may surround a bare order number or address without making it a message about something.
FILLER = {
    "заказ",
    "заказа",
    "номер",
    "мой",
    "вот",
    "почта",
    "адрес",
    "email",
    "e",
    "mail",
    "order",
    "number",
    "my",
    "is",
    "it's",
    "here",
}
FILLER |= {"no", "и", "and", "the", "имейл", "эл"}

#: Messages come again (buttons, greetings, "спасибо"); their reading does not change while a model is loaded.
CACHE_SIZE = 2000


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.INTENT_CLASSIFIER, is_trainable=True)
class TopicClassifier(IntentClassifier, GraphComponent):
    """Rasa graph component; trained from `route/topic` examples."""

    @staticmethod
    def get_default_config() -> dict[str, Any]:
        """See `rasa.engine.graph.GraphComponent.get_default_config`.

        Below `threshold` (probability of the route) or `familiarity` (cosine to the nearest example, with the
        embedding only) a message counts as not understood. `order_weight` multiplies the route case when an order
        number is named: a question in general does not name one. `case_weight` multiplies it always: a case taken for
        a question costs the customer most. One sentence of several whose probability to be a case is above
        `sentence_threshold` makes the message a case. `C` is the inverse of the L2 penalty.
        """
        return {
            "embedding": True,
            "C": 50.0,
            "threshold": 0.45,
            "familiarity": 0.35,
            "order_weight": 8.0,
            "case_weight": 1.4,
            "sentence_threshold": 0.8,
        }

    def __init__(self, config: dict[str, Any], model_storage: ModelStorage, resource: Resource) -> None:
        self._config = config
        self._storage, self._resource = model_storage, resource
        self._normaliser: Normaliser
        self._features: Features
        self._routes: Level
        self._topics: dict[str, Level] = {}
        self._examples = np.zeros((0, 0), dtype=np.float32)
        self._cache: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> TopicClassifier:
        """See `rasa.engine.graph.GraphComponent.create`."""
        return cls(config, model_storage, resource)

    def train(self, training_data: TrainingData) -> Resource:
        """Learn language, features and topics from the examples."""
        examples = [e for e in training_data.intent_examples if e.get("text")]
        texts = [e.get("text") for e in examples]
        labels = [e.get("intent_response_key") or e.get("intent") for e in examples]
        self._normaliser = Normaliser.of(texts)
        understood = [to_understand(text) for text in texts]
        self._features = Features.learn(understood, embedding=self._config["embedding"])
        terms, self._examples = self._features.of(understood)
        routes = [label.split("/")[0] for label in labels]
        self._routes = Level.learn(terms, self._examples, routes, self._config["C"])
        for route in sorted({label.split("/")[0] for label in labels if "/" in label}):
            rows = [row for row, of in enumerate(routes) if of == route]
            topics = [labels[row] for row in rows]
            self._topics[route] = Level.learn(terms[rows], self._examples[rows], topics, self._config["C"])
        self.persist()
        return self._resource

    def persist(self) -> None:
        """Keep the model as arrays and JSON: a pickle in a model file would run code when it is loaded."""
        with self._storage.write_to(self._resource) as folder:
            levels = {"routes": self._routes, **self._topics}
            arrays = {
                f"{name}.{part}": array for name, level in levels.items() for part, array in level.arrays().items()
            }
            examples = self._examples.astype(np.float16)
            np.savez_compressed(folder / "topics.npz", examples=examples, idf=self._features.idf, **arrays)
            stored = {
                "labels": {name: level.labels for name, level in levels.items()},
                "vocabularies": self._features.vocabularies,
                "embedding": self._features.embedding is not None,
                "normaliser": self._normaliser.as_json(),
            }
            (folder / "topics.json").write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(
        cls, config: dict[str, Any], model_storage: ModelStorage, resource: Resource,
        execution_context: ExecutionContext, **kwargs: Any,
    ) -> TopicClassifier:  # fmt: skip
        """See `rasa.engine.graph.GraphComponent.load`."""
        classifier = cls(config, model_storage, resource)
        with model_storage.read_from(resource) as folder:
            stored = json.loads((folder / "topics.json").read_text(encoding="utf-8"))
            with np.load(folder / "topics.npz", allow_pickle=False) as arrays:
                levels = {name: Level.stored(arrays, name, labels) for name, labels in stored["labels"].items()}
                classifier._examples = arrays["examples"].astype(np.float32)
                idf = arrays["idf"]
        classifier._routes = levels.pop("routes")
        classifier._topics = levels
        classifier._normaliser = Normaliser.from_json(stored["normaliser"])
        classifier._features = Features.stored(stored["vocabularies"], idf, embedding=stored["embedding"])
        return classifier

    def process(self, messages: list[Message]) -> list[Message]:
        """Set intent, ranking, topic and entities on each message."""
        for message in messages:
            text = message.get("text") or ""
            found = self._cache.get(text)
            if found is None:
                found = self._cache[text] = self.understand(text)
                if len(self._cache) > CACHE_SIZE:
                    self._cache.popitem(last=False)
            for key, value in found.items():
                message.set(key, value, add_to_output=True)
        return messages

    def understand(self, text: str) -> dict[str, Any]:
        """What Rasa is told about a text: `intent`, `intent_ranking`, `response_selector`, `entities`."""
        reading = self._normaliser.read(without_identifiers(text))
        entities = list(identifiers_in(text))
        numbered = any(entity["entity"] == "order_number" for entity in entities)
        bare = bool(entities) and is_bare(text)
        if reading.language and not bare:
            entities.append(entity("language" if reading.sure else "language_hint", reading.language, 0, len(text)))
        if bare:
            # Just the number or the address: inside a form it fills a slot, outside it is a case about that order.
            ranking = [("case/order_question", 1.0)]
        else:
            ranking = self._ranking(to_understand(reading.text, numbered), numbered)
            ranking = self._own_case_in(reading.text, ranking)
        return outcome(ranking, entities, self._config["threshold"], sorted(self._topics))

    def _own_case_in(self, text: str, ranking: list[tuple[str, float]]) -> list[tuple[str, float]]:
        """The ranking of the sentence that tells an own case, if one does: what happened outweighs what is asked."""
        sentences = [part for part in SENTENCE_END.split(text) if len(part.split()) >= 2]
        if len(sentences) < 2 or (ranking and ranking[0][0].startswith("case/")):
            return ranking
        for sentence in sentences:
            of_sentence = self._ranking(to_understand(sentence, False), False)
            case = sum(probability for topic, probability in of_sentence if topic.startswith("case/"))
            if case > self._config["sentence_threshold"]:
                return of_sentence
        return ranking

    def _ranking(self, text: str, numbered: bool) -> list[tuple[str, float]]:
        """All topics with their probabilities, likeliest first; nothing when the text is like no example."""
        terms, embedded = self._features.of([text])
        if embedded.size and float((self._examples @ embedded[0]).max()) < self._config["familiarity"]:
            return []
        routes = self._routes.probabilities(terms, embedded)
        if "case" in routes:
            routes["case"] *= self._config["case_weight"] * (self._config["order_weight"] if numbered else 1.0)
        total = sum(routes.values())
        ranking = []
        for route, weight in routes.items():
            topics = self._topics[route].probabilities(terms, embedded) if route in self._topics else {route: 1.0}
            ranking += [(topic, weight / total * probability) for topic, probability in topics.items()]
        return sorted(ranking, key=lambda pair: -pair[1])


@dataclass(frozen=True)
class Level:
    """A choice between labels: routes, or the topics of one route."""

    labels: list[str]
    weights: Weights

    @classmethod
    def learn(cls, terms: csr_matrix, embedded: np.ndarray, labels: list[str], strength: float) -> Level:
        """Fit on rows of features and their labels."""
        kinds = sorted(set(labels))
        classes = np.array([kinds.index(label) for label in labels])
        return cls(kinds, fit(terms, EMBEDDING_WEIGHT * embedded, classes, strength=strength))

    @classmethod
    def stored(cls, arrays: Any, name: str, labels: list[str]) -> Level:
        """Rebuild from what `arrays` gave under this name."""
        parts = (arrays[f"{name}.{part}"].astype(np.float32) for part in ("terms", "meaning", "bias"))
        return cls(labels, Weights(*parts))

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights in half precision, which changes no decision and halves the file."""
        weights = self.weights
        return {
            "terms": weights.terms.astype(np.float16),
            "meaning": weights.meaning.astype(np.float16),
            "bias": weights.bias,
        }

    def probabilities(self, terms: csr_matrix, embedded: np.ndarray) -> dict[str, float]:
        """Each label's probability for one text."""
        logits = self.weights.logits(terms, EMBEDDING_WEIGHT * embedded)[0]
        likely = np.exp(logits - logits.max())
        return {label: float(p) for label, p in zip(self.labels, likely / likely.sum(), strict=True)}


def entity(name: str, value: str, start: int, end: int) -> dict[str, Any]:
    """An entity as Rasa writes them."""
    return {"entity": name, "value": value, "start": start, "end": end, "extractor": "TopicClassifier"}


def identifiers_in(text: str) -> list[dict[str, Any]]:
    """Addresses (as references, see `handoff.identity.keep_address`) and order numbers as entities.

    A number that the customer takes back ("не 48231, а 48213") is left out.
    """
    found = [entity("address", m.group(), m.start(), m.end()) for m in ADDRESS_REFERENCE.finditer(text)]
    numbers = find_order_numbers(text)
    said = [n for n in numbers if not re.search(r"(?:\bне|\bnot)\s+$", text[: n[0]], re.I)] or numbers
    return found + [entity("order_number", number, start, end) for start, end, number in said]


def without_identifiers(text: str) -> str:
    """The text with order numbers and addresses taken out: they tell nothing about language or layout."""
    text = ADDRESS_REFERENCE.sub(" ", text)
    for start, end, _ in reversed(find_order_numbers(text)):
        text = f"{text[:start]} {text[end:]}"
    return text


def to_understand(text: str, numbered: bool | None = None) -> str:
    """The text as the model sees it: lower case, an order number as one fixed word."""
    if numbered is None:
        numbered = bool(find_order_numbers(text))
        text = without_identifiers(text)
    return re.sub(r"\s+", " ", text.lower().replace("ё", "е") + (NUMBER_WORD if numbered else "")).strip()


def is_bare(text: str) -> bool:
    """Whether there is nothing but identifiers and words like "order number"."""
    return all(word in FILLER for word in re.findall(r"[^\W\d_]+(?:'s)?", without_identifiers(text).lower()))


def outcome(
    ranking: list[tuple[str, float]], entities: list[dict[str, Any]], threshold: float, with_topics: list[str]
) -> dict[str, Any]:
    """A ranking of topics in Rasa's words; below the threshold it is Rasa's `nlu_fallback`."""
    routes: dict[str, float] = {}
    best: dict[str, tuple[str, float]] = {}
    for topic, probability in ranking:
        route = topic.split("/")[0]
        routes[route] = routes.get(route, 0.0) + probability
        best.setdefault(route, (topic, probability))
    intents = [{"name": r, "confidence": p} for r, p in sorted(routes.items(), key=lambda item: -item[1])]
    if not intents or intents[0]["confidence"] < threshold:
        intents.insert(0, {"name": "nlu_fallback", "confidence": 1 - (intents[0]["confidence"] if intents else 0.0)})
    selector: dict[str, Any] = {"all_retrieval_intents": with_topics}
    for route in with_topics:
        if route in best:
            topic, probability = best[route]
            response = {
                "responses": [],
                "confidence": probability,
                "intent_response_key": topic,
                "utter_action": f"utter_{topic}",
            }
            selector[route] = {"response": response, "ranking": []}
    return {
        "intent": intents[0],
        "intent_ranking": intents[:10],
        "response_selector": selector,
        "entities": entities,
    }
