"""Presets: requests that a user saved under a name, per cluster."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import platformdirs

from vizdash.errors import UsageError, VizdashError
from vizdash.model import SessionRequest
from vizdash.sessions.last_request import parse_request
from vizdash.util.files import locked, read_strictly, write_whole

_NAME = re.compile(r"[\w.+-][\w .+-]{0,23}")
#: The most presets of one app.
_MOST = 20
_FIX = "fix or move the file: nothing was overwritten"


class Presets:
    """Named requests by app. The file is written whole at each change, under a lock. An entry that
    can't be read (damaged, or of another version) is not offered and stays in the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._what = f"saved sizes in {path}"
        self._known: dict[str, Any] = {}

    def load(self) -> None:
        """Read the file, for ``known``."""
        try:
            self._known = self._read()
        except VizdashError:
            self._known = {}

    def known(self, app: str) -> dict[str, SessionRequest]:
        """The presets of an app by name, as of the last ``load`` or change. Reads no file."""
        return _requests(app, self._known.get(app))

    def of(self, app: str) -> dict[str, SessionRequest]:
        """The presets of an app by name, from the file."""
        self.load()
        return self.known(app)

    def save(self, name: str, request: SessionRequest) -> None:
        """Save ``request`` under ``name``, in place of an earlier one.

        Raises UsageError for an invalid name, VizdashError where the file can't be read or written;
        the file is then left unchanged.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"preset {name!r}", "use letters, digits, . + - _, at most 24")
        app = request.app
        with self._alone():
            saved = self._read()
            kept = saved.setdefault(app, {})
            if not isinstance(kept, dict):
                raise VizdashError(self._what, f"the entry {app!r} is not a list of presets", _FIX)
            if name not in kept and len(_requests(app, kept)) >= _MOST:
                raise UsageError(f"preset {name!r}", f"{_MOST} are saved for {app} already")
            kept[name] = asdict(request)
            self._write(saved)

    def remove(self, app: str, name: str) -> None:
        """Remove a preset; a missing one is no error. Raises as ``save`` does."""
        with self._alone():
            saved = self._read()
            kept = saved.get(app)
            if isinstance(kept, dict) and kept.pop(name, None) is not None:
                self._write(saved)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file's lock, so that no other vizdash overwrites what this one saves."""
        try:
            with locked(self._path.with_name(f".{self._path.name}.lock"), needed=False):
                yield
        except OSError as e:
            raise VizdashError(self._what, e.strerror or str(e)) from e

    def _read(self) -> dict[str, Any]:
        """The content of the file. Raises VizdashError where it exists and can't be read."""
        try:
            data = json.loads(read_strictly(self._path))
        except FileNotFoundError:
            return {}
        except OSError as e:
            raise VizdashError(self._what, e.strerror or str(e), _FIX) from e
        except (ValueError, RecursionError) as e:
            raise VizdashError(self._what, "it is not JSON", _FIX) from e
        if not isinstance(data, dict):
            raise VizdashError(self._what, "it does not list presets by app", _FIX)
        return data

    def _write(self, presets: Mapping[str, Any]) -> None:
        write_whole(self._path, json.dumps(presets))


def _requests(app: str, saved: object) -> dict[str, SessionRequest]:
    """The entries that can be read."""
    requests = {}
    for name, values in saved.items() if isinstance(saved, dict) else ():
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            requests[name] = parse_request({**values, "app": app})
    return requests


def presets_file(cluster: str) -> Path:
    """The file of a cluster's presets (~/.local/state/vizdash on Linux)."""
    return Path(platformdirs.user_state_dir("vizdash")) / f"presets-{cluster}.json"
