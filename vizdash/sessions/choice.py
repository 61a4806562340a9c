"""What a person asks for: from an app's defaults and choices, or as the last time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path
from typing import Any

import platformdirs

from vizdash.config import App
from vizdash.config.fields import nearest
from vizdash.errors import UsageError
from vizdash.files import make_private, read_own, write_whole
from vizdash.model import Resources, Session, SessionRequest


def load(cluster: str) -> SessionRequest | None:
    """The last request on this cluster; None when there's none that can be read."""
    try:
        return request_of(json.loads(read_own(_path(cluster)) or ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def request_of(values: dict[str, Any]) -> SessionRequest:
    """The request that a file tells. Raises TypeError, KeyError or AttributeError for a damaged
    one, or another version's.
    """
    resources = Resources(**values["resources"])
    rest = {key: value for key, value in values.items() if key not in {"resources", "extra"}}
    request = SessionRequest(resources=resources, extra=tuple(values.get("extra", ())), **rest)
    if not _sound(request):
        raise TypeError(request.app)
    return request


def save(cluster: str, request: SessionRequest) -> None:
    """Keep a request. A home that is full or can't be written spoils nothing."""
    path = _path(cluster)
    try:
        make_private(path.parent)
        write_whole(path, json.dumps(asdict(request)))
    except OSError:
        return


def request_for(app: App, choices: Mapping[str, object], preset: str = "") -> SessionRequest:
    """A request for ``app`` with its defaults (or a preset's) under ``choices``.

    Raises UsageError for a preset that the app has not.
    """
    resources = app.resources
    if preset:
        if preset not in app.presets:
            raise UsageError(f"preset {preset!r}", "", nearest(preset, tuple(app.presets)))
        resources = app.presets[preset]
    names = {"cores", "memory_mib", "gpus", "time_s"}
    given = {key: value for key, value in choices.items() if value is not None}
    resources = replace(resources, **{k: v for k, v in given.items() if k in names})  # type: ignore[arg-type]
    rest = {key: value for key, value in given.items() if key not in names}
    return SessionRequest(app=app.name, resources=resources, **rest)  # type: ignore[arg-type]


def same_again(session: Session) -> SessionRequest:
    """A request for another one like ``session``; who pays is carried over from one's own only."""
    size = session.resources
    if not size.memory_mib:  # its memory is not tracked
        size = replace(size, memory_mib=Resources().memory_mib)
    request = SessionRequest(session.app, size, partition=session.partition)
    if session.mine:
        request = replace(request, account=session.account, qos=session.qos)
    return request


def _path(cluster: str) -> Path:
    return Path(platformdirs.user_state_dir("vizdash")) / f"last-{cluster}.json"


def _sound(request: SessionRequest) -> bool:
    """Whether what a file said has the right types: it may be another version's, or damaged."""
    amounts, texts = astuple(request.resources), [*request.extra]
    texts += [getattr(request, f.name) for f in fields(request) if f.type == "str"]
    whole = all(type(amount) is int and amount >= 0 for amount in amounts)
    return whole and all(amounts[:2]) and all(isinstance(text, str) for text in texts)
