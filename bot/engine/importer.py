"""Reads the examples once for a training, on every core.

Rasa 3.6 asks its importer for them three times, with other arguments each time, so that its cache does not help; and
whenever it merges them with a few messages of its own, some ten times, it copies and compares each example, computes
its fingerprint anew and sets each variant of its topic's answer on it. With 21,000 examples that was a quarter of a
training.
"""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import Any

from joblib import Parallel, delayed
from rasa.shared.importers.rasa import RasaFileImporter
from rasa.shared.nlu.constants import INTENT_RESPONSE_KEY, RESPONSE, TEXT
from rasa.shared.nlu.training_data.formats import rasa_yaml
from rasa.shared.nlu.training_data.loading import load_data
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData
from rasa.shared.nlu.training_data.util import intent_response_key_to_template_key


class Example(Message):
    """A message that nobody changes after it was read: one object does for all, and its fingerprint stays."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __deepcopy__(self, memo: dict[int, Any]) -> Example:
        return self

    def set(self, prop: str, info: Any, add_to_output: bool = False) -> None:
        """See `Message.set`.

        At every merge Rasa sets the intent that is there already and the answer of the topic. Neither makes it another
        example; answers have their part in the fingerprint of the data as a whole.
        """
        kept = self._cached_fingerprint if prop == RESPONSE or self.get(prop) == info else None
        super().set(prop, info, add_to_output)
        self._cached_fingerprint = kept


class ExamplesImporter(RasaFileImporter):
    """Rasa's own importer, but examples are read and checked once."""

    def get_nlu_data(self, language: str | None = "en") -> TrainingData:
        """See `TrainingDataImporter.get_nlu_data`; they are the same for every language."""
        return self._examples

    @cached_property
    def _examples(self) -> TrainingData:
        TrainingData._fill_response_phrases = _fill_response_phrases
        read = Parallel(n_jobs=-1, backend="multiprocessing")(delayed(_read)(path) for path in self._nlu_files)
        different = {example.fingerprint(): example for data in read for example in data.training_examples}
        return TrainingData(
            list(different.values()),
            dict(chain.from_iterable(data.entity_synonyms.items() for data in read)),
            list(chain.from_iterable(data.regex_features for data in read)),
            list(chain.from_iterable(data.lookup_tables for data in read)),
            dict(chain.from_iterable(data.responses.items() for data in read)),
        )


def _read(path: str) -> TrainingData:
    """One file; the fingerprints, of which a training needs every one, are computed here, on every core."""
    rasa_yaml.Message = Example  # what Rasa's reader makes of each line
    data = load_data(path)
    for example in data.training_examples:
        example.fingerprint()
    return data


def _fill_response_phrases(self: TrainingData) -> None:
    """Rasa's own, read against 3.6.21, but each topic's answer is looked up once: the last variant that has a text."""
    phrases: dict[str, str] = {}
    for example in self.training_examples:
        topic = example.get(INTENT_RESPONSE_KEY)
        if topic is None:
            continue
        if topic not in phrases:
            answer = intent_response_key_to_template_key(topic)
            variants = self.responses.get(answer, [])
            said = [variant[TEXT] for variant in variants if variant.get(TEXT)]
            phrases[topic] = said[-1] if said else answer if variants else ""
        if phrases[topic]:
            example.set(RESPONSE, phrases[topic])
