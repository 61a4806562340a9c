"""Where nodes differ from what they should have: the matrix, judged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

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


@dataclass(frozen=True, slots=True)
class Finding:
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
    wanted = wanted_versions(matrix)
    digests = usual_digests(matrix.images)
    shown = [image for image in matrix.images if not _alias(image, matrix)]
    shown.sort(key=lambda i: i.node)
    shown.sort(key=lambda i: version_key(i.version), reverse=True)
    shown.sort(key=lambda i: i.app)
    found = [_judged(image, wanted, digests) for image in shown]
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


def drift_first(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """What wants something done before the rest, else in the same order: on many nodes, what is as
    it should be buries it.
    """
    return tuple(sorted(found, key=lambda f: not f.state.drift))


def wanted_versions(matrix: Matrix) -> dict[str, str]:
    """The version that each app should have: as deployed last, else what most nodes start (the
    newest of those where that is a tie).
    """
    votes: dict[str, Counter[str]] = {}
    for image in matrix.images:
        counter = votes.setdefault(image.app, Counter())
        if image.current:
            counter[image.version] += 0 if _alias(image, matrix) else 1
    found = {
        app: max(counter, key=lambda v: (counter[v], version_key(v)))
        for app, counter in votes.items()
        if counter
    }
    present = {(i.app, i.version) for i in matrix.images}
    return found | {app: v for app, v in matrix.wanted if (app, v) in present}


def usual_digests(images: Iterable[Image]) -> dict[tuple[str, str], str]:
    """The digest that most copies of an app's version have, where any is recorded."""
    votes: dict[tuple[str, str], Counter[str]] = {}
    for image in images:
        if image.digest and not image.problem:
            votes.setdefault((image.app, image.version), Counter())[image.digest] += 1
    return {key: max(counter, key=lambda d: (counter[d], d)) for key, counter in votes.items()}


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


def _alias(image: Image, matrix: Matrix) -> bool:
    """Whether it is only the name ``<app>.sif`` of a version that is listed by its own name."""
    if not image.path.endswith(f"/{image.app}.sif"):
        return False
    return any(
        i.current and i.path != image.path for i in matrix.on(image.node) if i.app == image.app
    )


def _judged(
    image: Image, wanted: Mapping[str, str], digests: Mapping[tuple[str, str], str]
) -> Finding:
    state, note = State.CURRENT if image.current else State.KEPT, ""
    target = wanted.get(image.app, image.version)
    if image.problem:
        state, note = State.DAMAGED, image.problem
    elif image.digest and image.digest != digests.get((image.app, image.version)):
        state, note = State.DIFFERS, "the same version elsewhere has another content"
    elif image.current and image.version != target:
        older = version_key(image.version) < version_key(target)
        state = State.OLDER if older else State.NEWER
        note = f"{target or 'the unversioned one'} is wanted"
    return Finding(image.app, image.version, image.node, state, image, note=note)


def _what(stray: Stray) -> str:
    name = stray.path.rpartition("/")[2]
    if name.startswith(".") and name.endswith((".part", ".basis")):
        return "of a deploy that goes on or was broken off (the next one takes it up or away)"
    return "vizdash does not know it"
