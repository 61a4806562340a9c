"""Which version each node goes back to: the one that it ran before, by its own journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vizdash import nodesets
from vizdash.errors import NotFound
from vizdash.model import Image, Matrix, Place
from vizdash.model.drift import says_order, version_key, wanted_versions


@dataclass(frozen=True, slots=True)
class Rollback:
    """A rollback that may begin. ``versions`` are by node; ``staying`` are nodes that start
    something else than ``undone`` and keep it, ``refused`` those that can't go back, and why.
    ``undone`` is empty where a version was named.
    """

    app: str
    undone: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    staying: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Versions with the nodes that go back to them, the version of most nodes first."""
        found: dict[str, list[str]] = {}
        for node, version in self.versions.items():
            found.setdefault(version, []).append(node)
        return tuple((v, tuple(n)) for v, n in sorted(found.items(), key=lambda i: -len(i[1])))

    @property
    def version(self) -> str:
        """The version that most nodes go back to."""
        return self.groups[0][0] if self.groups else ""


def plan(matrix: Matrix, app: str, version: str = "") -> Rollback:
    """What a rollback does on the nodes of ``matrix``. Without a ``version`` it undoes the one
    that was deployed last; nodes that do not start it stay as they are.

    Raises NotFound when no node can go back.
    """
    there = {place.node: current_version(matrix, place, app) for place in matrix.places}
    undone = "" if version else _latest(matrix, app, there)
    versions: dict[str, str] = {}
    staying: dict[str, str] = {}
    refused: dict[str, str] = {}
    for place in matrix.places:
        node, current = place.node, there[place.node]
        if version:
            versions[node] = version
        elif place.failure:
            refused[node] = place.failure
        elif current != undone:
            staying[node] = current
        else:
            to, why = _before(matrix, place, app, current)
            if to:
                versions[node] = to
            else:
                refused[node] = why
    if not versions:
        what = f"version before {app} {undone}".rstrip()
        node, why = next(iter(refused.items()), ("", "no node starts it"))
        at = nodesets.fold(refused) if node else ""
        raise NotFound(what, f"{at}: {why}" if at else why, f"vizdash rollback {app} --to VERSION")
    return Rollback(app, undone, versions, staying, refused)


def backwards(matrix: Matrix, app: str, version: str) -> dict[str, str]:
    """The nodes that start something later than ``version``, and what: by the versions' names, or
    where those say nothing, by the node's journal.
    """
    found = {}
    for place in matrix.places:
        current = "" if place.failure else current_version(matrix, place, app)
        if not current or current == version:
            continue
        if says_order(current) and says_order(version):
            back = version_key(version) < version_key(current)
        else:
            back = version in place.journal(app).before(current)
        if back:
            found[place.node] = current
    return found


def one_place(matrix: Matrix) -> Matrix:
    """The matrix of nodes that share one image root, as that of one place without a name."""
    first = next((p for p in matrix.places if not p.failure), None)
    if first is None:
        return matrix
    images = tuple(replace(image, node="") for image in matrix.on(first.node))
    return replace(matrix, images=images, places=(replace(first, node=""),))


def current_version(matrix: Matrix, place: Place, app: str) -> str:
    """The version that a node starts; of its file's own name where it has one."""
    mine = [i for i in matrix.on(place.node) if i.app == app and i.current]
    named = [i for i in mine if not i.path.endswith(f"/{app}.sif") and not i.alias]
    return next((i.version for i in (*named, *mine)), "")


def _latest(matrix: Matrix, app: str, there: Mapping[str, str]) -> str:
    """The version that was deployed last of those that nodes start."""
    found: dict[str, int] = {}
    for place in matrix.places:
        current = there[place.node]
        if current and not place.failure:
            stack = place.journal(app).stack(current)
            found[current] = max(found.get(current, 0), stack[-1].at)
    if not found:
        return wanted_versions(matrix).get(app, "")
    return max(found, key=lambda v: (found[v], version_key(v)))


def _before(matrix: Matrix, place: Place, app: str, current: str) -> tuple[str, str]:
    """The version that a node ran before, or why there is none."""
    images = {i.version: i for i in matrix.on(place.node) if i.app == app and _named(i)}
    earlier = place.journal(app).before(current)
    usable = [v for v in earlier if v in images and not images[v].problem]
    if usable:
        return usable[0], ""
    if not earlier:
        return "", f"nothing is known to have run there before {current or 'this one'}"
    gone = [f"{v} is {_what(images.get(v))}" for v in earlier]
    return "", ", ".join(gone)


def _named(image: Image) -> bool:
    return image.path.endswith(f"/{image.app}-{image.version}.sif") and not image.alias


def _what(image: Image | None) -> str:
    return "there no more" if image is None else f"unusable ({image.problem})"
