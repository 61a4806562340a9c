"""All there is to say of a node or an image (of a session: see sessiondetails.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vizdash.model import Job, Node, Session, Snapshot
from vizdash.ui import words
from vizdash.ui.format import bar, memory, names, plural, size
from vizdash.ui.room import Room
from vizdash.ui.theme import Line, Span, Tone, line
from vizdash.ui.widgets.table import Now

#: Cells of the names on the left, and of the bars.
NAME = 11
_BAR = 24


def field(name: str, *spans: Span | str) -> Line:
    """A name and what belongs to it."""
    return line(Span(name.ljust(NAME), "faint"), *spans)


def meter(name: str, used: float, total: float, words_: str) -> Line:
    """A name, a bar and its figures."""
    tone: Tone = "warn" if total and used / total >= 0.9 else "busy"
    filled, rest = bar(used, total, _BAR)
    return field(name, Span(filled, tone), Span(rest, "faint"), Span(f"  {words_}"))


def node_line(node: Node, snapshot: Snapshot, now: Now, room: Room | None = None) -> Line:
    """One line of a node: why nothing may start on it, who runs what, else what is free."""
    state = words.node_state(node)
    notice = node.notice(now.at)
    told = [notice] if notice else []
    if runs := _runs(node, snapshot):
        told.append(f"runs {runs}")
    if told:
        return line(state, Span(f"  {'; '.join(told)}", "muted"))
    free = f"{node.cores_free} cores"
    if node.memory_tracked:
        free += f", {memory(node.memory_free_mib)}"
    if node.gpus:
        free += f", {node.gpus_free} GPU"
    more = f"; fits {room.on.get(node.name, 0)} more {room.app}" if room else ""
    return line(state, Span(f"  free: {free}{more}", "muted"))


def _here_and_others(node: Node, snapshot: Snapshot) -> tuple[list[Session], list[Job]]:
    here = [s for s in snapshot.sessions if s.node == node.name and s.live]
    ours = {session.job_id for session in here}
    return here, [job for job in snapshot.jobs_on(node.name) if job.id not in ours]


def _runs(node: Node, snapshot: Snapshot) -> str:
    """Who runs what on it: ``desktop (you), solve (carla)``."""
    here, others = _here_and_others(node, snapshot)
    found = [f"{s.app} ({'you' if s.mine else s.user})" for s in here]
    return ", ".join([*found, *(f"{job.name or 'job'} ({job.user})" for job in others)])


def node_lines(node: Node, snapshot: Snapshot, now: Now, room: Room | None = None) -> list[Line]:
    """Everything of a node: its room, and who runs what on it."""
    state = words.node_state(node)
    found = [line(Span(state.text, state.tone, bold=True), "   ", Span(node.reason, "warn")), ()]
    found.append(meter("cores", node.cores_alloc, node.cores, f"{node.cores_alloc}/{node.cores}"))
    found.append(_memory(node))
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
    for n, reservation in enumerate(node.reservations):
        what = Span(reservation.words_with_rest(now.at), "warn")
        found.append(field("" if n else "reserved", what, Span(f"  {reservation.name}", "muted")))
    if node.features:
        found.append(field("features", Span(", ".join(node.features), "muted")))
    here, others = _here_and_others(node, snapshot)
    found += _here(here, now)
    found += _others(others)
    return found


def _memory(node: Node) -> Line:
    if not node.memory_tracked:
        return field("memory", Span("not tracked: Slurm hands out cores alone here", "muted"))
    used, total = memory(node.memory_alloc_mib), memory(node.memory_mib)
    return meter("memory", node.memory_alloc_mib, node.memory_mib, f"{used} of {total}")


def _others(jobs: Sequence[Job]) -> Iterable[Line]:
    """Jobs that are no sessions: whose, what, how large."""
    for n, job in enumerate(jobs[:8]):
        size = plural(job.cores, "core")
        size += f", {memory(job.memory_mib)}" if job.memory_mib else ""
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
