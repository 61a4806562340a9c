"""Sees that a config file was changed while vizdash runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from vizdash.config.model import Config

_Stamp = tuple[int, int, int]


class ConfigWatch:
    """``changed`` loads the config anew when one of ``files`` is another than at the last look."""

    def __init__(self, load: Callable[[], Config], files: Sequence[Path]) -> None:
        self._load = load
        self._files = tuple(files)
        self._stamps = self._look()

    def changed(self) -> Config | None:
        """The new config, or None while nothing changed.

        Raises ConfigError or UsageError, once for each change, when it can't be used: then the
        old one stays in force.
        """
        stamps = self._look()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        return self._load()

    def _look(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> _Stamp | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
