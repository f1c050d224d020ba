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
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.nlu.classifiers.classifier import IntentClassifier
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData
from scipy.sparse import csr_matrix

from bot.engine.familiarity import Examples
from bot.engine.features import EMBEDDING_WEIGHT, Features
from bot.engine.levels import Choices, Level
from bot.engine.manner import manner_of
from bot.engine.memory import give_back_memory
from bot.engine.mentions import entity, identifiers_in, is_bare, names_number, to_understand, without_identifiers
from bot.engine.normaliser import CYRILLIC, Normaliser
from bot.engine.parts import parts_of
from bot.engine.ranking import Ranking, by_likelihood, outcome, route_of

log = logging.getLogger(__name__)


#: Routes whose topics answer a question: these may be answered beside something else in one message.
ANSWERING = ("faq", "reassure")

#: The level that chooses between routes; each route with topics has one of its own, under its name.
ROUTES = "routes"

#: Steps of a level's training, chosen on writers left out of it (docs/decisions/0003).
ROUTE_STEPS, TOPIC_STEPS = 30, 20

#: As many questions are answered in one message.
MOST_QUESTIONS = 2

#: As many topics are offered when a message was not understood.
MOST_OPTIONS = 3

#: Longer examples do not read like something a button says.
OPTION_CHARACTERS = 60

#: Messages come again (buttons, greetings, "спасибо"); their reading does not change while a model is loaded. Some 8 kB
#: each, as in every message of a tracker.
CACHE_SIZE = 500


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
        `sentence_threshold` makes the message a case. A question is answered and the case offered where the case is at
        most `case_ahead` likelier or `case_behind` less likely. `C` is the inverse of the L2 penalty.
        """
        return {
            "embedding": True,
            "C": 50.0,
            "threshold": 0.35,
            "familiarity": 0.35,
            "order_weight": 8.0,
            "case_weight": 1.8,
            "sentence_threshold": 0.99,
            "case_ahead": 0.05,
            "case_behind": 0.3,
            "topic_tie": 0.12,
            "part_threshold": 0.7,
        }

    def __init__(self, config: dict[str, Any], model_storage: ModelStorage, resource: Resource) -> None:
        self._config = config
        self._storage, self._resource = model_storage, resource
        self._normaliser: Normaliser
        self._features: Features
        self._levels: dict[str, Level]
        self._choices: Choices
        self._examples: Examples
        self._options: dict[str, dict[str, dict[str, str]]] = {}
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
        self._features, terms, meaning = Features.learn(understood, embedding=self._config["embedding"])
        self._examples = Examples.of(meaning)
        meaning = EMBEDDING_WEIGHT * meaning
        routes = [route_of(label) for label in labels]
        choices = {ROUTES: (np.arange(len(labels)), routes)}
        for route in sorted({route_of(label) for label in labels if "/" in label}):
            rows = np.flatnonzero([of == route for of in routes])
            choices[route] = (rows, [labels[row] for row in rows])
        # The levels do not depend on each other; each is fitted on one core. The longest begins first.
        longest = sorted(choices, key=lambda name: -len(choices[name][0]) * len(set(choices[name][1])))
        learn, strength = delayed(Level.learn), self._config["C"]
        learnt = Parallel(n_jobs=-1, backend="multiprocessing")(
            learn(terms[rows], meaning[rows], of_rows, strength, ROUTE_STEPS if name == ROUTES else TOPIC_STEPS)
            for name, (rows, of_rows) in ((name, choices[name]) for name in longest)
        )
        self._levels = dict(zip(longest, learnt, strict=True))
        self._choices = Choices(self._levels)
        self._options = self._titled(examples, labels, terms, meaning)
        self.persist()
        return self._resource

    def _titled(
        self, examples: list[Message], labels: list[str], terms: csr_matrix, meaning: np.ndarray
    ) -> dict[str, dict[str, dict[str, str]]]:
        """Each titled topic as a choice: its `title`, and as `ask` the short example that is surest of it, by language.

        What a pressed choice says is understood like any message; so no topic needs a rule of its own for it.
        """
        rows: dict[tuple[str, str], list[int]] = {}
        titles: dict[str, dict[str, str]] = {}
        for row, (example, topic) in enumerate(zip(examples, labels, strict=True)):
            title = ((example.get("metadata") or {}).get("intent") or {}).get("title")
            text = example.get("text")
            if title and len(text) <= OPTION_CHARACTERS and not re.search(r"\d", text):
                titles[topic] = title
                rows.setdefault((topic, "ru" if CYRILLIC.search(text) else "en"), []).append(row)
        asks: dict[tuple[str, str], str] = {}
        for (topic, language), of_topic in rows.items():
            route = route_of(topic)
            features = terms[of_topic], meaning[of_topic]
            sure = np.ones(len(of_topic))
            for level, label in ((self._levels[ROUTES], route), (self._levels[route], topic)):
                sure *= level.likely(*features)[:, level.labels.index(label)]
            asks[topic, language] = examples[of_topic[int(sure.argmax())]].get("text")
        return {
            topic: {"title": title, "ask": {language: asks[topic, language] for language in title}}
            for topic, title in titles.items()
            if all((topic, language) in asks for language in title)
        }

    def persist(self) -> None:
        """Keep the model as arrays and JSON: a pickle in a model file would run code when it is loaded."""
        with self._storage.write_to(self._resource) as folder:
            arrays = {
                f"{name}.{part}": array
                for name, level in self._levels.items()
                for part, array in level.arrays().items()
            }
            np.savez_compressed(folder / "topics.npz", idf=self._features.idf, **self._examples.arrays(), **arrays)
            stored = {
                "labels": {name: level.labels for name, level in self._levels.items()},
                "vocabularies": self._features.vocabularies,
                "embedding": self._features.embedding is not None,
                "normaliser": self._normaliser.as_json(),
                "options": self._options,
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
                # First: while it is loaded the encoder takes 100 MB more than afterwards, and the rest needs them then.
                vocabularies, idf = stored.pop("vocabularies"), arrays["idf"]
                classifier._features = Features.stored(vocabularies, idf, embedding=stored["embedding"])
                levels = {name: Level.stored(arrays, name, labels) for name, labels in stored["labels"].items()}
                classifier._examples = Examples.stored(arrays)
        classifier._choices = Choices(levels)
        classifier._options = stored["options"]
        classifier._normaliser = Normaliser.from_json(stored["normaliser"])
        # The encoder reads its weights with the first text: a second that no customer should wait.
        classifier.understand("привет, hello")
        give_back_memory()
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
            self._cache.move_to_end(text)
            for key, value in found.items():
                message.set(key, value, add_to_output=True)
        return messages

    def understand(self, text: str) -> dict[str, Any]:
        """What Rasa is told about a text: `intent`, `intent_ranking`, `response_selector`, `entities`.

        For the answer (`bot.engine.answers`) there are also `manner` (how it is said), `also` (topics of further
        questions in it), `tie` (it may be about the customer's own order) and `options` (topics it may be about).
        """
        reading = self._normaliser.read(without_identifiers(text))
        entities = list(identifiers_in(text))
        numbered = names_number(text)
        bare = bool(entities) and is_bare(text)
        if reading.language and not bare:
            entities.append(entity("language" if reading.sure else "language_hint", reading.language, 0, len(text)))
        if bare:
            # Just the number or the address: inside a form it fills a slot, outside it we ask what about it.
            ranking, also, tie = Ranking.of({"identifiers": 1.0}, {}), [], False
        else:
            whole, *parts = self._rankings(reading.text, numbered)
            ranking, tie = self._tied(self._main_matter(whole, parts))
            also = self._questions_beside(ranking, parts)
        found = outcome(ranking, entities, self._config["threshold"], self._with_topics)
        options = self._offered(found["intent"]["name"], ranking)
        return {**found, "manner": manner_of(text).as_json(), "also": also, "tie": tie, "options": options}

    @property
    def _with_topics(self) -> list[str]:
        return sorted(route for route in self._choices.labels if route != ROUTES)

    def _main_matter(self, whole: Ranking, parts: list[Ranking]) -> Ranking:
        """The part that tells an own case, if one does; what is asked after a greeting or thanks; else the whole."""
        route, _ = whole.likeliest
        for part in parts:
            if route != "case" and part.routes.get("case", 0.0) > self._config["sentence_threshold"]:
                return part
        if route == "smalltalk":
            return next((part for part in parts if self._asks(part)), whole)
        return whole

    def _asks(self, part: Ranking) -> bool:
        """Whether a part surely asks something that a topic answers."""
        route, _ = part.likeliest
        return route in ANSWERING and part.routes[route] > self._config["part_threshold"]

    def _questions_beside(self, main: Ranking, parts: list[Ranking]) -> list[str]:
        """Topics that parts of the message surely ask about, beside the main one."""
        route, topic = main.likeliest
        asked = dict.fromkeys(part.likeliest[1] for part in parts if self._asks(part))
        return [other for other in asked if other != topic][: MOST_QUESTIONS - (route in ANSWERING)]

    def _tied(self, ranking: Ranking) -> tuple[Ranking, bool]:
        """Between a question and a case that are nearly as likely, the question is answered, the case offered.

        Nobody who only wonders is asked for an order number, so the two change places where the case is a little ahead.
        """
        likeliest = set(list(ranking.routes)[:2])
        case, faq = ranking.routes.get("case", 0.0), ranking.routes.get("faq", 0.0)
        close = -self._config["case_behind"] <= case - faq <= self._config["case_ahead"]
        if likeliest != {"case", "faq"} or not close:
            return ranking, False
        if case > faq:
            ranking = ranking._replace(routes=dict(by_likelihood(ranking.routes | {"case": faq, "faq": case})))
        return ranking, True

    def _offered(self, intent: str, ranking: Ranking) -> list[dict[str, dict[str, str]]]:
        """Topics to choose from: the likeliest when nothing was understood, the runner-up when two are as likely."""
        routes = ranking.routes
        if intent == "nlu_fallback":
            known = {t: p * routes[r] for r, topics in ranking.topics.items() for t, p in topics if t in self._options}
            return [self._options[topic] for topic, _ in by_likelihood(known)[:MOST_OPTIONS]]
        if intent not in ANSWERING:
            return []
        two = [(topic, p * routes[intent]) for topic, p in ranking.topics[intent] if topic in self._options][:2]
        close = len(two) > 1 and two[0][1] - two[1][1] < self._config["topic_tie"]
        return [self._options[two[1][0]]] if close else []

    def _rankings(self, text: str, numbered: bool) -> list[Ranking]:
        """Of the whole text and of each of its parts, which are encoded together."""
        texts = [to_understand(text, numbered), *(to_understand(part, False) for part in parts_of(text))]
        meanings = self._features.meanings(texts)
        numbers = [numbered, *(False for _ in texts[1:])]
        return [self._ranked(*each) for each in zip(texts, meanings, numbers, strict=True)]

    def _ranked(self, text: str, embedded: np.ndarray, numbered: bool) -> Ranking:
        """How likely each route and topic is; nothing when the text is like no example."""
        if embedded.size and not self._examples.any_near(embedded, self._config["familiarity"]):
            return Ranking({}, {})
        likely = self._choices.probabilities(self._features.terms(text), EMBEDDING_WEIGHT * embedded)
        routes = likely[ROUTES]
        if "case" in routes:
            routes["case"] *= self._config["case_weight"] * (self._config["order_weight"] if numbered else 1.0)
        total = sum(routes.values())
        return Ranking.of({route: weight / total for route, weight in routes.items()}, likely)
