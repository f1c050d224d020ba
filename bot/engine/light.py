"""Lets Rasa run where TensorFlow is not installed: 2 GB, 350 MB of memory and 3 s of each start less.

Read against Rasa 3.6.21: it imports all its components at every start, and six of them import TensorFlow, which ours
does not need. Their modules are left out, and nothing pretends to be TensorFlow: what needs one of them ends with a
message that says what to do, and what imports TensorFlow itself fails as ever. docs/decisions/0017 has the reasons.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from rasa.shared.importers.importer import TrainingDataImporter
from rasa.shared.utils.io import read_config_file

#: Modules with a component that needs TensorFlow.
COMPONENTS = {
    "rasa.core.policies.ted_policy": "TEDPolicy",
    "rasa.core.policies.unexpected_intent_policy": "UnexpecTEDIntentPolicy",
    "rasa.nlu.classifiers.diet_classifier": "DIETClassifier",
    "rasa.nlu.featurizers.dense_featurizer.convert_featurizer": "ConveRTFeaturizer",
    "rasa.nlu.featurizers.dense_featurizer.lm_featurizer": "LanguageModelFeaturizer",
    "rasa.nlu.selectors.response_selector": "ResponseSelector",
}
#: Modules with what only those components use, by what `rasa.utils.train_utils` imports from them.
TRAINING = {
    "rasa.utils.tensorflow.callback": ("RasaModelCheckpoint", "RasaTrainingLogger"),
    "rasa.utils.tensorflow.data_generator": ("RasaBatchDataGenerator",),
}
LEFT_OUT = TRAINING | {module: (name,) for module, name in COMPONENTS.items()}


class FullEngineNeeded(SystemExit):
    """A component is asked for that needs TensorFlow.

    It ends the program, because Rasa answers every other exception while it loads a model by going on without one.
    """

    def __init__(self, *names: str) -> None:
        needed = f"{', '.join(names)} need{'s' if len(names) == 1 else ''} TensorFlow"
        super().__init__(
            f"{needed}, which the light engine leaves out; `make engine-full` installs the full one (2.7 GB)"
        )


class LeftOut(type):
    """A class that is there to be imported and compared; whoever wants more of it hears what to do."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # what Python itself looks for
            raise AttributeError(name)
        raise FullEngineNeeded(cls.__name__)

    def __call__(cls, *_: Any, **__: Any) -> Any:
        """See `type`."""
        raise FullEngineNeeded(cls.__name__)


def leave_tensorflow_out() -> None:
    """Before the rest of Rasa is imported; where TensorFlow is installed, nothing changes."""
    if find_spec("tensorflow"):
        return
    classes: dict[str, Any] = {}
    for module, names in LEFT_OUT.items():
        classes |= (here := {name: LeftOut(name, (), {"__module__": module}) for name in names})
        sys.modules[module] = ModuleType(module)
        vars(sys.modules[module]).update(here)

    from rasa.engine.recipes.default_recipe import DefaultV1Recipe

    # Rasa looks components up by their names; where config.yml leaves the choice to Rasa, these are among its own.
    DefaultV1Recipe._registered_components.update({name: classes[name] for name in COMPONENTS.values()})
    TrainingDataImporter.load_from_config = staticmethod(
        partial(_load_from_config, TrainingDataImporter.load_from_config)
    )
    # The server logs what ends it with a traceback; this message says it all.
    logging.getLogger("sanic.error").addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], FullEngineNeeded))
    )


def needing_tensorflow(config: dict[str, Any]) -> list[str]:
    """The components in config.yml that need TensorFlow, as they are named there, alone or with their module."""
    named = [str(component.get("name")) for part in ("pipeline", "policies") for component in config.get(part) or []]
    return [name for name in named if name.rpartition(".")[2] in COMPONENTS.values()]


def _load_from_config(
    rasas: Callable[..., TrainingDataImporter], config_path: str, *arguments: Any, **named: Any
) -> TrainingDataImporter:
    """See `TrainingDataImporter.load_from_config`: training and validation begin with it."""
    if needed := needing_tensorflow(read_config_file(config_path)):
        raise FullEngineNeeded(*needed)
    return rasas(config_path, *arguments, **named)
