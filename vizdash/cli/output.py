"""What verbs print: data on stdout (a table or JSON), messages on stderr.

The JSON is stable (docs/json.md): ``{"schema": 1, "cluster": ..., "taken_at": ..., KIND: [...]}``,
with units in key names; within a schema, keys are added and never renamed.
"""

from __future__ import annotations

import base64
import io
import os
import select
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vizdash.model import Node, Reservation, Session
from vizdash.util.text import cell_width, escape_control
from vizdash.util.units import format_clock, format_duration, format_gib, format_gib_short

SCHEMA = 1


def print_message(text: str) -> None:
    """Print one message on stderr."""
    print(f"vizdash: {escape_control(text)}", file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Print data on stdout."""
    print(text, flush=True)


def write_link(url: str) -> None:
    """Print an address on stdout; on a terminal as a link (OSC 8), which survives wrapping."""
    shown = escape_control(url)
    write(f"\x1b]8;;{shown}\x1b\\{shown}\x1b]8;;\x1b\\" if sys.stdout.isatty() else shown)


def line_to_copy(text: str) -> None:
    """Print a command for another terminal on stderr, and copy it to the clipboard if the terminal
    allows it (OSC 52).
    """
    shown = escape_control(text)
    if sys.stderr.isatty():
        sys.stderr.write(f"\x1b]52;c;{base64.b64encode(shown.encode()).decode()}\x07")
    print(f"  {shown}", file=sys.stderr, flush=True)


def abandoned() -> bool:
    """Whether stdout and stderr are both closed (poll(2), POLLERR and POLLHUP): sshd closes them
    without a signal when a login without a terminal ends.
    """
    ends = select.poll()
    for number in (1, 2):
        ends.register(number, 0)
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return sum(bool(event & gone) for _, event in ends.poll(0)) == 2


def write_json(
    kind: str, rows: Sequence[object] | Mapping[str, Any], cluster: str, **more: object
) -> None:
    """Print JSON: ``rows`` (a list or an object) under ``kind``, and the keys of ``more``."""
    import json

    about = {"schema": SCHEMA, "cluster": cluster, "taken_at": int(time.time())}
    write(json.dumps({**about, kind: rows, **more}, default=str, ensure_ascii=True))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text: columns as wide as their widest cell, every cell escaped."""
    lines = [list(headers), *([escape_control(cell) for cell in row] for row in rows)]
    widths = [max(cell_width(line[i]) for line in lines) for i in range(len(headers))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - cell_width(cell))
            for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def node_json(node: Node) -> dict[str, Any]:
    """A node as JSON."""
    return {
        "name": node.name,
        "state": node.state_text,
        "usable": node.usable,
        "reason": node.reason,
        "cores": node.cores,
        "cores_alloc": node.cores_alloc,
        "memory_mib": node.memory_mib if node.memory_tracked else None,
        "memory_alloc_mib": node.memory_alloc_mib if node.memory_tracked else None,
        "gres": [asdict(g) for g in node.gres],
        "partitions": list(node.partitions),
        "features": list(node.features),
        "os_load": node.os_load,
        "reservations": [_reservation_json(r) for r in node.reservations],
    }


def _reservation_json(reservation: Reservation) -> dict[str, Any]:
    return {
        "name": reservation.name,
        "start_at": reservation.start_at,
        "end_at": reservation.end_at,
        "maintenance": reservation.maintenance,
        "users": list(reservation.users),
        "accounts": list(reservation.accounts),
        "groups": list(reservation.groups),
    }


def session_json(session: Session) -> dict[str, Any]:
    """A session as JSON."""
    values = asdict(session)
    resources = values.pop("resources")
    values.pop("legacy")
    values.pop("limit_at")
    service = values.pop("service")
    values["state"] = str(session.state)
    values["kind"] = "legacy" if session.legacy else service or "vizdash"
    values |= {
        "cores": resources["cores"],
        "memory_mib": resources["memory_mib"] or None,
        "gpus": resources["gpus"],
        "time_limit_s": resources["time_s"] or None,
    }
    return values


def node_row(node: Node) -> tuple[str, ...]:
    """The cells of a node, for NODE_HEADERS."""
    gres = ", ".join(f"{g.name} {g.used}/{g.total}" for g in node.gres)
    load = "" if node.os_load is None else f"{node.os_load:.2f}"
    return (
        node.name,
        node.state_text,
        f"{node.cores_alloc}/{node.cores}",
        f"{format_gib(node.memory_alloc_mib)}/{format_gib(node.memory_mib)}"
        if node.memory_tracked
        else "not tracked",
        gres,
        load,
        node.notice(time.time()),
    )


NODE_HEADERS = ("NODE", "STATE", "CORES", "MEMORY GIB", "GRES", "LOAD", "REASON")
ENDED_HEADERS = ("SESSION", "JOB", "APP", "USER", "NODE", "ENDED", "SIZE", "NOTE")
SESSION_HEADERS = ("SESSION", "JOB", "APP", "USER", "STATE", "NODE", "LEFT", "SIZE", "NOTE")


def session_row(session: Session) -> tuple[str, ...]:
    """The cells of a session, for SESSION_HEADERS."""
    left = ""
    if session.live and session.ends_in_s is not None:
        left = format_duration(session.ends_in_s)
        if session.lease_left_s is not None and session.time_left_s is not None:
            left += f" (limit {format_duration(session.time_left_s)})"
    size = f"{session.resources.cores}c"
    if session.resources.memory_mib:
        size += f" {format_gib_short(session.resources.memory_mib)}G"
    if session.resources.gpus:
        size += f" {session.resources.gpus}g"
    return (
        session.id,
        session.job_id,
        session.app,
        session.user,
        str(session.state),
        session.node,
        left,
        size,
        note(session),
    )


def ended_row(session: Session) -> tuple[str, ...]:
    """The cells of an ended session, for ENDED_HEADERS."""
    id_, job, app, user, _, node, _, size, words = session_row(session)
    at = session.ended_at
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else ""
    return (id_, job, app, user, node, when, size, words)


def note(session: Session) -> str:
    """The NOTE of a session: why it is pending, its viewers, a newer image, or how it ended."""
    if session.state == "ended":
        if session.result == "failed":
            return f"failed at {session.step or 'start'}: {session.error}"
        why = "; ".join(part for part in (session.error, session.note) if part)
        return f"{session.result}: {why}" if why else session.result
    if session.reason:
        note = session.reason
        if session.expected_start_at:
            note += f"; expected start {format_clock(session.expected_start_at, time.time())}"
        return note
    newer = f"{session.newer_version} is out" if session.newer_version else ""
    software = f"GPU unused: {session.renderer_name} draws" if session.software_reason else ""
    return "; ".join(part for part in (_use(session), newer, software) if part)


def _use(session: Session) -> str:
    if session.viewers:
        guests = f" ({', '.join(session.watched_by)})" if session.watched_by else ""
        return ("viewed" if session.viewers == 1 else f"{session.viewers} viewers") + guests
    if session.idle_since is not None:
        return f"idle for {format_duration(max(0, int(time.time()) - session.idle_since))}"
    return f"step {session.step}" if session.state == "starting" and session.step else ""


def prepare() -> None:
    """Have characters that the encoding of stdout lacks printed as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def quiet_stdout() -> None:
    """Discard further output after a broken pipe (``vizdash sessions | head``)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
