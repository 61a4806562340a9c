"""The load of a cluster over a day: samples in a file of the user, bounded."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import platformdirs

from vizdash.model import Snapshot
from vizdash.util.files import make_private, read_own, write_whole

#: Seconds between two samples that are kept, and how many are: a day.
EVERY_S = 60
KEPT = 24 * 60
#: Samples between two writes of the file: five minutes can be lost, not the day.
_WRITE_EVERY = 5
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class LoadSample:
    """One moment: seconds since the epoch, cores, MiB and GPUs given to jobs and in all (of the
    nodes that take jobs), live sessions, and the user's own among them.
    """

    at: int
    cores_alloc: int = 0
    cores: int = 0
    memory_alloc_mib: int = 0
    memory_mib: int = 0
    gpus_used: int = 0
    gpus: int = 0
    sessions: int = 0
    mine: int = 0

    @classmethod
    def of(cls, snapshot: Snapshot) -> LoadSample:
        """What a snapshot says of the load."""
        load = snapshot.capacity
        live = [s for s in snapshot.sessions if s.live]
        return cls(
            at=int(snapshot.taken_at),
            cores_alloc=load.cores_alloc,
            cores=load.cores,
            memory_alloc_mib=load.memory_alloc_mib,
            memory_mib=load.memory_mib,
            gpus_used=load.gpus_used,
            gpus=load.gpus,
            sessions=len(live),
            mine=sum(s.mine for s in live),
        )


class LoadHistory:
    """Samples, oldest first, at most one a minute and at most a day of them.

    ``path`` is the file that they are kept in; None keeps them in memory only. A file that
    can't be read or written is no reason to stop: the history is a convenience.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._samples: deque[LoadSample] = deque(_read(path) if path else (), maxlen=KEPT)
        self._unwritten = 0

    def __iter__(self) -> Iterator[LoadSample]:
        return iter(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def since(self, at: float) -> tuple[LoadSample, ...]:
        """The samples from ``at`` (seconds since the epoch) on."""
        return tuple(s for s in self._samples if s.at >= at)

    def take(self, snapshot: Snapshot) -> bool:
        """Keep what this snapshot says, if the last sample is old enough; whether it was kept.

        Samples from the future are dropped: a clock that ran ahead took them.
        """
        sample = LoadSample.of(snapshot)
        while self._samples and self._samples[-1].at - sample.at >= EVERY_S:
            self._samples.pop()
        if self._samples and sample.at - self._samples[-1].at < EVERY_S:
            return False
        self._samples.append(sample)
        self._unwritten += 1
        return True

    @property
    def due(self) -> bool:
        """Whether enough was taken since the last write."""
        return self._unwritten >= _WRITE_EVERY

    def write(self) -> None:
        """Keep the samples in the file, whole."""
        if self._path is None or not self._unwritten:
            return
        self._unwritten = 0
        text = json.dumps({"schema": _SCHEMA, "samples": [astuple(s) for s in self._samples]})
        try:
            make_private(self._path.parent)
            write_whole(self._path, text)
        except OSError:
            return


def history_file(cluster: str) -> Path:
    """Where a cluster's samples are kept (~/.local/state/vizdash on Linux)."""
    return Path(platformdirs.user_state_dir("vizdash")) / f"history-{cluster}.json"


def _read(path: Path) -> list[LoadSample]:
    """The samples of a file; none from one that isn't ours or isn't of this schema."""
    try:
        data = json.loads(read_own(path) or "{}")
        if data.get("schema") != _SCHEMA:
            return []
        samples = [LoadSample(*map(int, row)) for row in data["samples"]]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return []
    return sorted(samples, key=lambda s: s.at)
