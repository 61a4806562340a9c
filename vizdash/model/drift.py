"""Where nodes differ from what they should have: the matrix, judged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import NamedTuple

from vizdash.model.image import Image, Matrix, Stray
from vizdash.model.session import Session

_PARTS = re.compile(r"([0-9]+)|([a-z]+)(?=([0-9])?)")
_DEVELOPMENT = {"dev", "snapshot", "nightly"}
_BEFORE_RELEASE = {"alpha", "beta", "rc", "pre", "preview"}
_ORDERED = re.compile(r"[A-Za-z]{0,3}[._-]?[0-9]")
#: An abbreviated commit: hexadecimal digits of both kinds.
_HASH = re.compile(r"(?=.*[a-f])(?=.*[0-9])[0-9a-f]{7,64}")


class State(StrEnum):
    """What an image on a node is. Those after KEPT want something done."""

    CURRENT = "current"
    KEPT = "kept"
    OLDER = "older"
    NEWER = "newer"
    MISSING = "missing"
    DIFFERS = "another digest"
    DAMAGED = "damaged"
    STRAY = "stray file"

    @property
    def drift(self) -> bool:
        """Whether something should be done about it."""
        return self not in {State.CURRENT, State.KEPT}


class Finding(NamedTuple):
    """One image (or the lack of one, or a stray file) on one node, and what it is."""

    app: str
    version: str
    node: str
    state: State
    image: Image | None = None
    stray: Stray | None = None
    note: str = ""


def judge(matrix: Matrix) -> tuple[Finding, ...]:
    """Every image on every node that is known, apps in order, newest versions first; then what
    is missing, then stray files.
    """
    aliases = _aliases(matrix.images)
    wanted = _wanted(matrix, aliases)
    groups: dict[tuple[str, str], list[Image]] = {}
    for image in matrix.images:
        if (image.node, image.path) not in aliases:
            groups.setdefault((image.app, image.version), []).append(image)
    found: list[Finding] = []
    for app, version in _newest_first(groups):
        same = sorted(groups[app, version], key=lambda i: i.node)
        target, digest = wanted.get(app, version), _usual_digest(same)
        found += [_judged(image, target, digest) for image in same]
    having = {(i.app, i.node) for i in matrix.images}
    for app, version in sorted(wanted.items()):
        found += [
            Finding(app, version, place.node, State.MISSING, note="it has no image of this app")
            for place in matrix.places
            if place.known and (app, place.node) not in having
        ]
    for place in matrix.places:
        found += [
            Finding("", "", place.node, State.STRAY, stray=stray, note=_what(stray))
            for stray in place.strays
        ]
    return tuple(found)


class Judgement:
    """The findings of the last matrix that was judged: the same one again costs nothing. A matrix
    is the same when its parts are the same objects.
    """

    def __init__(self) -> None:
        self._of = Matrix()
        self._found: tuple[Finding, ...] = ()
        self._drift = 0

    def drift(self, matrix: Matrix) -> int:
        """How many findings want something done."""
        self.findings(matrix)
        return self._drift

    def findings(self, matrix: Matrix) -> tuple[Finding, ...]:
        """What wants something done first (see ``drift_first``)."""
        old = self._of
        if (
            matrix.images is not old.images
            or matrix.places is not old.places
            or matrix.wanted is not old.wanted
        ):
            self._found, self._of = drift_first(judge(matrix)), matrix
            self._drift = sum(finding.state.drift for finding in self._found)
        return self._found


def drift_first(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """What wants something done before the rest, else in the same order: on many nodes, what is as
    it should be buries it.
    """
    return tuple(sorted(found, key=lambda f: not f.state.drift))


def wanted_versions(matrix: Matrix) -> dict[str, str]:
    """The version that each app should have: as deployed last, else what most nodes start (the
    newest of those where that is a tie).
    """
    return _wanted(matrix, _aliases(matrix.images))


def _wanted(matrix: Matrix, aliases: AbstractSet[tuple[str, str]]) -> dict[str, str]:
    present = {(i.app, i.version) for i in matrix.images}
    starting = Counter(
        (i.app, i.version) for i in matrix.images if i.current and (i.node, i.path) not in aliases
    )
    # The last one of an app is what most nodes start.
    found = dict(sorted(starting, key=lambda s: (starting[s], version_key(s[1]))))
    return found | {app: v for app, v in matrix.wanted if (app, v) in present}


def _usual_digest(copies: Iterable[Image]) -> str:
    """The digest that most copies of an app's version have; empty where none is recorded."""
    votes = Counter(image.digest for image in copies if image.digest and not image.problem)
    return max(votes, key=lambda digest: (votes[digest], digest), default="")


def sessions_of(image: Image, sessions: Iterable[Session]) -> tuple[Session, ...]:
    """The live sessions that run from this image, as their jobs claim."""
    return tuple(
        s
        for s in sessions
        if s.live and s.app == image.app and s.node == image.node
        if s.image_version == image.version
    )


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts ``5.9`` before ``5.10``, ``5.10-rc1`` before ``5.10``, and ``5.10`` before
    ``5.10-gpu``, ``5.10.post1`` and ``5.10.1``; ``R2024a`` before ``R2024a-u3`` and ``R2024b``.
    """
    key: list[tuple[int, int, str]] = []
    for match in _PARTS.finditer(version.lower()):
        number, word, counted = match.groups()
        if number:
            key.append((3, int(number), ""))
        elif word in _DEVELOPMENT:
            key.append((-1, 0, word))
        elif word in _BEFORE_RELEASE or (word in {"a", "b", "c"} and counted):
            key.append((0, 0, word))
        elif key or word != "v":
            key.append((2, 0, word))
    return (*key, (1, 0, ""))


def says_order(version: str) -> bool:
    """Whether a version can be compared with others by its name: it begins with a number, but for
    a short word, and is no hash of a commit.
    """
    return bool(_ORDERED.match(version)) and not _HASH.fullmatch(version)


def order_key(version: str, at: float) -> tuple[bool, tuple[tuple[int, int, str], ...], float, str]:
    """A key that sorts versions by their names, and before those the ones whose names say nothing,
    by the time ``at`` which they came or were current.
    """
    ordered = says_order(version)
    return ordered, version_key(version) if ordered else (), at, version


def _aliases(images: Iterable[Image]) -> set[tuple[str, str]]:
    """Node and path of each image that is only the name ``<app>.sif`` of a version that is listed
    by its own name.
    """
    links: list[Image] = []
    named: set[tuple[str, str]] = set()
    for image in images:
        if image.current:
            if image.path.endswith(f"/{image.app}.sif"):
                links.append(image)
            else:
                named.add((image.node, image.app))
    return {(i.node, i.path) for i in links if (i.node, i.app) in named}


def _newest_first(groups: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Apps in order, of each the newest version first."""
    ordered = sorted(groups, key=lambda group: version_key(group[1]), reverse=True)
    return sorted(ordered, key=lambda group: group[0])


def _judged(image: Image, target: str, digest: str) -> Finding:
    """An image where version ``target`` is wanted, and ``digest`` is what most copies have."""
    state, note = State.CURRENT if image.current else State.KEPT, ""
    if image.problem:
        state, note = State.DAMAGED, image.problem
    elif image.digest and image.digest != digest:
        state, note = State.DIFFERS, "the same version elsewhere has another content"
    elif image.current and image.version != target:
        older = version_key(image.version) < version_key(target)
        state = State.OLDER if older else State.NEWER
        note = f"{target or 'the unversioned one'} is wanted"
    return Finding(image.app, image.version, image.node, state, image, None, note)


def _what(stray: Stray) -> str:
    name = stray.path.rpartition("/")[2]
    if name.startswith(".") and name.endswith((".part", ".part.pid", ".basis")):
        return "of a deploy that goes on or was broken off (the next one takes it up or away)"
    return "vizdash does not know it"
