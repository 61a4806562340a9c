"""What is known of a change while it runs: each node's phase, bytes, rate and outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from vizdash.errors import VizdashError


class Phase(StrEnum):
    """The phase of a node. The last four are final."""

    WAITING = "waiting"
    INSPECTING = "inspecting"
    COMPARING = "comparing"
    COPYING = "copying"
    VERIFYING = "verifying"
    TESTING = "testing"
    SWITCHING = "switching"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "not tried"

    @property
    def over(self) -> bool:
        """Whether the phase is final."""
        return self in {Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED}


@dataclass(slots=True)
class NodeProgress:
    """The progress of one node.

    ``bytes_done`` of ``bytes_total`` are there, received or taken from a similar image;
    ``bytes_sent`` were sent. ``copied``: the node lacked the image; ``switched``: another image was
    current before; ``note`` describes the outcome.
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
        """Bytes per second since its copy began; 0 while unknown."""
        took = time.monotonic() - self.began
        return self.bytes_done / took if self.began and took > 0.2 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until its copy is done at this rate; None while unknown."""
        # The first bytes arrive in a burst, or late: they predict nothing.
        if self.phase is not Phase.COPYING or self.bytes_done * 50 < self.bytes_total:
            return None
        if not self.rate:
            return None
        return max(0, self.bytes_total - self.bytes_done) / self.rate


class ChangeProgress:
    """The progress of all nodes. ``on_change`` is called with each node that changes."""

    def __init__(
        self,
        nodes: Iterable[str],
        on_change: Callable[[NodeProgress], None] = lambda node: None,
        bytes_total: int = 0,
    ) -> None:
        self.nodes = {name: NodeProgress(name, bytes_total) for name in nodes}
        self._on_change = on_change

    def enter(self, node: str, phase: Phase, note: str = "") -> NodeProgress:
        """Enter a node's next phase."""
        row = self.nodes[node]
        row.phase, row.note = phase, note
        if phase is Phase.COPYING:
            row.began = time.monotonic()
        self._on_change(row)
        return row

    def copied(self, node: str, done: int) -> None:
        """Set how many bytes a node has."""
        row = self.nodes[node]
        row.bytes_done = min(done, row.bytes_total)
        self._on_change(row)

    def fail(self, node: str, error: VizdashError, phase: Phase = Phase.FAILED) -> None:
        """End a node with an error."""
        row = self.nodes[node]
        row.error = error
        self.enter(node, phase, describe_cause(error, node))

    def cancel(self) -> None:
        """End all nodes that are not done, with a note on how far they got."""
        for row in self.nodes.values():
            if not row.phase.over:
                begun = f"interrupted while {row.phase}"
                if row.copied and row.phase is Phase.COPYING and row.bytes_total:
                    begun += f" at {100 * row.bytes_done // row.bytes_total}%"
                if row.phase is Phase.WAITING:
                    begun = "nothing was changed there"
                error = VizdashError(row.node, begun, "repeat the command to continue")
                self.fail(row.node, error, Phase.CANCELLED)

    @property
    def bytes_total(self) -> int:
        """The total bytes of all nodes that are copied to."""
        return sum(
            r.bytes_total for r in self.nodes.values() if r.copied or r.phase is Phase.COPYING
        )

    @property
    def bytes_done(self) -> int:
        """The bytes that these nodes have."""
        return sum(
            r.bytes_done for r in self.nodes.values() if r.copied or r.phase is Phase.COPYING
        )

    @property
    def bytes_sent(self) -> int:
        """The bytes sent to all nodes."""
        return sum(r.bytes_sent for r in self.nodes.values())

    @property
    def rate(self) -> float:
        """Bytes per second to all nodes being copied to."""
        return sum(r.rate for r in self.nodes.values() if r.phase is Phase.COPYING)

    @property
    def left_s(self) -> float | None:
        """Seconds until the last running copy is done; None while unknown."""
        times = [r.left_s for r in self.nodes.values() if r.left_s is not None]
        return max(times, default=None)

    def of(self, *phases: Phase) -> tuple[NodeProgress, ...]:
        """Return the nodes in one of these phases."""
        return tuple(r for r in self.nodes.values() if r.phase in phases)

    @property
    def failed(self) -> tuple[NodeProgress, ...]:
        """The nodes that failed, were cancelled, or were not tried."""
        return self.of(Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED)


def describe_cause(error: VizdashError, node: str) -> str:
    """Return the error in one line, without the node's name, which its row already has."""
    if error.what != node or not error.why:
        return error.line
    return f"{error.why} ({error.fix})" if error.fix else error.why
