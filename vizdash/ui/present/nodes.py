"""Nodes as the dashboard shows them: states, the columns of the list, and the details of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vizdash.model import Job, Node, Session, Snapshot
from vizdash.ui.present.free_capacity import FittingSessions, more_fit_text
from vizdash.ui.present.lines import Legend, Line, Span, Tone, labelled, labelled_meter, line
from vizdash.ui.present.sessions import session_state
from vizdash.ui.widgets.columns import WHOLE, Column, Now
from vizdash.ui.widgets.plot import bar
from vizdash.util.text import natural_key, plural, shown_width
from vizdash.util.units import format_gib_short, format_memory

_USABLE: Mapping[str, tuple[str, Tone]] = {
    "idle": ("○", "good"),
    "mixed": ("◑", "good"),
    "allocated": ("●", "busy"),
}
#: Every symbol with its meaning, for the help.
NODE_LEGEND: Legend = (
    ("○", "good", "idle", "no job runs on it"),
    ("◑", "good", "mixed", "some of its cores are allocated"),
    ("●", "busy", "allocated", "all of its cores are allocated"),
    ("!", "warn", "drained", "it accepts no jobs; REASON says why (also draining, maint, …)"),
    ("✗", "bad", "down", "it does not respond, or has failed"),
)


def node_state(node: Node) -> Span:
    """Symbol and state: ``◑ mixed``, ``✗ down``, ``! drained``."""
    words = node.state_text
    if node.usable and words in _USABLE:
        glyph, tone = _USABLE[words]
        return Span(f"{glyph} {words}", tone)
    broken = words in {"down", "not responding", "failing"}
    return Span(f"✗ {words}" if broken else f"! {words}", "bad" if broken else "warn")


#: The shortest bar, in cells.
_SHORTEST_BAR = 2
#: The widest notice.
_NOTICE_CELLS = 40


@dataclass(frozen=True, slots=True)
class Figures:
    """The width of the widest figure of each kind, in cells, so that bars start in one column."""

    cores: int = 3
    memory: int = 3
    gpu_count: int = 3

    @classmethod
    def of(cls, node_columns: Sequence[Node]) -> Figures:
        """Measure the totals, not what is allocated now: bars don't move."""
        cores = max((len(str(n.cores)) for n in node_columns), default=1)
        gpus_text = max((len(str(n.gpus)) for n in node_columns), default=1)
        return cls(
            2 * cores + 1, max(map(_memory_cells, node_columns), default=3), 2 * gpus_text + 1
        )


def _memory_cells(node: Node) -> int:
    if not node.memory_tracked:
        return 3
    total = len(format_gib_short(node.memory_mib))
    tenths = len("1.5") if node.memory_mib < 10 * 1024 else len("10.5")
    return max(total, tenths) + 1 + total


def _meter_cell(used: float, total: float, text: str, cells: int, *, text_cells: int) -> Line:
    """A figure with a bar behind it, as far as it fits; nearly full ones change tone."""
    share = used / total if total else 0.0
    tone: Tone = "warn" if share >= 0.9 else "busy"
    width = cells - text_cells - 1
    figure = Span(text.rjust(min(text_cells, cells)), "muted" if not total else "text")
    if width < _SHORTEST_BAR or cells == WHOLE:
        return (figure,)
    filled, rest = bar(used, total, width)
    return (figure, Span(" "), Span(filled, tone), Span(rest, "faint"))


def _name_cell(node: Node, now: Now, cells: int) -> Line:
    return (Span(node.name, "strong" if node.usable else "muted"),)


def _state_cell(node: Node, now: Now, cells: int) -> Line:
    return (node_state(node),)


def gpus_text(node: Node) -> str:
    """Allocated and total GPUs; empty for a node without any."""
    return f"{node.gpus - node.gpus_free}/{node.gpus}" if node.gpus else ""


def _load_cell(node: Node, now: Now, cells: int) -> Line:
    return (Span("" if node.os_load is None else f"{node.os_load:.1f}", "muted"),)


def _reason_cell(node: Node, now: Now, cells: int) -> Line:
    return (Span(node.notice(now.at), "muted" if node.usable else "warn"),)


def _notice_width(node: Node) -> int:
    """The text of a reservation changes with time, so such a node gets the widest column."""
    return shown_width(node.reason) + (_NOTICE_CELLS if node.reservations else 0)


def _meter_columns(figures: Callable[[], Figures]) -> tuple[Column[Node], ...]:
    def cores(node: Node, now: Now, cells: int) -> Line:
        text = f"{node.cores_alloc}/{node.cores}"
        return _meter_cell(node.cores_alloc, node.cores, text, cells, text_cells=figures().cores)

    def memory(node: Node, now: Now, cells: int) -> Line:
        if not node.memory_tracked:
            return (Span("untracked", "faint"),)
        text = f"{format_gib_short(node.memory_alloc_mib)}/{format_gib_short(node.memory_mib)}"
        cells_ = figures().memory
        return _meter_cell(node.memory_alloc_mib, node.memory_mib, text, cells, text_cells=cells_)

    def gpu(node: Node, now: Now, cells: int) -> Line:
        if not node.gpus:
            return (Span("–".rjust(figures().gpu_count), "faint"),)
        used = node.gpus - node.gpus_free
        return _meter_cell(used, node.gpus, gpus_text(node), cells, text_cells=figures().gpu_count)

    return (
        Column("CORES", cores, 7, 18, rank=1, sort=lambda n: n.cores_free),
        Column("MEM GiB", memory, 9, 20, rank=2, sort=lambda n: n.memory_free_mib),
        Column(
            "GPU",
            gpu,
            4,
            12,
            rank=3,
            short=4,
            sparse=True,
            measure=lambda n: len(gpus_text(n)) and len(gpus_text(n)) + 6,
            sort=lambda n: n.gpus_free,
        ),
    )


def _fits_column(fitting: Callable[[], FittingSessions | None]) -> Column[Node]:
    """How many more sessions of the usual size fit on each node."""

    def count(node: Node) -> int:
        counts = fitting()
        return counts.by_node.get(node.name, 0) if counts else 0

    def cell(node: Node, now: Now, cells: int) -> Line:
        return (Span(str(count(node)) if fitting() else "", "text" if count(node) else "faint"),)

    return Column("FITS", cell, 4, 5, rank=4, right=True, sort=count)


_LOAD: Column[Node] = Column(
    "LOAD", _load_cell, 4, 5, rank=4, right=True, sort=lambda n: n.os_load or 0.0
)
_REASON: Column[Node] = Column(
    "REASON",
    _reason_cell,
    12,
    _NOTICE_CELLS,
    rank=5,
    grows=1,
    sparse=True,
    measure=_notice_width,
    sort=lambda n: (n.reason, n.reservations[0].start_at if n.reservations else 0),
)


def node_columns(
    shown_nodes: Callable[[], Sequence[Node]], fitting: Callable[[], FittingSessions | None]
) -> tuple[Column[Node], ...]:
    """The columns of nodes. ``shown_nodes`` gives the rows, ``fitting`` how many sessions fit."""
    of: Sequence[Node] = ()
    known = Figures()

    def figures() -> Figures:
        nonlocal of, known
        if (now := shown_nodes()) is not of:
            of, known = now, Figures.of(now)
        return known

    return (
        Column(
            "NODE",
            _name_cell,
            8,
            24,
            measure=lambda n: shown_width(n.name),
            sort=lambda n: natural_key(n.name),
        ),
        Column(
            "STATE",
            _state_cell,
            9,
            18,
            measure=lambda n: shown_width(node_state(n).text),
            sort=lambda n: (n.usable, n.state_text),
        ),
        *_meter_columns(figures),
        _fits_column(fitting),
        _LOAD,
        _REASON,
    )


def node_summary(
    node: Node, snapshot: Snapshot, now: Now, fitting: FittingSessions | None = None
) -> Line:
    """One line about a node: why it accepts no jobs, what runs on it, else what is free."""
    state = node_state(node)
    notice = node.notice(now.at)
    parts = [notice] if notice else []
    if runs := _running_text(node, snapshot):
        parts.append(f"runs {runs}")
    if parts:
        return line(state, Span(f"  {'; '.join(parts)}", "muted"))
    free = f"{node.cores_free} cores"
    if node.memory_tracked:
        free += f", {format_memory(node.memory_free_mib)}"
    if node.gpus:
        free += f", {node.gpus_free} GPU"
    more = f"; {more_fit_text(fitting.by_node.get(node.name, 0), fitting.app)}" if fitting else ""
    return line(state, Span(f"  free: {free}{more}", "muted"))


def _here_and_others(node: Node, snapshot: Snapshot) -> tuple[list[Session], list[Job]]:
    here = [s for s in snapshot.sessions if s.node == node.name and s.live]
    ours = {session.job_id for session in here}
    return here, [job for job in snapshot.jobs_on(node.name) if job.id not in ours]


def _running_text(node: Node, snapshot: Snapshot) -> str:
    """What runs on the node: ``desktop (you), solve (carla)``."""
    here, others = _here_and_others(node, snapshot)
    names = [f"{s.app} ({'you' if s.mine else s.user})" for s in here]
    return ", ".join([*names, *(f"{job.name or 'job'} ({job.user})" for job in others)])


def node_details(
    node: Node, snapshot: Snapshot, now: Now, fitting: FittingSessions | None = None
) -> list[Line]:
    """All details of a node: what is allocated, and which sessions and jobs run on it."""
    state = node_state(node)
    details = [line(Span(state.text, state.tone, bold=True), "   ", Span(node.reason, "warn")), ()]
    details.append(
        labelled_meter("cores", node.cores_alloc, node.cores, f"{node.cores_alloc}/{node.cores}")
    )
    details.append(_memory_line(node))
    for gres in node.gres:
        kind = f" {gres.type}" if gres.type else ""
        details.append(
            labelled_meter(gres.name, gres.used, gres.total, f"{gres.used}/{gres.total}{kind}")
        )
    if node.os_load is not None:
        given = f"{node.os_load:.1f} load average, {node.cores_alloc} cores allocated"
        details.append(labelled_meter("load", node.os_load, node.cores, given))
    if fitting is not None:
        fits = fitting.by_node.get(node.name, 0)
        fits_text = Span(f"{fits} more" if fits else "none", "text" if fits else "muted")
        details.append(labelled("fits", fits_text, Span(f"   of {fitting.size}", "muted")))
    for n, reservation in enumerate(node.reservations):
        what = Span(reservation.describe_with_time_left(now.at), "warn")
        details.append(
            labelled("" if n else "reserved", what, Span(f"  {reservation.name}", "muted"))
        )
    if node.features:
        details.append(labelled("features", Span(", ".join(node.features), "muted")))
    here, others = _here_and_others(node, snapshot)
    details += _sessions_here(here, now)
    details += _other_jobs(others)
    return details


def _memory_line(node: Node) -> Line:
    if not node.memory_tracked:
        return labelled("memory", Span("not tracked: Slurm allocates only cores here", "muted"))
    used, total = format_memory(node.memory_alloc_mib), format_memory(node.memory_mib)
    return labelled_meter("memory", node.memory_alloc_mib, node.memory_mib, f"{used} of {total}")


def _other_jobs(jobs: Sequence[Job]) -> Iterable[Line]:
    """Jobs that are not sessions: name, user, size."""
    for n, job in enumerate(jobs[:8]):
        format_size = plural(job.cores, "core")
        format_size += f", {format_memory(job.memory_mib)}" if job.memory_mib else ""
        spread = f" on {plural(len(job.nodes), 'node')}" if len(job.nodes) > 1 else ""
        what = Span(f"{job.name or 'job'}  ", "text")
        about_it = Span(f"  {format_size}{spread}  job {job.id}", "muted")
        yield labelled("" if n else "other jobs", what, Span(job.user, "muted"), about_it)
    if len(jobs) > 8:
        yield labelled("", Span(f"and {len(jobs) - 8} more", "muted"))


def _sessions_here(sessions: Sequence[Session], now: Now) -> Iterable[Line]:
    for n, session in enumerate(sessions[:8]):
        owner = Span("you", "accent") if session.mine else Span(session.user, "muted")
        state = session_state(session, Now())
        yield labelled("" if n else "sessions", state, f"  {session.app}  ", owner)
    if len(sessions) > 8:
        yield labelled("", Span(f"and {len(sessions) - 8} more", "muted"))
