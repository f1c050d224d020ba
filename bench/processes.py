"""Memory and processor time of running processes, from Linux's /proc."""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Sample:
    """A process at a moment: seconds by the monotonic clock, resident MB, seconds of processor time so far."""

    at: float
    rss_mb: float
    cpu_s: float


def sample(pid: int) -> Sample | None:
    """How a process is now; None where it has ended or there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return None
    cpu = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return Sample(time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20, cpu)


def peak_mb(pid: int) -> float | None:
    """The most memory that a process ever held, in MB."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


class Watch:
    """Takes a sample of each named process every few seconds, in a thread, until `stop`."""

    def __init__(self, pids: Mapping[str, int], every_s: float = 5.0) -> None:
        self.samples: dict[str, list[Sample]] = {name: [] for name in pids}
        self._pids = pids
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin with a sample now."""
        self._thread.start()

    def stop(self) -> None:
        """End with a sample now."""
        self._over.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        self._look()
        while not self._over.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        for name, pid in self._pids.items():
            if (found := sample(pid)) is not None:
                self.samples[name].append(found)


def cpu_share(samples: list[Sample]) -> float | None:
    """Cores in use between the first and the last sample; 1.0 is one whole core."""
    if len(samples) < 2 or samples[-1].at == samples[0].at:
        return None
    return round((samples[-1].cpu_s - samples[0].cpu_s) / (samples[-1].at - samples[0].at), 2)


def machine() -> str:
    """The processor, its cores as far as we may use them, and the memory, in words."""
    model = platform.machine()
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        model = found[1].strip() if found else model
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB of memory"
        cores = len(os.sched_getaffinity(0))
    except (OSError, AttributeError):
        memory, cores = "memory unknown", os.cpu_count() or 1
    return f"{model}, {cores} cores, {memory}, {platform.system()} {platform.release()}"
