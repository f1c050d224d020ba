"""Checks of how the engine starts, without TensorFlow too. Run by tests.engine_run on the engine's own Python."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import rasa
from rasa.core.channels import BUILTIN_CHANNELS
from rasa.engine.graph import ExecutionContext
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.local_model_storage import LocalModelStorage
from rasa.engine.storage.resource import Resource
from rasa.graph_components.providers.domain_provider import DomainProvider
from rasa.shared.utils.common import class_from_module_path
from rasa.shared.utils.io import read_config_file

from bot.engine.light import COMPONENTS, LEFT_OUT, TRAINING, FullEngineNeeded, needing_tensorflow
from bot.engine.model_domain import read_domain_once
from bot.engine.unused import CHANNELS
from tests.engine_checks import MODEL, ROOT

RASA = Path(rasa.__file__).parent
#: The engine that these checks run on.
LIGHT = find_spec("tensorflow") is None


def source(module: str) -> list[ast.stmt]:
    """What stands at the top level of a module of Rasa, which is not imported for it."""
    path = RASA.parent / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8")).body


def imported(module: str) -> set[str]:
    """The packages that a module imports as soon as it is imported itself."""
    plain = {name.name for line in source(module) if isinstance(line, ast.Import) for name in line.names}
    parts = {line.module or "" for line in source(module) if isinstance(line, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | parts}


def end(want: Callable[[], Any]) -> str:
    """With what message the program would end; empty where it goes on."""
    try:
        want()
    except FullEngineNeeded as needed:
        return str(needed.code)
    return ""


def check_light_leaves_out_what_imports_tensorflow_and_nothing_else() -> None:
    """Another component that needs it, or one that no longer does, and the list has to follow."""
    files = (path.relative_to(RASA.parent).with_suffix("") for path in RASA.rglob("*.py"))
    modules = {".".join(path.parts).removesuffix(".__init__") for path in files}
    needing = {module for module in modules if imported(module) & {"tensorflow", "keras"}}

    assert {module for module in needing if not module.startswith("rasa.utils.tensorflow.")} == set(COMPONENTS)
    assert needing >= set(TRAINING)


def check_what_is_left_out_is_there_under_its_name() -> None:
    """A class that Rasa renames would no longer be recognised in config.yml."""
    for module, names in LEFT_OUT.items():
        assert set(names) <= {line.name for line in source(module) if isinstance(line, ast.ClassDef)}, module


def check_nothing_pretends_to_be_tensorflow() -> None:
    """A package that can do without it must see that it is not there."""
    if LIGHT:
        assert not {"tensorflow", "keras", "tensorflow_hub"} & {name.partition(".")[0] for name in sys.modules}


def check_each_component_left_out_says_so_when_it_is_wanted() -> None:
    """By a training, with its name or its module, and by whatever loads a model; on the full engine it is there."""
    for module, name in COMPONENTS.items():
        path = f"{module}.{name}"
        for want in (
            lambda name=name: DefaultV1Recipe._from_registry(name).types,
            lambda path=path: DefaultV1Recipe._from_registry(path).types,
            lambda path=path: class_from_module_path(path).load,
        ):
            message = end(want)
            assert (name in message and "make engine-full" in message) == LIGHT, (path, message)


def check_channels_left_out_are_rasas_own_under_their_names() -> None:
    for module, (name, channel) in CHANNELS.items():
        assert BUILTIN_CHANNELS[channel] is getattr(import_module(f"rasa.core.channels.{module}"), name)


def check_plots_are_for_tests_only() -> None:
    """Whatever else would draw in a running engine must find the module."""
    using = {path.name for path in RASA.rglob("*.py") if "rasa.utils.plotting" in path.read_text("utf-8")}

    assert using == {"test.py", "model_testing.py"}


def check_an_engine_loads_no_library_of_another_messenger_and_no_matplotlib() -> None:
    """And a channel that credentials.yml asks for all the same ends it with what to do."""
    program = """
import sys
from bot.engine.light import leave_tensorflow_out
from bot.engine.unused import CHANNELS, leave_unused_out
leave_unused_out()
leave_tensorflow_out()
import rasa.__main__, rasa.core.run, rasa.nlu.test
libraries = "aiogram fbmessenger mattermostwrapper rocketchat_API slack_sdk twilio webexteamssdk matplotlib"
assert not set(libraries.split()) & set(sys.modules), set(libraries.split()) & set(sys.modules)
rasa.core.run.create_http_input_channels("telegram", None)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 1, done.stderr
    assert "channel telegram is left out" in done.stderr, done.stderr


def check_components_that_need_tensorflow_are_found_in_a_configuration() -> None:
    policies = [{"name": "RulePolicy"}, {"name": "rasa.core.policies.ted_policy.TEDPolicy", "epochs": 1}]

    assert needing_tensorflow({"pipeline": [{"name": "DIETClassifier"}], "policies": policies}) == [
        "DIETClassifier",
        "rasa.core.policies.ted_policy.TEDPolicy",
    ]
    assert needing_tensorflow({"pipeline": None}) == []
    assert needing_tensorflow(read_config_file(ROOT / "config.yml")) == []


def check_the_domain_read_once_is_the_one_that_rasa_reads() -> None:
    """And Rasa still does what that replaces."""
    rasas = DomainProvider.load
    assert "Domain.from_path(resource_directory)" in inspect.getsource(rasas)
    with tempfile.TemporaryDirectory() as folder:
        storage, metadata = LocalModelStorage.from_model_archive(Path(folder), MODEL)
        given = ({}, storage, Resource("domain_provider"), ExecutionContext(metadata.predict_schema))
        slow = DomainProvider.load(*given).provide_inference()
        try:
            read_domain_once()
            quick = DomainProvider.load(*given).provide_inference()
        finally:
            DomainProvider.load = rasas

    assert quick.as_dict() == slow.as_dict()
    assert quick.fingerprint() == slow.fingerprint()
