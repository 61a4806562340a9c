"""The rows and columns of the matrix: findings that are alike folded into one row of nodes."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import pairwise

from vizdash import nodesets
from vizdash.model import Image, Stray
from vizdash.model.drift import Finding, State, version_key
from vizdash.ui.format import about, escape_control, natural, size, width
from vizdash.ui.theme import Line, Span, Tone
from vizdash.ui.widgets.columns import Column, Now

_STATES: dict[State, tuple[str, Tone]] = {
    State.CURRENT: ("✓", "good"),
    State.KEPT: ("○", "muted"),
    State.OLDER: ("↓", "warn"),
    State.NEWER: ("↑", "warn"),
    State.MISSING: ("!", "warn"),
    State.DIFFERS: ("≠", "bad"),
    State.DAMAGED: ("✗", "bad"),
    State.STRAY: ("?", "warn"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of one app, version and state (stray files: of one path), of one node each.
    ``nodes`` is their node set.
    """

    key: str
    findings: tuple[Finding, ...]
    nodes: str

    @property
    def first(self) -> Finding:
        """The one that stands for all in what they have in common."""
        return self.findings[0]

    @property
    def digest(self) -> str:
        """Their digest, as far as it is shown; the word "several" where they differ."""
        found = {f.image.digest[:12] for f in self.findings if f.image and f.image.digest}
        return "several" if len(found) > 1 else "".join(found)

    @property
    def size_bytes(self) -> int:
        """The size of the largest."""
        return max(thing.size_bytes if (thing := _thing(f)) else 0 for f in self.findings)

    @property
    def since(self) -> int:
        """When the oldest came, in epoch seconds; 0 when not known."""
        times = [thing.modified_at for f in self.findings if (thing := _thing(f))]
        return min((at for at in times if at), default=0)

    @property
    def note(self) -> str:
        """What there is to say of the first, marked where others have another note."""
        alike = all(a.note == b.note for a, b in pairwise(self.findings))
        return self.first.note if alike else f"{self.first.note} …"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the matrix: a group, or one ``finding`` of a group that is unfolded. Lines of a
    group stay together however the table is sorted, since they sort by what the group is.
    """

    group: Group
    finding: Finding | None = None
    unfolded: bool = False

    @property
    def key(self) -> str:
        """Tells it from all others."""
        return f"{self.group.key}\0{self.finding.node}" if self.finding else self.group.key

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What it is about."""
        return (self.finding,) if self.finding else self.group.findings

    @property
    def only(self) -> Finding | None:
        """Its finding where that is just one."""
        return self.findings[0] if len(self.findings) == 1 else None


def fold(findings: Iterable[Finding]) -> tuple[Group, ...]:
    """Groups, in the order of the first finding of each."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        what = finding.stray.path if finding.stray else f"{finding.app}\0{finding.version}"
        found.setdefault(f"{finding.state}\0{what}", []).append(finding)
    return tuple(
        Group(key, tuple(same), nodesets.fold(f.node for f in same)) for key, same in found.items()
    )


def rows(groups: Iterable[Group], unfolded: Container[str]) -> tuple[Row, ...]:
    """The lines: each group, and below the ``unfolded`` ones those of their nodes."""
    found: list[Row] = []
    for group in groups:
        several = len(group.findings) > 1
        found.append(Row(group, unfolded=several and group.key in unfolded))
        if found[-1].unfolded:
            nodes = sorted(group.findings, key=lambda f: natural(f.node))
            found += [Row(group, finding) for finding in nodes]
    return tuple(found)


def node_text(row: Row) -> str:
    """``viz-node001``, ``▸ 15 viz-node[001-015]`` for a folded row; ▾ above its nodes."""
    if row.finding:
        return f"  {row.finding.node}"
    nodes = row.group.nodes or "this machine"
    count = len(row.group.findings)
    return f"{'▾' if row.unfolded else '▸'} {count} {nodes}" if count > 1 else nodes


def _thing(finding: Finding) -> Image | Stray | None:
    return finding.image or finding.stray


def _app(row: Row, now: Now, cells: int) -> Line:
    return (Span(row.group.first.app, "strong"),)


def _version(row: Row, now: Now, cells: int) -> Line:
    first = row.group.first
    return (Span("" if first.stray else first.version or "unversioned", "text"),)


def _node(row: Row, now: Now, cells: int) -> Line:
    return (Span(node_text(row), "text"),)


def _state(row: Row, now: Now, cells: int) -> Line:
    glyph, tone = _STATES[row.group.first.state]
    return (Span(f"{glyph} {row.group.first.state}", tone),)


def _size(row: Row, now: Now, cells: int) -> Line:
    thing = _thing(row.finding) if row.finding else None
    count = thing.size_bytes if thing else 0 if row.finding else row.group.size_bytes
    return (Span(size(count), "muted"),)


def _age(row: Row, now: Now, cells: int) -> Line:
    thing = _thing(row.finding) if row.finding else None
    since = thing.modified_at if thing else 0 if row.finding else row.group.since
    return (Span(about(max(0.0, now.at - since)) if since else "", "muted"),)


def _digest(row: Row, now: Now, cells: int) -> Line:
    image = row.finding.image if row.finding else None
    text = (image.digest[:12] if image else "") if row.finding else row.group.digest
    return (Span(text, "faint"),)


def _note(row: Row, now: Now, cells: int) -> Line:
    first = row.finding or row.group.first
    note = first.note if row.finding else row.group.note
    text = f"{first.stray.path}: {note}" if first.stray else note
    return (Span(text, "warn" if first.state.drift else "muted"),)


def _node_width(row: Row) -> int:
    return width(escape_control(node_text(row)))


MATRIX: tuple[Column[Row], ...] = (
    Column(
        "APP",
        _app,
        7,
        16,
        measure=lambda r: width(escape_control(r.group.first.app)),
        sort=lambda r: r.group.first.app,
    ),
    Column(
        "VERSION",
        _version,
        7,
        12,
        measure=lambda r: width(escape_control(r.group.first.version)) or 11,
        sort=lambda r: version_key(r.group.first.version),
    ),
    Column(
        "NODES",
        _node,
        6,
        26,
        measure=_node_width,
        sort=lambda r: natural(r.group.first.node),
    ),
    Column(
        "STATE",
        _state,
        9,
        16,
        measure=lambda r: 2 + len(r.group.first.state),
        sort=lambda r: (not r.group.first.state.drift, r.group.first.state),
    ),
    Column("SIZE", _size, 8, 8, rank=2, right=True, sort=lambda r: r.group.size_bytes),
    Column("AGE", _age, 6, 8, rank=3, right=True, sort=lambda r: -r.group.since),
    Column("DIGEST", _digest, 12, 12, rank=4),
    Column("NOTE", _note, 10, 120, rank=1, grows=1, sort=lambda r: r.group.note),
)
