"""Which nodes lack what the last deploy or rollback brought to all: they were down meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from vizdash.images.rollback import backwards, current_version
from vizdash.model import Matrix, Place


@dataclass(frozen=True, slots=True)
class Missing:
    """A version of an app, and the nodes that lack it (an empty name: a shared image root)."""

    app: str
    version: str
    nodes: tuple[str, ...]


def missing(matrix: Matrix, app: str = "") -> tuple[Missing, ...]:
    """What nodes that answered lack of ``app``, or of every app that the inventory names.

    A node that starts a later version, or that was switched away from this one on purpose (its
    journal knows both), lacks nothing.
    """
    found = []
    for name, version in matrix.wanted:
        if app in {"", name}:
            later = backwards(matrix, name, version)
            nodes = tuple(
                place.node
                for place in matrix.places
                if not place.failure and place.node not in later
                if _lacks(matrix, place, name, version)
            )
            if nodes:
                found.append(Missing(name, version, nodes))
    return tuple(found)


def _lacks(matrix: Matrix, place: Place, app: str, version: str) -> bool:
    mine = [i for i in matrix.on(place.node) if (i.app, i.version) == (app, version)]
    if any(i.current and i.problem for i in mine):
        return True
    if current_version(matrix, place, app) == version:
        return False
    return not place.journal(app).ran(version)
