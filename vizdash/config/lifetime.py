"""Keys about how long a session lasts: its lease, and what happens while it is idle.

The site sets them for a cluster, and an app may set each key differently.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from vizdash.config import readers
from vizdash.config.key_declaration import key, write_value
from vizdash.config.readers import Item


def _span_or_off(item: Item) -> int:
    """A time with its unit; 0 for ``off``, which YAML 1.1 reads as false."""
    return 0 if item.value is False or item.value == 0 else readers.span(item)


def _write_span(seconds: int | None) -> str:
    return "" if seconds is None else f"{seconds}s" if seconds else "off"


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a session may run at most; None: not set, 0: no lease."""

    max_s: int | None = key(
        None,
        _span_or_off,
        "Sessions get a lease: the time that the user requests. Their owner extends it without an "
        "operator, up to this long in all, or to the limit of the partition, association or QOS if "
        "that is shorter; that is also the job's --time, with the lease as its --time-min. Off: "
        "the time requested is the job's time limit.",
        example="off",
        name="max",
        write=_write_span,
    )


def _write_set(value: object) -> str:
    return "" if value is None else write_value(value)


@dataclass(frozen=True, slots=True)
class Idle:
    """What happens to an idle session; None: not set."""

    after_s: int | None = key(
        None,
        _span_or_off,
        "After so long without a viewer, without input, and with CPU and GPU under the values "
        "below, a session is warned, on its desktop and in its owner's dashboard, and ends after "
        "the grace period with the result idle. What cannot be read is not idle. Off: idle "
        "sessions keep running.",
        example="off",
        name="after",
        write=_write_span,
    )
    grace_s: int | None = key(
        None,
        readers.span,
        "Time from the warning to the end; not set: 5m.",
        example="5m",
        name="grace",
        write=_write_span,
    )
    cpu_percent: int | None = key(
        None,
        readers.positive,
        "Percent of one core from which on all processes of a session count as work; not set: 10.",
        example="10",
        write=_write_set,
    )
    gpu_percent: int | None = key(
        None,
        readers.positive,
        "Percent of a GPU from which on it counts as work; not set: 5.",
        example="5",
        write=_write_set,
    )
    keep: bool | None = key(
        None,
        readers.flag,
        "Allow users to keep an idle session running (start --keep, and in the form).",
        example="false",
        write=_write_set,
    )


_T = TypeVar("_T", bound=Any)


def overlay(site: _T, app: _T) -> _T:
    """The site's values, with those that the app sets."""
    values = {one.name: getattr(app, one.name) for one in fields(app)}
    changed: _T = replace(site, **{name: v for name, v in values.items() if v is not None})
    return changed
