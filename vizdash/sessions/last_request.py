"""Requests for a session: built from an app's defaults, repeated, or saved as the last one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import platformdirs

from vizdash.config import App
from vizdash.config.desktop_size import MAX_SCALE
from vizdash.config.readers import nearest
from vizdash.errors import UsageError
from vizdash.model import Resources, Session, SessionRequest
from vizdash.util.checked_json import convert
from vizdash.util.files import make_private, read_own, write_whole


def load(cluster: str) -> SessionRequest | None:
    """The last request on this cluster; None where none can be read."""
    try:
        return parse_request(json.loads(read_own(_path(cluster)) or ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def parse_request(values: dict[str, Any]) -> SessionRequest:
    """The request in the content of a file. Raises ValueError or KeyError where it is damaged or of
    another version.
    """
    amounts = astuple(convert(values["resources"], Resources))
    if min(amounts) < 0 or not all(amounts[:2]):
        raise ValueError("resources")
    request = convert(values, SessionRequest)
    if not 0 <= request.scale <= MAX_SCALE:
        raise ValueError("scale")
    return request


def save(cluster: str, request: SessionRequest) -> None:
    """Save a request. A home that is full or read-only is no error."""
    path = _path(cluster)
    try:
        make_private(path.parent)
        write_whole(path, json.dumps(asdict(request)))
    except OSError:
        return


def build_request(app: App, choices: Mapping[str, object], preset: str = "") -> SessionRequest:
    """A request for ``app`` with its defaults (or a preset's) under ``choices``.

    Raises UsageError for an unknown preset.
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


def repeat_request(session: Session) -> SessionRequest:
    """A request for another session like this one; account and QOS only of the user's own."""
    size = session.resources
    if session.lease_s:
        size = replace(size, time_s=session.lease_s)
    if not size.memory_mib:  # Slurm does not track its memory
        size = replace(size, memory_mib=Resources().memory_mib)
    request = SessionRequest(session.app, size, partition=session.partition)
    if session.mine:
        scale = session.scale if session.scale != 1 else 0
        request = replace(request, account=session.account, qos=session.qos, scale=scale)
    return request


def _path(cluster: str) -> Path:
    return Path(platformdirs.user_state_dir("vizdash")) / f"last-{cluster}.json"
