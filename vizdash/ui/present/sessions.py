"""Sessions as the dashboard shows them: states in words, and the columns (NOTE, LEFT, OWNER)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from vizdash.model import Resources, Session, SessionState
from vizdash.ui.present.lines import Legend, Line, Span, Tone, line
from vizdash.ui.widgets.columns import WHOLE, Column, Now
from vizdash.util.text import cell_width, natural_key, shown_width
from vizdash.util.units import (
    format_countdown,
    format_gib_short,
    format_memory,
    format_rough_duration,
)

#: The symbol of a starting session turns once in four seconds.
_TURNING = "◐◓◑◒"

_STATES: Mapping[SessionState, tuple[str, Tone]] = {
    SessionState.PENDING: ("○", "warn"),
    SessionState.STARTING: ("◐", "busy"),
    SessionState.READY: ("●", "good"),
    SessionState.SUSPENDED: ("‖", "warn"),
    SessionState.ENDING: ("◌", "muted"),
    SessionState.UNKNOWN: ("?", "warn"),
}
#: At least one viewer.
_VIEWED = "◉"
_RESULTS: Mapping[str, tuple[str, Tone]] = {
    "finished": ("✓", "muted"),
    "cancelled": ("–", "muted"),
    "idle": ("◷", "warn"),
    "timed out": ("◷", "warn"),
    "timed-out": ("◷", "warn"),
    "failed": ("✗", "bad"),
}

#: Every symbol with its meaning, for the help.
SESSION_LEGEND: Legend = (
    ("○", "warn", "pending", "waiting in the queue; the note gives the reason"),
    ("◐", "busy", "starting", "the job runs; the desktop does not answer yet"),
    ("●", "good", "ready", "press o to open it"),
    ("‖", "warn", "suspended", "the job is suspended and keeps its node"),
    ("◌", "muted", "ending", "its processes are being stopped"),
    ("✓", "muted", "finished", "it ended by itself"),
    ("–", "muted", "cancelled", "it was stopped"),
    ("◷", "warn", "timed out", "it reached its time limit"),
    ("✗", "bad", "failed", "the note names the step and the last error"),
    ("?", "warn", "unknown", "the engine could not be asked, or only the job is known"),
    (_VIEWED, "text", "2", "connected browsers; without any, IDLE is the time since the last one"),
)

#: Meanings of results, for a session that ended without a note.
RESULT_MEANINGS: Mapping[str, str] = {
    word: meaning for _, _, word, meaning in SESSION_LEGEND if word in _RESULTS
}


def session_state(session: Session, now: Now) -> Span:
    """Symbol and state: ``● ready``, ``✗ failed``; an ended session shows its result."""
    if session.state is SessionState.ENDED:
        word = session.result.replace("-", " ") or "ended"
        glyph, tone = _RESULTS.get(word, ("–", "muted"))
        return Span(f"{glyph} {word}", tone)
    glyph, tone = _STATES[session.state]
    if session.state is SessionState.STARTING:
        glyph = _TURNING[int(now.at) % len(_TURNING)]
    return Span(f"{glyph} {session.state}", tone)


def changes_with_time(session: Session) -> bool:
    """Whether its row changes as time passes."""
    return session.live and (
        session.ends_in_s is not None
        or session.expected_start_at is not None
        or session.idle_since is not None
        or session.state is SessionState.STARTING
    )


def idle_text(session: Session, now: Now) -> Span:
    """``3 h`` for a desktop without a viewer for that long, ``in use`` for one with a viewer; empty
    where the session does not report viewers.
    """
    if session.viewers is None or not session.live:
        return Span("")
    if session.viewers:
        return Span("in use" if session.viewers == 1 else f"{session.viewers} in use")
    since = session.idle_since
    return Span("idle" if since is None else format_rough_duration(now.at - since), "muted")


def idle_text_short(session: Session, now: Now) -> Span:
    """``idle_text`` in four cells: ``3h``, ``12m``; ``◉ 1`` for one viewer."""
    full = idle_text(session, now)
    if session.live and session.viewers:
        return replace(full, text=f"{_VIEWED} {session.viewers}")
    return replace(full, text=full.text.replace(" ", "").replace("min", "m"))


def viewing_text(session: Session, now: Now) -> Span:
    """``idle_text`` that reads without a column title: ``in use``, ``idle 12 min``."""
    full = idle_text(session, now)
    return (
        full
        if session.viewers or not session.idle_since
        else replace(full, text=f"idle {full.text}")
    )


def viewer_state(session: Session) -> str:
    """``idle`` or ``connected``, for the filter."""
    if session.viewers is None or not session.live:
        return ""
    return "connected" if session.viewers else "idle"


def time_left_text(session: Session, now: Now) -> str:
    """The time left of a running session; the time limit of a pending one. With a lease, that of
    the lease, then the limit: ``1:20:00 ≤8h``.
    """
    limit_s = session.resources.time_s
    if session.state is SessionState.PENDING:
        if session.lease_s:
            return f"{format_countdown(session.lease_s)} ≤{_in_short(limit_s)}"
        return format_countdown(limit_s) if limit_s else ""
    if not session.live or session.ends_in_s is None:
        return ""
    left = format_countdown(session.ends_in_s - now.age_s)
    return left if session.lease_left_s is None else f"{left} ≤{_in_short(limit_s)}"


def _in_short(seconds: int) -> str:
    """``8h``, ``90m``."""
    hours, rest = divmod(seconds, 3600)
    return f"{hours}h" if hours and not rest else f"{-(-seconds // 60)}m"


def session_note(session: Session, now: Now) -> Span:
    """The NOTE column: why it waits, its step, or how it ended."""
    if session.state is SessionState.ENDED:
        return _result_note(session)
    if session.state is SessionState.PENDING:
        words = session.reason or "waiting"
        start = session.expected_start_at
        if start is not None and start > now.at:
            words += f"; starts in about {format_rough_duration(start - now.at)}"
        return Span(words, "warn")
    if session.state is SessionState.STARTING:
        return Span(f"step {session.step}" if session.step else "starting the desktop", "busy")
    if session.state is SessionState.UNKNOWN:
        return Span(session.reason or "the engine did not answer", "warn")
    if session.state is SessionState.SUSPENDED:
        return Span("the job is suspended; an operator can resume it", "warn")
    if session.state is SessionState.READY and session.idle_left_s is not None:
        left_text = format_countdown(session.idle_left_s - now.age_s)
        return Span(f"idle: ends in {left_text} if nobody uses it", "warn")
    left = None if session.ends_in_s is None else session.ends_in_s - now.age_s
    if session.state is SessionState.READY and left is not None and left < 300:
        words = limit_name(session).replace("its time", "the time")
        return Span(f"{words} is near: save your work", "warn")
    words = "; ".join(part for part in (watched_text(session), session.software_reason) if part)
    return Span(words, "warn" if session.software_reason else "text")


def watched_text(session: Session) -> str:
    """Who watches a session that is shared; empty for nobody."""
    names = ", ".join(session.watched_by)
    return f"{names} watches" if len(session.watched_by) == 1 else f"{names} watch" if names else ""


def limit_name(session: Session) -> str:
    """What ends it next: ``its time limit``, or ``the end of its lease``."""
    lease, limit = session.lease_left_s, session.time_left_s
    return "its time limit" if lease is None or lease == limit else "the end of its lease"


def session_note_short(session: Session, now: Now) -> Span:
    """``session_note`` that puts the expected start first, since the rest may be cut off."""
    start = session.expected_start_at
    if session.state is SessionState.PENDING and start is not None and start > now.at:
        reason = session.reason or "waiting"
        return Span(f"in {format_rough_duration(start - now.at)}: {reason}", "warn")
    return session_note(session, now)


def _result_note(session: Session) -> Span:
    if session.result == "failed":
        step = f"step {session.step}: " if session.step else ""
        return Span(f"{step}{session.error or 'the cause is unknown'}", "bad")
    return Span(session.error or session.note, "muted")


def resources_text(wanted: Resources) -> str:
    """``2 cores · 4 GiB · 1 GPU``."""
    parts = [f"{wanted.cores} core" + ("s" if wanted.cores != 1 else "")]
    if wanted.memory_mib:
        parts.append(format_memory(wanted.memory_mib))
    if wanted.gpus:
        parts.append(f"{wanted.gpus} GPU" + ("s" if wanted.gpus != 1 else ""))
    return " · ".join(parts)


_STILL = Now()
#: Follows a version when a newer one is current.
_NEWER = " ↑"
#: Follows what draws a session whose GPU does not.
_UNUSED_GPU = " !"


def _state_cell(session: Session, now: Now, cells: int) -> Line:
    return (session_state(session, now),)


def _app_cell(session: Session, now: Now, cells: int) -> Line:
    return (Span(session.app, "strong" if session.mine and session.live else "muted"),)


def _node_cell(session: Session, now: Now, cells: int) -> Line:
    return (Span(session.node or "–", "text" if session.node else "faint"),)


def _left_cell(session: Session, now: Now, cells: int) -> Line:
    text = time_left_text(session, now)
    waiting = session.ends_in_s is None or session.state == "pending"
    short = not waiting and (session.ends_in_s or 0) - now.age_s < 300
    return (Span(text, "warn" if short else "faint" if waiting else "text"),)


def resources_text_short(session: Session) -> str:
    """``2c 4G 1g``: cores, GiB, GPUs."""
    wanted = session.resources
    if not wanted.cores:
        return ""
    text = f"{wanted.cores}c"
    text += f" {format_gib_short(wanted.memory_mib)}G" if wanted.memory_mib else ""
    return f"{text} {wanted.gpus}gpu" if wanted.gpus else text


def _size_cell(session: Session, now: Now, cells: int) -> Line:
    return (Span(resources_text_short(session), "muted"),)


def _owner_cell(session: Session, now: Now, cells: int) -> Line:
    return line(Span("you", "accent") if session.mine else Span(session.user, "muted"))


def _version_cell(session: Session, now: Now, cells: int) -> Line:
    newer = session.newer_version and cells != WHOLE
    return line(Span(session.image_version, "muted"), Span(_NEWER if newer else "", "warn"))


def _renderer_cell(session: Session, now: Now, cells: int) -> Line:
    return line(_renderer_span(session))


def _renderer_span(session: Session) -> Span:
    """What draws OpenGL, in a word; amber, with a sign, where a GPU was given and does not draw."""
    name = session.renderer_name
    if name and session.software_reason:
        return Span(name + _UNUSED_GPU, "warn")
    return Span(name, "muted")


def _idle_cell(session: Session, now: Now, cells: int) -> Line:
    full = idle_text(session, now)
    fits_in = cells >= 6 and cell_width(full.text) <= cells
    return (full if fits_in else idle_text_short(session, now),)


def _idle_key(session: Session) -> tuple[int, float]:
    """Sorts the longest idle first, then those with viewers, then those that don't report any."""
    if session.viewers is None or not session.live:
        return (2, 0.0)
    return (1, 0.0) if session.viewers else (0, float(session.idle_since or 0))


def _job_cell(session: Session, now: Now, cells: int) -> Line:
    return (Span(session.job_id, "faint"),)


def _id_cell(session: Session, now: Now, cells: int) -> Line:
    return (Span(session.id, "faint"),)


def _fitting_note(session: Session, now: Now, cells: int) -> Span:
    full = session_note(session, now)
    return full if cell_width(full.text) <= cells else session_note_short(session, now)


def _note_cell(session: Session, now: Now, cells: int) -> Line:
    return (_fitting_note(session, now, cells),)


_STATE_ORDER = {state: n for n, state in enumerate(SessionState)}


def _left_key(session: Session) -> float:
    return float("inf") if session.ends_in_s is None else session.ends_in_s


SESSION_COLUMNS: tuple[Column[Session], ...] = (
    Column(
        "STATE", _state_cell, 11, 11, ticks=True, sort=lambda s: (_STATE_ORDER[s.state], s.result)
    ),
    Column("APP", _app_cell, 8, 16, measure=lambda s: shown_width(s.app), sort=lambda s: s.app),
    Column(
        "NODE",
        _node_cell,
        6,
        20,
        rank=1,
        measure=lambda s: shown_width(s.node),
        sort=lambda s: natural_key(s.node),
    ),
    Column(
        "LEFT",
        _left_cell,
        8,
        14,
        rank=1,
        right=True,
        ticks=True,
        measure=lambda s: len(time_left_text(s, _STILL)),
        sort=_left_key,
    ),
    Column(
        "OWNER",
        _owner_cell,
        5,
        12,
        rank=2,
        measure=lambda s: 3 if s.mine else shown_width(s.user),
        sort=lambda s: (not s.mine, s.user),
    ),
    Column(
        "SIZE",
        _size_cell,
        6,
        14,
        rank=5,
        measure=lambda s: len(resources_text_short(s)),
        sort=lambda s: (s.resources.cores, s.resources.memory_mib, s.resources.gpus),
    ),
    Column(
        "IDLE",
        _idle_cell,
        5,
        8,
        rank=4,
        short=5,
        right=True,
        ticks=True,
        sparse=True,
        measure=lambda s: max(6, shown_width(idle_text(s, _STILL).text)) if viewer_state(s) else 0,
        sort=_idle_key,
    ),
    Column(
        "VERSION",
        _version_cell,
        7,
        12,
        rank=6,
        sparse=True,
        measure=lambda s: shown_width(s.image_version) + len(_NEWER) * bool(s.newer_version),
        sort=lambda s: natural_key(s.image_version),
    ),
    Column(
        "OPENGL",
        _renderer_cell,
        6,
        12,
        rank=9,
        sparse=True,
        measure=lambda s: shown_width(_renderer_span(s).text),
        sort=lambda s: s.renderer_name,
    ),
    Column(
        "JOB",
        _job_cell,
        3,
        9,
        rank=7,
        measure=lambda s: shown_width(s.job_id),
        sort=lambda s: natural_key(s.job_id),
    ),
    Column("SESSION", _id_cell, 8, 8, rank=8, measure=lambda s: len(s.id)),
    Column(
        "NOTE",
        _note_cell,
        15,
        60,
        rank=3,
        grows=1,
        ticks=True,
        measure=lambda s: shown_width(session_note(s, _STILL).text),
        sort=lambda s: session_note(s, _STILL).text,
    ),
)


def session_columns(idle_shown: Callable[[], bool]) -> tuple[Column[Session], ...]:
    """The columns of sessions. NOTE shows the viewers while IDLE is not shown, which ``idle_shown``
    says.
    """

    def note(session: Session, now: Now, cells: int) -> Line:
        fitting = _fitting_note(session, now, cells)
        return (fitting if fitting.text or idle_shown() else viewing_text(session, now),)

    return (*SESSION_COLUMNS[:-1], replace(SESSION_COLUMNS[-1], cell=note))
