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
    have been put there by anyone. So is one that can't be read, such as a file that another
    host replaces meanwhile (ESTALE on NFS).
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            return None
        with open(handle, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    finally:
        os.close(handle)
    return data.decode("utf-8", errors="replace") if len(data) <= limit else None


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
