"""Images as the dashboard shows them: the list, and the details of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vizdash.model import Image, Snapshot
from vizdash.ui.present.lines import Line, Span, labelled, line
from vizdash.ui.widgets.columns import Column, Now
from vizdash.util.nodesets import list_nodes
from vizdash.util.text import natural_key, plural, shown_width
from vizdash.util.units import format_size


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One version of an app's image, and the nodes that have it. ``current_on`` are the nodes where
    it is current.
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
        """Identifies the row."""
        return self.path

    @property
    def place(self) -> str:
        """The nodes in one line."""
        return list_nodes(self.nodes) if any(self.nodes) else "this machine"


def image_rows(images: Iterable[Image]) -> tuple[ImageRow, ...]:
    """One row for each version on any node. A file without a version is left out where the version
    that it links to is known.
    """
    all_images = tuple(images)
    known = {(i.app, i.node) for i in all_images if i.current and i.version}
    by_path: dict[str, list[Image]] = {}
    for image in all_images:
        if image.version or (image.app, image.node) not in known:
            by_path.setdefault(image.path, []).append(image)
    rows = [_image_row(same) for same in by_path.values()]
    rows.sort(key=lambda row: natural_key(row.version), reverse=True)
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


def current_state(row: ImageRow) -> Span:
    """Whether the version is current, and on how many of its nodes."""
    if not row.current_on:
        return Span("older", "faint")
    if set(row.current_on) == set(row.nodes):
        return Span("✓ current", "good")
    return Span(f"✓ current on {len(row.current_on)} of {len(row.nodes)}", "warn")


def images_unknown(snapshot: Snapshot | None) -> bool:
    """Whether no node's images are known although nodes were checked."""
    places = snapshot.image_roots if snapshot else ()
    return bool(places) and not any(place.known for place in places)


_NO_IMAGES = line("No images found. Apps with a host command still work.")


def no_images_lines(snapshot: Snapshot, nothing: Line = _NO_IMAGES) -> tuple[Line, ...]:
    """``nothing`` where nodes were checked; else how many were not, why, and what to try."""
    silent = [place for place in snapshot.image_roots if place.failure]
    if not silent:
        return (nothing,)
    up = {node.name for node in snapshot.nodes if node.usable}
    one = next((place for place in silent if place.node in up), silent[0])
    count = f"{len(silent)} of {plural(len(snapshot.image_roots), 'node')} not checked"
    notes = [line(Span(f"{count}: {one.failure}", "warn"))]
    if one.node in up and not snapshot.engine.startswith("local"):
        ssh = f"check that ssh {one.node} works without a password"
        notes.append(line(Span(ssh, "muted")))
    return tuple(notes) if images_unknown(snapshot) else (nothing, *notes)


def _image_app_cell(row: ImageRow, now: Now, cells: int) -> Line:
    return (Span(row.app, "strong"),)


def _image_version_cell(row: ImageRow, now: Now, cells: int) -> Line:
    return (Span(row.version or "unversioned", "text" if row.version else "faint"),)


def _image_current_cell(row: ImageRow, now: Now, cells: int) -> Line:
    return (current_state(row),)


def _image_size_cell(row: ImageRow, now: Now, cells: int) -> Line:
    return (Span(format_size(row.size_bytes), "muted"),)


def _image_nodes_cell(row: ImageRow, now: Now, cells: int) -> Line:
    return (Span(row.place, "text"),)


def _image_path_cell(row: ImageRow, now: Now, cells: int) -> Line:
    return (Span(row.path, "faint"),)


IMAGE_COLUMNS: tuple[Column[ImageRow], ...] = (
    Column(
        "APP", _image_app_cell, 8, 16, measure=lambda r: shown_width(r.app), sort=lambda r: r.app
    ),
    Column(
        "VERSION",
        _image_version_cell,
        7,
        14,
        measure=lambda r: shown_width(r.version or "unversioned"),
        sort=lambda r: natural_key(r.version),
    ),
    Column(
        "CURRENT",
        _image_current_cell,
        9,
        22,
        measure=lambda r: len(current_state(r).text),
        sort=lambda r: -len(r.current_on),
    ),
    Column("SIZE", _image_size_cell, 8, 8, rank=2, right=True, sort=lambda r: r.size_bytes),
    Column(
        "ON",
        _image_nodes_cell,
        8,
        30,
        rank=1,
        measure=lambda r: shown_width(r.place),
        sort=lambda r: (len(r.nodes), r.place),
    ),
    Column(
        "PATH",
        _image_path_cell,
        12,
        80,
        rank=3,
        grows=1,
        measure=lambda r: shown_width(r.path),
        sort=lambda r: r.path,
    ),
)


def image_summary(row: ImageRow) -> Line:
    """One line about an image."""
    return line(current_state(row), Span(f"  {row.path}", "muted"))


def image_details(row: ImageRow, snapshot: Snapshot) -> list[Line]:
    """All details of an image."""
    state = current_state(row)
    details = [line(Span(state.text, state.tone, bold=True)), ()]
    version = Span(row.version or "unversioned", "text" if row.version else "muted")
    details.append(labelled("app", Span(row.app, "strong"), "  ", version))
    details.append(labelled("path", row.path))
    details.append(labelled("size", format_size(row.size_bytes)))
    details.append(labelled("on", row.place))
    known = {i.node for i in snapshot.images}
    lacking = tuple(n.name for n in snapshot.nodes if n.name in known and n.name not in row.nodes)
    if lacking:
        details.append(labelled("not on", Span(list_nodes(lacking), "warn")))
    return details
