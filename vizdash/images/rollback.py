"""Plans a rollback: each node returns to the version that it ran before, by its own journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vizdash.errors import NotFound
from vizdash.images.drift import current_version, find_wanted_versions
from vizdash.model import Image, ImageRoot, Matrix
from vizdash.model.version import version_key
from vizdash.util import nodesets


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """A rollback that can start.

    ``versions`` gives the version that each node returns to; ``staying`` the nodes that start
    something else than ``undone`` and keep it; ``refused`` those that cannot go back, and why.
    ``undone`` is empty when a version was named.
    """

    app: str
    undone: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    staying: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Versions and the nodes that return to them, the version of most nodes first."""
        groups: dict[str, list[str]] = {}
        for node, version in self.versions.items():
            groups.setdefault(version, []).append(node)
        return tuple((v, tuple(n)) for v, n in sorted(groups.items(), key=lambda i: -len(i[1])))

    @property
    def version(self) -> str:
        """The version that most nodes return to."""
        return self.groups[0][0] if self.groups else ""


def plan_rollback(matrix: Matrix, app: str, version: str = "") -> RollbackPlan:
    """Plan a rollback on the nodes of ``matrix``.

    Without a ``version``, it undoes the version that was deployed last; nodes that do not start
    that one stay as they are. Raises NotFound when no node can go back.
    """
    currents = {root.node: current_version(matrix, root, app) for root in matrix.roots}
    undone = "" if version else _latest(matrix, app, currents)
    versions: dict[str, str] = {}
    staying: dict[str, str] = {}
    refused: dict[str, str] = {}
    for root in matrix.roots:
        node, current = root.node, currents[root.node]
        if version:
            versions[node] = version
        elif root.failure:
            refused[node] = root.failure
        elif current != undone:
            staying[node] = current
        else:
            to, why = _before(matrix, root, app, current)
            if to:
                versions[node] = to
            else:
                refused[node] = why
    if not versions:
        what = f"version before {app} {undone}".rstrip()
        node, why = next(iter(refused.items()), ("", "no node starts it"))
        at = nodesets.fold_nodes(refused) if node else ""
        raise NotFound(what, f"{at}: {why}" if at else why, f"vizdash rollback {app} --to VERSION")
    return RollbackPlan(app, undone, versions, staying, refused)


def merge_shared_root(matrix: Matrix) -> Matrix:
    """Return the matrix of nodes that share one image root, as a single root without a name."""
    first = next((p for p in matrix.roots if not p.failure), None)
    if first is None:
        return matrix
    images = tuple(replace(image, node="") for image in matrix.on(first.node))
    return replace(matrix, images=images, roots=(replace(first, node=""),))


def _latest(matrix: Matrix, app: str, currents: Mapping[str, str]) -> str:
    """Return the version deployed last among those that nodes start."""
    deployed_at: dict[str, int] = {}
    for root in matrix.roots:
        current = currents[root.node]
        if current and not root.failure:
            stack = root.journal(app).stack(current)
            deployed_at[current] = max(deployed_at.get(current, 0), stack[-1].at)
    if not deployed_at:
        return find_wanted_versions(matrix).get(app, "")
    return max(deployed_at, key=lambda v: (deployed_at[v], version_key(v)))


def _before(matrix: Matrix, root: ImageRoot, app: str, current: str) -> tuple[str, str]:
    """Return the version that a node ran before, or why there is none."""
    images = {i.version: i for i in matrix.on(root.node) if i.app == app and _has_versioned_name(i)}
    earlier = root.journal(app).before(current)
    usable = [v for v in earlier if v in images and not images[v].problem]
    if usable:
        return usable[0], ""
    if not earlier:
        return "", f"no earlier version is recorded before {current or 'the current one'}"
    reasons = [f"{v} is {_describe_unusable(images.get(v))}" for v in earlier]
    return "", ", ".join(reasons)


def _has_versioned_name(image: Image) -> bool:
    return image.path.endswith(f"/{image.app}-{image.version}.sif") and not image.alias


def _describe_unusable(image: Image | None) -> str:
    return "no longer there" if image is None else f"unusable ({image.problem})"
