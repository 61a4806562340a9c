"""Sizes that a person saved under a name of their own, per cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import platformdirs

from vizdash.errors import UsageError, VizdashError
from vizdash.files import read_own, write_whole
from vizdash.model import SessionRequest
from vizdash.sessions.choice import request_of

_NAME = re.compile(r"[\w.+-][\w .+-]{0,23}")
#: More than this of one app are no choice any more.
_MOST = 20


class Presets:
    """Named requests, app by app; written whole at each change."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, app: str) -> dict[str, SessionRequest]:
        """The saved ones of an app, by name."""
        return self._read().get(app, {})

    def save(self, name: str, request: SessionRequest) -> None:
        """Keep ``request`` under ``name``; one of that name is replaced.

        Raises UsageError for a name that can't be, VizdashError when it can't be written.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"preset {name!r}", "use letters, digits, . + - _, at most 24")
        found = self._read()
        kept = found.setdefault(request.app, {})
        if name not in kept and len(kept) >= _MOST:
            raise UsageError(f"preset {name!r}", f"{_MOST} are saved for {request.app} already")
        kept[name] = request
        self._write(found)

    def remove(self, app: str, name: str) -> None:
        """Forget one; it is no error when it isn't there."""
        found = self._read()
        if found.get(app, {}).pop(name, None) is not None:
            self._write(found)

    def _read(self) -> dict[str, dict[str, SessionRequest]]:
        try:
            apps = json.loads(read_own(self._path) or "{}")
            return {
                app: {name: request_of({**values, "app": app}) for name, values in saved.items()}
                for app, saved in apps.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _write(self, found: Mapping[str, Mapping[str, SessionRequest]]) -> None:
        text = json.dumps({a: {n: asdict(r) for n, r in s.items()} for a, s in found.items()})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._path, text)
        except OSError as e:
            raise VizdashError(str(self._path), e.strerror or str(e)) from e


def presets_file(cluster: str) -> Path:
    """Where a cluster's saved presets are kept."""
    return Path(platformdirs.user_state_dir("vizdash")) / f"presets-{cluster}.json"
