"""The models that have served, kept under `DATA_DIR/models`, and which of them is wanted.

A file is named after the moment it was deployed or trained, so their names sort by age:

    models/20261122-104648.tar.gz    a model; the last few are kept
    models/serving                   the name of the one that a start begins with: it has proved itself
    models/wanted                    the one that `support model` wants; a running service sees it, else the next start
    models/refused                   why the last one was refused
    models/services/host-4711        what a running service is doing; locked as long as it lives
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from handoff.errors import HandoffError

#: Models that stay, the one that serves among them; each is some 30 MB.
KEPT = 5
SUFFIX = ".tar.gz"

#: What a service says of itself when all its engines have the model that is wanted.
SERVING = "serving"


class NoSuchModel(HandoffError):
    """The file is no model, or there is none to go back to; the message says what to do."""


class DeploymentUnderWay(HandoffError):
    """Another command deploys a model on this folder."""


@dataclass(frozen=True)
class Wanted:
    """The model that should serve; one that has served before (`proved`) need not understand today's examples."""

    name: str
    proved: bool = False


@dataclass(frozen=True)
class Doing:
    """What a service says of itself: the model that answers, and what became of the one wanted last."""

    service: str
    serving: str
    wanted: str = ""
    state: str = ""


class ModelStore:
    """The folder of one service, or of several on one machine."""

    def __init__(self, data_dir: Path, trained: Path) -> None:
        self._folder = (data_dir / "models").resolve()  # an engine runs in another folder
        self._trained = trained

    def path(self, name: str) -> Path:
        """The file of a model."""
        return self._folder / f"{name}{SUFFIX}"

    def names(self) -> list[str]:
        """The models that are kept, the oldest first."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self._folder.glob(f"[0-9]*{SUFFIX}"))

    def first(self) -> str | None:
        """What a start begins with: what came last, the model that was put into service or the one `make train` made.

        Also a model that was trained is kept: the next training writes over its file.
        """
        chosen = max(_moment(self._folder / "serving"), _moment(self._folder / "wanted"))
        trained = _moment(self._trained)
        if trained > chosen:
            name = _stamp(datetime.fromtimestamp(trained, UTC))
            if not self.path(name).exists():
                self._copy(self._trained, name)
            self.serve(name)
            (self._folder / "wanted").unlink(missing_ok=True)
            self._prune(name)
        wanted = self.wanted()
        return self.serving() or (wanted.name if wanted else None)

    def serving(self) -> str | None:
        """The model that has proved itself last."""
        name = _read(self._folder / "serving")
        return name if name and self.path(name).exists() else None

    def serve(self, name: str) -> None:
        """Note that a model serves."""
        _write(self._folder / "serving", name)

    def wanted(self) -> Wanted | None:
        """The model that was asked for last, unless it was refused."""
        said = _read(self._folder / "wanted")
        wanted = Wanted(**json.loads(said)) if said else None
        return wanted if wanted and self.path(wanted.name).exists() else None

    def want(self, wanted: Wanted) -> None:
        """Ask for a model."""
        (self._folder / "refused").unlink(missing_ok=True)
        _write(self._folder / "wanted", json.dumps(asdict(wanted)))

    def refuse(self, name: str, reason: str) -> None:
        """Let go of a model that did not prove itself: no start tries it again."""
        _write(self._folder / "refused", f"{name}: {reason}")
        wanted = self.wanted()
        if wanted is not None and wanted.name == name:
            (self._folder / "wanted").unlink(missing_ok=True)

    def refused(self) -> str:
        """What was refused last and why, "" if the last one was not."""
        return _read(self._folder / "refused")

    def keep(self, model: Path, now: datetime) -> str:
        """Copy a model into the folder; its name.

        Raises:
            NoSuchModel: it is none.
        """
        while self.path(_stamp(now)).exists():
            now += timedelta(seconds=1)
        name = _stamp(now)
        self._copy(model, name)
        self._prune(name)
        return name

    def _prune(self, newest: str) -> None:
        """Let the oldest go, and those that were gone back from."""
        serving = self.serving() or newest
        row = [name for name in self.names() if name <= serving or name == newest]
        in_use = {used for doing in self.services() for used in (doing.serving, doing.wanted)}
        for name in {*self.names()} - {*row[-KEPT:]} - in_use:
            self.path(name).unlink(missing_ok=True)

    def _copy(self, model: Path, name: str) -> None:
        """Whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"draft-{os.getpid()}"
        try:
            shutil.copyfile(model, draft)
            with tarfile.open(draft) as archive:
                archive.getmember("metadata.json")
            draft.replace(self.path(name))
        except (OSError, tarfile.TarError, EOFError, KeyError) as problem:
            draft.unlink(missing_ok=True)
            raise NoSuchModel(f"{model} is no model of Rasa that could be copied: {problem}") from None

    def before(self) -> str:
        """The model to go back to: the one that served before, or the one that serves while another is only wanted.

        Raises:
            NoSuchModel: there is none.
        """
        serving, wanted = self.serving() or "", self.wanted()
        if serving and wanted is not None and wanted.name != serving:
            return serving
        older = [old for old in self.names() if old < serving]
        if not older:
            raise NoSuchModel("no earlier model is kept; deploy a file: support model deploy models/support.tar.gz")
        return older[-1]

    def services(self) -> list[Doing]:
        """What the services that run are doing; the files of those that ended go."""
        found = []
        for path in sorted((self._folder / "services").glob("*")):
            with suppress(FileNotFoundError), path.open("r+") as file:
                if _locked(file):
                    path.unlink(missing_ok=True)
                elif said := file.readline():
                    found.append(Doing(**json.loads(said)))
        return found

    @contextmanager
    def announced(self) -> Iterator[Announcement]:
        """A service's own file, for as long as it lives."""
        name = f"{socket.gethostname()}-{os.getpid()}"
        path = self._folder / "services" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield Announcement(name, file)
            finally:
                path.unlink(missing_ok=True)

    @contextmanager
    def deploying(self) -> Iterator[None]:
        """For one command at a time.

        Raises:
            DeploymentUnderWay: another one has it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            if not _locked(file):
                raise DeploymentUnderWay("another `support model` is at work here; wait for it")
            yield


class Announcement:
    """Says what a service is doing."""

    def __init__(self, service: str, file: IO[str]) -> None:
        self._service, self._file = service, file
        self._said = ""

    def say(self, serving: str, wanted: str = "", state: str = "") -> None:
        """Replace what was said before; the first line is whole at any moment."""
        line = json.dumps(asdict(Doing(self._service, serving, wanted, state))) + "\n"
        if line == self._said:
            return
        self._said = line
        self._file.seek(0)
        self._file.write(line)
        self._file.flush()
        self._file.truncate()


def _locked(file: IO[str]) -> bool:
    """Whether the lock of a file was free, and is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%d-%H%M%S}"


def _moment(path: Path) -> float:
    """When a file was written; 0 if there is none."""
    return path.stat().st_mtime if path.exists() else 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}-{os.getpid()}")
    draft.write_text(content)
    draft.replace(path)
