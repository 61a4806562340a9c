"""All there is to say of a session: its state, its path, its place, the end of its log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from vizdash.model import Session, SessionState, Snapshot
from vizdash.sessions.trail import Trail
from vizdash.ui import words
from vizdash.ui.details import NAME, field, meter
from vizdash.ui.format import about, countdown, ellipsis, escape_control, plural
from vizdash.ui.theme import Line, Span, line
from vizdash.ui.widgets.table import Now


@dataclass(frozen=True, slots=True)
class More:
    """What is known besides the session's row: the cluster around it, what is in its folder
    (None: not looked yet), and the address of its desktop while that is open.
    """

    snapshot: Snapshot | None = None
    trail: Trail | None = None
    address: str = ""


def advice(session: Session, now: Now) -> Span:
    """What to do with it now, or why nothing can be done."""
    note = words.note(session, now)
    if note.text:
        return note
    if session.state is SessionState.ENDED:
        return Span(words.ENDS.get(session.result, ""), "muted")
    if session.state is SessionState.READY and session.mine:
        return Span("press o to open it in your browser", "muted")
    return Span("" if session.mine else f"belongs to {session.user}", "muted")


def newer(session: Session) -> Line:
    """That a newer image is out, and what to do."""
    words_ = f"{session.newer_version} is out"
    return line(Span(words_, "warn"), Span(" — N starts a session on it" * session.mine, "muted"))


def session_line(session: Session, now: Now) -> Line:
    """One line for where there's no room for more."""
    looks = _viewers(session, now) if words.viewer(session) else None
    found = (words.session_state(session, Now()), "  ", advice(session, now))
    return line(*found, *((Span("   ", "muted"), looks) if looks else ()))


def session_lines(session: Session, now: Now, more: More | None = None) -> list[Line]:
    """Everything of a session but its log."""
    more = more or More()
    state = words.session_state(session, Now())  # one that turns is written anew each second
    found = [line(Span(state.text, state.tone, bold=True), "   ", advice(session, now)), ()]
    image = f"  {session.image_version}  {session.image_digest[:12]}".rstrip()
    found.append(field("app", Span(session.app, "strong"), Span(image, "muted")))
    if session.newer_version:
        found.append(field("image", *newer(session)))
    owner = Span("you", "accent") if session.mine else Span(session.user)
    id_ = (session.id, Span(f"   job {session.job_id}   owner ", "muted"), owner)
    found.append(field("session", *id_))
    where = Span(f"   partition {session.partition}" if session.partition else "", "muted")
    found.append(field("node", session.node or Span("none yet", "muted"), where))
    found += _load(session, more.snapshot)
    if session.resources.cores:
        found.append(field("size", words.resources(session.resources)))
    found += _time(session, now)
    if steps := path(session, now, more.trail):
        found.append(field("path", *steps))
    if session.warning:
        found.append(field("warning", Span(session.warning, "warn")))
    if session.state is SessionState.READY and session.viewers is not None:
        found.append(field("viewers", _viewers(session, now)))
    if more.address:
        found.append(field("address", Span(more.address, "accent"), Span("   c copies", "muted")))
    if session.legacy:
        found.append(field("kind", Span("started by an older job script", "muted")))
    if session.state is SessionState.ENDED and more.snapshot and more.snapshot.past_note:
        found.append(field("kept", Span(more.snapshot.past_note, "muted")))
    return found


def _load(session: Session, snapshot: Snapshot | None) -> Iterable[Line]:
    """Its node's load: what the engine gave, and what the system says."""
    nodes = snapshot.nodes if snapshot and session.live else ()
    node = next((n for n in nodes if n.name == session.node), None)
    if node is not None:
        given = f"{node.cores_alloc} of {plural(node.cores, 'core')} given"
        busy = "" if node.os_load is None else f", {node.os_load:.1f} busy"
        yield field("load", given, Span(busy, "muted"))


def _time(session: Session, now: Now) -> Iterable[Line]:
    limit = session.resources.time_s
    if session.live and session.time_left_s is not None and limit and session.node:
        left = max(0.0, session.time_left_s - now.age_s)
        yield meter("time", limit - left, limit, f"{countdown(left)} left of {about(limit)}")
    elif limit:
        yield field("time", f"{about(limit)} at most")


def _viewers(session: Session, now: Now) -> Span:
    """How many browsers look at it, or since when nobody has."""
    if session.viewers:
        return Span(plural(session.viewers, "browser"))
    since = f" for {about(now.at - session.idle_since)}" if session.idle_since else ""
    return Span(f"nobody looks{since}", "muted")


def path(session: Session, now: Now, trail: Trail | None = None) -> Line:
    """The states it went through: when the first was, and how long each later one took to come,
    ``submitted 13:00:02 → started +3s → ready +12s``.
    """
    begun = session.started_at if session.node else None
    ready = trail.ready_at if trail else None
    ended = None if session.live else session.ended_at
    told = (
        ("submitted", session.submitted_at),
        ("started", begun),
        ("ready", ready),
        (session.result or "ended", ended),
    )
    steps = [(word, at) for word, at in told if at]
    found: list[Span] = []
    for n, (word, at) in enumerate(steps):
        when = "+" + about(at - steps[n - 1][1]).replace(" ", "") if n else _clock(at, now)
        found += [Span(" → " if n else "", "faint"), Span(f"{word} "), Span(when, "muted")]
    expected = session.expected_start_at
    if session.state is SessionState.PENDING and expected and expected > now.at:
        found += [Span(" → " if found else "", "faint"), Span("starts about ", "muted")]
        found.append(Span(_clock(expected, now), "muted"))
    return line(*found)


def _clock(at: int, now: Now) -> str:
    """A moment in the person's own time, with its date when that is not today's."""
    then, today = time.localtime(at), time.localtime(now.at)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)


def log_lines(trail: Trail | None, count: int, cells: int) -> list[Line]:
    """The last ``count`` lines of a log in ``cells`` cells, or why there are none."""
    if trail is None or count < 1:
        return []
    if trail.note:
        return [field("log", Span(trail.note, "muted"))]
    room = max(1, cells - NAME)
    told = [text for text in trail.log if text.strip()][-count:]
    shown = [ellipsis(escape_control(text.expandtabs()), room) for text in told]
    return [field("" if n else "log", Span(text, "muted")) for n, text in enumerate(shown)]
