"""What the screen says of sessions, nodes and images: glyph and word, never colour alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from vizdash.model import Image, Node, Resources, Session, SessionState, Snapshot
from vizdash.ui.format import about, countdown, memory, names, natural, plural
from vizdash.ui.theme import Line, Span, Tone, line
from vizdash.ui.widgets.table import Now

#: A session that starts turns once in four seconds.
_TURNING = "◐◓◑◒"

_STATES: Mapping[SessionState, tuple[str, Tone]] = {
    SessionState.PENDING: ("○", "warn"),
    SessionState.STARTING: ("◐", "busy"),
    SessionState.READY: ("●", "good"),
    SessionState.SUSPENDED: ("‖", "warn"),
    SessionState.ENDING: ("◌", "muted"),
    SessionState.UNKNOWN: ("?", "warn"),
}
#: Somebody looks at it.
_LOOKED_AT = "◉"
_RESULTS: Mapping[str, tuple[str, Tone]] = {
    "finished": ("✓", "muted"),
    "cancelled": ("–", "muted"),
    "timed out": ("◷", "warn"),
    "timed-out": ("◷", "warn"),
    "failed": ("✗", "bad"),
}

#: Every glyph with what it means, for the help.
LEGEND: tuple[tuple[str, Tone, str, str], ...] = (
    ("○", "warn", "pending", "waits for its turn; the note says what for"),
    ("◐", "busy", "starting", "its job runs, the desktop does not answer yet"),
    ("●", "good", "ready", "press o to open it"),
    ("‖", "warn", "suspended", "its job is stopped and keeps its node"),
    ("◌", "muted", "ending", "its programs are being ended"),
    ("✓", "muted", "finished", "it ended by itself"),
    ("–", "muted", "cancelled", "somebody stopped it"),
    ("◷", "warn", "timed out", "it reached its time limit"),
    ("✗", "bad", "failed", "the note names the step and the last error"),
    ("?", "warn", "unknown", "the engine could not be asked, or only the job is known"),
    (_LOOKED_AT, "text", "2", "browsers that look at it; else IDLE is since when nobody does"),
)

#: How one ended that nobody has more to say of.
ENDS: Mapping[str, str] = {word: meaning for _, _, word, meaning in LEGEND if word in _RESULTS}


def session_state(session: Session, now: Now) -> Span:
    """``● ready``, ``✗ failed``; an ended one is called by its result."""
    if session.state is SessionState.ENDED:
        word = session.result.replace("-", " ") or "ended"
        glyph, tone = _RESULTS.get(word, ("–", "muted"))
        return Span(f"{glyph} {word}", tone)
    glyph, tone = _STATES[session.state]
    if session.state is SessionState.STARTING:
        glyph = _TURNING[int(now.at) % len(_TURNING)]
    return Span(f"{glyph} {session.state}", tone)


def moving(session: Session) -> bool:
    """Whether its row depends on the clock."""
    return session.live and (
        session.time_left_s is not None
        or session.expected_start_at is not None
        or session.idle_since is not None
        or session.state is SessionState.STARTING
    )


def idle(session: Session, now: Now) -> Span:
    """``3 h`` for a desktop that nobody has looked at for that long, ``in use`` for one that is
    looked at; empty where the session does not tell.
    """
    if session.viewers is None or not session.live:
        return Span("")
    if session.viewers:
        return Span("in use" if session.viewers == 1 else f"{session.viewers} in use")
    since = session.idle_since
    return Span("idle" if since is None else about(now.at - since), "muted")


def idle_short(session: Session, now: Now) -> Span:
    """The same in four cells: ``3h``, ``12m``; ``◉ 1`` for one that somebody looks at."""
    full = idle(session, now)
    if session.live and session.viewers:
        return replace(full, text=f"{_LOOKED_AT} {session.viewers}")
    return replace(full, text=full.text.replace(" ", "").replace("min", "m"))


def looked_at(session: Session, now: Now) -> Span:
    """The same where no title says what it is: ``in use``, ``idle 12 min``."""
    full = idle(session, now)
    return (
        full
        if session.viewers or not session.idle_since
        else replace(full, text=f"idle {full.text}")
    )


def viewer(session: Session) -> str:
    """``idle`` or ``connected``, for the filter."""
    if session.viewers is None or not session.live:
        return ""
    return "connected" if session.viewers else "idle"


def time_left(session: Session, now: Now) -> str:
    """A countdown while it runs, the limit while it waits."""
    if session.state is SessionState.PENDING:
        return countdown(session.resources.time_s) if session.resources.time_s else ""
    if not session.live or session.time_left_s is None:
        return ""
    return countdown(session.time_left_s - now.age_s)


def note(session: Session, now: Now) -> Span:
    """Why it waits, how far it is, how it ended."""
    if session.state is SessionState.ENDED:
        return _end(session)
    if session.state is SessionState.PENDING:
        words = session.reason or "waiting"
        start = session.expected_start_at
        if start is not None and start > now.at:
            words += f"; starts in about {about(start - now.at)}"
        return Span(words, "warn")
    if session.state is SessionState.STARTING:
        return Span(f"step {session.step}" if session.step else "bringing the desktop up", "busy")
    if session.state is SessionState.UNKNOWN:
        return Span(session.reason or "the engine did not answer", "warn")
    if session.state is SessionState.SUSPENDED:
        return Span("its job is suspended: an operator can resume it", "warn")
    left = None if session.time_left_s is None else session.time_left_s - now.age_s
    if session.state is SessionState.READY and left is not None and left < 300:
        return Span("its time is nearly up: save your work", "warn")
    return Span("")


def note_short(session: Session, now: Now) -> Span:
    """The same for a row: what waits says first when it starts, the rest may be cut off."""
    start = session.expected_start_at
    if session.state is SessionState.PENDING and start is not None and start > now.at:
        reason = session.reason or "waiting"
        return Span(f"in {about(start - now.at)}: {reason}", "warn")
    return note(session, now)


def _end(session: Session) -> Span:
    if session.result == "failed":
        step = f"step {session.step}: " if session.step else ""
        return Span(f"{step}{session.error or 'no cause is known'}", "bad")
    return Span(session.error or session.note, "muted")


def resources(wanted: Resources) -> str:
    """``2 cores · 4 GiB · 1 GPU``."""
    parts = [f"{wanted.cores} core" + ("s" if wanted.cores != 1 else "")]
    if wanted.memory_mib:
        parts.append(memory(wanted.memory_mib))
    if wanted.gpus:
        parts.append(f"{wanted.gpus} GPU" + ("s" if wanted.gpus != 1 else ""))
    return " · ".join(parts)


_USABLE: Mapping[str, tuple[str, Tone]] = {
    "idle": ("○", "good"),
    "mixed": ("◑", "good"),
    "allocated": ("●", "busy"),
}


def node_state(node: Node) -> Span:
    """``◑ mixed``, ``✗ down``, ``! drained``."""
    words = node.state_words
    if node.usable and words in _USABLE:
        glyph, tone = _USABLE[words]
        return Span(f"{glyph} {words}", tone)
    broken = words in {"down", "not responding", "failing"}
    return Span(f"✗ {words}" if broken else f"! {words}", "bad" if broken else "warn")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One version of an app's image, and the nodes that have it.

    ``current_on`` are those where it is the one that starts.
    """

    app: str
    version: str
    path: str
    size_bytes: int
    modified_at: int
    nodes: tuple[str, ...]
    current_on: tuple[str, ...]

    @property
    def key(self) -> str:
        """Tells rows apart."""
        return self.path

    @property
    def place(self) -> str:
        """The nodes in one line."""
        return names(self.nodes) if any(self.nodes) else "this machine"


def image_rows(images: Iterable[Image]) -> tuple[ImageRow, ...]:
    """Images of many nodes, one row for each version; the name without a version is left out
    where the version that it leads to is known.
    """
    found = tuple(images)
    known = {(i.app, i.node) for i in found if i.current and i.version}
    by_path: dict[str, list[Image]] = {}
    for image in found:
        if image.version or (image.app, image.node) not in known:
            by_path.setdefault(image.path, []).append(image)
    rows = [_image_row(same) for same in by_path.values()]
    rows.sort(key=lambda row: natural(row.version), reverse=True)
    return tuple(sorted(rows, key=lambda row: row.app))


def _image_row(same: list[Image]) -> ImageRow:
    first = max(same, key=lambda image: image.modified_at)
    return ImageRow(
        app=first.app,
        version=first.version,
        path=first.path,
        size_bytes=first.size_bytes,
        modified_at=first.modified_at,
        nodes=tuple(i.node for i in same),
        current_on=tuple(i.node for i in same if i.current),
    )


def current(row: ImageRow) -> Span:
    """Whether it is the one that starts."""
    if not row.current_on:
        return Span("older", "faint")
    if set(row.current_on) == set(row.nodes):
        return Span("✓ current", "good")
    return Span(f"✓ current on {len(row.current_on)} of {len(row.nodes)}", "warn")


def unseen(snapshot: Snapshot | None) -> bool:
    """Whether nothing is known of any node's images, although they were asked."""
    places = snapshot.places if snapshot else ()
    return bool(places) and not any(place.known for place in places)


_NO_IMAGES = line("No images found — apps run on the host where they may")


def no_images(snapshot: Snapshot, nothing: Line = _NO_IMAGES) -> tuple[Line, ...]:
    """``nothing`` where nodes were looked at; how many were not, why, and what to try."""
    silent = [place for place in snapshot.places if place.failure]
    if not silent:
        return (nothing,)
    up = {node.name for node in snapshot.nodes if node.usable}
    one = next((place for place in silent if place.node in up), silent[0])
    count = f"{len(silent)} of {plural(len(snapshot.places), 'node')} not looked at"
    told = [line(Span(f"{count}: {one.failure}", "warn"))]
    if one.node in up and not snapshot.engine.startswith("local"):
        ssh = f"does ssh {one.node} work for you, without a password?"
        told.append(line(Span(ssh, "muted")))
    return tuple(told) if unseen(snapshot) else (nothing, *told)
