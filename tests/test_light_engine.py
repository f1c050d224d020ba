"""The engine without TensorFlow: what its lock leaves out, and what it says where TensorFlow is needed after all."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from bot.engine.serve import QUIET
from bot.engine_process import MODEL, PYTHON, ROOT, free_port

FULL = next(ROOT.glob("rasa-env/.venv/lib/python3*/site-packages/tensorflow"), None)
needs_the_light_engine = pytest.mark.skipif(FULL is not None, reason="the full engine is installed")

#: The least that Rasa trains on.
PROJECT = {
    "domain.yml": "intents: [greet]\nresponses: {utter_greet: [{text: hello}]}\n",
    "data.yml": 'nlu: [{intent: greet, examples: "- hello\\n- hi\\n"}]\n'
    "rules: [{rule: greet, steps: [{intent: greet}, {action: utter_greet}]}]\n",
    "diet.yml": "pipeline: [{name: WhitespaceTokenizer}, {name: DIETClassifier}]\npolicies: [{name: RulePolicy}]\n",
    "ted.yml": "pipeline: [{name: KeywordIntentClassifier}]\n"
    "policies: [{name: rasa.core.policies.ted_policy.TEDPolicy}]\n",
    # Rasa chooses, and writes what it chose into the file.
    "rasas_own.yml": "policies: [{name: RulePolicy}]\n",
}


def locked(name: str) -> dict[str, str]:
    """Each line of a lock file that names a package: the package with its condition, and its version."""
    lines = re.findall(r"^(\S+)==(\S+)( ; .*)? \\$", (ROOT / "rasa-env" / name).read_text(), re.MULTILINE)
    return {package + condition: version for package, version, condition in lines}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        head = "recipe: default.v1\nassistant_id: tests\nlanguage: en\n" if "pol" in text else 'version: "3.1"\n'
        (tmp_path / name).write_text(head + text)
    return tmp_path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Our model, as if it had been trained with DIETClassifier."""
    path = tmp_path / "diet.tar.gz"
    with tarfile.open(MODEL) as ours, tarfile.open(path, "w:gz") as other:
        for member in ours:
            content = ours.extractfile(member)
            if content is None or member.name.endswith(".npz"):
                continue
            told = content.read().replace(
                b'bot.engine.classifier.TopicClassifier"', b'rasa.nlu.classifiers.diet_classifier.DIETClassifier"'
            )
            member.size = len(told)
            other.addfile(member, io.BytesIO(told))
    return path


def ended(folder: Path, *command: str) -> tuple[int, str]:
    """How an engine's command ended by itself, and all that it printed; its standard input stays open."""
    environment = os.environ | QUIET | {"PYTHONPATH": str(ROOT), "RASA_TOKEN": "token", "ACTIONS_TOKEN": "token"}
    environment |= {"ACTIONS_URL": "http://127.0.0.1:1", "SHOP_FILE": "shop.yml", "TRACKER_DB": f"{folder}/trackers.db"}
    printed = folder / "printed.txt"
    with printed.open("w") as output, subprocess.Popen(
        [str(PYTHON), "-m", *command], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output
    ) as child:  # fmt: skip
        code = child.wait()
    return code, printed.read_text(encoding="utf-8")


def assert_said(code: int, printed: str, component: str) -> None:
    assert code == 1, printed
    assert f"{component} needs TensorFlow" in printed.splitlines()[-1]
    assert "`make engine-full`" in printed.splitlines()[-1]
    assert "Traceback" not in printed, printed


def test_the_light_engine_is_the_full_one_without_tensorflow():
    """The same versions: a conversation must not go another way because somebody needed TensorFlow."""
    light, full = locked("requirements.lock"), locked("full.lock")

    assert light.items() <= full.items()
    assert {"rasa", "scikit-learn", "pymorphy3"} <= {name.partition(" ")[0] for name in light}
    left_out = {name.partition(" ")[0] for name in full.keys() - light.keys()}
    assert {"tensorflow", "keras", "jax", "tensorboard"} <= left_out
    assert not [name for name in light if re.match("tensor|keras|jax", name)]


@needs_the_light_engine
@pytest.mark.engine
@pytest.mark.parametrize("config", ["diet", "ted", "rasas_own"])
def test_a_training_names_the_component_that_needs_tensorflow(project: Path, config: str):
    """By its name, with its module, and where config.yml leaves the choice to Rasa."""
    files = [
        "--config",
        f"{project}/{config}.yml",
        "--domain",
        f"{project}/domain.yml",
        "--data",
        f"{project}/data.yml",
    ]

    said = ended(project, "bot.engine.rasa", "train", *files, "--out", f"{project}/models")

    assert_said(*said, {"ted": "rasa.core.policies.ted_policy.TEDPolicy"}.get(config, "DIETClassifier"))
    assert not (project / "models").exists()


@needs_the_light_engine
@pytest.mark.engine
def test_so_does_a_validation(project: Path):
    """`make check` and `make test-nlu` say so before anybody trains."""
    files = ["--config", f"{project}/diet.yml", "--domain", f"{project}/domain.yml", "--data", f"{project}/data.yml"]

    assert_said(*ended(project, "bot.engine.rasa", "data", "validate", *files), "DIETClassifier")


@needs_the_light_engine
@pytest.mark.engine
def test_an_engine_does_not_start_with_a_model_that_needs_tensorflow(tmp_path: Path, model: Path):
    """Rasa itself would start without a model, and every message would wait."""
    said = ended(tmp_path, "bot.engine.serve", "--port", str(free_port()), "--model", str(model))

    assert_said(*said, "DIETClassifier")


@needs_the_light_engine
@pytest.mark.engine
def test_a_text_is_not_classified_with_a_model_that_needs_tensorflow(tmp_path: Path, model: Path):
    assert_said(*ended(tmp_path, "bot.engine.classify", str(model)), "DIETClassifier")
