"""Parsed JSON as dataclasses with every type checked, by msgspec."""

from __future__ import annotations

import json
from typing import TypeVar

T = TypeVar("T")


def convert(values: object, kind: type[T], *, extra_keys: bool = False) -> T:
    """Convert parsed JSON to ``kind``, a dataclass. No value is coerced to another type.

    Raises ValueError, also for a key that ``kind`` does not have (then another version wrote it);
    with ``extra_keys``, such keys are ignored.
    """
    import msgspec  # 10 ms, so only what reads such a file imports it

    converted = msgspec.convert(values, kind)
    if not extra_keys and not _has_keys(msgspec.to_builtins(converted), values):
        raise ValueError(f"unknown key for {kind.__name__}")
    return converted


def parse(text: str | bytes | None, kind: type[T], *, extra_keys: bool = False) -> T | None:
    """Parse JSON as ``convert`` does; None where it is damaged or of another version."""
    try:
        return convert(json.loads(text or ""), kind, extra_keys=extra_keys)
    except (ValueError, RecursionError):
        return None


def _has_keys(known: object, given: object) -> bool:
    """Whether every key of ``given`` is in ``known``, in nested objects, too."""
    if not isinstance(given, dict) or not isinstance(known, dict):
        return True
    return all(key in known and _has_keys(known[key], value) for key, value in given.items())
