"""Measures how long a training takes: the recipe of `make train`, in a copy of the project that has no model yet.

python -m bench.training
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench.engines import ENGINE_ENV
from bench.figures import ROOT, Figures, show

#: Neither environments nor what was built or written; the engine's environment is borrowed.
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".uv", ".make", ".rasa", "models", "var", "__pycache__", ".*_cache")

WITHIN_S = 900


def measure() -> Figures:
    """Seconds from `make` to the packed model."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "project"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        (copy / "rasa-env" / ".venv").symlink_to(ENGINE_ENV.resolve())
        begun = time.perf_counter()
        # `-o`: the borrowed environment is never made anew.
        command = ["make", "-o", "rasa-env/.venv/.installed", "models/support.tar.gz"]
        done = subprocess.run(  # noqa: S603 - our own Makefile
            command, cwd=copy, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        seconds = time.perf_counter() - begun
        if done.returncode or not (copy / "models" / "support.tar.gz").exists():
            raise RuntimeError(f"the training failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return {"train_s": round(seconds, 1)}


if __name__ == "__main__":
    show(measure())
