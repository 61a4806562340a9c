"""The details of one session: state, timeline, resources and the end of its log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vizdash.model import Session, SessionState, Snapshot
from vizdash.ui.present.lines import LABEL_CELLS, Line, Span, Tone, labelled, labelled_meter, line
from vizdash.ui.present.sessions import (
    RESULT_MEANINGS,
    resources_text,
    session_note,
    session_state,
    viewer_state,
)
from vizdash.ui.widgets.columns import Now
from vizdash.util.text import escape_control, plural, truncate
from vizdash.util.units import format_countdown, format_rough_duration

if TYPE_CHECKING:
    from vizdash.sessions.folder_summary import FolderSummary


@dataclass(frozen=True, slots=True)
class SessionExtras:
    """What the details show besides the session's row: the snapshot around it, the summary of its
    folder (None: not read yet), and the address of its desktop while that is open.
    """

    snapshot: Snapshot | None = None
    trail: FolderSummary | None = None
    address: str = ""


def next_step(session: Session, now: Now) -> Span:
    """What to do with the session now, or why nothing can be done."""
    note = session_note(session, now)
    if note.text:
        return note
    if session.state is SessionState.ENDED:
        return Span(RESULT_MEANINGS.get(session.result, ""), "muted")
    if session.state is SessionState.READY and session.mine:
        return Span("press o to open it in your browser", "muted")
    return Span("" if session.mine else f"belongs to {session.user}", "muted")


def newer_image_line(session: Session) -> Line:
    """That a newer version of the image is available, and how to use it."""
    words_ = f"{session.newer_version} is available"
    return line(Span(words_, "warn"), Span(" — N starts a session on it" * session.mine, "muted"))


def session_summary(session: Session, now: Now) -> Line:
    """One line about a session."""
    looks = _viewers_text(session, now) if viewer_state(session) else None
    state = (session_state(session, Now()), "  ", next_step(session, now))
    return line(*state, *((Span("   ", "muted"), looks) if looks else ()))


def session_details(session: Session, now: Now, more: SessionExtras | None = None) -> list[Line]:
    """All details of a session but its log."""
    more = more or SessionExtras()
    state = session_state(session, Now())  # a spinner is redrawn each second
    details = [line(Span(state.text, state.tone, bold=True), "   ", next_step(session, now)), ()]
    image = f"  {session.image_version}  {session.image_digest[:12]}".rstrip()
    details.append(labelled("app", Span(session.app, "strong"), Span(image, "muted")))
    if session.newer_version:
        details.append(labelled("image", *newer_image_line(session)))
    owner = Span("you", "accent") if session.mine else Span(session.user)
    id_ = (session.id, Span(f"   job {session.job_id}   owner ", "muted"), owner)
    details.append(labelled("session", *id_))
    where = Span(f"   partition {session.partition}" if session.partition else "", "muted")
    details.append(labelled("node", session.node or Span("none yet", "muted"), where))
    details += _load_line(session, more.snapshot)
    if session.resources.cores:
        scaled = Span(f"   drawn at scale {session.scale}" if session.scale != 1 else "", "muted")
        details.append(labelled("size", resources_text(session.resources), scaled))
    details += _time_line(session, now)
    if steps := timeline(session, now, more.trail):
        details.append(labelled("timeline", *steps))
    if session.renderer:
        tone: Tone = "warn" if session.software_reason else "text"
        details.append(labelled("OpenGL", Span(session.renderer, tone)))
    if session.warning or session.software_reason:
        words = session.warning or session.software_reason
        details.append(labelled("warning", Span(words, "warn")))
    if session.state is SessionState.READY and session.viewers is not None:
        details.append(labelled("viewers", _viewers_text(session, now)))
    if more.address:
        details.append(
            labelled("address", Span(more.address, "accent"), Span("   c copies it", "muted"))
        )
    if session.legacy:
        details.append(labelled("kind", Span("legacy job script", "muted")))
    if session.service:
        kind = {"web": "web service", "pvserver": "ParaView server"}[session.service]
        details.append(labelled("kind", Span(kind, "muted")))
    if session.state is SessionState.ENDED and more.snapshot and more.snapshot.past_note:
        details.append(labelled("history", Span(more.snapshot.past_note, "muted")))
    return details


def _load_line(session: Session, snapshot: Snapshot | None) -> Iterable[Line]:
    """The load of its node: cores that the engine allocated, and the load average."""
    nodes = snapshot.nodes if snapshot and session.live else ()
    node = next((n for n in nodes if n.name == session.node), None)
    if node is not None:
        given = f"{node.cores_alloc} of {plural(node.cores, 'core')} allocated"
        busy = "" if node.os_load is None else f", load average {node.os_load:.1f}"
        yield labelled("load", given, Span(busy, "muted"))


def _time_line(session: Session, now: Now) -> Iterable[Line]:
    limit = session.resources.time_s
    if session.live and session.lease_left_s is not None:
        left = max(0.0, session.lease_left_s - now.age_s)
        room_s = max(0, (session.time_left_s or 0) - session.lease_left_s)
        more = f", extendable by {format_rough_duration(room_s)}" if room_s else ""
        yield labelled("lease", f"{format_countdown(left)} left{more}")
    elif session.live and session.lease_s:
        yield labelled("lease", format_rough_duration(session.lease_s))
    if session.live and session.time_left_s is not None and limit and session.node:
        left = max(0.0, session.time_left_s - now.age_s)
        yield labelled_meter(
            "time",
            limit - left,
            limit,
            f"{format_countdown(left)} left of {format_rough_duration(limit)}",
        )
    elif limit:
        yield labelled("time", f"limit {format_rough_duration(limit)}")


def _viewers_text(session: Session, now: Now) -> Span:
    """How many browsers are connected, or for how long none has been."""
    if session.viewers:
        return Span(plural(session.viewers, "browser"))
    since = f" {format_rough_duration(now.at - session.idle_since)}" if session.idle_since else ""
    return Span(f"idle{since}", "muted")


def timeline(session: Session, now: Now, trail: FolderSummary | None = None) -> Line:
    """The states that the session went through: the time of the first, and how long each later one
    took, ``submitted 13:00:02 → started +3s → ready +12s``.
    """
    begun = session.started_at if session.node else None
    ready = trail.ready_at if trail else None
    ended = None if session.live else session.ended_at
    times = (
        ("submitted", session.submitted_at),
        ("started", begun),
        ("ready", ready),
        (session.result or "ended", ended),
    )
    steps = [(word, at) for word, at in times if at]
    spans: list[Span] = []
    for n, (word, at) in enumerate(steps):
        when = (
            "+" + format_rough_duration(at - steps[n - 1][1]).replace(" ", "")
            if n
            else _clock_text(at, now)
        )
        spans += [Span(" → " if n else "", "faint"), Span(f"{word} "), Span(when, "muted")]
    expected = session.expected_start_at
    if session.state is SessionState.PENDING and expected and expected > now.at:
        spans += [Span(" → " if spans else "", "faint"), Span("expected start ", "muted")]
        spans.append(Span(_clock_text(expected, now), "muted"))
    return line(*spans)


def _clock_text(at: int, now: Now) -> str:
    """A time in the local time zone, with the date when it is not today."""
    then, today = time.localtime(at), time.localtime(now.at)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)


def log_tail(trail: FolderSummary | None, count: int, cells: int) -> list[Line]:
    """The last ``count`` lines of a log, each in ``cells`` cells, or why there are none."""
    if trail is None or count < 1:
        return []
    if trail.note:
        return [labelled("log", Span(trail.note, "muted"))]
    width = max(1, cells - LABEL_CELLS)
    last_lines = [text for text in trail.log if text.strip()][-count:]
    shown = [truncate(escape_control(text.expandtabs()), width) for text in last_lines]
    return [labelled("" if n else "log", Span(text, "muted")) for n, text in enumerate(shown)]
