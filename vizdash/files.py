"""Files read with suspicion and written whole."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

#: Nothing of ours is larger.
_LIMIT = 1 << 20


def read_own(path: Path, limit: int = _LIMIT) -> str | None:
    """The text of a regular file that belongs to us; None for anything else.

    A link, someone else's file or an over-large one is taken as not there: its text could
    have been put there by anyone.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, encoding="utf-8", errors="replace") as file:
        about = os.fstat(file.fileno())
        ours = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()
        return file.read() if ours and about.st_size <= limit else None


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part.

    A temporary file beside it, fsync, rename. Raises OSError, leaving nothing behind.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
