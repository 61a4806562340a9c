"""What verbs print: stdout is data (a table or JSON), stderr is talk.

JSON is a promise: ``{"schema": 1, "cluster": ..., "taken_at": ..., "<things>": [...]}``, units in
key names, keys are added and never renamed within a schema.
"""

from __future__ import annotations

import base64
import io
import json
import os
import select
import sys
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vizdash.model import Node, Reservation, Session
from vizdash.units import clock_words, duration_words

SCHEMA = 1
#: Formatting characters that can reorder or hide text on a terminal (Unicode category Cf).
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """``text`` with control and direction characters written as escapes, safe on a terminal."""
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _HIDDEN else c
        for c in text
    )


def talk(text: str) -> None:
    """One line for the person, on stderr."""
    print(f"vizdash: {printable(text)}", file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Data, on stdout."""
    print(text, flush=True)


def write_link(url: str) -> None:
    """An address, on stdout; on a terminal as a link (OSC 8), whole however it is wrapped."""
    shown = printable(url)
    write(f"\x1b]8;;{shown}\x1b\\{shown}\x1b]8;;\x1b\\" if sys.stdout.isatty() else shown)


def line_to_copy(text: str) -> None:
    """A line for a person's other terminal, on stderr, and in their clipboard if the terminal lets
    programs write there (OSC 52).
    """
    shown = printable(text)
    if sys.stderr.isatty():
        sys.stderr.write(f"\x1b]52;c;{base64.b64encode(shown.encode()).decode()}\x07")
    print(f"  {shown}", file=sys.stderr, flush=True)


def abandoned() -> bool:
    """Whether nobody is left to read either of stdout and stderr: sshd closes both when a login
    without a terminal ends, and sends no signal (poll(2), POLLERR and POLLHUP).
    """
    ends = select.poll()
    for number in (1, 2):
        ends.register(number, 0)
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return sum(bool(event & gone) for _, event in ends.poll(0)) == 2


def write_json(
    kind: str, rows: Sequence[object] | Mapping[str, Any], cluster: str, **more: object
) -> None:
    """The promise above; ``rows`` is a list of things, or one thing; ``more`` stands beside."""
    about = {"schema": SCHEMA, "cluster": cluster, "taken_at": int(time.time())}
    write(json.dumps({**about, kind: rows, **more}, default=str, ensure_ascii=True))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns, as wide as their widest cell; every cell made printable."""
    lines = [list(headers), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(cells(line[i]) for line in lines) for i in range(len(headers))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - cells(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def cells(text: str) -> int:
    """Width on a terminal: wide characters (Unicode TR11) take two cells, marks none."""
    return sum(
        0
        if unicodedata.category(c) in {"Mn", "Me"}
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def node_json(node: Node) -> dict[str, Any]:
    """A node in JSON."""
    return {
        "name": node.name,
        "state": node.state_words,
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
    """A session in JSON."""
    values = asdict(session)
    resources = values.pop("resources")
    values.pop("legacy")
    values["state"] = str(session.state)
    values["kind"] = "legacy" if session.legacy else "vizdash"
    values |= {
        "cores": resources["cores"],
        "memory_mib": resources["memory_mib"] or None,
        "gpus": resources["gpus"],
        "time_limit_s": resources["time_s"] or None,
    }
    return values


def node_row(node: Node) -> tuple[str, ...]:
    """A node in a table."""
    gres = ", ".join(f"{g.name} {g.used}/{g.total}" for g in node.gres)
    load = "" if node.os_load is None else f"{node.os_load:.2f}"
    return (
        node.name,
        node.state_words,
        f"{node.cores_alloc}/{node.cores}",
        f"{node.memory_alloc_mib}/{node.memory_mib}" if node.memory_tracked else "not tracked",
        gres,
        load,
        node.notice(time.time()),
    )


NODE_HEADERS = ("NODE", "STATE", "CORES", "MEMORY MIB", "GRES", "LOAD", "REASON")
ENDED_HEADERS = ("SESSION", "JOB", "APP", "USER", "NODE", "ENDED", "SIZE", "NOTE")
SESSION_HEADERS = ("SESSION", "JOB", "APP", "USER", "STATE", "NODE", "LEFT", "SIZE", "NOTE")


def session_row(session: Session) -> tuple[str, ...]:
    """A session in a table."""
    left = "" if session.time_left_s is None or not session.live else session.time_left_s
    size = f"{session.resources.cores}c"
    if session.resources.memory_mib:
        size += f" {session.resources.memory_mib}M"
    if session.resources.gpus:
        size += f" {session.resources.gpus}g"
    return (
        session.id,
        session.job_id,
        session.app,
        session.user,
        str(session.state),
        session.node,
        duration_words(left) if isinstance(left, int) else "",
        size,
        note(session),
    )


def ended_row(session: Session) -> tuple[str, ...]:
    """An ended session in a table of such."""
    id_, job, app, user, _, node, _, size, words = session_row(session)
    at = session.ended_at
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else ""
    return (id_, job, app, user, node, when, size, words)


def note(session: Session) -> str:
    """What there is to say of a session: why it waits, who looks, what is newer, how it ended."""
    if session.state == "ended":
        if session.result == "failed":
            return f"failed at {session.step or 'start'}: {session.error}"
        return f"{session.result}: {session.note}" if session.note else session.result
    if session.reason:
        note = session.reason
        if session.expected_start_at:
            note += f"; expected start {clock_words(session.expected_start_at, time.time())}"
        return note
    newer = f"{session.newer_version} is out" if session.newer_version else ""
    return "; ".join(part for part in (_use(session), newer) if part)


def _use(session: Session) -> str:
    if session.viewers:
        return "viewed" if session.viewers == 1 else f"{session.viewers} viewers"
    if session.idle_since is not None:
        return f"idle for {duration_words(max(0, int(time.time()) - session.idle_since))}"
    return f"step {session.step}" if session.state == "starting" and session.step else ""


def prepare() -> None:
    """A character that the terminal's encoding lacks is written as an escape."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def quiet_stdout() -> None:
    """After a broken pipe (``vizdash sessions | head``): nothing more to write to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
