"""The columns of nodes: what is given of what is there, with bars as far as there's room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vizdash.model import Node
from vizdash.ui import words
from vizdash.ui.format import bar, escape_control, gib, natural, width
from vizdash.ui.room import Room
from vizdash.ui.theme import Line, Span, Tone
from vizdash.ui.widgets.columns import WHOLE, Column, Now

#: The shortest bar, in cells.
_BAR = 2
#: The widest notice.
_NOTICE = 40


@dataclass(frozen=True, slots=True)
class Figures:
    """Cells that the widest figure of each kind takes, so that the bars begin below each other."""

    cores: int = 3
    memory: int = 3
    gpus: int = 3

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> Figures:
        """Of what may be given of each node, not of what is now: bars do not move about."""
        cores = max((len(str(n.cores)) for n in nodes), default=1)
        gpus = max((len(str(n.gpus)) for n in nodes), default=1)
        return cls(2 * cores + 1, max(map(_memory_cells, nodes), default=3), 2 * gpus + 1)


def _memory_cells(node: Node) -> int:
    if not node.memory_tracked:
        return 3
    total = len(gib(node.memory_mib))
    tenths = len("1.5") if node.memory_mib < 10 * 1024 else len("10.5")
    return max(total, tenths) + 1 + total


def meter(used: float, total: float, text: str, cells: int, *, text_cells: int) -> Line:
    """A figure with a bar behind it, as far as there's room; full ones change tone."""
    share = used / total if total else 0.0
    tone: Tone = "warn" if share >= 0.9 else "busy"
    room = cells - text_cells - 1
    figure = Span(text.rjust(min(text_cells, cells)), "muted" if not total else "text")
    if room < _BAR or cells == WHOLE:
        return (figure,)
    filled, rest = bar(used, total, room)
    return (figure, Span(" "), Span(filled, tone), Span(rest, "faint"))


def _name(node: Node, now: Now, cells: int) -> Line:
    return (Span(node.name, "strong" if node.usable else "muted"),)


def _node_state(node: Node, now: Now, cells: int) -> Line:
    return (words.node_state(node),)


def gpus(node: Node) -> str:
    """GPUs used of those that are there; empty when there are none."""
    return f"{node.gpus - node.gpus_free}/{node.gpus}" if node.gpus else ""


def _load(node: Node, now: Now, cells: int) -> Line:
    return (Span("" if node.os_load is None else f"{node.os_load:.1f}", "muted"),)


def _reason(node: Node, now: Now, cells: int) -> Line:
    return (Span(node.notice(now.at), "muted" if node.usable else "warn"),)


def _notice_cells(node: Node) -> int:
    """A reservation's words change with the time: it gets all the room there may be."""
    return _shown(node.reason) + (_NOTICE if node.reservations else 0)


def _shown(text: str) -> int:
    return width(escape_control(text))


def _meters(figures: Callable[[], Figures]) -> tuple[Column[Node], ...]:
    def cores(node: Node, now: Now, cells: int) -> Line:
        text = f"{node.cores_alloc}/{node.cores}"
        return meter(node.cores_alloc, node.cores, text, cells, text_cells=figures().cores)

    def memory(node: Node, now: Now, cells: int) -> Line:
        if not node.memory_tracked:
            return (Span("untracked", "faint"),)
        text = f"{gib(node.memory_alloc_mib)}/{gib(node.memory_mib)}"
        cells_ = figures().memory
        return meter(node.memory_alloc_mib, node.memory_mib, text, cells, text_cells=cells_)

    def gpu(node: Node, now: Now, cells: int) -> Line:
        if not node.gpus:
            return (Span("–".rjust(figures().gpus), "faint"),)
        used = node.gpus - node.gpus_free
        return meter(used, node.gpus, gpus(node), cells, text_cells=figures().gpus)

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
            measure=lambda n: len(gpus(n)) and len(gpus(n)) + 6,
            sort=lambda n: n.gpus_free,
        ),
    )


def _fits(room: Callable[[], Room | None]) -> Column[Node]:
    """How many more sessions of the usual size each node has room for."""

    def count(node: Node) -> int:
        found = room()
        return found.on.get(node.name, 0) if found else 0

    def cell(node: Node, now: Now, cells: int) -> Line:
        return (Span(str(count(node)) if room() else "", "text" if count(node) else "faint"),)

    return Column("FITS", cell, 4, 5, rank=4, right=True, sort=count)


def nodes(
    found: Callable[[], Sequence[Node]], room: Callable[[], Room | None]
) -> tuple[Column[Node], ...]:
    """All of them. ``found`` are the nodes that are shown, ``room`` is how many sessions fit."""
    of: Sequence[Node] = ()
    known = Figures()

    def figures() -> Figures:
        nonlocal of, known
        if (now := found()) is not of:
            of, known = now, Figures.of(now)
        return known

    return (
        Column(
            "NODE", _name, 8, 24, measure=lambda n: _shown(n.name), sort=lambda n: natural(n.name)
        ),
        Column(
            "STATE",
            _node_state,
            9,
            18,
            measure=lambda n: _shown(words.node_state(n).text),
            sort=lambda n: (n.usable, n.state_words),
        ),
        *_meters(figures),
        _fits(room),
        Column("LOAD", _load, 4, 5, rank=4, right=True, sort=lambda n: n.os_load or 0.0),
        Column(
            "REASON",
            _reason,
            12,
            _NOTICE,
            rank=5,
            grows=1,
            sparse=True,
            measure=_notice_cells,
            sort=lambda n: (n.reason, n.reservations[0].start_at if n.reservations else 0),
        ),
    )
