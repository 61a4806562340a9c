"""How a change ended on each node, as a table and for JSON."""

from __future__ import annotations

from typing import Any

from vizdash import output
from vizdash.cli.live import mib
from vizdash.images.progress import Progress


def outcomes(progress: Progress) -> list[dict[str, Any]]:
    """One object for each node."""
    return [
        {
            "node": row.node,
            "outcome": str(row.phase),
            "bytes_sent": row.bytes_sent,
            "bytes_total": row.bytes_total if row.copied else 0,
            "copied": row.copied,
            "switched": row.switched,
            "note": row.note,
        }
        for row in progress.nodes.values()
    ]


def outcome_table(progress: Progress) -> str:
    """One line for each node."""
    rows = [
        (row.node or "shared", str(row.phase), mib(row.bytes_sent), row.note)
        for row in progress.nodes.values()
    ]
    return output.table(("NODE", "OUTCOME", "SENT MIB", "NOTE"), rows)
