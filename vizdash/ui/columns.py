"""The columns of sessions and images (of nodes: see nodecolumns.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vizdash.model import Session, SessionState
from vizdash.ui import words
from vizdash.ui.format import escape_control, gib, natural, size, width
from vizdash.ui.theme import Line, Span, line
from vizdash.ui.widgets.columns import WHOLE
from vizdash.ui.widgets.table import Column, Now

_STILL = Now()
#: Behind a version when new sessions run from a newer one.
_NEWER = " ↑"


def _shown(text: str) -> int:
    return width(escape_control(text))


def _session_state(session: Session, now: Now, cells: int) -> Line:
    return (words.session_state(session, now),)


def _app(session: Session, now: Now, cells: int) -> Line:
    return (Span(session.app, "strong" if session.mine and session.live else "muted"),)


def _node(session: Session, now: Now, cells: int) -> Line:
    return (Span(session.node or "–", "text" if session.node else "faint"),)


def _left(session: Session, now: Now, cells: int) -> Line:
    text = words.time_left(session, now)
    waiting = session.time_left_s is None or session.state == "pending"
    short = not waiting and (session.time_left_s or 0) - now.age_s < 300
    return (Span(text, "warn" if short else "faint" if waiting else "text"),)


def resources_short(session: Session) -> str:
    """``2c 4G 1g``: cores, GiB, GPUs."""
    wanted = session.resources
    if not wanted.cores:
        return ""
    text = f"{wanted.cores}c"
    text += f" {gib(wanted.memory_mib)}G" if wanted.memory_mib else ""
    return f"{text} {wanted.gpus}gpu" if wanted.gpus else text


def _size(session: Session, now: Now, cells: int) -> Line:
    return (Span(resources_short(session), "muted"),)


def _user(session: Session, now: Now, cells: int) -> Line:
    return line(Span("you", "accent") if session.mine else Span(session.user, "muted"))


def _version(session: Session, now: Now, cells: int) -> Line:
    newer = session.newer_version and cells != WHOLE
    return line(Span(session.image_version, "muted"), Span(_NEWER if newer else "", "warn"))


def _idle(session: Session, now: Now, cells: int) -> Line:
    full = words.idle(session, now)
    fits_in = cells >= 6 and width(full.text) <= cells
    return (full if fits_in else words.idle_short(session, now),)


def _idle_key(session: Session) -> tuple[int, float]:
    """The longest idle first; then those that somebody looks at, and those that do not tell."""
    if session.viewers is None or not session.live:
        return (2, 0.0)
    return (1, 0.0) if session.viewers else (0, float(session.idle_since or 0))


def _job(session: Session, now: Now, cells: int) -> Line:
    return (Span(session.job_id, "faint"),)


def _id(session: Session, now: Now, cells: int) -> Line:
    return (Span(session.id, "faint"),)


def _noted(session: Session, now: Now, cells: int) -> Span:
    full = words.note(session, now)
    return full if width(full.text) <= cells else words.note_short(session, now)


def _note(session: Session, now: Now, cells: int) -> Line:
    return (_noted(session, now, cells),)


_ORDER = {state: n for n, state in enumerate(SessionState)}


def _left_key(session: Session) -> float:
    return float("inf") if session.time_left_s is None else session.time_left_s


SESSIONS: tuple[Column[Session], ...] = (
    Column("STATE", _session_state, 11, 11, ticks=True, sort=lambda s: (_ORDER[s.state], s.result)),
    Column("APP", _app, 8, 16, measure=lambda s: _shown(s.app), sort=lambda s: s.app),
    Column(
        "NODE",
        _node,
        6,
        20,
        rank=1,
        measure=lambda s: _shown(s.node),
        sort=lambda s: natural(s.node),
    ),
    Column(
        "LEFT",
        _left,
        8,
        10,
        rank=1,
        right=True,
        ticks=True,
        measure=lambda s: len(words.time_left(s, _STILL)),
        sort=_left_key,
    ),
    Column(
        "OWNER",
        _user,
        5,
        12,
        rank=2,
        measure=lambda s: 3 if s.mine else _shown(s.user),
        sort=lambda s: (not s.mine, s.user),
    ),
    Column(
        "SIZE",
        _size,
        6,
        14,
        rank=5,
        measure=lambda s: len(resources_short(s)),
        sort=lambda s: (s.resources.cores, s.resources.memory_mib, s.resources.gpus),
    ),
    Column(
        "IDLE",
        _idle,
        5,
        8,
        rank=4,
        short=5,
        right=True,
        ticks=True,
        sparse=True,
        measure=lambda s: max(6, _shown(words.idle(s, _STILL).text)) if words.viewer(s) else 0,
        sort=_idle_key,
    ),
    Column(
        "VERSION",
        _version,
        7,
        12,
        rank=6,
        sparse=True,
        measure=lambda s: _shown(s.image_version) + len(_NEWER) * bool(s.newer_version),
        sort=lambda s: natural(s.image_version),
    ),
    Column(
        "JOB",
        _job,
        3,
        9,
        rank=7,
        measure=lambda s: _shown(s.job_id),
        sort=lambda s: natural(s.job_id),
    ),
    Column("SESSION", _id, 8, 8, rank=8, measure=lambda s: len(s.id)),
    Column(
        "NOTE",
        _note,
        15,
        60,
        rank=3,
        grows=1,
        ticks=True,
        measure=lambda s: _shown(words.note(s, _STILL).text),
        sort=lambda s: words.note(s, _STILL).text,
    ),
)


def sessions(idle_shown: Callable[[], bool]) -> tuple[Column[Session], ...]:
    """The columns, of which the last tells who looks while there is no room for the one that does.
    ``idle_shown`` says whether that one is shown.
    """

    def note(session: Session, now: Now, cells: int) -> Line:
        told = _noted(session, now, cells)
        return (told if told.text or idle_shown() else words.looked_at(session, now),)

    return (*SESSIONS[:-1], replace(SESSIONS[-1], cell=note))


def _image_app(row: words.ImageRow, now: Now, cells: int) -> Line:
    return (Span(row.app, "strong"),)


def _image_version(row: words.ImageRow, now: Now, cells: int) -> Line:
    return (Span(row.version or "unversioned", "text" if row.version else "faint"),)


def _image_current(row: words.ImageRow, now: Now, cells: int) -> Line:
    return (words.current(row),)


def _image_size(row: words.ImageRow, now: Now, cells: int) -> Line:
    return (Span(size(row.size_bytes), "muted"),)


def _image_place(row: words.ImageRow, now: Now, cells: int) -> Line:
    return (Span(row.place, "text"),)


def _image_path(row: words.ImageRow, now: Now, cells: int) -> Line:
    return (Span(row.path, "faint"),)


IMAGES: tuple[Column[words.ImageRow], ...] = (
    Column("APP", _image_app, 8, 16, measure=lambda r: _shown(r.app), sort=lambda r: r.app),
    Column(
        "VERSION",
        _image_version,
        7,
        14,
        measure=lambda r: _shown(r.version or "unversioned"),
        sort=lambda r: natural(r.version),
    ),
    Column(
        "CURRENT",
        _image_current,
        9,
        22,
        measure=lambda r: len(words.current(r).text),
        sort=lambda r: -len(r.current_on),
    ),
    Column("SIZE", _image_size, 8, 8, rank=2, right=True, sort=lambda r: r.size_bytes),
    Column(
        "ON",
        _image_place,
        8,
        30,
        rank=1,
        measure=lambda r: _shown(r.place),
        sort=lambda r: (len(r.nodes), r.place),
    ),
    Column(
        "PATH",
        _image_path,
        12,
        80,
        rank=3,
        grows=1,
        measure=lambda r: _shown(r.path),
        sort=lambda r: r.path,
    ),
)
