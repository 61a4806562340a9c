"""The filter of a pane: words, ``!`` to negate, ``field:word`` for one column. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from vizdash.config.readers import nearest
from vizdash.model import Node, Session
from vizdash.ui.present.images import ImageRow, current_state
from vizdash.ui.present.sessions import viewer_state

R = TypeVar("R")
Fields = Mapping[str, Callable[[R], str]]

#: Words by which the fields ``owner`` and ``user`` match your sessions.
_ME = ("me", "mine", "you")


def _owner(session: Session) -> str:
    return " ".join((session.user, *_ME)) if session.mine else session.user


NODE_FIELDS: Fields[Node] = {
    "node": lambda n: n.name,
    "state": lambda n: n.state_text + ("" if n.usable else " unusable"),
    "reason": lambda n: n.reason,
    "feature": lambda n: " ".join(n.features),
    "partition": lambda n: " ".join(n.partitions),
    "gpu": lambda n: " ".join(f"{g.name} {g.type}" for g in n.gres),
}
SESSION_FIELDS: Fields[Session] = {
    "state": lambda s: s.result or str(s.state),
    "app": lambda s: s.app,
    "user": _owner,
    "owner": _owner,
    "node": lambda s: s.node,
    "job": lambda s: s.job_id,
    "session": lambda s: s.id,
    "version": lambda s: s.image_version,
    "partition": lambda s: s.partition,
    "viewer": viewer_state,
    "note": lambda s: f"{s.reason} {s.step} {s.error}",
}
IMAGE_FIELDS: Fields[ImageRow] = {
    "app": lambda r: r.app,
    "version": lambda r: r.version,
    "node": lambda r: " ".join(r.nodes),
    "path": lambda r: r.path,
    "state": lambda r: current_state(r).text,
}


@dataclass(frozen=True, slots=True)
class _Term:
    field: str
    word: str
    inverse: bool


@dataclass(frozen=True, slots=True)
class Filter(Generic[R]):
    """Matches rows for which every term holds. ``error`` is why the text is invalid (empty: valid);
    an invalid filter matches every row.
    """

    fields: Fields[R]
    terms: tuple[_Term, ...] = ()
    error: str = ""

    def __call__(self, row: R) -> bool:
        """Whether the row matches."""
        return self.error != "" or all(self._holds(term, row) for term in self.terms)

    def _holds(self, term: _Term, row: R) -> bool:
        if term.field:
            matches = term.word in self.fields[term.field](row).casefold()
        else:
            matches = any(term.word in read(row).casefold() for read in self.fields.values())
        return matches is not term.inverse


def parse_filter(text: str, fields: Fields[R]) -> Filter[R]:
    """Parse terms separated by blanks, such as ``state:ready !node:003 para``; case is ignored."""
    terms = []
    for part in text.casefold().split():
        inverse = part.startswith("!")
        word = part.removeprefix("!")
        name, colon, value = word.partition(":")
        if not colon:
            name, value = "", word
        elif name not in fields:
            return Filter(fields, (), f"no field {name!r}: {nearest(name, tuple(fields))}")
        if value:
            terms.append(_Term(name, value, inverse))
    return Filter(fields, tuple(terms))
