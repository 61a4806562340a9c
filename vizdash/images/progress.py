"""How far a change to several nodes is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from vizdash.errors import VizdashError


class Phase(StrEnum):
    """Where a node is. Those after SWITCHING are ends."""

    WAITING = "waiting"
    LOOKING = "looking"
    COMPARING = "comparing"
    COPYING = "copying"
    CHECKING = "checking"
    TESTING = "testing"
    SWITCHING = "switching"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "not tried"

    @property
    def over(self) -> bool:
        """Whether nothing more happens there."""
        return self in {Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED}


@dataclass(slots=True)
class NodeProgress:
    """One node. ``bytes_done`` of ``bytes_total`` are there (come, or taken from an image like
    it), ``bytes_sent`` travelled; ``copied`` says that it had not got the image, ``switched``
    that another one started before; ``note`` says how it ended.
    """

    node: str
    bytes_total: int = 0
    phase: Phase = Phase.WAITING
    bytes_done: int = 0
    bytes_sent: int = 0
    note: str = ""
    error: VizdashError | None = None
    copied: bool = False
    switched: bool = False
    began: float = field(default=0.0, repr=False)

    @property
    def rate(self) -> float:
        """Bytes per second since its copy began; 0 when that can't be told yet."""
        took = time.monotonic() - self.began
        return self.bytes_done / took if self.began and took > 0.2 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until its copy is done, at this rate; None when that can't be told."""
        # The first bytes come in a burst, or late: they foretell nothing.
        if self.phase is not Phase.COPYING or self.bytes_done * 50 < self.bytes_total:
            return None
        if not self.rate:
            return None
        return max(0, self.bytes_total - self.bytes_done) / self.rate


class Progress:
    """All nodes of one change. ``tell`` is called with a node whenever that one changed."""

    def __init__(
        self,
        nodes: Iterable[str],
        tell: Callable[[NodeProgress], None] = lambda node: None,
        bytes_total: int = 0,
    ) -> None:
        self.nodes = {name: NodeProgress(name, bytes_total) for name in nodes}
        self._tell = tell

    def enter(self, node: str, phase: Phase, note: str = "") -> NodeProgress:
        """A node's next phase."""
        row = self.nodes[node]
        row.phase, row.note = phase, note
        if phase is Phase.COPYING:
            row.began = time.monotonic()
        self._tell(row)
        return row

    def copied(self, node: str, done: int) -> None:
        """So many bytes are there now."""
        row = self.nodes[node]
        row.bytes_done = min(done, row.bytes_total)
        self._tell(row)

    def fail(self, node: str, error: VizdashError, phase: Phase = Phase.FAILED) -> None:
        """A node's end with a cause."""
        row = self.nodes[node]
        row.error = error
        self.enter(node, phase, cause(error, node))

    def cancel(self) -> None:
        """Everything was broken off: each node that was not done says where."""
        for row in self.nodes.values():
            if not row.phase.over:
                begun = f"broken off while {row.phase}"
                if row.copied and row.phase is Phase.COPYING and row.bytes_total:
                    begun += f" at {100 * row.bytes_done // row.bytes_total}%"
                if row.phase is Phase.WAITING:
                    begun = "nothing was done there"
                error = VizdashError(row.node, begun, "the same again goes on there")
                self.fail(row.node, error, Phase.CANCELLED)

    @property
    def bytes_total(self) -> int:
        """Of all nodes that are copied to."""
        return sum(
            r.bytes_total for r in self.nodes.values() if r.copied or r.phase is Phase.COPYING
        )

    @property
    def bytes_done(self) -> int:
        """Of all nodes that are copied to."""
        return sum(
            r.bytes_done for r in self.nodes.values() if r.copied or r.phase is Phase.COPYING
        )

    @property
    def bytes_sent(self) -> int:
        """What travelled."""
        return sum(r.bytes_sent for r in self.nodes.values())

    @property
    def rate(self) -> float:
        """Bytes per second of all that are being copied to."""
        return sum(r.rate for r in self.nodes.values() if r.phase is Phase.COPYING)

    @property
    def left_s(self) -> float | None:
        """Seconds until the last of the copies that go on is done; None when not known."""
        found = [r.left_s for r in self.nodes.values() if r.left_s is not None]
        return max(found) if found else None

    def of(self, *phases: Phase) -> tuple[NodeProgress, ...]:
        """The nodes in one of these phases."""
        return tuple(r for r in self.nodes.values() if r.phase in phases)

    @property
    def failed(self) -> tuple[NodeProgress, ...]:
        """The nodes that did not get there."""
        return self.of(Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED)


def cause(error: VizdashError, node: str) -> str:
    """The error in one line, without the name of the node whose row it stands in."""
    if error.what != node or not error.why:
        return error.line
    return f"{error.why} ({error.mend})" if error.mend else error.why
