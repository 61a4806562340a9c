"""All there is to say of the row under the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vizdash.model import Job, Node, Session, SessionState, Snapshot
from vizdash.ui import words
from vizdash.ui.format import about, bar, countdown, memory, names, plural, size
from vizdash.ui.room import Room
from vizdash.ui.theme import Line, Span, Tone, line
from vizdash.ui.widgets.table import Now

#: Cells of the names on the left, and of the bars.
_NAME = 11
_BAR = 24


def field(name: str, *spans: Span | str) -> Line:
    """A name and what belongs to it."""
    return line(Span(name.ljust(_NAME), "faint"), *spans)


def meter(name: str, used: float, total: float, words_: str) -> Line:
    """A name, a bar and its figures."""
    tone: Tone = "warn" if total and used / total >= 0.9 else "busy"
    filled, rest = bar(used, total, _BAR)
    return field(name, Span(filled, tone), Span(rest, "faint"), Span(f"  {words_}"))


def advice(session: Session, now: Now) -> Span:
    """What to do with it now, or why nothing can be done."""
    note = words.note(session, now)
    if note.text:
        return note
    if session.state is SessionState.READY and session.mine:
        return Span("press o to open it in your browser", "muted")
    return Span("" if session.mine else f"belongs to {session.user}", "muted")


def newer(session: Session) -> Line:
    """That a newer image is out, and what to do."""
    words_ = f"{session.newer_version} is out"
    return line(Span(words_, "warn"), Span(" — N starts a session on it" * session.mine, "muted"))


def session_line(session: Session, now: Now) -> Line:
    """One line for where there's no room for more."""
    return line(words.session_state(session, Now()), "  ", advice(session, now))


def session_lines(session: Session, now: Now) -> list[Line]:
    """Everything of a session."""
    state = words.session_state(session, Now())  # one that turns is written anew each second
    found = [line(Span(state.text, state.tone, bold=True), "   ", advice(session, now)), ()]
    image = f"  {session.image_version}  {session.image_digest[:12]}".rstrip()
    found.append(field("app", Span(session.app, "strong"), Span(image, "muted")))
    if session.newer_version:
        found.append(field("image", *newer(session)))
    found.append(field("session", session.id, Span(f"   job {session.job_id}", "muted")))
    where = Span(f"   partition {session.partition}" if session.partition else "", "muted")
    found.append(field("node", session.node or Span("none yet", "muted"), where))
    if session.resources.cores:
        found.append(field("size", words.resources(session.resources)))
    found += _time(session, now)
    if session.state is SessionState.READY and session.viewers is not None:
        found.append(field("viewers", _viewers(session, now)))
    found.append(field("owner", Span("you", "accent") if session.mine else session.user))
    if session.legacy:
        found.append(field("kind", Span("started by an older job script", "muted")))
    return found


def _time(session: Session, now: Now) -> Iterable[Line]:
    limit = session.resources.time_s
    if session.live and session.time_left_s is not None and limit and session.node:
        left = max(0.0, session.time_left_s - now.age_s)
        yield meter("time", limit - left, limit, f"{countdown(left)} left of {about(limit)}")
    elif limit:
        yield field("time", f"{about(limit)} at most")
    if session.started_at and session.live:
        yield field("started", f"{about(now.at - session.started_at)} ago")


def _viewers(session: Session, now: Now) -> Span:
    """How many browsers look at it, or since when nobody has."""
    if session.viewers:
        return Span(plural(session.viewers, "browser"))
    since = f" for {about(now.at - session.idle_since)}" if session.idle_since else ""
    return Span(f"nobody looks{since}", "muted")


def node_line(node: Node, room: Room | None = None) -> Line:
    """One line of a node."""
    state = words.node_state(node)
    if node.reason:
        return line(state, "  ", Span(node.reason, "muted"))
    free = f"{node.cores_free} cores, {memory(node.memory_free_mib)}"
    if node.gpus:
        free += f", {node.gpus_free} GPU"
    more = f"; fits {room.on.get(node.name, 0)} more {room.app}" if room else ""
    return line(state, Span(f"  free: {free}{more}", "muted"))


def node_lines(node: Node, snapshot: Snapshot, now: Now, room: Room | None = None) -> list[Line]:
    """Everything of a node: its room, and who runs what on it."""
    state = words.node_state(node)
    found = [line(Span(state.text, state.tone, bold=True), "   ", Span(node.reason, "warn")), ()]
    found.append(meter("cores", node.cores_alloc, node.cores, f"{node.cores_alloc}/{node.cores}"))
    used, total = memory(node.memory_alloc_mib), memory(node.memory_mib)
    found.append(meter("memory", node.memory_alloc_mib, node.memory_mib, f"{used} of {total}"))
    for gres in node.gres:
        kind = f" {gres.type}" if gres.type else ""
        found.append(meter(gres.name, gres.used, gres.total, f"{gres.used}/{gres.total}{kind}"))
    if node.os_load is not None:
        given = f"{node.os_load:.1f} busy by the system, {node.cores_alloc} given by the engine"
        found.append(meter("load", node.os_load, node.cores, given))
    if room is not None:
        fits = room.on.get(node.name, 0)
        told = Span(f"{fits} more" if fits else "no more", "text" if fits else "muted")
        found.append(field("fits", told, Span(f"   of {room.size}", "muted")))
    if node.features:
        found.append(field("features", Span(", ".join(node.features), "muted")))
    here = [s for s in snapshot.sessions if s.node == node.name and s.live]
    found += _here(here, now)
    ours = {session.job_id for session in here}
    found += _others([job for job in snapshot.jobs_on(node.name) if job.id not in ours])
    return found


def _others(jobs: Sequence[Job]) -> Iterable[Line]:
    """Jobs that are no sessions: whose, what, how large."""
    for n, job in enumerate(jobs[:8]):
        size = f"{plural(job.cores, 'core')}, {memory(job.memory_mib)}"
        spread = f" on {plural(len(job.nodes), 'node')}" if len(job.nodes) > 1 else ""
        what = Span(f"{job.name or 'job'}  ", "text")
        about_it = Span(f"  {size}{spread}  job {job.id}", "muted")
        yield field("" if n else "other jobs", what, Span(job.user, "muted"), about_it)
    if len(jobs) > 8:
        yield field("", Span(f"and {len(jobs) - 8} more", "muted"))


def _here(sessions: Sequence[Session], now: Now) -> Iterable[Line]:
    for n, session in enumerate(sessions[:8]):
        owner = Span("you", "accent") if session.mine else Span(session.user, "muted")
        state = words.session_state(session, Now())
        yield field("" if n else "sessions", state, f"  {session.app}  ", owner)
    if len(sessions) > 8:
        yield field("", Span(f"and {len(sessions) - 8} more", "muted"))


def image_line(row: words.ImageRow) -> Line:
    """One line of an image."""
    return line(words.current(row), Span(f"  {row.path}", "muted"))


def image_lines(row: words.ImageRow, snapshot: Snapshot) -> list[Line]:
    """Everything of an image."""
    state = words.current(row)
    found = [line(Span(state.text, state.tone, bold=True)), ()]
    version = Span(row.version or "unversioned", "text" if row.version else "muted")
    found.append(field("app", Span(row.app, "strong"), "  ", version))
    found.append(field("path", row.path))
    found.append(field("size", size(row.size_bytes)))
    found.append(field("on", row.place))
    known = {i.node for i in snapshot.images}
    lacking = tuple(n.name for n in snapshot.nodes if n.name in known and n.name not in row.nodes)
    if lacking:
        found.append(field("not on", Span(names(lacking), "warn")))
    return found
