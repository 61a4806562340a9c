"""The last snapshot of a cluster, kept on disk for the first paint of the next dashboard.

It is a picture only: shown with its age until the cluster has answered, and never acted on.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import platformdirs

from vizdash.model import Snapshot
from vizdash.util.files import make_private, read_strictly, write_whole

#: Seconds after which a picture is too old to be shown.
OLDEST_S = 3600.0
#: Images of at most so many files are kept: on a large cluster they come with the survey.
_MOST_IMAGES = 2000
#: Bytes of the largest file that is read; 5,000 nodes take about 2 MB.
_LARGEST = 32 << 20


def snapshot_file(cluster: str) -> Path:
    """Where a cluster's snapshot is kept (~/.cache/vizdash on Linux)."""
    return Path(platformdirs.user_cache_dir("vizdash")) / f"snapshot-{cluster}.json"


def load_snapshot(path: Path) -> Snapshot | None:
    """The snapshot of a file, marked as ``saved``; None without a file of ours, from a file of
    another version of vizdash, and after an hour.
    """
    import msgspec

    try:
        snapshot = msgspec.json.decode(read_strictly(path, _LARGEST), type=Snapshot)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    age_s = time.time() - snapshot.taken_at
    return replace(snapshot, saved=True) if 0 <= age_s <= OLDEST_S else None


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Keep what the first screen shows: nodes, partitions, the user's own sessions and the images.
    A home that is full is no error: the next dashboard starts without a picture.
    """
    import msgspec

    few = len(snapshot.images) <= _MOST_IMAGES
    kept = replace(
        snapshot,
        sessions=tuple(s for s in snapshot.sessions if s.mine),
        jobs=(),
        waiting=(),
        images=snapshot.images if few else (),
        image_roots=snapshot.image_roots if few else (),
    )
    try:
        make_private(path.parent)
        write_whole(path, msgspec.json.encode(kept).decode())
    except OSError:
        return
