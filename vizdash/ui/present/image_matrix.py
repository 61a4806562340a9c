"""Images by node as the dashboard shows them: groups of findings, and a row for each."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import pairwise

from vizdash.images.drift import ImageFinding, ImageState
from vizdash.model import Image, StrayFile
from vizdash.model.version import version_key
from vizdash.ui.present.lines import Legend, Line, Span, Tone
from vizdash.ui.widgets.columns import Column, Now
from vizdash.util import nodesets
from vizdash.util.text import cell_width, escape_control, natural_key
from vizdash.util.units import format_rough_duration, format_size

_FINDING_STATES: dict[ImageState, tuple[str, Tone]] = {
    ImageState.CURRENT: ("✓", "good"),
    ImageState.KEPT: ("○", "muted"),
    ImageState.OLDER: ("↓", "warn"),
    ImageState.NEWER: ("↑", "warn"),
    ImageState.MISSING: ("!", "warn"),
    ImageState.DIFFERS: ("≠", "bad"),
    ImageState.DAMAGED: ("✗", "bad"),
    ImageState.STRAY: ("?", "warn"),
}
_MEANINGS: dict[ImageState, str] = {
    ImageState.CURRENT: "sessions on this node start from it",
    ImageState.KEPT: "an earlier version, for a rollback",
    ImageState.OLDER: "the node's current version is older than on other nodes",
    ImageState.NEWER: "the node's current version is newer than on other nodes",
    ImageState.MISSING: "other nodes have it",
    ImageState.DIFFERS: "the same version has another content here",
    ImageState.DAMAGED: "the file can't be read as an image",
    ImageState.STRAY: "no image of an app, such as a part of an interrupted copy",
}
#: Every symbol of the images by node with its meaning, for the help.
IMAGE_LEGEND: Legend = tuple(
    (*_FINDING_STATES[state], str(state), meaning) for state, meaning in _MEANINGS.items()
)


@dataclass(frozen=True, slots=True)
class MatrixGroup:
    """Findings of one app, version and state (stray files: of one path), one for each of ``nodes``,
    a folded node set.
    """

    key: str
    findings: tuple[ImageFinding, ...]
    nodes: str

    @property
    def first(self) -> ImageFinding:
        """The finding that stands for the group in what all have in common."""
        return self.findings[0]

    @property
    def digest(self) -> str:
        """The start of their digest; "various" where they differ."""
        digests = {f.image.digest[:12] for f in self.findings if f.image and f.image.digest}
        return "various" if len(digests) > 1 else "".join(digests)

    @property
    def size_bytes(self) -> int:
        """The size of the largest file."""
        return max(thing.size_bytes if (thing := _file(f)) else 0 for f in self.findings)

    @property
    def since(self) -> int:
        """When the oldest file was modified, in epoch seconds; 0 when unknown."""
        times = [thing.modified_at for f in self.findings if (thing := _file(f))]
        return min((at for at in times if at), default=0)

    @property
    def note(self) -> str:
        """The note of the first finding, with an ellipsis where others have another note."""
        alike = all(a.note == b.note for a, b in pairwise(self.findings))
        return self.first.note if alike else f"{self.first.note} …"


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A row of the matrix: a group, or one ``finding`` of an unfolded group. Rows of a group stay
    together in any order, since they sort by values of the group.
    """

    group: MatrixGroup
    finding: ImageFinding | None = None
    unfolded: bool = False

    @property
    def key(self) -> str:
        """Identifies the row."""
        return f"{self.group.key}\0{self.finding.node}" if self.finding else self.group.key

    @property
    def findings(self) -> tuple[ImageFinding, ...]:
        """The findings of the row."""
        return (self.finding,) if self.finding else self.group.findings

    @property
    def only(self) -> ImageFinding | None:
        """The row's finding where there is just one."""
        return self.findings[0] if len(self.findings) == 1 else None


def fold_findings(findings: Iterable[ImageFinding]) -> tuple[MatrixGroup, ...]:
    """Group findings, in the order of the first finding of each group."""
    groups: dict[str, list[ImageFinding]] = {}
    for finding in findings:
        what = finding.stray.path if finding.stray else f"{finding.app}\0{finding.version}"
        groups.setdefault(f"{finding.state}\0{what}", []).append(finding)
    return tuple(
        MatrixGroup(key, tuple(same), nodesets.fold_nodes(f.node for f in same))
        for key, same in groups.items()
    )


def matrix_rows(groups: Iterable[MatrixGroup], unfolded: Container[str]) -> tuple[MatrixRow, ...]:
    """A row for each group, and below the ``unfolded`` groups a row for each of their nodes."""
    rows: list[MatrixRow] = []
    for group in groups:
        several = len(group.findings) > 1
        rows.append(MatrixRow(group, unfolded=several and group.key in unfolded))
        if rows[-1].unfolded:
            nodes = sorted(group.findings, key=lambda f: natural_key(f.node))
            rows += [MatrixRow(group, finding) for finding in nodes]
    return tuple(rows)


def matrix_node_text(row: MatrixRow) -> str:
    """``viz-node001``, ``▸ 15 viz-node[001-015]`` for a folded row; ▾ above its nodes."""
    if row.finding:
        return f"  {row.finding.node}"
    nodes = row.group.nodes or "this machine"
    count = len(row.group.findings)
    return f"{'▾' if row.unfolded else '▸'} {count} {nodes}" if count > 1 else nodes


def _file(finding: ImageFinding) -> Image | StrayFile | None:
    return finding.image or finding.stray


def _matrix_app(row: MatrixRow, now: Now, cells: int) -> Line:
    return (Span(row.group.first.app, "strong"),)


def _matrix_version(row: MatrixRow, now: Now, cells: int) -> Line:
    first = row.group.first
    return (Span("" if first.stray else first.version or "unversioned", "text"),)


def _matrix_node(row: MatrixRow, now: Now, cells: int) -> Line:
    return (Span(matrix_node_text(row), "text"),)


def _matrix_state(row: MatrixRow, now: Now, cells: int) -> Line:
    glyph, tone = _FINDING_STATES[row.group.first.state]
    return (Span(f"{glyph} {row.group.first.state}", tone),)


def _matrix_size(row: MatrixRow, now: Now, cells: int) -> Line:
    thing = _file(row.finding) if row.finding else None
    count = thing.size_bytes if thing else 0 if row.finding else row.group.size_bytes
    return (Span(format_size(count), "muted"),)


def _matrix_age(row: MatrixRow, now: Now, cells: int) -> Line:
    thing = _file(row.finding) if row.finding else None
    since = thing.modified_at if thing else 0 if row.finding else row.group.since
    return (Span(format_rough_duration(max(0.0, now.at - since)) if since else "", "muted"),)


def _matrix_digest(row: MatrixRow, now: Now, cells: int) -> Line:
    image = row.finding.image if row.finding else None
    text = (image.digest[:12] if image else "") if row.finding else row.group.digest
    return (Span(text, "faint"),)


def _matrix_note(row: MatrixRow, now: Now, cells: int) -> Line:
    first = row.finding or row.group.first
    note = first.note if row.finding else row.group.note
    text = f"{first.stray.path}: {note}" if first.stray else note
    return (Span(text, "warn" if first.state.drift else "muted"),)


def _matrix_node_width(row: MatrixRow) -> int:
    return cell_width(escape_control(matrix_node_text(row)))


MATRIX_COLUMNS: tuple[Column[MatrixRow], ...] = (
    Column(
        "APP",
        _matrix_app,
        7,
        16,
        measure=lambda r: cell_width(escape_control(r.group.first.app)),
        sort=lambda r: r.group.first.app,
    ),
    Column(
        "VERSION",
        _matrix_version,
        7,
        12,
        measure=lambda r: cell_width(escape_control(r.group.first.version)) or 11,
        sort=lambda r: version_key(r.group.first.version),
    ),
    Column(
        "NODES",
        _matrix_node,
        6,
        26,
        measure=_matrix_node_width,
        sort=lambda r: natural_key(r.group.first.node),
    ),
    Column(
        "STATE",
        _matrix_state,
        9,
        16,
        measure=lambda r: 2 + len(r.group.first.state),
        sort=lambda r: (not r.group.first.state.drift, r.group.first.state),
    ),
    Column("SIZE", _matrix_size, 8, 8, rank=2, right=True, sort=lambda r: r.group.size_bytes),
    Column("AGE", _matrix_age, 6, 8, rank=3, right=True, sort=lambda r: -r.group.since),
    Column("DIGEST", _matrix_digest, 12, 12, rank=4),
    Column("NOTE", _matrix_note, 10, 120, rank=1, grows=1, sort=lambda r: r.group.note),
)
