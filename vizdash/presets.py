"""Sizes that a person saved under a name of their own, per cluster."""

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
from vizdash.files import locked, read_strictly, write_whole
from vizdash.model import SessionRequest
from vizdash.sessions.choice import request_of

_NAME = re.compile(r"[\w.+-][\w .+-]{0,23}")
#: More than this of one app are no choice any more.
_MOST = 20
_MEND = "mend it or move it away: nothing was overwritten"


class Presets:
    """Named requests, app by app; written whole at each change, under a lock of their own. What
    can't be read of them (damaged, or another version's) is not offered, and stays in the file.
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
        """The saved ones of an app, by name, as they were when the file was last read or written
        here. It reads nothing.
        """
        return _requests(app, self._known.get(app))

    def of(self, app: str) -> dict[str, SessionRequest]:
        """The saved ones of an app, by name."""
        self.load()
        return self.known(app)

    def save(self, name: str, request: SessionRequest) -> None:
        """Keep ``request`` under ``name``; one of that name is replaced.

        Raises UsageError for a name that can't be, VizdashError when the file can't be read or
        written: then it stays as it is.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"preset {name!r}", "use letters, digits, . + - _, at most 24")
        app = request.app
        with self._alone():
            found = self._read()
            kept = found.setdefault(app, {})
            if not isinstance(kept, dict):
                raise VizdashError(self._what, f"what stands under {app} is none", _MEND)
            if name not in kept and len(_requests(app, kept)) >= _MOST:
                raise UsageError(f"preset {name!r}", f"{_MOST} are saved for {app} already")
            kept[name] = asdict(request)
            self._write(found)

    def remove(self, app: str, name: str) -> None:
        """Forget one; it is no error when it isn't there. Raises as ``save`` does."""
        with self._alone():
            found = self._read()
            kept = found.get(app)
            if isinstance(kept, dict) and kept.pop(name, None) is not None:
                self._write(found)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Another vizdash waits, so that neither overwrites what the other saves."""
        try:
            with locked(self._path.with_name(f".{self._path.name}.lock"), needed=False):
                yield
        except OSError as e:
            raise VizdashError(self._what, e.strerror or str(e)) from e

    def _read(self) -> dict[str, Any]:
        """The file as it is. Raises VizdashError for one that is there and can't be read."""
        try:
            found = json.loads(read_strictly(self._path))
        except FileNotFoundError:
            return {}
        except OSError as e:
            raise VizdashError(self._what, e.strerror or str(e), _MEND) from e
        except (ValueError, RecursionError) as e:
            raise VizdashError(self._what, "it is not JSON", _MEND) from e
        if not isinstance(found, dict):
            raise VizdashError(self._what, "it is no list by app", _MEND)
        return found

    def _write(self, found: Mapping[str, Any]) -> None:
        write_whole(self._path, json.dumps(found))


def _requests(app: str, saved: object) -> dict[str, SessionRequest]:
    """Those that can be read."""
    found = {}
    for name, values in saved.items() if isinstance(saved, dict) else ():
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            found[name] = request_of({**values, "app": app})
    return found


def presets_file(cluster: str) -> Path:
    """Where a cluster's saved presets are kept."""
    return Path(platformdirs.user_state_dir("vizdash")) / f"presets-{cluster}.json"
